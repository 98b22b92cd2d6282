package broker

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// The kinds of records. Their numbers are part of the disk format, which
// docs/format/broker-journal.md describes.
const (
	recSession          = 1 // id, version u8, expiry u32, gone i64, flags u8
	recSessionGone      = 2 // id
	recSubscription     = 3 // id, filter, qos u8, flags u8, retain handling u8, identifier u32
	recSubscriptionGone = 4 // id, filter
	recRetained         = 5 // message
	recRetainedGone     = 6 // topic
	recQueued           = 7 // id, packet id u16, qos u8, flags u8, n u8, n identifiers u32, message

	// message: expires i64, a PUBLISH packet of MQTT 5
)

const (
	flagResetPending = 1

	flagNoLocal = 1
	flagRAP     = 2

	flagRetain   = 1
	flagReleased = 2
)

var errRecord = errors.New("a record is malformed")

func text(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func (b *Broker) sessionRecord(s *session) []byte {
	r := text([]byte{recSession}, s.id)
	r = append(r, s.version)
	r = binary.LittleEndian.AppendUint32(r, s.expiry)
	r = binary.LittleEndian.AppendUint64(r, uint64(s.gone))
	var flags byte
	if s.resetPending {
		flags |= flagResetPending
	}
	return append(r, flags)
}

func sessionGone(id string) []byte { return text([]byte{recSessionGone}, id) }

func subscriptionRecord(id string, sub packets.Subscription) []byte {
	r := text(text([]byte{recSubscription}, id), sub.Filter)
	var flags byte
	if sub.NoLocal {
		flags |= flagNoLocal
	}
	if sub.RetainAsPublished {
		flags |= flagRAP
	}
	r = append(r, sub.Qos, flags, sub.RetainHandling)
	return binary.LittleEndian.AppendUint32(r, uint32(sub.Identifier))
}

func subscriptionGone(id, filter string) []byte {
	return text(text([]byte{recSubscriptionGone}, id), filter)
}

func retainedRecord(m *message) []byte { return appendMessage([]byte{recRetained}, m) }

func retainedGone(topic string) []byte { return text([]byte{recRetainedGone}, topic) }

func appendMessage(dst []byte, m *message) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.expires))
	p := wire.Publish{Topic: []byte(m.topic), Payload: m.payload, QoS: m.qos, Retain: m.retain}
	if m.qos > 0 {
		p.PacketID = 1 // none may be zero
	}
	if m.props != nil {
		p.Properties = *m.props
	}
	return wire.AppendPublish(dst, wire.V5, &p)
}

func queuedRecord(id string, d *delivery) []byte {
	r := text([]byte{recQueued}, id)
	r = binary.LittleEndian.AppendUint16(r, d.packetID)
	var flags byte
	if d.retain {
		flags |= flagRetain
	}
	if d.released {
		flags |= flagReleased
	}
	ids := d.ids[:min(len(d.ids), math.MaxUint8)]
	r = append(r, d.qos, flags, byte(len(ids)))
	for _, v := range ids {
		r = binary.LittleEndian.AppendUint32(r, v)
	}
	return appendMessage(r, d.m)
}

// fields reads a record; the first failure sticks.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n uint64) []byte {
	if f.bad || n > uint64(len(f.b)) {
		f.bad = true
		return make([]byte, min(n, 8))
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) text() string {
	n, size := binary.Uvarint(f.b)
	if size <= 0 {
		f.bad = true
		return ""
	}
	f.b = f.b[size:]
	return string(f.take(n))
}

func (f *fields) u8() uint8   { return f.take(1)[0] }
func (f *fields) u16() uint16 { return binary.LittleEndian.Uint16(f.take(2)) }
func (f *fields) u32() uint32 { return binary.LittleEndian.Uint32(f.take(4)) }
func (f *fields) u64() uint64 { return binary.LittleEndian.Uint64(f.take(8)) }

func (f *fields) message() *message {
	m := &message{expires: int64(f.u64())}
	h, n, err := wire.ReadHeader(f.b)
	if f.bad || err != nil || n == 0 || h.Type() != wire.PUBLISH || n+h.Remaining != len(f.b) {
		f.bad = true
		return m
	}
	var p wire.Publish
	if wire.ParsePublish(&p, wire.V5, h.First, f.b[n:]) != nil {
		f.bad = true
		return m
	}
	m.topic, m.payload = string(p.Topic), append([]byte(nil), p.Payload...)
	m.props = passedOn(&p.Properties)
	m.qos, m.retain = p.QoS, p.Retain
	f.b = nil
	return m
}

