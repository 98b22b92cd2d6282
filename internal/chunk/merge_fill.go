package chunk

import (
	"cmp"
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// mergeText is what all sections have in common in a column.
type mergeText struct {
	nulls  bool // some section has nulls; of all columns
	recode bool // the codes of some section are not those of all
	plain  bool // some section is plain, or there are too many texts
	dict   []string
	remap  [][]uint32 // a section each; nil where its codes are those of all
}

func scatterTimes(dst []int64, parts []mergePart, order []uint64, pos []uint32) {
	for i, o := range order {
		dst[pos[i]] = parts[o>>32].sec.Time[uint32(o)]
	}
}

// ordered reports whether the times of every run ascend; with IdentityTime equal
// times count as out of order, since one of them has to go.
func (m *Merger) ordered(b *bucket, times []int64) bool {
	strictly := m.table.Identity == telemetry.IdentityTime
	at := 0
	for _, run := range m.runs[b.firstRun : b.firstRun+b.runs] {
		part := times[at : at+int(run.rows)]
		for i := 1; i < len(part); i++ {
			if part[i] < part[i-1] || strictly && part[i] == part[i-1] {
				return false
			}
		}
		at += int(run.rows)
	}
	return true
}

// reorder mends pos where runs are not in the order of time, and returns how
// many rows are left: overwritten rows go to the place behind the last, and the
// runs become shorter.
func (m *Merger) reorder(b *bucket, times []int64, pos []uint32) int {
	// Positions are counted by arrival within a run, so that the inverse lists
	// the rows of a run in the order of arrival.
	m.inverse = grow(m.inverse, len(pos))
	for i, at := range pos {
		m.inverse[at] = uint32(i)
	}
	overwrites := m.table.Identity == telemetry.IdentityTime
	at, to := 0, uint32(0)
	var gone []uint32
	for r := range m.runs[b.firstRun : b.firstRun+b.runs] {
		run := &m.runs[b.firstRun+r]
		rows := m.inverse[at : at+int(run.rows)]
		at += len(rows)
		time := func(i uint32) int64 { return m.time(m.order[b.start+int(i)]) }
		slices.SortStableFunc(rows, func(x, y uint32) int { return cmp.Compare(time(x), time(y)) })
		for i, row := range rows {
			if overwrites && i+1 < len(rows) && time(rows[i+1]) == time(row) {
				gone = append(gone, row)
				run.rows--
				continue
			}
			pos[row] = to
			to++
		}
	}
	// At least one row is gone, so that the last place belongs to none that stays.
	for _, row := range gone {
		pos[row] = uint32(len(pos) - 1)
	}
	return int(to)
}

// sortLong sorts the rows of one series by time and drops overwritten ones.
func (m *Merger) sortLong(order []uint64) []uint64 {
	byTime := func(a, b uint64) int { return cmp.Compare(m.time(a), m.time(b)) }
	if !slices.IsSortedFunc(order, byTime) {
		slices.SortStableFunc(order, byTime)
	}
	if m.table.Identity != telemetry.IdentityTime {
		return order
	}
	kept := order[:0]
	for i, o := range order {
		if i+1 == len(order) || m.time(order[i+1]) != m.time(o) {
			kept = append(kept, o)
		}
	}
	return kept
}

// fill writes every column of the rows but series and time; dst has a place for
// each row of order, of which the first rows stay.
func (m *Merger) fill(dst *telemetry.Section, order []uint64, pos []uint32, rows int) {
	m.moves = append(m.moves[:0], move{asBits(dst.Received), m.received})
	for c := range dst.Columns {
		v := &dst.Columns[c]
		v.Reset(m.table.Columns[c].Type)
		t := &m.texts[c]
		if t.nulls {
			for i, o := range order {
				if int(pos[i]) < rows && m.parts[o>>32].sec.Columns[c].Nulls.Get(int(uint32(o))) {
					v.Nulls = v.Nulls.Set(int(pos[i]))
				}
			}
		}
		if v.Type.Textual() && t.plain {
			m.fillTexts(v, c, order, pos, rows)
			continue
		}
		v.Bits = grow(v.Bits, len(order))
		if v.Type.Textual() {
			v.Dict = t.dict
			if t.recode {
				m.fillCodes(v, c, order, pos)
				continue
			}
		}
		m.moves = append(m.moves, move{v.Bits, m.bits[c]})
	}
	m.moveWords(order, pos)
	dst.Time, dst.Received = dst.Time[:rows], dst.Received[:rows]
	for c := range dst.Columns {
		if v := &dst.Columns[c]; len(v.Bits) > rows {
			v.Bits = v.Bits[:rows]
		}
	}
}

// move is one column of words on its way from the sections to dst.
type move struct {
	dst []uint64
	src [][]uint64 // a section each
}

// moveWords moves four columns at a time: each waits for memory at nearly every
// word, and so they wait together.
func (m *Merger) moveWords(order []uint64, pos []uint32) {
	moves := m.moves
	for ; len(moves) > 0; moves = moves[min(4, len(moves)):] {
		for from := 0; from < len(order); {
			part := order[from] >> 32
			to := from + 1
			for to < len(order) && order[to]>>32 == part {
				to++
			}
			rows, at := order[from:to], pos[from:to]
			from = to
			if len(moves) < 4 {
				for _, mv := range moves {
					src, dst := mv.src[part], mv.dst
					for i, o := range rows {
						dst[at[i]] = src[uint32(o)]
					}
				}
				continue
			}
			s0, s1, s2, s3 := moves[0].src[part], moves[1].src[part], moves[2].src[part], moves[3].src[part]
			d0, d1, d2, d3 := moves[0].dst, moves[1].dst, moves[2].dst, moves[3].dst
			for i, o := range rows {
				r, q := uint32(o), at[i]
				d0[q] = s0[r]
				d1[q] = s1[r]
				d2[q] = s2[r]
				d3[q] = s3[r]
			}
		}
	}
}

// fillCodes turns the codes of the sections into those of all.
func (m *Merger) fillCodes(v *telemetry.Vector, c int, order []uint64, pos []uint32) {
	t := &m.texts[c]
	bits := m.bits[c]
	for i, o := range order {
		code := bits[o>>32][uint32(o)]
		if remap := t.remap[o>>32]; remap != nil && code < uint64(len(remap)) {
			code = uint64(remap[code])
		}
		v.Bits[pos[i]] = code
	}
}

func (m *Merger) fillTexts(v *telemetry.Vector, c int, order []uint64, pos []uint32, rows int) {
	// Texts have to be appended in their order.
	inverse := make([]uint32, len(order))
	for i, at := range pos {
		if int(at) < rows {
			inverse[at] = uint32(i)
		}
	}
	for i := range rows {
		if !v.Nulls.Get(i) {
			o := order[inverse[i]]
			src, row := &m.parts[o>>32].sec.Columns[c], int(uint32(o))
			if src.Dict != nil {
				v.Bytes = append(v.Bytes, src.Dict[src.Bits[row]]...)
			} else {
				v.Bytes = append(v.Bytes, src.Text(row)...)
			}
		}
		v.Ends = append(v.Ends, uint32(len(v.Bytes)))
	}
}

// joinTexts gives every text one code across all sections, where all are by
// dictionary.
func (m *Merger) joinTexts() {
	m.texts = make([]mergeText, len(m.table.Columns))
	for c := range m.texts {
		t := &m.texts[c]
		for p := range m.parts {
			t.nulls = t.nulls || len(m.parts[p].sec.Columns[c].Nulls) > 0
		}
		if !m.table.Columns[c].Type.Textual() {
			continue
		}
		codes := make(map[string]uint32)
		for p := range m.parts {
			src := &m.parts[p].sec.Columns[c]
			if len(src.Dict) == 0 || len(t.dict) > maxDict {
				t.plain = true
				break
			}
			remap := make([]uint32, len(src.Dict))
			same := true
			for i, text := range src.Dict {
				code, ok := codes[text]
				if !ok {
					code = uint32(len(t.dict))
					codes[text] = code
					t.dict = append(t.dict, text)
				}
				remap[i] = code
				same = same && code == uint32(i)
			}
			if same {
				remap = nil
			} else {
				t.recode = true
			}
			t.remap = append(t.remap, remap)
		}
	}
}
