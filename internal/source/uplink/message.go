package uplink

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// The kinds of messages.
const (
	kindHello   = 0x01
	kindRecords = 0x02
	kindLost    = 0x03
	kindTime    = 0x04
	kindStatus  = 0x05
	kindServed  = 0x06
	kindCursor  = 0x81
	kindAsk     = 0x82
	kindClock   = 0x83

	form = 1

	// maxRanges bounds the lists of a cursor and of an ask.
	maxRanges = 8
	// maxSequence is above every sequence that a device can reach.
	maxSequence = 1 << 48
	// maxUptime is in milliseconds, 278 years.
	maxUptime = 1 << 43
)

var errMessage = errors.New("not a message of the uplink, or a damaged one")

// span is the sequences [first, end).
type span struct{ first, end uint64 }

// What a hello says of the card.
const (
	cardNone    = 0 // the device has no place for one
	cardKnown   = 1
	cardUnknown = 2 // none in it, or not looked through yet
)

type hello struct {
	epoch, last, uptime uint64
	cause, part, order  byte
	card                byte
	cardID              uint32
	oldestEpoch, oldest uint64
}

// entry is one record of a batch; Body points into the message.
type entry struct {
	kind   byte
	uptime uint64 // ms
	body   []byte
}

type batch struct {
	epoch, first, uptime uint64
	sweep                bool
	records              []entry
	binds                [][]byte
}

type loss struct {
	epoch  uint64
	span   span
	reason byte
}

type schemaStatus struct {
	name    string
	version uint64
	id      [8]byte
}

type refusal struct {
	name    string
	version uint64
	reason  byte
}

type status struct {
	epoch, uptime uint64
	schemas       []schemaStatus
	refused       []refusal
	counters      map[byte]uint64
}

type question struct{ epoch, uptime uint64 }

