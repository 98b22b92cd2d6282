package mqtt

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// subscriptions brings the broker's session in line with what is wanted.
type subscriptions struct {
	mu     sync.Mutex
	wanted []string        // filters, with the share group applied
	keep   bool            // what is held and not wanted stays subscribed
	behind bool            // the session at hand is not yet in line with wanted
	dirty  bool            // the state file does not say what is held
	held   map[string]bool // what the broker's session may have, as in the state file
	status map[string]FilterStatus
	// asked are the packets that wait for their SUBACK or UNSUBACK, on the
	// connection at hand.
	link   *link
	again  *time.Timer // brings it in line after an error
	nextID uint16
	asked  map[uint16]request
	// settled says that every request which this connection began with was answered.
	settled bool
}

type request struct {
	filters []string
	remove  bool
}

// filtersPerPacket keeps a SUBSCRIBE to some KiB, and within the maximum packet
// size that brokers announce in practice.
const filtersPerPacket = 64

// alignAgain is after how long a session is brought in line that could not be
// when the topics changed.
const alignAgain = 5 * time.Second

// SetTopics replaces the topics to subscribe to. With keep, what the broker's
// session holds besides stays subscribed until the next call. On a standing
// connection the session follows at once, else at the next connect; after an
// error, it is tried again every few seconds.
func (s *Source) SetTopics(topics []string, keep bool) error {
	filters := s.cfg.filters(topics)
	for _, f := range filters {
		if err := wire.ValidTopicFilter(f); err != nil {
			return fmt.Errorf("topic filter %q: %w", f, err)
		}
	}
	slices.Sort(filters)
	filters = slices.Compact(filters)
	s.subs.mu.Lock()
	defer s.subs.mu.Unlock()
	if slices.Equal(filters, s.subs.wanted) && keep == s.subs.keep && !s.subs.behind {
		return nil
	}
	s.subs.wanted, s.subs.keep = filters, keep
	if s.subs.link == nil {
		return nil
	}
	return s.follow()
}

// follow brings a standing connection in line, later if not now. s.subs.mu is held.
func (s *Source) follow() error {
	err := s.alignLocked(false)
	if err == nil || s.subs.again != nil {
		return err
	}
	l := s.subs.link
	s.subs.again = time.AfterFunc(alignAgain, func() {
		s.subs.mu.Lock()
		defer s.subs.mu.Unlock()
		s.subs.again = nil
		if s.subs.link != l || !s.subs.behind {
			return
		}
		if err := s.follow(); err != nil {
			s.log.Error("the broker's session does not follow the topics; it is tried again", "error", err)
		}
	})
	return err
}

// align brings the session of a new connection in line. All wanted filters are
// subscribed again even where the session is said to be present: a broker that
// was killed may come back with an older state of it. In MQTT 5 retain handling
// 1 keeps retained values from coming again.
func (s *Source) align(l *link) error {
	s.subs.mu.Lock()
	defer s.subs.mu.Unlock()
	s.subs.link = l
	s.subs.nextID = 0
	s.subs.asked = map[uint16]request{}
	s.subs.status = map[string]FilterStatus{}
	if !l.connack.SessionPresent {
		clear(s.subs.held)
	}
	return s.alignLocked(true)
}

// unlink says that the connection is gone.
func (s *Source) unlink() {
	s.subs.mu.Lock()
	defer s.subs.mu.Unlock()
	s.subs.link = nil
	if s.subs.again != nil {
		s.subs.again.Stop()
		s.subs.again = nil
	}
}

func (s *Source) alignLocked(all bool) error {
	subs := &s.subs
	subs.behind = true
	var add, remove []string
	for _, f := range subs.wanted {
		if all || subs.status[f].Filter == "" {
			add = append(add, f)
		}
		if !subs.held[f] {
			subs.held[f], subs.dirty = true, true
		}
	}
	for f := range subs.held {
		if !subs.keep && !slices.Contains(subs.wanted, f) {
			remove = append(remove, f)
		}
	}
	slices.Sort(remove)
	if err := s.saveHeldLocked(); err != nil {
		return err // nothing is asked for that would be forgotten
	}
	for _, f := range add {
		subs.status[f] = FilterStatus{Filter: f, Granted: -1}
	}
	for f := range subs.status {
		if !slices.Contains(subs.wanted, f) {
			delete(subs.status, f)
		}
	}
	subs.behind = false
	limit := int(subs.link.connack.Limits().MaximumPacketSize)
	for _, part := range split(remove, limit) {
		packet := wire.AppendUnsubscribe(nil, subs.link.version, &wire.Unsubscribe{PacketID: subs.ask(request{part, true}), Filters: part})
		subs.link.w.send(packet)
	}
	for _, part := range split(add, limit) {
		p := wire.Subscribe{PacketID: subs.ask(request{part, false})}
		for _, f := range part {
			p.Subscriptions = append(p.Subscriptions, wire.Subscription{Filter: f, QoS: uint8(s.cfg.QoS), RetainHandling: 1})
		}
		subs.link.w.send(wire.AppendSubscribe(nil, subs.link.version, &p))
	}
	subs.settled = subs.settled || len(subs.asked) == 0
	return nil
}

