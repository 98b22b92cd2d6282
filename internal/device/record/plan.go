package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Form is how a field's value stands in a record.
type Form uint8

// The forms.
const (
	FormDecimal Form = iota
	FormInteger
	FormText
	FormBool
	FormChoice
	FormMapped
)

// Field is a tag from the payload or a column.
type Field struct {
	Name   string
	Type   telemetry.ColumnType // of a tag: String
	Form   Form
	Choice []string          // FormChoice
	Map    []telemetry.Value // FormMapped; Null where the map gives null
}

// Plan is what a reader of records needs of a binary plan. It is immutable.
type Plan struct {
	ID       [8]byte
	Name     string
	Version  int
	Captures []string // names, in the order of the topic
	Tags     int      // of Fields, the first so many are tags
	Fields   []Field
	HasTime  bool // the payload has a time

	levels []level
}

// level is one level of the topic pattern.
type level struct {
	kind byte
	text string
}

var errPlan = errors.New("not a binary plan, or a damaged one")

// ParsePlan reads a binary plan.
func ParsePlan(b []byte) (*Plan, error) {
	if len(b) < 36 || string(b[:4]) != "WPL1" {
		return nil, errPlan
	}
	if b[4] != 1 || b[5] != 0 {
		return nil, fmt.Errorf("a binary plan of format version %d; this reader knows 1", b[4])
	}
	if n := int(binary.LittleEndian.Uint16(b[6:])); n < 36 || n > len(b) {
		return nil, errPlan
	} else {
		b = b[:n]
	}
	p := &Plan{Version: int(binary.LittleEndian.Uint32(b[16:])), HasTime: b[29] != 0}
	if p.ID = schema.DevicePlanID(b); p.ID != [8]byte(b[8:16]) {
		return nil, errPlan
	}
	r := planReader{b: b, ok: true}
	p.Name = r.text(r.u16(20))
	p.topic(&r, r.u16(22))
	p.fields(&r, r.u16(34), int(b[31]), int(b[32]))
	if !r.ok || len(p.Captures) != int(b[33]) {
		return nil, errPlan
	}
	return p, nil
}

func (p *Plan) topic(r *planReader, at int) {
	levels := r.u8(at)
	at++
	for range levels {
		l := level{kind: byte(r.u8(at))}
		at++
		if l.kind == 0 || l.kind == 2 {
			l.text = r.text(at)
			at += 1 + len(l.text)
		}
		if l.kind == 2 {
			p.Captures = append(p.Captures, l.text)
		}
		p.levels = append(p.levels, l)
	}
}

func (p *Plan) fields(r *planReader, at, tags, columns int) {
	types := [...]telemetry.ColumnType{1: telemetry.Float, 2: telemetry.Int, 3: telemetry.String, 4: telemetry.Bool}
	p.Tags = tags
	if tags+columns > schema.DeviceFields {
		r.ok = false
		return
	}
	for i := range tags + columns {
		o := at + 6*i
		kind, form, arg := r.u8(o), Form(r.u8(o+1)), r.u16(o+4)
		if kind < 1 || kind > 4 || form > FormMapped || i < tags && form != FormText {
			r.ok = false
			return
		}
		f := Field{Name: r.text(r.u16(o + 2)), Type: types[kind], Form: form}
		switch form {
		case FormChoice:
			for j := range r.u8(arg) {
				f.Choice = append(f.Choice, r.constant(r.u16(arg+1+2*j)).text)
			}
		case FormMapped:
			for j := range r.u8(arg) {
				f.Map = append(f.Map, r.mapped(r.u16(arg+3+4*j), f.Type))
			}
		}
		p.Fields = append(p.Fields, f)
	}
}

// planReader reads what stands at offsets of a plan; ok ends when one is out of it.
type planReader struct {
	b  []byte
	ok bool
}

func (r *planReader) at(at, n int) []byte {
	if at < 0 || at+n > len(r.b) {
		r.ok = false
		return make([]byte, n)
	}
	return r.b[at : at+n]
}

func (r *planReader) u8(at int) int { return int(r.at(at, 1)[0]) }

func (r *planReader) u16(at int) int { return int(binary.LittleEndian.Uint16(r.at(at, 2))) }

func (r *planReader) text(at int) string { return string(r.at(at+1, r.u8(at))) }

type constant struct {
	kind int
	text string
	num  number
	true bool
}

func (r *planReader) constant(at int) constant {
	c := constant{kind: r.u8(at)}
	switch c.kind {
	case 2:
		c.true = r.u8(at+1) != 0
	case 3:
		d := r.at(at+1, 12)
		c.num = number{neg: d[10]&1 != 0, mant: binary.LittleEndian.Uint64(d), exp: int(int16(binary.LittleEndian.Uint16(d[8:])))}
	case 4:
		c.text = r.text(r.u16(at + 1))
	}
	return c
}

// mapped is what an entry of a map gives, as a value of the column's type.
func (r *planReader) mapped(at int, t telemetry.ColumnType) telemetry.Value {
	if at == 0 {
		return telemetry.Value{Null: true}
	}
	c := r.constant(at)
	switch {
	case t == telemetry.String && c.kind == 4:
		return telemetry.Value{Text: []byte(c.text)}
	case t == telemetry.Bool && c.kind == 2:
		v := telemetry.Value{}
		if c.true {
			v.Bits = 1
		}
		return v
	case t == telemetry.Float && c.kind == 3:
		return telemetry.Value{Bits: c.num.float()}
	case t == telemetry.Int && c.kind == 3:
		if i, err := strconv.ParseInt(string(c.num.whole()), 10, 64); err == nil {
			return telemetry.Value{Bits: uint64(i)}
		}
	}
	r.ok = false
	return telemetry.Value{Null: true}
}

// Topic writes the topic that the captures were taken from. Levels that the
// pattern does not name are written as "_".
func (p *Plan) Topic(dst []byte, captures [][]byte) []byte {
	next := 0
	for i, l := range p.levels {
		if i > 0 {
			dst = append(dst, '/')
		}
		switch {
		case l.kind == 2 && next < len(captures):
			dst = append(dst, captures[next]...)
			next++
		case l.kind == 0:
			dst = append(dst, l.text...)
		default:
			dst = append(dst, '_')
		}
	}
	return dst
}

// BodyMax is the longest record body that a binary plan makes.
func BodyMax(plan []byte) int {
	r := planReader{b: plan}
	return r.u16(26)
}
