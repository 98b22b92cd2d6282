package broker

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// fanout says who gets the messages of a topic. mochi's index is asked once per
// topic and change of subscriptions: a look-up in it makes four maps.
type fanout struct {
	b           *Broker
	subscribers atomic.Int64 // sessions that have subscriptions
	generation  atomic.Uint64
	seed        maphash.Seed
	shards      [16]fanShard
}

type fanShard struct {
	mu     sync.RWMutex
	routes map[string]*route
}

// routesPerShard bounds the memory of the cache to about 10 MB.
const routesPerShard = 4096

// route is who gets the messages of one topic.
type route struct {
	generation uint64
	targets    []target
	groups     []*group
}

// target is one subscriber, with its matching subscriptions merged: one message
// goes to it whatever their number (section 3.3.4 allows it).
type target struct {
	s      *session
	others terms // for messages of other clients
	own    terms // for its own: without those that say No Local
}

type terms struct {
	any    bool
	qos    uint8
	retain bool // retain as published
	ids    []uint32
}

func (t *terms) add(sub packets.Subscription) {
	t.any = true
	t.qos = max(t.qos, sub.Qos)
	t.retain = t.retain || sub.RetainAsPublished
	if sub.Identifier > 0 {
		t.ids = append(t.ids, uint32(sub.Identifier))
	}
}

// group is one shared subscription: its members take turns.
type group struct {
	members []target
	turn    atomic.Uint32
}

func newFanout(b *Broker) *fanout {
	f := &fanout{b: b, seed: maphash.MakeSeed()}
	for i := range f.shards {
		f.shards[i].routes = map[string]*route{}
	}
	return f
}

// changed makes all routes old.
func (f *fanout) changed() { f.generation.Add(1) }

// route returns who gets the messages of a topic, nil if nobody does.
func (f *fanout) route(topic []byte) *route {
	if f.subscribers.Load() == 0 {
		return nil
	}
	shard := &f.shards[maphash.Bytes(f.seed, topic)%uint64(len(f.shards))]
	generation := f.generation.Load()
	shard.mu.RLock()
	r := shard.routes[string(topic)]
	shard.mu.RUnlock()
	if r == nil || r.generation != generation {
		r = f.find(string(topic))
		r.generation = generation
		shard.mu.Lock()
		if len(shard.routes) >= routesPerShard {
			clear(shard.routes)
		}
		shard.routes[string(topic)] = r
		shard.mu.Unlock()
	}
	if len(r.targets) == 0 && len(r.groups) == 0 {
		return nil
	}
	return r
}

// find asks mochi's index which clients to look at, and judges their filters anew:
// the index merges No Local and retain-as-published of overlapping filters, and
// does not see that "a/+/#" matches "a/b". For that it is asked for a topic one
// level deeper as well.
func (f *fanout) find(topic string) *route {
	r := &route{}
	seen := map[string]bool{}
	groups := map[string]*group{}
	for _, name := range []string{topic, topic + "/\x00"} {
		found := f.b.server.Topics.Subscribers(name)
		for id := range found.Subscriptions {
			if seen[id] {
				continue
			}
			seen[id] = true
			if t, ok := f.target(id, topic); ok {
				r.targets = append(r.targets, t)
			}
		}
		for filter, members := range found.Shared {
			if groups[filter] != nil || !telemetry.TopicMatches(sharedFilter(filter), topic) {
				continue
			}
			g := &group{}
			groups[filter] = g
			for id, sub := range members {
				if s := f.session(id); s != nil {
					t := target{s: s}
					t.others.add(sub)
					t.own = t.others
					g.members = append(g.members, t)
				}
			}
			if len(g.members) > 0 {
				r.groups = append(r.groups, g)
			}
		}
	}
	return r
}

