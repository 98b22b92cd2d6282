package record

import (
	"bytes"
	"errors"
	"math"
	"unicode/utf8"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The kinds of records (docs/format/record.md).
const (
	KindReading = 0x01
	KindTime    = 0x02
	KindPlan    = 0x03
)

// Reading is a record of kind KindReading. Its slices are used again by the next
// Decode; texts and captures may point into the body and the plan.
type Reading struct {
	Slot     int
	HasTime  bool
	Time     int64 // ns since 1970 UTC
	Captures [][]byte
	Tags     []schema.TagValue
	Values   []telemetry.Value // parallel to the plan's columns

	unit    int // as it stands in the body
	joined  []byte
	numbers []number // of decimal fields, by field
}

// number is a decimal as it stands in a record.
type number struct {
	neg  bool
	mant uint64
	exp  int
}

func (n number) float() uint64 { return math.Float64bits(schema.DecimalFloat(n.neg, n.mant, n.exp)) }

// whole writes an integer without an exponent.
func (n number) whole() []byte {
	mant := n.mant
	zeros := n.exp
	for ; zeros < 0 && mant%10 == 0 && mant != 0; zeros++ {
		mant /= 10
	}
	out := schema.DecimalText(nil, n.neg, mant, 0)
	for range min(zeros, 20) {
		out = append(out, '0')
	}
	return out
}

var (
	errBody  = errors.New("a damaged record")
	errShort = errors.New("a record that ends too early")
)

// Slot is which of the device's plans a reading's body belongs to.
func Slot(body []byte) (int, error) {
	if len(body) == 0 {
		return 0, errShort
	}
	return int(body[0] & 15), nil
}

// Times lie between these seconds since 1970: 1678-01-01 and 2262-01-01.
const (
	minSeconds = -9214560000
	maxSeconds = 9214646400
)

const (
	headFull = 0x40
	headRaw  = 0x80
)

// bodyReader reads a body from its beginning.
type bodyReader struct {
	b   []byte
	err error
}

func (r *bodyReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *bodyReader) byte() byte {
	if len(r.b) == 0 {
		r.fail(errShort)
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *bodyReader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail(errShort)
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// varint reads a LEB128 number in its shortest form.
func (r *bodyReader) varint() uint64 {
	var v uint64
	for shift := uint(0); ; shift += 7 {
		c := r.byte()
		if shift == 63 && c > 1 || shift > 0 && c == 0 {
			r.fail(errBody)
			return 0
		}
		v |= uint64(c&0x7F) << shift
		if c < 0x80 {
			return v
		}
	}
}

func (r *bodyReader) zigzag() int64 {
	u := r.varint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *bodyReader) decimal() number {
	c := r.byte()
	n := number{neg: c&8 != 0, mant: uint64(c >> 4 & 7), exp: -int(c & 7)}
	if c&0x80 != 0 {
		high := r.varint()
		if high == 0 || high >= 1<<61 {
			r.fail(errBody)
		}
		n.mant |= high << 3
	}
	if c&7 == 7 {
		e := r.zigzag()
		if e >= -6 && e <= 0 || e < math.MinInt32 || e > math.MaxInt32 {
			r.fail(errBody)
		}
		n.exp = int(e)
	}
	if n.mant >= 1e19 || n.mant == 0 && n.exp != 0 {
		r.fail(errBody)
	}
	return n
}

// captures reads the joined captures.
func (r *bodyReader) captures(dst []byte, raw bool) []byte {
	const symbols = "\x00/0123456789abcdefghijklmnopqrstuvwxyz-_"
	if raw {
		b := r.bytes(uint64(r.byte()))
		dst = append(dst, b...)
		if !bytes.ContainsFunc(b, func(c rune) bool { return !bytes.ContainsRune([]byte(symbols[1:]), c) }) {
			r.fail(errBody) // it could have been written shorter
		}
		return dst
	}
	for r.err == nil {
		b := r.bytes(2)
		if b == nil {
			break
		}
		g := int(b[0]) | int(b[1])<<8
		ended := false
		for _, s := range [...]int{g / 1600, g / 40 % 40, g % 40} {
			if s != 0 && !ended && s < 40 {
				dst = append(dst, symbols[s])
				continue
			}
			if s != 0 {
				r.fail(errBody)
			}
			ended = true
		}
		if ended {
			break
		}
	}
	return dst
}

// Decode reads the body of a reading that the plan made.
func (p *Plan) Decode(body []byte, out *Reading) error {
	if len(body) > schema.DeviceRecord {
		return errBody
	}
	r := bodyReader{b: body}
	head := r.byte()
	*out = Reading{
		Slot: int(head & 15), unit: int(head >> 4 & 3), joined: out.joined[:0], Captures: out.Captures[:0],
		Tags: out.Tags[:0], Values: out.Values[:0], numbers: out.numbers[:0],
	}
	p.decodeCaptures(&r, head, out)
	if out.unit != 0 {
		scale := [...]int64{1: 1e6, 2: 1e3, 3: 1}[out.unit]
		t := r.zigzag()
		if t < minSeconds*(1e9/scale) || t >= maxSeconds*(1e9/scale) || !p.HasTime {
			r.fail(errBody)
		} else {
			out.Time = t * scale
		}
		out.HasTime = true
	} else if p.HasTime {
		r.fail(errBody)
	}
	present := p.decodePresence(&r, head)
	for i := range p.Fields {
		f := &p.Fields[i]
		v := telemetry.Value{Null: true}
		n := number{}
		if present>>i&1 != 0 {
			v, n = f.decode(&r)
		}
		out.numbers = append(out.numbers, n)
		if i < p.Tags {
			out.Tags = append(out.Tags, schema.TagValue{Text: v.Text, Null: v.Null})
		} else {
			out.Values = append(out.Values, v)
		}
	}
	if r.err == nil && len(r.b) > 0 {
		return errBody
	}
	return r.err
}

func (p *Plan) decodeCaptures(r *bodyReader, head byte, out *Reading) {
	if len(p.Captures) == 0 {
		if head&headRaw != 0 {
			r.fail(errBody)
		}
		return
	}
	out.joined = r.captures(out.joined, head&headRaw != 0)
	rest := out.joined
	for range p.Captures[1:] {
		one, more, ok := bytes.Cut(rest, []byte("/"))
		if !ok {
			r.fail(errBody)
		}
		out.Captures = append(out.Captures, one)
		rest = more
	}
	out.Captures = append(out.Captures, rest)
	if bytes.IndexByte(rest, '/') >= 0 {
		r.fail(errBody)
	}
}

// decodePresence reads which fields are there.
func (p *Plan) decodePresence(r *bodyReader, head byte) uint64 {
	all := uint64(1)<<len(p.Fields) - 1
	if head&headFull != 0 {
		return all
	}
	var present uint64
	for i := 0; i < len(p.Fields); i += 8 {
		present |= uint64(r.byte()) << i
	}
	if present >= all {
		r.fail(errBody)
	}
	return present
}

func (f *Field) decode(r *bodyReader) (telemetry.Value, number) {
	null := telemetry.Value{Null: true}
	switch f.Form {
	case FormDecimal:
		n := r.decimal()
		v := telemetry.Value{Bits: n.float()}
		if math.IsInf(math.Float64frombits(v.Bits), 0) {
			r.fail(errBody)
		}
		return v, n
	case FormInteger:
		return telemetry.Value{Bits: uint64(r.zigzag())}, number{}
	case FormText:
		b := r.bytes(r.varint())
		if !utf8.Valid(b) || len(b) > schema.DeviceText {
			r.fail(errBody)
		}
		return telemetry.Value{Text: b}, number{}
	case FormBool:
		b := r.byte()
		if b > 1 {
			r.fail(errBody)
		}
		return telemetry.Value{Bits: uint64(b)}, number{}
	case FormChoice:
		if i := r.varint(); i < uint64(len(f.Choice)) {
			return telemetry.Value{Text: []byte(f.Choice[i])}, number{mant: i}
		}
	case FormMapped:
		if i := r.varint(); i < uint64(len(f.Map)) && !f.Map[i].Null {
			return f.Map[i], number{mant: i}
		}
	}
	r.fail(errBody)
	return null, number{}
}
