package broker

import (
	"strings"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// retained keeps the messages that mochi's index of retained topics names, with
// the properties in the form in which they are sent.
type retained struct {
	b        *Broker
	mu       sync.Mutex
	messages map[string]*message
	bytes    int
}

func newRetained(b *Broker) *retained {
	return &retained{b: b, messages: map[string]*message{}}
}

// set retains a message, or forgets the topic's if it has no payload
// [MQTT-3.3.1-6]. It returns the position in the journal to wait for. mu is held.
func (k *retained) set(m *message) uint64 {
	old := k.messages[m.topic]
	if len(m.payload) == 0 {
		if old == nil {
			return 0
		}
		k.forget(old)
		return k.b.journal.append(retainedGone(m.topic))
	}
	size := m.size()
	if old != nil {
		size -= old.size()
	}
	if k.bytes+size > k.b.cfg.MaxRetainedBytes {
		if old != nil { // a stale value would be a wrong one
			k.forget(old)
			k.b.journal.append(retainedGone(m.topic))
		}
		k.b.stats.notRetained.Add(1)
		return 0
	}
	k.put(m, size)
	return k.b.journal.append(retainedRecord(m))
}

// put enters a message that fits. mu is held.
func (k *retained) put(m *message, grows int) {
	kept := *m
	kept.origin, kept.retain = nil, true
	k.messages[m.topic] = &kept
	k.bytes += grows
	k.b.index(m.topic, m.payload)
}

func (k *retained) forget(m *message) {
	delete(k.messages, m.topic)
	k.bytes -= m.size()
	k.b.index(m.topic, nil)
}

// index tells mochi's index that a topic has a retained message, or has it no more.
func (b *Broker) index(topic string, payload []byte) {
	b.server.Topics.RetainMessage(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: true},
		TopicName:   topic,
		Payload:     payload,
		Created:     time.Now().Unix(),
	})
}

// matching returns the retained messages that a filter matches. mochi's index does
// not see that "a/#" matches "a", so it is asked for that as well. mu is held.
func (k *retained) matching(filter string) []*message {
	found := k.b.server.Topics.Messages(filter)
	if parent, ok := strings.CutSuffix(filter, "/#"); ok {
		found = append(found, k.b.server.Topics.Messages(parent)...)
	}
	now := k.b.cfg.Now() / int64(time.Second)
	var all []*message
	seen := map[string]bool{}
	for i := range found {
		topic := found[i].TopicName
		if seen[topic] || !telemetry.TopicMatches(filter, topic) {
			continue
		}
		seen[topic] = true
		m := k.messages[topic]
		switch {
		case m == nil && strings.HasPrefix(topic, "$SYS"): // mochi's own
			m = &message{topic: topic, payload: found[i].Payload}
		case m == nil:
			continue
		case m.expires != 0 && m.expires <= now:
			k.forget(m)
			k.b.journal.append(retainedGone(topic))
			continue
		}
		all = append(all, m)
	}
	return all
}
