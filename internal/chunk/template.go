package chunk

import (
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Texts that a program wrote, as the JSON of unnamed properties and as numbered
// names, differ in their numbers: what stays the same is a template, and the
// numbers of each place in it are a stream like any column.

const (
	maxTemplates = 256
	maxSlots     = 64 // of one template
	maxDigits    = 18 // of a number, so that it fits int64
	slotMark     = 0  // in a template: then u8 least digits before the point, u8 digits after it

	minTemplateRows = 64
	templateSample  = 64 << 10 // bytes of text that zstd is tried with
)

// templates is scratch.
type templates struct {
	dict    dictionary
	key     []byte
	codes   []uint64
	values  []uint64 // of all slots, row by row
	starts  []int32  // of the rows in values
	slots   []int32  // by template
	byCode  []int32  // rows, by template
	counts  []int32
	column  []uint64
	sampled []byte
}

// isDigit reports whether c is a decimal digit.
func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// parse appends a text's template to t.key and its numbers to t.values; false
// where a text cannot have one.
func (t *templates) parse(b []byte) (slots int, ok bool) {
	t.key = t.key[:0]
	for i := 0; i < len(b); {
		c := b[i]
		if c == slotMark {
			return 0, false
		}
		if !isDigit(c) {
			t.key = append(t.key, c)
			i++
			continue
		}
		whole := i + 1
		for whole < len(b) && isDigit(b[whole]) {
			whole++
		}
		end := whole
		if whole+1 < len(b) && b[whole] == '.' && isDigit(b[whole+1]) {
			for end += 2; end < len(b) && isDigit(b[end]); end++ {
			}
		}
		places := max(end-whole-1, 0)
		if whole-i+places > maxDigits {
			return 0, false
		}
		width := 0
		if c == '0' && whole > i+1 {
			width = whole - i
		}
		var n uint64
		for _, c := range b[i:end] {
			if c != '.' {
				n = n*10 + uint64(c-'0')
			}
		}
		t.key = append(t.key, slotMark, byte(width), byte(places))
		t.values = append(t.values, n)
		slots++
		i = end
	}
	return slots, slots <= maxSlots
}

// appendTemplate appends a body of form 12, or returns false where texts have few
// templates in common or zstd does as well.
func (s *scratch) appendTemplate(dst []byte, v *telemetry.Vector, nulls telemetry.Bitmap, rows int) (_ []byte, ok bool) {
	t := &s.templates
	t.dict.reset()
	t.codes, t.values, t.starts, t.slots = t.codes[:0], t.values[:0], t.starts[:0], t.slots[:0]
	t.sampled = t.sampled[:0]
	total := 0
	for i := range rows {
		if nulls.Get(i) {
			continue
		}
		var b []byte
		if v.Dict != nil {
			b = []byte(v.Dict[v.Bits[i]])
		} else {
			b = v.Text(i)
		}
		total += len(b)
		if len(t.sampled) < templateSample {
			t.sampled = append(t.sampled, b...)
		}
		t.starts = append(t.starts, int32(len(t.values)))
		slots, ok := t.parse(b)
		if !ok {
			return dst, false
		}
		c := t.dict.code(t.key)
		if c == len(t.slots) {
			t.slots = append(t.slots, int32(slots))
			// Templates must repeat, or they are no templates.
			if c >= maxTemplates || c > 8 && c > len(t.codes)/8 {
				return dst, false
			}
		}
		t.codes = append(t.codes, uint64(c))
	}
	if len(t.codes) < minTemplateRows {
		return dst, false
	}
	from := len(dst)
	dst = t.append(append(dst, formTemplate), &s.planner)
	s.squeezed = zstdFast().EncodeAll(t.sampled, s.squeezed[:0])
	squeezed := float64(total) * float64(len(s.squeezed)) / float64(max(len(t.sampled), 1))
	if float64(len(dst)-from) > 0.8*squeezed {
		return dst[:from], false
	}
	return dst, true
}

// append appends the templates, the code of each row, and the numbers.
func (t *templates) append(dst []byte, g *planner) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(t.slots)))
	for c := range t.slots {
		b := t.dict.text(c)
		dst = append(binary.AppendUvarint(dst, uint64(len(b))), b...)
	}
	dst = g.appendStream(dst, t.codes, nil, false)
	for c, rows := range t.rowsByCode() {
		for slot := range int(t.slots[c]) {
			t.column = t.column[:0]
			for _, row := range rows {
				t.column = append(t.column, t.values[int(t.starts[row])+slot])
			}
			dst = g.appendStream(dst, t.column, nil, false)
		}
	}
	return dst
}

