package pipeline

import (
	"sync"
	"unicode/utf8"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// lane is what one burst at a time works on. The lock is held from Begin to End,
// and by the commit loop for moments.
type lane struct {
	p  *Pipeline
	mu sync.Mutex

	state   *schemas
	checker *schema.Checker
	topics  topicCache
	routes  []*route // by route number, less firstRoute
	number  map[*schema.Route]uint16
	tags    [][]byte              // scratch
	key     []byte                // scratch
	refs    []telemetry.SeriesRef // scratch
	ids     []uint16              // scratch

	current *batch
	spare   []*batch
	seq     uint64
	dirty   bool  // the commit loop was told of the current batch
	urged   bool  // and that it is large
	ages    int64 // the time from which ages count in this burst; 0: none
	room    int64 // taken from the budget and not used
	added   uint64

	sources   map[string]*sourceCounters
	unmatched unmatched
}

// The route numbers below firstRoute are verdicts.
const (
	routeUnmatched = 0
	routeBadTopic  = 1
	firstRoute     = 2
)

func newLane(p *Pipeline) *lane {
	l := &lane{p: p, checker: schema.NewChecker(), sources: map[string]*sourceCounters{}}
	l.topics.init(&p.cache)
	l.unmatched.limit = p.cfg.UnmatchedTopics
	l.current = l.newBatch()
	return l
}

// newBatch returns an empty batch. The lane is locked, or not yet shared.
func (l *lane) newBatch() *batch {
	var b *batch
	if n := len(l.spare); n > 0 {
		b, l.spare = l.spare[n-1], l.spare[:n-1]
	} else {
		b = &batch{lane: l}
	}
	l.seq++
	b.seq = l.seq
	if l.state != nil {
		b.adopt(l.state)
	}
	return b
}

// adopt brings the lane to another schema set: topics are resolved anew.
func (l *lane) adopt(s *schemas) {
	if l.state == s {
		return
	}
	l.state = s
	l.topics.reset()
	l.routes, l.number = nil, map[*schema.Route]uint16{}
	l.current.adopt(s)
}

// resolve finds the route of a topic that is not in the cache, and remembers it.
func (l *lane) resolve(cursor *cursor, topic []byte) (uint32, entry) {
	n := uint16(routeBadTopic)
	if validTopic(topic) {
		n = l.routeNumber(l.state.set.Route(topic))
	}
	e := makeEntry(noSeries, n)
	at := l.topics.insert(topic, 0, e, l.added)
	if at != noPlace {
		cursor.at = at
	}
	return at, e
}

func (l *lane) routeNumber(r *schema.Route) uint16 {
	if r == nil || len(r.Plans) == 0 {
		return routeUnmatched
	}
	n, ok := l.number[r]
	if !ok {
		if len(l.routes) == 1<<16-firstRoute {
			l.topics.reset()
			l.routes = nil
			clear(l.number)
		}
		l.routes = append(l.routes, l.state.newRoute(r))
		n = uint16(len(l.routes) - 1 + firstRoute)
		l.number[r] = n
	}
	return n
}

// validTopic reports whether the standard allows the topic name in a PUBLISH
// (MQTT 5, 1.5.4, 3.3.2.1 and 4.7.3: UTF-8 without U+0000, at least one character,
// no wildcards).
func validTopic(topic []byte) bool {
	if len(topic) == 0 {
		return false
	}
	for _, c := range topic {
		if c == 0 || c == '+' || c == '#' {
			return false
		}
	}
	return utf8.Valid(topic)
}

// series returns the ref of the series that a row belongs to. at is the topic's
// place in the cache, or noPlace.
func (l *lane) series(s *session, r *route, p *plan, at uint32, known telemetry.SeriesRef, topic []byte, row *schema.Row) (telemetry.SeriesRef, error) {
	if r.direct {
		if known != noSeries {
			return known, nil
		}
		ref, err := l.issue(p, topic, nil)
		if err == nil {
			l.topics.setSeries(at, ref)
		}
		return ref, err
	}
	if at == noPlace {
		return l.issue(p, topic, row)
	}
	l.key = appendTagKey(l.key[:0], at, p, row)
	if _, e, ok := l.topics.find(&s.tagCursor, l.key, kindTags); ok {
		return e.series(), nil
	}
	ref, err := l.issue(p, topic, row)
	if err != nil {
		return 0, err
	}
	if at := l.topics.insert(l.key, kindTags, makeEntry(ref, uint16(p.index)), l.added); at != noPlace {
		s.tagCursor.at = at
	}
	return ref, nil
}

// issue asks the store for the ref of a series.
func (l *lane) issue(p *plan, topic []byte, row *schema.Row) (telemetry.SeriesRef, error) {
	l.tags, _ = p.Captures(topic, l.tags[:0])
	if row != nil {
		for i := range row.Tags {
			l.tags = append(l.tags, tagBytes(&row.Tags[i]))
		}
	}
	return l.p.store.Series(l.p.cfg.Tenant, p.table, topic, l.tags)
}

// tagBytes is a tag in the form of store.Series: nil is null, and empty is not.
func tagBytes(t *schema.TagValue) []byte {
	switch {
	case t.Null:
		return nil
	case t.Text == nil:
		return []byte{}
	}
	return t.Text
}

// appendTagKey appends the cache key of a series below a topic: the topic's place,
// the table, and the values with their lengths.
func appendTagKey(dst []byte, at uint32, p *plan, row *schema.Row) []byte {
	dst = append(dst, byte(at), byte(at>>8), byte(at>>16), byte(at>>24), byte(p.index), byte(p.index>>8))
	for i := range row.Tags {
		t := &row.Tags[i]
		n := len(t.Text) + 1
		if t.Null {
			n = 0
		}
		for n >= 0x80 {
			dst = append(dst, byte(n)|0x80)
			n >>= 7
		}
		dst = append(dst, byte(n))
		if !t.Null {
			dst = append(dst, t.Text...)
		}
	}
	return dst
}
