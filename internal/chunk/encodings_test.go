package chunk

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// column is a shape of data: the value of a row of a series.
type column struct {
	name   string
	typ    telemetry.ColumnType
	each   int // rows of a series; 0: all
	value  func(r *rand.Rand, row int) any
	picks  string  // the form, and for streams the predictor and packing of the first group
	atMost float64 // bytes a row, zstd included
}

const columnRows = 8192

// columns are the shapes that devices send, and the encoding that is meant for each.
func columns() []column {
	walk, total, at := 0, 0, 0
	real, held := 20.0, 0.0
	states := make([]float64, 40)
	for i := range states {
		states[i] = 100 * math.Sqrt(float64(i+2))
	}
	return []column{
		{"Constant", telemetry.Float, 0, func(*rand.Rand, int) any { return 3.71 }, "decimal flat none", 0.003},
		{"Ramp", telemetry.Int, 0, func(_ *rand.Rand, row int) any { return int64(5 + 7*row) }, "ints linear none", 0.003},
		{"UniformNoise", telemetry.Float, 0, func(r *rand.Rand, _ int) any { return float64(2000+r.IntN(20)) / 100 }, "decimal flat radix", 0.56},
		{"Latency", telemetry.Float, 0, func(r *rand.Rand, _ int) any { return math.Round(r.ExpFloat64()*20) / 10 }, "decimal flat huffman", 0.82},
		{"RareEvents", telemetry.Int, 0, func(r *rand.Rand, _ int) any { return int64(bit64(r.IntN(20) == 0) * (1 + r.IntN(3))) }, "ints flat tans", 0.06},
		{"SlowWalk", telemetry.Float, 0, func(r *rand.Rand, _ int) any {
			walk += r.IntN(3) - 1
			return float64(4000+walk) / 100
		}, "decimal delta", 0.26},
		{"Counter", telemetry.Int, 0, func(r *rand.Rand, _ int) any { total += r.IntN(30); return int64(total) }, "ints delta radix", 0.64},
		{"SteadyAcceleration", telemetry.Int, 0, func(r *rand.Rand, row int) any { return int64(row*row*3 + r.IntN(2)) }, "ints delta2", 0.42},
		{"CoarseSensor", telemetry.Float, 0, func(r *rand.Rand, _ int) any { return float64(r.IntN(16)*25) / 100 }, "decimal steps bits", 0.51},
		{"Switch", telemetry.Bool, 0, func(r *rand.Rand, _ int) any { return r.IntN(2) == 0 }, "ints flat bits", 0.127},
		{"TwoValues", telemetry.Float, 0, func(r *rand.Rand, _ int) any { return []float64{1.5, 230}[r.IntN(2)] }, "decimal steps bits", 0.13},
		{"TwoReals", telemetry.Float, 0, func(r *rand.Rand, _ int) any { return []float64{math.Pi, math.E}[r.IntN(2)] }, "distinct", 0.13},
		{"LongStates", telemetry.Bool, 0, func(r *rand.Rand, _ int) any {
			at += bit64(r.IntN(40) == 0)
			return at%2 == 0
		}, "runs", 0.031},
		{"HeldReadings", telemetry.Float, 0, func(r *rand.Rand, row int) any {
			if row%9 == 0 {
				held = float64(r.IntN(1000)) / 10
			}
			return held
		}, "runs", 0.16},
		{"ManyDevices", telemetry.Float, 200, func(r *rand.Rand, row int) any { return float64(row/200*731+r.IntN(20)) / 100 }, "shared", 0.56},
		{"MixedPrecision", telemetry.Float, 0, func(r *rand.Rand, _ int) any {
			if r.IntN(12) == 0 {
				return r.Float64()
			}
			return float64(r.IntN(100)) / 10
		}, "decimal", 1.7},
		{"FullPrecision", telemetry.Float, 0, func(r *rand.Rand, _ int) any { return 20 + r.NormFloat64() }, "shifted", 6.45},
		{"AnyReal", telemetry.Float, 0, func(r *rand.Rand, _ int) any { return r.Float64() * 1000 }, "split", 6.85},
		{"RealWalk", telemetry.Float, 0, func(r *rand.Rand, _ int) any { real += r.NormFloat64() / 1000; return real }, "shifted delta", 5.2},
		{"FewMantissaBits", telemetry.Float, 0, func(r *rand.Rand, row int) any {
			if row%97 == 96 {
				return r.Float64()
			}
			return math.Ldexp(float64(1+r.IntN(1<<14)), -20+r.IntN(12))
		}, "xor", 3.7},
		{"Setpoints", telemetry.Float, 0, func(r *rand.Rand, _ int) any { return states[r.IntN(40)] }, "distinct", 0.75},
		{"ErrorCodes", telemetry.Int, 0, func(r *rand.Rand, _ int) any { return int64(uint32(r.IntN(20)+1) * 0x9e3779b1) }, "distinct", 0.58},
		{"Strange", telemetry.Float, 0, func(_ *rand.Rand, row int) any {
			return []float64{math.NaN(), math.Copysign(0, -1), math.Inf(1), math.SmallestNonzeroFloat64, math.Float64frombits(0x7ff8dead0000beef), 1e300}[row*7%6]
		}, "distinct", 0.4},
		{"Enum", telemetry.String, 0, func(r *rand.Rand, _ int) any { return []string{"ok", "warn", "fail"}[r.IntN(3)] }, "dictionary", 0.22},
		{"OrderNumbers", telemetry.String, 0, func(r *rand.Rand, row int) any { return fmt.Sprintf("order-%06d/%d", row*3, r.IntN(50)) }, "template", 0.75},
		{"Rest", telemetry.JSON, 0, func(r *rand.Rand, row int) any {
			return fmt.Sprintf(`{"rssi":-%d,"snr":%.1f,"uptime":%d,"fw":"1.4.2"}`, 60+r.IntN(30), float64(r.IntN(120))/10, 86400+row*10)
		}, "template", 1.7},
		{"Hashes", telemetry.String, 0, func(r *rand.Rand, _ int) any { return fmt.Sprintf("%016x", r.Uint64()) }, "plain", 8.2},
	}
}

