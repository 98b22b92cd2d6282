package chunk

import (
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// resetLike empties dst and gives it the columns of src.
func resetLike(dst, src *telemetry.Section) {
	resetSection(dst, src.Table, 0, len(src.Columns), true)
	for i := range dst.Columns {
		dst.Columns[i].Reset(src.Columns[i].Type)
	}
}

// appendRows appends rows from up to and without to. Texts stay by dictionary
// as long as all of dst shares the dictionary of src.
func appendRows(dst, src *telemetry.Section, from, to int) {
	if from >= to {
		return
	}
	at := len(dst.Series)
	dst.Series = append(dst.Series, src.Series[from:to]...)
	dst.Time = append(dst.Time, src.Time[from:to]...)
	dst.Received = append(dst.Received, src.Received[from:to]...)
	for i := range dst.Columns {
		appendValues(&dst.Columns[i], &src.Columns[i], at, from, to)
	}
}

func appendValues(dst, src *telemetry.Vector, at, from, to int) {
	if len(src.Nulls) > 0 {
		for i := from; i < to; i++ {
			if src.Nulls.Get(i) {
				dst.Nulls = dst.Nulls.Set(at + i - from)
			}
		}
	}
	if src.Type.Textual() && at == 0 && len(src.Dict) > 0 {
		dst.Dict = src.Dict
	}
	if len(dst.Dict) > 0 && len(src.Dict) > 0 && &dst.Dict[0] == &src.Dict[0] {
		if len(src.Dict) > len(dst.Dict) {
			dst.Dict = src.Dict // the same one, grown
		}
		dst.Bits = append(dst.Bits, src.Bits[from:to]...)
		return
	}
	if recode(dst, src, from, to) {
		return
	}
	flatten(dst, at)
	switch {
	case !src.Type.Textual():
		dst.Bits = append(dst.Bits, src.Bits[from:to]...)
	case src.Dict != nil:
		for i := from; i < to; i++ {
			if !src.Nulls.Get(i) {
				dst.Bytes = append(dst.Bytes, src.Dict[src.Bits[i]]...)
			}
			dst.Ends = append(dst.Ends, uint32(len(dst.Bytes)))
		}
	default:
		start := uint32(0)
		if from > 0 {
			start = src.Ends[from-1]
		}
		shift := uint32(len(dst.Bytes)) - start
		dst.Bytes = append(dst.Bytes, src.Bytes[start:src.Ends[to-1]]...)
		for _, end := range src.Ends[from:to] {
			dst.Ends = append(dst.Ends, end+shift)
		}
	}
}

// slice returns a view of rows from up to and without to.
func slice(sec *telemetry.Section, from, to int) *telemetry.Section {
	out := &telemetry.Section{
		Table:    sec.Table,
		Series:   sec.Series[from:to],
		Time:     sec.Time[from:to],
		Received: sec.Received[from:to],
		Columns:  make([]telemetry.Vector, len(sec.Columns)),
	}
	for i := range sec.Columns {
		out.Columns[i].Reset(sec.Columns[i].Type)
		src := &sec.Columns[i]
		if src.Dict == nil {
			appendValues(&out.Columns[i], src, 0, from, to)
			continue
		}
		out.Columns[i].Dict = src.Dict
		out.Columns[i].Bits = src.Bits[from:to]
		for r := from; r < to; r++ {
			if src.Nulls.Get(r) {
				out.Columns[i].Nulls = out.Columns[i].Nulls.Set(r - from)
			}
		}
	}
	return out
}

// flatten turns rows texts by dictionary into plain ones.
func flatten(v *telemetry.Vector, rows int) {
	if v.Dict == nil {
		return
	}
	v.Ends, v.Bytes = v.Ends[:0], v.Bytes[:0]
	for i := range rows {
		if !v.Nulls.Get(i) {
			v.Bytes = append(v.Bytes, v.Dict[v.Bits[i]]...)
		}
		v.Ends = append(v.Ends, uint32(len(v.Bytes)))
	}
	v.Dict, v.Bits = nil, v.Bits[:0]
}

// recode appends texts by dictionary to texts by another one, and reports false
// where joining the two would cost more than plain texts do.
func recode(dst, src *telemetry.Vector, from, to int) bool {
	const most = 64
	if len(dst.Dict) == 0 || len(src.Dict) == 0 || len(src.Dict) > most || len(dst.Dict)*len(src.Dict) > most+4*(to-from) {
		return false
	}
	var codes [most]uint64
	dict := dst.Dict
	for i, text := range src.Dict {
		c := slices.Index(dict, text)
		if c < 0 {
			// Others hold the dictionary too: it grows in a copy.
			c, dict = len(dict), append(slices.Clip(dict), text)
		}
		codes[i] = uint64(c)
	}
	dst.Dict = dict
	for _, c := range src.Bits[from:to] {
		if c >= uint64(len(src.Dict)) {
			c = 0 // only nulls have no code
		}
		dst.Bits = append(dst.Bits, codes[c])
	}
	return true
}

// fit returns how many rows from a row on hold at most budget bytes of text in
// every column: at least one, at most up to and without to.
func fit(sec *telemetry.Section, from, to, budget int) int {
	for i := range sec.Columns {
		v := &sec.Columns[i]
		if !v.Type.Textual() {
			continue
		}
		if v.Dict != nil {
			to = fitDict(v, from, to, budget)
			continue
		}
		start := 0
		if from > 0 {
			start = int(v.Ends[from-1])
		}
		if int(v.Ends[to-1])-start > budget {
			n, _ := slices.BinarySearchFunc(v.Ends[from:to], start+budget, func(end uint32, most int) int {
				if int(end) <= most {
					return -1
				}
				return 1
			})
			to = from + max(n, 1)
		}
	}
	return to
}

func fitDict(v *telemetry.Vector, from, to, budget int) int {
	longest := 0
	for _, text := range v.Dict {
		longest = max(longest, len(text))
	}
	if int64(longest)*int64(to-from) <= int64(budget) {
		return to
	}
	size := 0
	for i := from; i < to; i++ {
		if !v.Nulls.Get(i) {
			size += len(v.Dict[v.Bits[i]])
		}
		if size > budget {
			return max(i, from+1)
		}
	}
	return to
}