// target merges a client's matching subscriptions.
func (f *fanout) target(id, topic string) (t target, ok bool) {
	if t.s = f.session(id); t.s == nil {
		return t, false
	}
	cl := t.s.client()
	if cl == nil {
		return t, false
	}
	for filter, sub := range cl.State.Subscriptions.GetAll() {
		if isShared(filter) || !telemetry.TopicMatches(filter, topic) {
			continue
		}
		t.others.add(sub)
		if !sub.NoLocal {
			t.own.add(sub)
		}
	}
	return t, t.others.any
}

func (f *fanout) session(id string) *session {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	return f.b.sessions[id]
}

func isShared(filter string) bool { return strings.HasPrefix(filter, "$share/") }

// sharedFilter returns the filter of "$share/group/filter".
func sharedFilter(filter string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(filter, "$share/"), "/")
	return rest
}

// forward gives a message to its subscribers and retains it if it says so. It
// returns the position of the journal that makes the retained message durable, 0 if
// there is nothing to wait for.
func (b *Broker) forward(from *session, version wire.Version, p *wire.Publish, now int64) uint64 {
	if !p.Retain {
		if r := b.fan.route(p.Topic); r != nil {
			m := newMessage(version, p, now)
			m.origin = from
			b.fan.send(r, m)
		}
		return 0
	}
	m := newMessage(version, p, now)
	m.origin = from
	// A subscription that begins meanwhile gets the message either live or as a
	// retained one.
	b.keep.mu.Lock()
	defer b.keep.mu.Unlock()
	if r := b.fan.route(p.Topic); r != nil {
		b.fan.send(r, m)
	}
	return b.keep.set(m)
}

// newMessage copies what is passed on of a PUBLISH.
func newMessage(version wire.Version, p *wire.Publish, now int64) *message {
	m := &message{topic: string(p.Topic), payload: append([]byte(nil), p.Payload...), qos: p.QoS, retain: p.Retain}
	if version < wire.V5 {
		return m
	}
	m.props = passedOn(&p.Properties)
	if seconds, ok := p.Properties.Uint(wire.MessageExpiry); ok {
		m.expires = now/int64(time.Second) + int64(seconds)
	}
	return m
}

// passedOn copies the properties that a subscriber gets (section 3.3.2.3), nil for none.
func passedOn(p *wire.Properties) *wire.Properties {
	if p.Empty() {
		return nil
	}
	q := &wire.Properties{}
	if v, ok := p.Uint(wire.PayloadFormat); ok {
		q.SetUint(wire.PayloadFormat, v)
	}
	for _, id := range []wire.PropertyID{wire.ContentType, wire.ResponseTopic, wire.CorrelationData} {
		if p.Has(id) {
			q.SetText(id, append([]byte{}, p.Text(id)...))
		}
	}
	for _, u := range p.Users {
		q.Users = append(q.Users, wire.User{Key: append([]byte{}, u.Key...), Value: append([]byte{}, u.Value...)})
	}
	if q.Empty() {
		return nil
	}
	return q
}

// send gives a message to the subscribers of a route.
func (f *fanout) send(r *route, m *message) {
	for i := range r.targets {
		t := &r.targets[i]
		if t.s == m.origin {
			t.give(m, &t.own)
		} else {
			t.give(m, &t.others)
		}
	}
	for _, g := range r.groups {
		t := g.pick()
		t.give(m, &t.others)
	}
}

func (t *target) give(m *message, how *terms) {
	if !how.any {
		return
	}
	t.s.deliver(delivery{m: m, ids: how.ids, qos: min(m.qos, how.qos), retain: m.retain && how.retain})
}

// pick returns the member whose turn it is, of those that are connected if any is.
func (g *group) pick() *target {
	n := uint32(len(g.members))
	start := g.turn.Add(1)
	for i := range n {
		t := &g.members[(start+i)%n]
		t.s.mu.Lock()
		here := t.s.conn != nil
		t.s.mu.Unlock()
		if here {
			return t
		}
	}
	return &g.members[start%n]
}