// reader reads a message from its beginning; after an error everything is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() {
	r.b, r.bad = nil, true
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() int {
	if b := r.take(2); b != nil {
		return int(binary.LittleEndian.Uint16(b))
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// varint reads LEB128 in its shortest form.
func (r *reader) varint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// span reads first and count.
func (r *reader) span() span {
	first, n := r.varint(), r.varint()
	if first == 0 || n == 0 || first > maxSequence || n > maxSequence {
		r.fail()
		return span{}
	}
	return span{first, first + n}
}

// open checks length, CRC and form, and returns the kind and the body.
func open(message []byte) (kind byte, body *reader, err error) {
	if len(message) < 6 || message[1] != form {
		return 0, nil, errMessage
	}
	end := len(message) - 4
	if crc32.ChecksumIEEE(message[:end]) != binary.LittleEndian.Uint32(message[end:]) {
		return 0, nil, errMessage
	}
	return message[0], &reader{b: message[2:end]}, nil
}

// parse reads a message from a device: *hello, *batch, []loss, *question, *status
// or served (its epoch).
func parse(message []byte) (any, error) {
	kind, r, err := open(message)
	if err != nil {
		return nil, err
	}
	var out any
	switch kind {
	case kindHello:
		out = r.hello()
	case kindRecords:
		out = r.batch()
	case kindLost:
		out = r.losses()
	case kindTime:
		out = &question{epoch: r.u64(), uptime: r.varint()}
	case kindStatus:
		out = r.status()
	case kindServed:
		out = served(r.u64())
	default:
		return nil, errMessage
	}
	if r.bad || len(r.b) != 0 {
		return nil, errMessage
	}
	return out, nil
}

// served is the epoch of a device that has answered all asks.
type served uint64

func (r *reader) hello() *hello {
	h := &hello{epoch: r.u64(), last: r.varint(), uptime: r.varint(), cause: r.u8(), part: r.u8(), order: r.u8()}
	h.card = r.u8()
	if h.card == cardKnown {
		h.cardID = uint32(r.u16()) | uint32(r.u16())<<16
		h.oldestEpoch, h.oldest = r.u64(), r.varint()
	}
	if h.epoch == 0 || h.card > cardUnknown || h.order > 1 || h.last > maxSequence {
		r.fail()
	}
	return h
}

func (r *reader) flag() bool {
	b := r.u8()
	if b > 1 {
		r.fail()
	}
	return b == 1
}

func (r *reader) batch() *batch {
	b := &batch{epoch: r.u64(), first: r.varint(), uptime: r.varint()}
	b.sweep = r.flag()
	n := r.u16()
	if b.epoch == 0 || b.first == 0 || b.first > maxSequence || n == 0 {
		r.fail()
	}
	uptime := uint64(0)
	for i := 0; i < n && !r.bad; i++ {
		e := entry{kind: r.u8()}
		uptime += r.varint()
		e.uptime = uptime
		e.body = r.take(r.varint())
		if uptime > maxUptime {
			r.fail()
		}
		b.records = append(b.records, e)
	}
	for range r.u8() {
		b.binds = append(b.binds, r.take(uint64(r.u8())))
	}
	return b
}

func (r *reader) losses() []loss {
	var out []loss
	for n := r.varint(); n > 0 && !r.bad; n-- {
		out = append(out, loss{epoch: r.u64(), span: r.span(), reason: r.u8()})
	}
	return out
}

func (r *reader) status() *status {
	s := &status{epoch: r.u64(), uptime: r.varint(), counters: map[byte]uint64{}}
	for n := r.varint(); n > 0 && !r.bad; n-- {
		one := schemaStatus{name: string(r.take(uint64(r.u8()))), version: r.varint()}
		copy(one.id[:], r.take(8))
		s.schemas = append(s.schemas, one)
	}
	for n := r.varint(); n > 0 && !r.bad; n-- {
		s.refused = append(s.refused, refusal{name: string(r.take(uint64(r.u8()))), version: r.varint(), reason: r.u8()})
	}
	for n := r.varint(); n > 0 && !r.bad; n-- {
		key := r.u8()
		s.counters[key] = r.varint()
	}
	return s
}

// seal appends the CRC.
func seal(m []byte) []byte {
	return binary.LittleEndian.AppendUint32(m, crc32.ChecksumIEEE(m))
}

func appendSpan(dst []byte, s span) []byte {
	dst = binary.AppendUvarint(dst, s.first)
	return binary.AppendUvarint(dst, s.end-s.first)
}

// cursorMessage says how far an epoch is durable.
func cursorMessage(epoch, cursor uint64, above []span) []byte {
	above = above[:min(len(above), maxRanges)]
	m := binary.LittleEndian.AppendUint64([]byte{kindCursor, form}, epoch)
	m = binary.AppendUvarint(m, cursor)
	m = binary.AppendUvarint(m, uint64(len(above)))
	for _, s := range above {
		m = appendSpan(m, s)
	}
	return seal(m)
}

// ask is a range that a device shall send; end 0 has no end.
type ask struct {
	epoch uint64
	span  span
}

func askMessage(order byte, asks []ask) []byte {
	m := []byte{kindAsk, form, order}
	m = binary.AppendUvarint(m, uint64(len(asks)))
	for _, a := range asks {
		m = binary.LittleEndian.AppendUint64(m, a.epoch)
		m = binary.AppendUvarint(m, a.span.first)
		if a.span.end == 0 {
			m = append(m, 0)
		} else {
			m = binary.AppendUvarint(m, a.span.end-a.span.first)
		}
	}
	return seal(m)
}

// clockMessage answers a question after the time. unix and error are microseconds.
func clockMessage(q *question, unix int64, bound uint64, source byte) []byte {
	m := binary.LittleEndian.AppendUint64([]byte{kindClock, form}, q.epoch)
	m = binary.AppendUvarint(m, q.uptime)
	m = binary.LittleEndian.AppendUint64(m, uint64(unix))
	m = binary.AppendUvarint(m, bound)
	return seal(append(m, source))
}
