package wire

import "encoding/binary"

// Version is the protocol level byte of CONNECT.
type Version byte

// The protocol versions. V31 differs from V311 in the name in CONNECT only; it
// is read and never sent.
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5"
	}
	return "unknown"
}

// PacketType is the upper half of a packet's first byte.
type PacketType byte

// The control packet types (section 2.1.2).
const (
	CONNECT     PacketType = 1
	CONNACK     PacketType = 2
	PUBLISH     PacketType = 3
	PUBACK      PacketType = 4
	PUBREC      PacketType = 5
	PUBREL      PacketType = 6
	PUBCOMP     PacketType = 7
	SUBSCRIBE   PacketType = 8
	SUBACK      PacketType = 9
	UNSUBSCRIBE PacketType = 10
	UNSUBACK    PacketType = 11
	PINGREQ     PacketType = 12
	PINGRESP    PacketType = 13
	DISCONNECT  PacketType = 14
	AUTH        PacketType = 15
)

var packetNames = [16]string{
	"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

func (t PacketType) String() string { return packetNames[t&15] }

// MaxRemaining is the largest remaining length that the fixed header can say
// (section 2.1.4): 256 MB less one byte.
const MaxRemaining = 268_435_455

// Header is a fixed header.
type Header struct {
	First     byte // packet type and flags
	Remaining int  // bytes of the body
}

// Type returns the packet type.
func (h Header) Type() PacketType { return PacketType(h.First >> 4) }

// ReadHeader reads the fixed header at the start of b and returns its size, or
// size 0 and no error while b does not yet hold all of it.
func ReadHeader(b []byte) (h Header, size int, err error) {
	if len(b) < 2 {
		return Header{}, 0, nil
	}
	h.First = b[0]
	if b[1] < 0x80 {
		h.Remaining = int(b[1])
		return h, 2, nil
	}
	v, n := readVarint(b[1:])
	switch {
	case n > 0:
		h.Remaining = v
		return h, 1 + n, nil
	case n == 0:
		return Header{}, 0, nil
	}
	return Header{}, 0, ErrRemainingLength
}

// AppendHeader appends a fixed header.
func AppendHeader(dst []byte, first byte, remaining int) []byte {
	return appendVarint(append(dst, first), remaining)
}

// readVarint reads a variable byte integer (section 1.5.5): its value and size,
// size 0 if b ends within it, size -1 if it is longer than four bytes or longer
// than its value needs [MQTT-1.5.5-1].
func readVarint(b []byte) (v, n int) {
	for i := 0; i < 4; i++ {
		if i >= len(b) {
			return 0, 0
		}
		c := b[i]
		v |= int(c&0x7f) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				return 0, -1
			}
			return v, i + 1
		}
	}
	return 0, -1
}

func appendVarint(dst []byte, v int) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

func sizeVarint(v int) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	}
	return 4
}

// cursor reads fields off the front of a body; the first failure sticks.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.b = nil
}

func (c *cursor) byte() byte {
	if len(c.b) < 1 {
		c.fail(ErrTruncated)
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

func (c *cursor) uint16() uint16 {
	if len(c.b) < 2 {
		c.fail(ErrTruncated)
		return 0
	}
	v := binary.BigEndian.Uint16(c.b)
	c.b = c.b[2:]
	return v
}

func (c *cursor) uint32() uint32 {
	if len(c.b) < 4 {
		c.fail(ErrTruncated)
		return 0
	}
	v := binary.BigEndian.Uint32(c.b)
	c.b = c.b[4:]
	return v
}

func (c *cursor) varint() int {
	v, n := readVarint(c.b)
	switch {
	case n > 0:
		c.b = c.b[n:]
		return v
	case n == 0:
		c.fail(ErrTruncated)
	default:
		c.fail(ErrPropertyLength)
	}
	return 0
}

// binary reads a two-byte length and that many bytes (section 1.5.6).
func (c *cursor) binary() []byte {
	n := int(c.uint16())
	if n > len(c.b) {
		c.fail(ErrTruncated)
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// text reads a UTF-8 string (section 1.5.4).
func (c *cursor) text() []byte {
	v := c.binary()
	if err := ValidText(v); err != nil {
		c.fail(err)
		return nil
	}
	return v
}

// end fails if bytes are left.
func (c *cursor) end() error {
	if c.err == nil && len(c.b) > 0 {
		c.err = ErrTrailingBytes
	}
	return c.err
}

func (c *cursor) packetID() uint16 {
	id := c.uint16()
	if id == 0 && c.err == nil {
		c.fail(ErrPacketIDZero)
	}
	return id
}

func appendUint16(dst []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(dst, v) }

// appendText appends a string or bytes with their two-byte length; the caller
// has checked that it is at most 65,535 bytes.
func appendText[T string | []byte](dst []byte, s T) []byte {
	return append(appendUint16(dst, uint16(len(s))), s...)
}

// finish writes the fixed header of a packet whose body was appended after mark.
// It moves the body by as many bytes as the header takes.
func finish(dst []byte, mark int, first byte) []byte {
	n := len(dst) - mark
	size := 1 + sizeVarint(n)
	var pad [5]byte
	dst = append(dst, pad[:size]...)
	copy(dst[mark+size:], dst[mark:mark+n])
	AppendHeader(dst[:mark], first, n)
	return dst
}