// apply puts one record of the journal into the broker, before it starts.
func (b *Broker) apply(record []byte) error {
	if len(record) == 0 {
		return errRecord
	}
	f := fields{b: record[1:]}
	var do func()
	switch record[0] {
	case recSession:
		s := &session{b: b, id: f.text(), version: f.u8(), expiry: f.u32(), gone: int64(f.u64())}
		s.resetPending = f.u8()&flagResetPending != 0
		do = func() {
			if old := b.sessions[s.id]; old != nil {
				s.restored = old.restored
			}
			b.sessions[s.id] = s
		}
	case recSessionGone:
		id := f.text()
		do = func() { delete(b.sessions, id) }
	case recSubscription:
		id, filter, qos, flags := f.text(), f.text(), f.u8(), f.u8()
		sub := packets.Subscription{
			Filter: filter, Qos: qos, NoLocal: flags&flagNoLocal != 0, RetainAsPublished: flags&flagRAP != 0,
			RetainHandling: f.u8(), Identifier: int(f.u32()),
		}
		do = func() {
			if s := b.sessions[id]; s != nil {
				s.unrestore(filter)
				s.restored = append(s.restored, sub)
			}
		}
	case recSubscriptionGone:
		id, filter := f.text(), f.text()
		do = func() {
			if s := b.sessions[id]; s != nil {
				s.unrestore(filter)
			}
		}
	case recRetained:
		m := f.message()
		m.retain = true
		do = func() { b.keep.messages[m.topic] = m }
	case recRetainedGone:
		topic := f.text()
		do = func() { delete(b.keep.messages, topic) }
	case recQueued:
		id := f.text()
		d := delivery{packetID: f.u16(), qos: f.u8()}
		flags := f.u8()
		d.retain, d.released, d.again = flags&flagRetain != 0, flags&flagReleased != 0, d.packetID != 0
		for range f.u8() {
			d.ids = append(d.ids, f.u32())
		}
		d.m = f.message()
		do = func() {
			if s := b.sessions[id]; s != nil {
				s.requeue(d)
			}
		}
	default:
		return errRecord
	}
	if f.bad || len(f.b) > 0 {
		return errRecord
	}
	do()
	return nil
}

func (s *session) unrestore(filter string) {
	for i := range s.restored {
		if s.restored[i].Filter == filter {
			s.restored = append(s.restored[:i], s.restored[i+1:]...)
			return
		}
	}
}

// requeue takes back what waited when the broker stopped.
func (s *session) requeue(d delivery) {
	s.account(d.m.size())
	if d.packetID == 0 {
		s.queue = append(s.queue, d)
		return
	}
	if s.flight == nil {
		s.flight = map[uint16]*delivery{}
	}
	s.flight[d.packetID] = &d
	s.order = append(s.order, &d)
	s.nextID = max(s.nextID, d.packetID)
}

// settle ends what the journal holds and time has ended, and counts what it holds.
func (b *Broker) settle() {
	now := time.Now().Unix()
	for id, s := range b.sessions {
		if s.gone == 0 {
			s.gone = now
		}
		expiry := min(int64(s.expiry), int64(b.cfg.MaxSessionExpiry/time.Second))
		if s.gone+expiry < now {
			s.account(-s.bytes)
			delete(b.sessions, id)
			continue
		}
		b.setSubscribed(s, len(s.restored) > 0)
	}
	for topic, m := range b.keep.messages {
		if m.expires != 0 && m.expires <= now {
			delete(b.keep.messages, topic)
			continue
		}
		b.keep.bytes += m.size()
	}
}

// snapshot calls put for records that say all that is kept, queues aside.
func (b *Broker) snapshot(put func(record []byte)) {
	b.mu.Lock()
	var kept []*session
	for _, s := range b.sessions {
		if s.expiry > 0 {
			kept = append(kept, s)
			put(b.sessionRecord(s))
		}
	}
	b.mu.Unlock()
	for _, s := range kept {
		if cl := s.client(); cl != nil {
			for _, sub := range cl.State.Subscriptions.GetAll() {
				put(subscriptionRecord(s.id, sub))
			}
		}
	}
	b.keep.mu.Lock()
	defer b.keep.mu.Unlock()
	for _, m := range b.keep.messages {
		put(retainedRecord(m))
	}
}

// keepQueues appends what waits for subscribers, when the broker has stopped.
func (b *Broker) keepQueues() {
	for _, s := range b.sessions {
		if s.expiry == 0 {
			continue
		}
		for _, d := range s.order {
			if !d.done {
				b.journal.append(queuedRecord(s.id, d))
			}
		}
		for i := s.first; i < len(s.queue); i++ {
			b.journal.append(queuedRecord(s.id, &s.queue[i]))
		}
	}
}