// split divides filters into packets; maxPacket 0 means no limit. A filter that
// alone exceeds the limit is sent nevertheless: the broker's answer says more
// than silence.
func split(filters []string, maxPacket int) (parts [][]string) {
	const overhead = 16
	size, from := overhead, 0
	for i, f := range filters {
		size += len(f) + 3
		if i > from && (i-from >= filtersPerPacket || maxPacket > 0 && size > maxPacket) {
			parts = append(parts, filters[from:i])
			size, from = overhead+len(f)+3, i
		}
	}
	if from < len(filters) {
		parts = append(parts, filters[from:])
	}
	return parts
}

func (subs *subscriptions) ask(r request) uint16 {
	for {
		subs.nextID++
		if _, taken := subs.asked[subs.nextID]; subs.nextID != 0 && !taken {
			subs.asked[subs.nextID] = r
			return subs.nextID
		}
	}
}

// answered returns the request of a SUBACK or UNSUBACK with one reason for each
// filter; a packet that answers nothing is a violation.
func (subs *subscriptions) answered(a *wire.Suback, remove bool) (request, error) {
	r, ok := subs.asked[a.PacketID]
	if !ok || r.remove != remove {
		return request{}, &wire.Error{Reason: wire.ProtocolError, Clause: "MQTT-3.8.4-2", Text: "a SUBACK or UNSUBACK answers nothing"}
	}
	delete(subs.asked, a.PacketID)
	subs.settled = subs.settled || len(subs.asked) == 0
	return r, nil
}

func (s *Source) subscribed(_ *link, a *wire.Suback) error {
	s.subs.mu.Lock()
	defer s.subs.mu.Unlock()
	r, err := s.subs.answered(a, false)
	if err != nil {
		return err
	}
	if len(a.Reasons) != len(r.filters) {
		return &wire.Error{Reason: wire.ProtocolError, Clause: "MQTT-3.8.4-6", Text: "a SUBACK does not have one reason code for each filter"}
	}
	for i, f := range r.filters {
		if s.subs.status[f].Filter == "" {
			continue // not wanted any more
		}
		st := FilterStatus{Filter: f, Granted: int(a.Reasons[i])}
		if a.Reasons[i].Failed() {
			st.Granted = -1
			st.Refused = said(a.Reasons[i], explanation(&a.Properties))
			s.log.Error("the broker refuses a subscription", "filter", f, "reason", st.Refused)
		} else if st.Granted < s.cfg.QoS {
			s.log.Warn("the broker grants less than was asked for", "filter", f, "qos", st.Granted, "asked", s.cfg.QoS)
		}
		s.subs.status[f] = st
	}
	return nil
}

func (s *Source) unsubscribed(l *link, a *wire.Suback) error {
	s.subs.mu.Lock()
	defer s.subs.mu.Unlock()
	r, err := s.subs.answered(a, true)
	if err != nil {
		return err
	}
	if l.version >= wire.V5 && len(a.Reasons) != len(r.filters) {
		return &wire.Error{Reason: wire.ProtocolError, Clause: "MQTT-3.11.3-1", Text: "an UNSUBACK does not have one reason code for each filter"}
	}
	for i, f := range r.filters {
		if len(a.Reasons) > i && a.Reasons[i].Failed() {
			s.log.Warn("the broker refuses to end a subscription", "filter", f, "reason", said(a.Reasons[i], explanation(&a.Properties)))
			continue // tried again at the next connect
		}
		if !slices.Contains(s.subs.wanted, f) {
			delete(s.subs.held, f)
			s.subs.dirty = true
		}
	}
	return s.saveHeldLocked()
}

func (s *Source) saveHeldLocked() error {
	held := make([]string, 0, len(s.subs.held))
	for f := range s.subs.held {
		held = append(held, f)
	}
	slices.Sort(held)
	if !s.subs.dirty && slices.Equal(held, s.state.Subscribed[s.clientID]) {
		return nil
	}
	s.state.Subscribed[s.clientID] = held
	s.subs.dirty = true
	if err := s.state.save(s.cfg.StateDir, s.cfg.Name); err != nil {
		return err
	}
	s.subs.dirty = false
	return nil
}

// filterStatus returns what is known of each wanted filter, whether the broker has
// answered all that the connection began with, and a sentence about what is amiss.
func (s *Source) filterStatus() (all []FilterStatus, settled bool, amiss string) {
	s.subs.mu.Lock()
	defer s.subs.mu.Unlock()
	var refused []string
	for _, f := range s.subs.wanted {
		st, ok := s.subs.status[f]
		if !ok {
			st = FilterStatus{Filter: f, Granted: -1}
		}
		if st.Refused != "" {
			refused = append(refused, fmt.Sprintf("%s: %s", f, st.Refused))
		}
		all = append(all, st)
	}
	switch {
	case len(refused) > 0:
		amiss = "the broker refuses subscriptions: " + strings.Join(refused, "; ")
	case !s.subs.settled:
		amiss = "the broker has not answered the subscriptions yet"
	}
	return all, s.subs.settled, amiss
}