// rowsByCode lists the rows of each template.
func (t *templates) rowsByCode() [][]int32 {
	t.counts = grow(t.counts, len(t.slots)+1)
	clear(t.counts)
	for _, c := range t.codes {
		t.counts[c+1]++
	}
	for c := range t.slots {
		t.counts[c+1] += t.counts[c]
	}
	t.byCode = grow(t.byCode, len(t.codes))
	at := slices.Clone(t.counts)
	for row, c := range t.codes {
		t.byCode[at[c]] = int32(row)
		at[c]++
	}
	out := make([][]int32, len(t.slots))
	for c := range out {
		out[c] = t.byCode[t.counts[c]:t.counts[c+1]]
	}
	return out
}

// templateText is a template taken apart: literals between slots.
type templateText struct {
	literals      [][]byte // one more than slots
	width, places []byte
	values        [][]uint64 // of each slot, by occurrence
	rows, next    int
}

func readTemplate(b []byte) (templateText, error) {
	var t templateText
	from := 0
	for i := 0; i < len(b); i++ {
		if b[i] != slotMark {
			continue
		}
		if i+2 >= len(b) || b[i+1] > maxDigits || b[i+2] > maxDigits || len(t.width) == maxSlots {
			return t, errRange
		}
		t.literals = append(t.literals, b[from:i])
		t.width, t.places = append(t.width, b[i+1]), append(t.places, b[i+2])
		i += 2
		from = i + 1
	}
	t.literals = append(t.literals, b[from:])
	return t, nil
}

func decodeTemplate(v *telemetry.Vector, r *reader, rows int) error {
	n := r.size(min(maxTemplates, rows))
	texts := make([]templateText, n)
	for i := range texts {
		b := r.bytes(r.size(len(r.b)))
		if r.err != nil {
			return r.err
		}
		var err error
		if texts[i], err = readTemplate(b); err != nil {
			return err
		}
	}
	v.Bits = grow(v.Bits, rows)
	codes := v.Bits
	v.Bits = v.Bits[:0]
	r.stream(codes)
	if r.err != nil {
		return r.err
	}
	for _, c := range codes {
		if c >= uint64(n) {
			return errRange
		}
		texts[c].rows++
	}
	for i := range texts {
		t := &texts[i]
		// One array for all slots of the template.
		all := make([]uint64, t.rows*len(t.width))
		for slot := range t.width {
			values := all[slot*t.rows : (slot+1)*t.rows]
			r.stream(values)
			if r.err != nil {
				return r.err
			}
			t.values = append(t.values, values)
		}
	}
	v.Ends, v.Bytes = grow(v.Ends, rows), v.Bytes[:0]
	for i, c := range codes {
		v.Bytes = texts[c].appendNext(v.Bytes)
		if len(v.Bytes) > MaxPageBytes {
			return errLimit
		}
		v.Ends[i] = uint32(len(v.Bytes))
	}
	return nil
}

// appendNext appends the next text of a template.
func (t *templateText) appendNext(dst []byte) []byte {
	dst = append(dst, t.literals[0]...)
	for slot := range t.width {
		n := t.values[slot][t.next]
		places := int(t.places[slot])
		whole, part := n, uint64(0)
		if places > 0 {
			p := uint64(pow10[places])
			whole, part = n/p, n%p
		}
		dst = appendPadded(dst, whole, int(t.width[slot]))
		if places > 0 {
			dst = appendPadded(append(dst, '.'), part, places)
		}
		dst = append(dst, t.literals[slot+1]...)
	}
	t.next++
	return dst
}

// appendPadded appends a number with zeros in front up to the width.
func appendPadded(dst []byte, n uint64, width int) []byte {
	var buf [20]byte
	digits := strconv.AppendUint(buf[:0], n, 10)
	for range width - len(digits) {
		dst = append(dst, '0')
	}
	return append(dst, digits...)
}
