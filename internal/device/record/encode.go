package record

import (
	"encoding/binary"
	"errors"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Append writes the body of a reading that Decode gave, byte for byte as the
// device wrote it: each reading has one body.
func (p *Plan) Append(dst []byte, r *Reading) []byte {
	start := len(dst)
	dst = append(dst, byte(r.Slot&15|r.unit<<4))
	if len(p.Captures) > 0 {
		joined := make([]byte, 0, 64)
		for i, c := range r.Captures {
			if i > 0 {
				joined = append(joined, '/')
			}
			joined = append(joined, c...)
		}
		var packed bool
		if dst, packed = appendSymbols(dst, joined); !packed {
			dst[start] |= headRaw
			dst = append(append(dst, byte(len(joined))), joined...)
		}
	}
	if r.unit != 0 {
		t := r.Time / [...]int64{1: 1e6, 2: 1e3, 3: 1}[r.unit]
		dst = binary.AppendUvarint(dst, uint64(t)<<1^uint64(t>>63))
	}
	present := uint64(0)
	for i := range p.Fields {
		if v := p.value(r, i); !v.Null {
			present |= 1 << i
		}
	}
	if present == 1<<len(p.Fields)-1 {
		dst[start] |= headFull
	} else {
		for i := 0; i < len(p.Fields); i += 8 {
			dst = append(dst, byte(present>>i))
		}
	}
	for i := range p.Fields {
		if v := p.value(r, i); !v.Null {
			dst = p.Fields[i].append(dst, v, r.numbers[i])
		}
	}
	return dst
}

// value is the value of a field, of a tag as a text.
func (p *Plan) value(r *Reading, i int) telemetry.Value {
	if i < p.Tags {
		return telemetry.Value{Text: r.Tags[i].Text, Null: r.Tags[i].Null}
	}
	return r.Values[i-p.Tags]
}

func (f *Field) append(dst []byte, v telemetry.Value, n number) []byte {
	switch f.Form {
	case FormDecimal:
		return appendDecimal(dst, n)
	case FormInteger:
		i := int64(v.Bits)
		return binary.AppendUvarint(dst, uint64(i)<<1^uint64(i>>63))
	case FormText:
		return append(binary.AppendUvarint(dst, uint64(len(v.Text))), v.Text...)
	case FormBool:
		return append(dst, byte(v.Bits))
	}
	return binary.AppendUvarint(dst, n.mant)
}

func appendDecimal(dst []byte, n number) []byte {
	plain := n.exp <= 0 && n.exp >= -6
	first := byte(n.mant&7) << 4
	if first |= 7; plain {
		first = first&^7 | byte(-n.exp)
	}
	if n.neg {
		first |= 8
	}
	if n.mant >= 8 {
		dst = binary.AppendUvarint(append(dst, first|0x80), n.mant>>3)
	} else {
		dst = append(dst, first)
	}
	if !plain {
		e := int64(n.exp)
		dst = binary.AppendUvarint(dst, uint64(e)<<1^uint64(e>>63))
	}
	return dst
}

// appendSymbols writes captures as groups of three characters; false where one
// of them is not in the list.
func appendSymbols(dst, joined []byte) ([]byte, bool) {
	const symbols = "\x00/0123456789abcdefghijklmnopqrstuvwxyz-_"
	start := len(dst)
	for at := 0; at <= len(joined); at += 3 {
		g := 0
		for i := at; i < at+3; i++ {
			s := 0
			if i < len(joined) {
				if s = strings.IndexByte(symbols, joined[i]); s < 1 {
					return dst[:start], false
				}
			}
			g = g*40 + s
		}
		dst = append(dst, byte(g), byte(g>>8))
	}
	return dst, true
}

// Bind is the body of a record of kind KindPlan: which plan a slot stands for.
type Bind struct {
	Slot    int
	ID      [8]byte
	Version int
	Name    string
}

// ParseBind reads the body of a record of kind KindPlan.
func ParseBind(body []byte) (Bind, error) {
	r := bodyReader{b: body}
	b := Bind{Slot: int(r.byte())}
	copy(b.ID[:], r.bytes(8))
	version := r.varint()
	name := r.bytes(r.varint())
	b.Version, b.Name = int(version), string(name)
	if r.err == nil && (len(r.b) > 0 || b.Slot > 15 || version > 1_000_000) {
		return b, errBody
	}
	return b, r.err
}

// AppendBind writes the body of a record of kind KindPlan.
func AppendBind(dst []byte, b Bind) []byte {
	dst = append(append(dst, byte(b.Slot)), b.ID[:]...)
	dst = binary.AppendUvarint(dst, uint64(b.Version))
	return append(binary.AppendUvarint(dst, uint64(len(b.Name))), b.Name...)
}

// ErrDamaged reports whether the error says that a body is not a record of the plan.
func ErrDamaged(err error) bool { return errors.Is(err, errBody) || errors.Is(err, errShort) }
