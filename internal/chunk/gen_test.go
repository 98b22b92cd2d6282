package chunk_test

import (
	"fmt"
	"math"
	"slices"

	"pgregory.net/rapid"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// anyTable draws a table of a few columns of every type.
func anyTable(t *rapid.T) *telemetry.Table {
	table := &telemetry.Table{
		Name: "any", Version: rapid.IntRange(1, 9).Draw(t, "version"), Tags: []string{"a"},
		Identity:      telemetry.Identity(rapid.IntRange(1, 3).Draw(t, "identity")),
		TimeInPayload: rapid.Bool().Draw(t, "timed"),
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "columns") {
		table.Columns = append(table.Columns, telemetry.Column{
			Name: fmt.Sprintf("c%d", i), Unit: "m",
			Type: telemetry.ColumnType(rapid.IntRange(1, 5).Draw(t, "type")),
		})
	}
	return table
}

var strangeInts = []int64{0, 1, -1, math.MaxInt64, math.MinInt64, math.MaxInt64 - 1, 1 << 53, -1 << 53, 1e18, 1e9, -1e9}

var strangeFloats = []float64{
	0, math.Copysign(0, -1), 1, -1, 0.1, 21.53, -40.5, 1e300, -1e300, math.MaxFloat64, math.SmallestNonzeroFloat64,
	math.Inf(1), math.Inf(-1), math.NaN(), math.Float64frombits(0x7ff8dead0000beef), math.Float64frombits(0xfff0000000000001),
	1 << 53, 1<<53 + 2, math.Pi, 1e15, 1e-18, 123456789.123456789, 0.1 + 0.2,
}

// numbers draws a column of 64-bit words in one of the shapes that encoders
// take apart: constants, progressions, noise, steps, and anything.
func numbers(t *rapid.T, rows int, isFloat bool) []uint64 {
	out := make([]uint64, rows)
	shape := rapid.IntRange(0, 6).Draw(t, "shape")
	base := rapid.SampledFrom(strangeInts).Draw(t, "base")
	step := rapid.SampledFrom(strangeInts).Draw(t, "step")
	span := rapid.Uint64Range(1, 5000).Draw(t, "span")
	seed := rapid.Uint64().Draw(t, "seed")
	exp := rapid.IntRange(0, 6).Draw(t, "exp")
	next := func() uint64 { // xorshift: one draw a row would be slow
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
		return seed
	}
	if seed == 0 {
		seed = 1
	}
	for i := range out {
		var v int64
		switch shape {
		case 0:
			v = base
		case 1:
			v = base + int64(i)*step
		case 2:
			v = base + int64(next()%span)
		case 3:
			v = base + int64(i/int(span%50+1))*step
		case 4:
			v = int64(next())
		case 5:
			v = base + int64(i)*step + int64(next()%span)
		case 6:
			v = strangeInts[next()%uint64(len(strangeInts))]
		}
		out[i] = uint64(v)
		if !isFloat {
			continue
		}
		switch {
		case shape == 6 || next()%50 == 0 && seed%3 == 0:
			out[i] = math.Float64bits(strangeFloats[next()%uint64(len(strangeFloats))])
		case shape == 4:
		default:
			out[i] = math.Float64bits(float64(v%1_000_000) / math.Pow10(exp))
		}
	}
	return out
}

// anySection draws rows of a table, in any order.
func anySection(t *rapid.T, table *telemetry.Table, maxRows int) *telemetry.Section {
	rows := rapid.IntRange(1, maxRows).Draw(t, "rows")
	sec := &telemetry.Section{}
	sec.Reset(table)
	devices := rapid.Uint64Range(1, 40).Draw(t, "devices")
	first := rapid.SampledFrom([]uint64{0, 7, math.MaxUint32 - 40}).Draw(t, "first")
	for i, v := range numbers(t, rows, false) {
		sec.Series = append(sec.Series, telemetry.SeriesRef(first+(v^uint64(i))%devices))
	}
	for _, v := range numbers(t, rows, false) {
		sec.Time = append(sec.Time, int64(v))
	}
	for _, v := range numbers(t, rows, false) {
		sec.Received = append(sec.Received, int64(v))
	}
	for c := range sec.Columns {
		anyVector(t, &sec.Columns[c], rows)
	}
	return sec
}

func anyVector(t *rapid.T, v *telemetry.Vector, rows int) {
	words := numbers(t, rows, v.Type == telemetry.Float)
	switch rapid.IntRange(0, 3).Draw(t, "nulls") {
	case 1:
		for i := range rows {
			v.Nulls = v.Nulls.Set(i)
		}
	case 2:
		for i := range rows {
			if words[i]>>3%3 == 0 {
				v.Nulls = v.Nulls.Set(i)
			}
		}
	case 3:
		from := rapid.IntRange(0, rows-1).Draw(t, "null from")
		for i := from; i < rows; i++ {
			v.Nulls = v.Nulls.Set(i)
		}
	}
	if !v.Type.Textual() {
		for i := range words {
			if v.Nulls.Get(i) {
				words[i] = 0
			} else if v.Type == telemetry.Bool {
				words[i] &= 1
			}
		}
		v.Bits = words
		return
	}
	distinct := rapid.Uint64Range(1, 300).Draw(t, "distinct")
	text := func(w uint64) string {
		switch w %= distinct; w {
		case 0:
			return ""
		case 1:
			return string(slices.Repeat([]byte("long "), 50))
		}
		return fmt.Sprint("text", w)
	}
	if rapid.Bool().Draw(t, "dictionary") {
		for i := range distinct {
			v.Dict = append(v.Dict, text(i))
		}
		for i := range words {
			words[i] %= distinct
			if v.Nulls.Get(i) {
				words[i] = 0
			}
		}
		v.Bits = words
		return
	}
	for i, w := range words {
		if !v.Nulls.Get(i) {
			v.Bytes = append(v.Bytes, text(w)...)
		}
		v.Ends = append(v.Ends, uint32(len(v.Bytes)))
	}
}
