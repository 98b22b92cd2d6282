package schema

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
)

// generations counts the sets of this process.
var generations atomic.Uint64

// Set is an immutable set of active plans. It is safe for concurrent use.
type Set struct {
	generation uint64
	plans      []*Plan
	filters    []string
	root       *branch
	routes     sync.Map // candidate list as text -> *Route
}

// Route is the list of plans that a topic may belong to, the newest version of
// a name first. One candidate list is one pointer, so routes may be compared.
type Route struct {
	Plans []*Plan
}

// branch is one level of the topic tree.
type branch struct {
	next map[string]*branch
	one  *branch // + and captures
	ends []int32 // plans that end here
	rest []int32 // plans that end here in #
}

// NewSet makes a set of the plans. Plans of different names whose topics overlap
// and whose `when` does not part them are problems, and so are versions of one
// table that do not fit each other; of the two, the one that stands later in the
// list is left out of the set.
func NewSet(plans []*Plan) (*Set, Problems) {
	s := &Set{generation: generations.Add(1), root: &branch{}}
	var problems Problems
	for _, p := range plans {
		if problem := s.clash(p); problem != nil {
			problems = append(problems, *problem)
			continue
		}
		s.plans = append(s.plans, p)
	}
	slices.SortFunc(s.plans, func(a, b *Plan) int {
		return cmp.Or(strings.Compare(a.name, b.name), a.version-b.version)
	})
	for i, p := range s.plans {
		s.root.add(p.pattern.levels, int32(i))
	}
	s.filters = covering(s.plans)
	return s, problems
}

// CheckFiles compiles documents as if they were one directory, and returns what
// is wrong with them, alone and together.
func CheckFiles(paths []string) (*Set, Problems) {
	var plans []*Plan
	var problems Problems
	for _, path := range paths {
		data, err := readLimited(path)
		if err != nil {
			problems = append(problems, Problem{File: path, Message: "cannot be read: " + err.Error()})
			continue
		}
		p, more := Compile(path, data)
		problems = append(problems, more...)
		if p != nil {
			plans = append(plans, p)
		}
	}
	set, more := NewSet(plans)
	return set, append(problems, more...)
}

// clash says why a plan cannot stand beside those that are in the set.
func (s *Set) clash(p *Plan) *Problem {
	problem := func(message, hint string) *Problem {
		return &Problem{File: p.file, Line: 1, Column: 1, Message: message, Hint: hint}
	}
	for _, q := range s.plans {
		switch {
		case p.name == q.name && p.version == q.version:
			return problem(fmt.Sprintf("%s version %d is also in %s", p.name, p.version, q.file), "")
		case p.name == q.name && p.table.Name == q.table.Name:
			old, new := q, p
			if p.version < q.version {
				old, new = p, q
			}
			if breaks := Compare(old, new); len(breaks) > 0 {
				words := make([]string, len(breaks))
				for i, b := range breaks {
					words[i] = b.String()
				}
				return problem(fmt.Sprintf("%s version %d does not fit the table of version %d: %s", p.name, new.version, old.version, strings.Join(words, "; ")),
					"weir schema accept --break gives it a table of its own")
			}
		case p.name != q.name && p.pattern.overlaps(&q.pattern) && !parted(p, q):
			return problem(fmt.Sprintf("the topics of %s (%s) and %s (%s) overlap", p.name, p.filter, q.name, q.filter),
				"tell the payloads apart with `when`: the same pointer, other values")
		}
	}
	return nil
}

// parted reports whether no payload can meet both plans' `when`.
func parted(p, q *Plan) bool {
	for i := range p.when {
		for j := range q.when {
			if slices.Equal(p.when[i].at.tokens, q.when[j].at.tokens) && !p.when[i].value.same(&q.when[j].value) {
				return true
			}
		}
	}
	return false
}

func (b *branch) add(levels []level, plan int32) {
	for _, l := range levels {
		switch l.kind {
		case levelRest:
			b.rest = append(b.rest, plan)
			return
		case levelText:
			if b.next == nil {
				b.next = map[string]*branch{}
			}
			if b.next[l.text] == nil {
				b.next[l.text] = &branch{}
			}
			b = b.next[l.text]
		default:
			if b.one == nil {
				b.one = &branch{}
			}
			b = b.one
		}
	}
	b.ends = append(b.ends, plan)
}

// find appends the plans that take what is left of the topic. Wildcards at the
// first level do not take topics that begin with $ (MQTT 5 section 4.7.2).
func (b *branch) find(topic []byte, more bool, first bool, dst []int32) []int32 {
	wild := !(first && len(topic) > 0 && topic[0] == '$')
	if wild {
		dst = append(dst, b.rest...)
	}
	if !more {
		return append(dst, b.ends...)
	}
	end := 0
	for end < len(topic) && topic[end] != '/' {
		end++
	}
	more = end < len(topic)
	below := topic[end:]
	if more {
		below = topic[end+1:]
	}
	if n := b.next[string(topic[:end])]; n != nil {
		dst = n.find(below, more, false, dst)
	}
	if b.one != nil && wild {
		dst = b.one.find(below, more, false, dst)
	}
	return dst
}

// Generation grows with every set that is made in this process.
func (s *Set) Generation() uint64 { return s.generation }

// Plans are the active plans by name and version ascending.
func (s *Set) Plans() []*Plan { return s.plans }

// Filters are MQTT topic filters that cover all plans; none covers another.
func (s *Set) Filters() []string { return s.filters }

// Route returns the candidates of a topic, or nil where none matches.
func (s *Set) Route(topic []byte) *Route {
	if s.root == nil || len(topic) == 0 {
		return nil
	}
	var buf [16]int32
	found := s.root.find(topic, true, true, buf[:0])
	if len(topic) > DeviceTopic {
		found = slices.DeleteFunc(found, func(i int32) bool { return s.plans[i].device })
	}
	if len(found) == 0 {
		return nil
	}
	// By name, the newest version first: plans stand by name and version.
	sort.Slice(found, func(i, j int) bool {
		a, b := s.plans[found[i]], s.plans[found[j]]
		if a.name != b.name {
			return a.name < b.name
		}
		return a.version > b.version
	})
	key := make([]byte, 0, 64)
	for _, i := range found {
		key = append(key, byte(i), byte(i>>8), byte(i>>16), byte(i>>24))
	}
	if r, ok := s.routes.Load(string(key)); ok {
		return r.(*Route)
	}
	r := &Route{Plans: make([]*Plan, len(found))}
	for i, at := range found {
		r.Plans[i] = s.plans[at]
	}
	have, _ := s.routes.LoadOrStore(string(key), r)
	return have.(*Route)
}

// covering returns the filters of the plans without those that another covers,
// sorted.
func covering(plans []*Plan) []string {
	var out []string
	for i, p := range plans {
		covered := slices.ContainsFunc(plans, func(q *Plan) bool {
			return q.filter != p.filter && q.pattern.covers(&p.pattern)
		})
		first := !slices.ContainsFunc(plans[:i], func(q *Plan) bool { return q.filter == p.filter })
		if !covered && first {
			out = append(out, p.filter)
		}
	}
	slices.Sort(out)
	return out
}
