package schema

import (
	"fmt"
	"regexp"
	"strings"
)

// maxTopic is the longest topic that MQTT can carry.
const maxTopic = 65_535

var captureName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,62}$`)

// levelKind says what a level of a topic pattern takes.
type levelKind uint8

const (
	levelText    levelKind = iota // itself
	levelOne                      // + : any one level
	levelCapture                  // {name}: any one level, which becomes a tag
	levelRest                     // # : the parent level and all below
)

type level struct {
	kind levelKind
	text string // itself, or the capture's name
}

// pattern is a topic pattern in levels.
type pattern struct {
	levels []level
	filter string
}

// parsePattern reads a topic pattern; a problem is told in words.
func parsePattern(s string) (pattern, []string, error) {
	var p pattern
	var names []string
	if s == "" {
		return p, nil, fmt.Errorf("the topic is empty")
	}
	if len(s) > maxTopic || strings.ContainsRune(s, 0) {
		return p, nil, fmt.Errorf("MQTT does not allow the topic")
	}
	if strings.HasPrefix(s, "$share/") {
		return p, nil, fmt.Errorf("a shared subscription belongs to a source, not to a schema")
	}
	parts := strings.Split(s, "/")
	filters := make([]string, len(parts))
	for i, part := range parts {
		filters[i] = part
		switch {
		case part == "+":
			p.levels = append(p.levels, level{kind: levelOne})
		case part == "#":
			if i != len(parts)-1 {
				return p, nil, fmt.Errorf("# must be the last level")
			}
			p.levels = append(p.levels, level{kind: levelRest})
		case strings.HasPrefix(part, "{") && strings.HasSuffix(part, "}"):
			name := part[1 : len(part)-1]
			if !captureName.MatchString(name) {
				return p, nil, fmt.Errorf("%q is no name for a capture: letters, digits and _, beginning with a letter", name)
			}
			names = append(names, name)
			filters[i] = "+"
			p.levels = append(p.levels, level{kind: levelCapture, text: name})
		case strings.ContainsAny(part, "+#{}"):
			return p, nil, fmt.Errorf("in %q a wildcard or capture is only part of a level; it must be all of it", part)
		default:
			p.levels = append(p.levels, level{kind: levelText, text: part})
		}
	}
	p.filter = strings.Join(filters, "/")
	return p, names, nil
}

// match reports whether the pattern takes the topic, and appends its captures.
// Wildcards at the first level do not take topics that begin with $ (MQTT 5
// section 4.7.2).
func (p *pattern) match(topic []byte, dst [][]byte) ([][]byte, bool) {
	if len(topic) == 0 || topic[0] == '$' && p.levels[0].kind != levelText {
		return dst, false
	}
	keep := len(dst)
	pos := 0 // where the level begins; past the end when the topic has no more
	for i := range p.levels {
		l := &p.levels[i]
		if l.kind == levelRest {
			return dst, true // also for the parent level itself: "a/#" takes "a"
		}
		if pos > len(topic) {
			return dst[:keep], false
		}
		end := pos
		for end < len(topic) && topic[end] != '/' {
			end++
		}
		switch l.kind {
		case levelText:
			if string(topic[pos:end]) != l.text {
				return dst[:keep], false
			}
		case levelCapture:
			dst = append(dst, topic[pos:end])
		}
		pos = end + 1
	}
	return dst, pos > len(topic)
}

// overlaps reports whether some topic matches both patterns.
func (p *pattern) overlaps(q *pattern) bool {
	if a, b := p.levels[0], q.levels[0]; a.kind != levelText && dollar(b) || b.kind != levelText && dollar(a) {
		return false
	}
	for i := 0; ; i++ {
		pRest := i < len(p.levels) && p.levels[i].kind == levelRest
		qRest := i < len(q.levels) && q.levels[i].kind == levelRest
		if pRest || qRest {
			// # also takes its parent, so that the other may end here.
			return true
		}
		if i == len(p.levels) || i == len(q.levels) {
			return len(p.levels) == len(q.levels)
		}
		a, b := p.levels[i], q.levels[i]
		if a.kind == levelText && b.kind == levelText && a.text != b.text {
			return false
		}
	}
}

func dollar(l level) bool { return l.kind == levelText && strings.HasPrefix(l.text, "$") }

// covers reports whether every topic that q takes is one that p takes.
func (p *pattern) covers(q *pattern) bool {
	if p.levels[0].kind != levelText && dollar(q.levels[0]) {
		return false
	}
	for i := 0; ; i++ {
		if i < len(p.levels) && p.levels[i].kind == levelRest {
			return true
		}
		if i == len(p.levels) || i == len(q.levels) {
			return len(p.levels) == len(q.levels)
		}
		a, b := p.levels[i], q.levels[i]
		if b.kind == levelRest || a.kind == levelText && (b.kind != levelText || a.text != b.text) {
			return false
		}
	}
}
