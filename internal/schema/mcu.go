package schema

import (
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// CompileDevice compiles a document for a device and returns its binary plan
// (docs/format/plan.md) beside the plan. It reports everything that a device
// cannot run, at once.
func CompileDevice(file string, data []byte) (*Plan, []byte, Problems) {
	p, problems := compileFor(file, data, true)
	if p == nil {
		return nil, nil, problems
	}
	bin, err := p.Binary()
	if err != nil {
		return nil, nil, Problems{{File: file, Line: 1, Column: 1, Message: err.Error()}}
	}
	return p, bin, nil
}

// Binary is the plan as a device executes it. The document must have `profile:
// device`.
func (p *Plan) Binary() ([]byte, error) {
	if !p.device {
		return nil, fmt.Errorf("%s has no profile: device", p.name)
	}
	e := &mcuEncoder{plan: p, buf: make([]byte, mcuHeader), texts: map[string]uint16{}, enums: map[int]*node{}, maps: map[int]*use{}}
	e.nodes(p.root)
	e.header()
	if e.err == nil && len(e.buf) > DevicePlan {
		e.err = fmt.Errorf("the binary plan has %d bytes; a device takes %d", len(e.buf), DevicePlan)
	}
	if e.err != nil {
		return nil, e.err
	}
	binary.LittleEndian.PutUint16(e.buf[6:], uint16(len(e.buf)))
	id := DevicePlanID(e.buf)
	copy(e.buf[8:], id[:])
	return e.buf, nil
}

// DevicePlanID is the id of a binary plan, as its header has it.
func DevicePlanID(plan []byte) (id [8]byte) {
	h := sha512.New()
	h.Write(plan[:8])
	h.Write(plan[16:])
	copy(id[:], h.Sum(nil))
	return id
}

const mcuHeader = 36

// The forms of a field's value, docs/format/record.md.
const (
	formDecimal = iota
	formInteger
	formText
	formBool
	formChoice
	formMapped
)

// mcuEncoder writes a binary plan. Everything is appended; offsets are filled in
// when what they lead to is written.
type mcuEncoder struct {
	plan  *Plan
	buf   []byte
	texts map[string]uint16
	enums map[int]*node // of text columns, by slot
	maps  map[int]*use  // of mapped columns, by slot
	lists []mcuList
	err   error
}

// mcuList is a list of constants that was written.
type mcuList struct {
	set []constant
	at  uint16
}

func (e *mcuEncoder) here() uint16 {
	if len(e.buf) > 0xFFFE && e.err == nil {
		e.err = fmt.Errorf("the binary plan is larger than %d bytes", DevicePlan)
	}
	return uint16(len(e.buf))
}

func (e *mcuEncoder) u8(v int) { e.buf = append(e.buf, byte(v)) }

func (e *mcuEncoder) u16(v uint16) { e.buf = binary.LittleEndian.AppendUint16(e.buf, v) }

func (e *mcuEncoder) set16(at int, v uint16) { binary.LittleEndian.PutUint16(e.buf[at:], v) }

// text returns where a text stands.
func (e *mcuEncoder) text(s string) uint16 {
	if at, ok := e.texts[s]; ok {
		return at
	}
	at := e.here()
	e.u8(len(s))
	e.buf = append(e.buf, s...)
	e.texts[s] = at
	return at
}

func (e *mcuEncoder) decimal(d *decimal, exclusive bool) {
	mant, exp := uint64(0), 0
	if d.digits != "" {
		mant, _ = strconv.ParseUint(d.digits, 10, 64) // at most 19 digits: deviceNumber
		exp = d.exp - len(d.digits)
	}
	e.buf = binary.LittleEndian.AppendUint64(e.buf, mant)
	e.u16(uint16(int16(exp)))
	e.u8(b2i(d.neg) | b2i(exclusive)<<1)
	e.u8(0)
}

func (e *mcuEncoder) constant(k *constant) uint16 {
	if k.kind == typeString {
		text := e.text(k.text)
		at := e.here()
		e.u8(4)
		e.u16(text)
		return at
	}
	at := e.here()
	switch k.kind {
	case typeBool:
		e.u8(2)
		e.u8(b2i(k.text == "true"))
	case typeNumber:
		e.u8(3)
		e.decimal(&k.num, false)
	default:
		e.u8(1)
	}
	return at
}

// list returns where a list of constants stands.
func (e *mcuEncoder) list(set []constant) uint16 {
	same := func(l mcuList) bool {
		return slices.EqualFunc(l.set, set, func(a, b constant) bool { return a.same(&b) })
	}
	if i := slices.IndexFunc(e.lists, same); i >= 0 {
		return e.lists[i].at
	}
	offsets := make([]uint16, len(set))
	for i := range set {
		offsets[i] = e.constant(&set[i])
	}
	at := e.here()
	e.u8(len(set))
	for _, o := range offsets {
		e.u16(o)
	}
	e.lists = append(e.lists, mcuList{set, at})
	return at
}

// nodes writes a node and what is below it, and returns where it stands.
func (e *mcuEncoder) nodes(n *node) uint16 {
	at := e.here()
	start := len(e.buf)
	use, slot := e.useOf(n)
	e.buf = append(e.buf, byte(n.types), byte(use), byte(slot), 0)
	e.buf = append(e.buf, make([]byte, 8)...)
	if offset := e.checks(n); offset != 0 {
		e.set16(start+4, offset)
	}
	if use == 3 {
		e.set16(start+6, e.uses(n))
	}
	if n.object != nil {
		e.object(start+8, n.object)
	}
	if n.items != nil || n.at != nil || n.checks&checkItems != 0 {
		e.array(start+10, n)
	}
	return at
}

// field is the number of a column among the fields of a record.
func (e *mcuEncoder) field(column int32) int { return e.plan.payloadTags + int(column) }

// useOf says how a node is used, and notes the enums and maps of its columns.
func (e *mcuEncoder) useOf(n *node) (use, slot int) {
	switch n.use {
	case useNone:
		return 0, 0
	case useColumn:
		e.noteChoice(n, n.slot)
		return 1, e.field(n.slot)
	case useTime:
		return 2, 0
	}
	for i := range n.uses {
		if u := &n.uses[i]; u.kind == toColumn {
			if u.mapped != nil {
				e.maps[int(u.slot)] = u
			} else {
				e.noteChoice(n, u.slot)
			}
		}
	}
	return 3, 0
}

// noteChoice makes a text column with an enum one that records the entry. A
// list with numbers among its texts is one too: its numbers are other columns'.
func (e *mcuEncoder) noteChoice(n *node, column int32) {
	if e.plan.table.Columns[column].Type == telemetry.String && n.checks&checkEnum != 0 {
		e.enums[int(column)] = n
	}
}

func (e *mcuEncoder) checks(n *node) uint16 {
	const mask = checkMin | checkMax | checkMultiple | checkEnum | checkLength | checkNulls
	if n.checks&mask == 0 {
		return 0
	}
	var enum, nulls uint16
	if n.checks&checkEnum != 0 {
		enum = e.list(n.enum)
	}
	if n.checks&checkNulls != 0 {
		nulls = e.list(n.nulls)
	}
	bits := 0
	for i, c := range []nodeChecks{checkMin, checkMax, checkMultiple, checkEnum, checkLength, checkNulls} {
		bits |= b2i(n.checks&c != 0) << i
	}
	at := e.here()
	e.u16(uint16(bits))
	if n.checks&checkMin != 0 {
		e.decimal(&n.min.exact, n.min.exclusive)
	}
	if n.checks&checkMax != 0 {
		e.decimal(&n.max.exact, n.max.exclusive)
	}
	if n.checks&checkMultiple != 0 {
		e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(n.multiple.mant))
		e.u16(uint16(int16(n.multiple.exp)))
	}
	if n.checks&checkEnum != 0 {
		e.u16(enum)
	}
	if n.checks&checkLength != 0 {
		e.u16(uint16(n.minLen))
		e.u16(noLimit(n.maxLen))
	}
	if n.checks&checkNulls != 0 {
		e.u16(nulls)
	}
	return at
}

