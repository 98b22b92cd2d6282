package card

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

const (
	headBytes = 40
	roomBytes = Sector - headBytes
	tagBytes  = 16
	baseBytes = 6

	flagHeader = 1
	flagDelta  = 2
	flagSealed = 4

	// MaxRecord is the most bytes of a record's body.
	MaxRecord = 400
	deltaMost = 64

	// unsequenced is the first kind of records without a sequence of their own.
	unsequenced = 0xF0
)

// The kinds of records that the card itself writes (docs/format/segment.md).
const (
	KindEpoch = 0xF0
	KindLost  = 0xF1

	kindTime = 0x02
	kindPlan = 0x03
)

// Record is one record of a segment.
type Record struct {
	Epoch    uint64
	Sequence uint64 // of a kind from 0xF0 on: that of the next sequenced record
	Uptime   uint64 // ms since the start of the epoch
	Kind     byte
	Body     []byte
}

// Block is one block, opened.
type Block struct {
	Flags, Count          byte
	Card, Serial, Index   uint32
	Epoch, First, Counter uint64
	payload               []byte
	sector                []byte
}

// Header reports whether the block begins a segment.
func (b *Block) Header() bool { return b.Flags&flagHeader != 0 }

// Sealed reports whether the records are encrypted.
func (b *Block) Sealed() bool { return b.Flags&flagSealed != 0 }

// ErrNoBlock says that a sector is not a block, or is torn or damaged.
var ErrNoBlock = errors.New("not a block, or a damaged one")

// errPayload says that the records of a block do not decode to its end.
var errPayload = errors.New("the records of the block do not decode")

func u48(b []byte) uint64 {
	return uint64(le.Uint32(b)) | uint64(le.Uint16(b[4:]))<<32
}

// OpenBlock reads what stands before the payload. The block refers to the sector.
func OpenBlock(s []byte) (Block, error) {
	if len(s) < Sector || s[0] != 0x57 || s[1] != 0x62 {
		return Block{}, ErrNoBlock
	}
	crc := crc32.Update(crc32.ChecksumIEEE(s[8:Sector]), crc32.IEEETable, s[:4])
	n := int(le.Uint16(s[34:]))
	if crc != le.Uint32(s[4:]) {
		return Block{}, ErrNoBlock
	}
	b := Block{
		Flags: s[2], Count: s[3], Card: le.Uint32(s[8:]), Serial: le.Uint32(s[12:]), Index: le.Uint32(s[16:]),
		Epoch: le.Uint64(s[20:]), First: u48(s[28:]), Counter: uint64(le.Uint32(s[36:])),
	}
	most := roomBytes
	if b.Sealed() {
		most -= tagBytes
	}
	if n > most {
		return Block{}, ErrNoBlock
	}
	b.payload, b.sector = s[headBytes:headBytes+n], s[:Sector]
	return b, nil
}

// Records calls yield for the records of an unsealed block, which it may keep.
// errPayload comes after those before the fault.
func (b *Block) Records(yield func(Record)) error {
	p := b.payload
	if b.Header() || b.Sealed() || len(p) < baseBytes {
		return errPayload
	}
	r := Record{Epoch: b.Epoch, Sequence: b.First, Uptime: u48(p)}
	p = p[baseBytes:]
	var last []byte
	var lastKind byte
	for len(p) > 0 {
		r.Kind = p[0]
		step, n := binary.Uvarint(p[1:])
		if n <= 0 {
			return errPayload
		}
		p = p[1+n:]
		size, n := binary.Uvarint(p)
		if n <= 0 || size > MaxRecord {
			return errPayload
		}
		p = p[n:]
		r.Uptime += step
		var ok bool
		small := b.Flags&flagDelta != 0 && size <= deltaMost
		if small && size > 0 && lastKind == r.Kind && len(last) == int(size) {
			r.Body, p, ok = undoDelta(last, p)
		} else if ok = size <= uint64(len(p)); ok {
			r.Body, p = append([]byte{}, p[:size]...), p[size:]
		}
		if !ok {
			return errPayload
		}
		if small {
			last, lastKind = r.Body, r.Kind
		}
		yield(r)
		if r.Kind < unsequenced {
			r.Sequence++
		}
	}
	return nil
}

func undoDelta(last, p []byte) (body, rest []byte, ok bool) {
	mask := (len(last) + 7) / 8
	if len(p) < mask {
		return nil, nil, false
	}
	bits := p[:mask]
	if n := len(last) % 8; n != 0 && bits[mask-1]>>n != 0 {
		return nil, nil, false
	}
	p = p[mask:]
	body = append([]byte{}, last...)
	for i := range body {
		if bits[i/8]>>(i%8)&1 == 0 {
			continue
		}
		if len(p) == 0 {
			return nil, nil, false
		}
		body[i], p = p[0], p[1:]
	}
	return body, p, true
}

// Header is what a header block says of its segment.
type Header struct {
	Version      int
	Window, Page int
	Blocks       uint32
	KeyID        [8]byte
	Device       string
	Lost         []Lost
	LostMore     uint32 // epochs whose lost ranges found no room
}

// Lost is a range of sequences [First, Next) that rotation overwrote.
type Lost struct{ Epoch, First, Next uint64 }

// ReadHeader reads a header block's payload.
func (b *Block) ReadHeader() (Header, error) {
	p := b.payload
	if !b.Header() || len(p) < 21 || len(p) < 21+int(p[20])+1 {
		return Header{}, errPayload
	}
	h := Header{
		Version: int(le.Uint16(p)), Window: int(le.Uint16(p[2:])), Page: int(le.Uint16(p[4:])), Blocks: le.Uint32(p[8:]),
		KeyID: [8]byte(p[12:]), Device: string(p[21 : 21+int(p[20])]),
	}
	if h.Version != 1 {
		return Header{}, errPayload
	}
	p = p[21+int(p[20]):]
	n := int(p[0])
	if len(p) < 1+20*n+4 {
		return Header{}, errPayload
	}
	for i := range n {
		l := p[1+20*i:]
		h.Lost = append(h.Lost, Lost{le.Uint64(l), u48(l[8:]), u48(l[14:])})
	}
	h.LostMore = le.Uint32(p[1+20*n:])
	return h, nil
}

// Epoch is what an epoch record says.
type Epoch struct {
	Before, BeforeNext uint64
	Cause, Part        byte
	Firmware           string
}

// ReadEpoch reads the body of an epoch record.
func ReadEpoch(body []byte) (Epoch, bool) {
	if len(body) < 16 {
		return Epoch{}, false
	}
	return Epoch{le.Uint64(body), u48(body[8:]), body[14], body[15], string(body[16:])}, true
}

// Point is what a time record says: at an uptime (µs) it was a Unix time (µs), give
// or take Error (µs).
type Point struct {
	Uptime uint64
	Unix   int64
	Error  uint32
	Source byte
}

// ReadPoint reads the body of a time record.
func ReadPoint(body []byte) (Point, bool) {
	if len(body) != 21 {
		return Point{}, false
	}
	return Point{le.Uint64(body), int64(le.Uint64(body[8:])), le.Uint32(body[16:]), body[20]}, true
}