func bit64(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c column) vector(rows int) (*telemetry.Vector, effort) {
	sec := telemetry.Section{}
	sec.Reset(&telemetry.Table{Columns: []telemetry.Column{{Name: "v", Type: c.typ}}})
	r := rand.New(rand.NewPCG(5, 6))
	var e effort
	for row := range rows {
		var v telemetry.Value
		switch x := c.value(r, row).(type) {
		case float64:
			v.Bits = math.Float64bits(x)
		case int64:
			v.Bits = uint64(x)
		case bool:
			v.Bits = uint64(bit64(x))
		case string:
			v.Text = []byte(x)
		}
		sec.AppendRow(telemetry.SeriesRef(row/max(c.each, 1)), int64(row), int64(row), []telemetry.Value{v})
		if c.each > 0 && (row+1)%c.each == 0 && row+1 < rows {
			e.runs = append(e.runs, int32(row+1))
		}
	}
	e.runs = append(e.runs, int32(rows))
	return &sec.Columns[0], e
}

// describe names the encoding of a page body.
func describe(body []byte) string {
	r := reader{b: body}
	form := r.byte()
	forms := map[byte]string{
		formInts: "ints", formScaled: "scaled", formDecimal: "decimal", formShifted: "shifted", formDict: "dictionary",
		formPlain: "plain", formSplit: "split", formXOR: "xor", formDistinct: "distinct", formTemplate: "template",
	}
	name := forms[form&formMask]
	switch form & formMask {
	case formInts:
	case formScaled, formShifted:
		r.byte()
	case formDecimal:
		r.byte()
		for range r.size(len(r.b)) {
			r.uvarint()
			r.bytes(8)
		}
	case formSplit:
		return name
	default:
		return name
	}
	if len(r.b) > 1 && r.b[0] == 0 {
		return map[byte]string{wholeShared: "shared", wholeRuns: "runs"}[r.b[1]]
	}
	r.uvarint()
	r.uvarint()
	kind := r.byte()
	return name + " " + []string{"flat", "linear", "delta", "delta2", "steps"}[kind&15] + " " + []string{"none", "bits", "radix", "huffman", "tans"}[kind>>4]
}

// TestEachShapeOfDataPicksItsEncoding holds the choice of encodings to the shapes
// that they are for, their sizes to bounds, and every one to what it was given:
// with nulls in between, and at every odd length.
func TestEachShapeOfDataPicksItsEncoding(t *testing.T) {
	for _, c := range columns() {
		t.Run(c.name, func(t *testing.T) {
			s := getScratch()
			defer putScratch(s)
			v, e := c.vector(columnRows)
			body := s.appendColumn(nil, v, columnRows, e)
			if got := describe(body); len(got) < len(c.picks) || got[:len(c.picks)] != c.picks {
				t.Errorf("it is stored as %q, not %q", got, c.picks)
			}
			comesBack(t, v, body, columnRows)
			stored, _ := s.storePage(append([]byte(nil), body...), 0, zstdGood(), place{})
			if size := float64(len(stored)) / columnRows; size > c.atMost {
				t.Errorf("it takes %.4f bytes a row, not %.4f", size, c.atMost)
			} else if testing.Verbose() {
				t.Logf("%-40s %.4f bytes a row of at most %.4f", describe(body), size, c.atMost)
			}
			for _, rows := range []int{1, 2, 3, 7, 255, 256, 257, 1023, 1025, 3001} {
				v, e := c.vector(rows)
				comesBack(t, v, s.appendColumn(nil, v, rows, e), rows)
				for i := 0; i < rows; i += 3 + i%5 {
					v.Nulls = v.Nulls.Set(i)
				}
				comesBack(t, v, s.appendColumn(nil, v, rows, e), rows)
				comesBack(t, v, s.appendColumn(nil, v, rows, effort{fast: true}), rows)
			}
		})
	}
}