func noLimit(n int) uint16 { return uint16(min(n, 0xFFFF)) }

func (e *mcuEncoder) uses(n *node) uint16 {
	args := make([]uint16, len(n.uses))
	for i := range n.uses {
		if n.uses[i].kind == toWhen {
			args[i] = e.constant(&n.uses[i].when)
		}
	}
	at := e.here()
	e.u8(len(n.uses))
	for i := range n.uses {
		u := &n.uses[i]
		slot := 0
		switch u.kind {
		case toColumn:
			slot = e.field(u.slot)
		case toTag:
			slot = int(u.slot)
		}
		e.u8(int(u.kind))
		e.u8(slot)
		e.u16(args[i])
	}
	return at
}

func (e *mcuEncoder) object(fill int, o *object) {
	names := make([]uint16, len(o.props))
	for i := range o.props {
		names[i] = e.text(o.props[i].name)
	}
	e.set16(fill, e.here())
	e.u8(len(o.props))
	plain := !slices.ContainsFunc(o.props, func(k prop) bool { return len(k.key) == 0 })
	e.u8(b2i(o.refuse || o.strict) | b2i(plain)<<1)
	e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(o.required))
	entries := len(e.buf)
	for i := range o.props {
		e.u16(names[i])
		e.u16(0)
	}
	for i := range o.props {
		k := &o.props[i]
		switch {
		case !k.declared && o.refuse:
			e.set16(entries+4*i+2, 0xFFFF)
		case k.node != nil:
			e.set16(entries+4*i+2, e.nodes(k.node))
		}
	}
}