func comesBack(t *testing.T, v *telemetry.Vector, body []byte, rows int) {
	t.Helper()
	var got telemetry.Vector
	if err := decodeColumn(&got, v.Type, body, rows); err != nil {
		t.Fatalf("%d rows as %s: %v", rows, describe(body), err)
	}
	for i := range rows {
		switch {
		case got.Nulls.Get(i) != v.Nulls.Get(i):
			t.Fatalf("row %d of %d is null: %v", i, rows, got.Nulls.Get(i))
		case v.Nulls.Get(i):
		case v.Type.Textual() && string(got.Text(i)) != string(v.Text(i)):
			t.Fatalf("row %d of %d: %q became %q", i, rows, v.Text(i), got.Text(i))
		case !v.Type.Textual() && got.Bits[i] != v.Bits[i]:
			t.Fatalf("row %d of %d: %x became %x", i, rows, v.Bits[i], got.Bits[i])
		}
	}
}

// TestEveryFormRefusesWhatIsCutOffOrLongerThanItsRows holds the decoders to their
// last byte.
func TestEveryFormRefusesWhatIsCutOffOrLongerThanItsRows(t *testing.T) {
	for _, c := range columns() {
		s := getScratch()
		const rows = 1030
		v, e := c.vector(rows)
		body := s.appendColumn(nil, v, rows, e)
		var got telemetry.Vector
		for n := 0; n < len(body); n += 1 + n/64 {
			if decodeColumn(&got, c.typ, body[:n], rows) == nil {
				t.Errorf("%s: %d of %d bytes are taken", c.name, n, len(body))
			}
		}
		if decodeColumn(&got, c.typ, append(append([]byte(nil), body...), 0), rows) == nil {
			t.Errorf("%s: a byte too many is taken", c.name)
		}
		for _, n := range []int{rows - 1, rows + 1} {
			if decodeColumn(&got, c.typ, body, n) == nil {
				t.Errorf("%s: %d rows are taken for %d", c.name, rows, n)
			}
		}
		putScratch(s)
	}
}

// TestATemplateTakesOnlyNumbersThatItGivesBack has the numbers that look alike.
func TestATemplateTakesOnlyNumbersThatItGivesBack(t *testing.T) {
	texts := []string{
		"a1", "a01", "a001", "a0", "a00", "a1.0", "a1.00", "a01.50", "a-1", "a--1", "a1.", "a.1", "a1.2.3", "a1e5", "a1.5e-07", "", "1", "-",
		"a999999999999999999", "a999999999999999999.9", "a12345678901234567890", "a0.000000000000000001", "x\x00y", "ä1ö", "a1 000.5",
	}
	for skip := range texts { // one is refused as a whole: leave each out in turn
		sec := telemetry.Section{}
		sec.Reset(&telemetry.Table{Columns: []telemetry.Column{{Name: "v", Type: telemetry.String}}})
		for row := range 600 {
			if i := row * 7 % len(texts); i != skip {
				sec.AppendRow(0, 0, 0, []telemetry.Value{{Text: []byte(texts[i])}})
			}
		}
		s := getScratch()
		rows := sec.Rows()
		if out, ok := s.appendTemplate(nil, &sec.Columns[0], nil, rows); ok {
			comesBack(t, &sec.Columns[0], out, rows)
		}
		// Without the look at what zstd does, which refuses so few bytes.
		for _, text := range texts {
			tm := &templates{}
			tm.dict.reset()
			slots, ok := tm.parse([]byte(text))
			if !ok {
				continue
			}
			tt, err := readTemplate(tm.key)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			for i := range slots {
				tt.values = append(tt.values, tm.values[i:i+1])
			}
			if got := string(tt.appendNext(nil)); got != text {
				t.Errorf("%q became %q", text, got)
			}
		}
		putScratch(s)
	}
}

// TestATemplateIsBoundedInMemory refuses a few bytes that ask for much.
func TestATemplateIsBoundedInMemory(t *testing.T) {
	body := []byte{formTemplate, 1}
	body = binary.AppendUvarint(body, 1<<16)
	body = append(body, make([]byte, 1<<16)...)
	for i := range body[5:] {
		body[5+i] = 'x'
	}
	var v telemetry.Vector
	s := getScratch()
	defer putScratch(s)
	body = s.planner.appendStream(body, make([]uint64, MaxBlockRows), nil, false)
	if err := decodeColumn(&v, telemetry.String, body, MaxBlockRows); err == nil || cap(v.Bytes) > 4*MaxPageBytes {
		t.Errorf("%d bytes were made: %v", cap(v.Bytes), err)
	}
}