func (e *mcuEncoder) array(fill int, n *node) {
	e.set16(fill, e.here())
	least, most := 0, maxCount
	if n.checks&checkItems != 0 {
		least, most = n.minItems, n.maxItems
	}
	e.u16(uint16(least))
	e.u16(noLimit(most))
	items := len(e.buf)
	e.u16(0)
	e.u8(len(n.at))
	e.buf = append(e.buf, make([]byte, 2*len(n.at))...)
	if n.items != nil {
		e.set16(items, e.nodes(n.items))
	}
	for i, element := range n.at {
		switch {
		case element != nil:
			e.set16(items+3+2*i, e.nodes(element))
		case n.items != nil:
			e.set16(items+3+2*i, e.nodes(n.items)) // an element that no pointer names
		}
	}
}

// header writes the fields and fills in the header.
func (e *mcuEncoder) header() {
	p, t := e.plan, e.plan.table
	h := e.buf
	copy(h, "WPL1\x01\x00")
	binary.LittleEndian.PutUint32(h[16:], uint32(p.version))
	h[28], h[29], h[30] = byte(p.format), byte(p.timeAs), byte(p.whens)
	captures := len(t.Tags) - p.payloadTags
	h[31], h[32], h[33] = byte(p.payloadTags), byte(len(t.Columns)), byte(captures)
	name := e.text(p.name)
	topic := e.topic()
	fields := e.fields(captures)
	e.set16(20, name)
	e.set16(22, topic)
	e.set16(24, mcuHeader)
	e.set16(26, uint16(e.bodyMax(captures)))
	e.set16(34, fields)
}

func (e *mcuEncoder) topic() uint16 {
	levels := e.plan.pattern.levels
	at := e.here()
	e.u8(len(levels))
	for i := range levels {
		l := &levels[i]
		e.u8(int([...]byte{levelText: 0, levelOne: 1, levelCapture: 2, levelRest: 3}[l.kind]))
		if l.kind == levelText || l.kind == levelCapture {
			e.u8(len(l.text))
			e.buf = append(e.buf, l.text...)
		}
	}
	return at
}

// form is how a column's values stand in a record, and where its list or map is.
func (e *mcuEncoder) form(column int) (form int, arg uint16) {
	if u := e.maps[column]; u != nil {
		return formMapped, e.mapping(u)
	}
	switch e.plan.table.Columns[column].Type {
	case telemetry.Float:
		return formDecimal, 0
	case telemetry.Int:
		return formInteger, 0
	case telemetry.Bool:
		return formBool, 0
	}
	if n := e.enums[column]; n != nil {
		return formChoice, e.list(n.enum)
	}
	return formText, 0
}

// mapping writes the map of a column: what it gives stands as a constant.
func (e *mcuEncoder) mapping(u *use) uint16 {
	pairs := make([][2]uint16, len(u.mapped))
	for i := range u.mapped {
		m := &u.mapped[i]
		pairs[i][0] = e.constant(&m.from)
		if !m.null {
			to := m.to
			pairs[i][1] = e.constant(&to)
		}
	}
	at := e.here()
	e.u8(len(pairs))
	for _, p := range pairs {
		e.u16(p[0])
		e.u16(p[1])
	}
	return at
}

func (e *mcuEncoder) fields(captures int) uint16 {
	t := e.plan.table
	type field struct {
		kind, form int
		name, arg  uint16
	}
	var all []field
	for _, tag := range t.Tags[captures:] {
		all = append(all, field{3, formText, e.text(tag), 0})
	}
	for i := range t.Columns {
		k := &t.Columns[i]
		kind := map[telemetry.ColumnType]int{telemetry.Float: 1, telemetry.Int: 2, telemetry.String: 3, telemetry.Bool: 4}[k.Type]
		form, arg := e.form(i)
		all = append(all, field{kind, form, e.text(k.Name), arg})
	}
	at := e.here()
	for _, f := range all {
		e.u8(f.kind)
		e.u8(f.form)
		e.u16(f.name)
		e.u16(f.arg)
	}
	return at
}
