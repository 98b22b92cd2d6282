package chunk_test

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// w1Table is the table of the W1 workload.
func w1Table() *telemetry.Table {
	return &telemetry.Table{
		Name: "env", Version: 1, Tags: []string{"plant", "line", "device"},
		Columns: []telemetry.Column{
			{Name: "temperature", Type: telemetry.Float, Unit: "Cel"},
			{Name: "humidity", Type: telemetry.Float, Unit: "%RH"},
			{Name: "pressure", Type: telemetry.Float, Unit: "hPa"},
			{Name: "battery", Type: telemetry.Float, Unit: "V"},
			{Name: "status", Type: telemetry.String},
		},
		Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
	}
}

// w1 makes the readings of W1 in the order of arrival: devices in turn, one
// reading a second each, received in bursts.
type w1 struct {
	table    *telemetry.Table
	rnd      *rand.Rand
	devices  int
	burst    int
	row      int
	received int64
	values   [5]telemetry.Value
}

func newW1(devices, burst int) *w1 {
	return &w1{table: w1Table(), rnd: rand.New(rand.NewPCG(1, 2)), devices: devices, burst: burst, received: 1_750_000_100_000_000_000}
}

func decimal(hundredths int) uint64 { return math.Float64bits(float64(hundredths) / 100) }

func (g *w1) fill(sec *telemetry.Section, rows int) {
	sec.Reset(g.table)
	status := [...]string{"ok", "ok", "ok", "ok", "warn", "ok", "ok", "fail"}
	for range rows {
		if g.row%g.burst == 0 {
			g.received += 900_000 + g.rnd.Int64N(200_000)
		}
		d := g.row % g.devices
		base := uint64(d) * 0x9e3779b97f4a7c15 >> 33
		g.values[0].Bits = decimal(1500 + int(base%1500) + g.rnd.IntN(20))
		g.values[1].Bits = decimal(3000 + int(base%4001) + g.rnd.IntN(30))
		g.values[2].Bits = decimal(98000 + int(base%5003) + g.rnd.IntN(40))
		g.values[3].Bits = decimal(320 + int(base%90))
		g.values[4].Text = []byte(status[base%8])
		at := 1_750_000_000_123_000_000 + int64(g.row/g.devices)*1_000_000_000
		sec.AppendRow(telemetry.SeriesRef(d), at, g.received, g.values[:])
		g.row++
	}
}

// sections makes total rows in sections of at most size rows.
func (g *w1) sections(total, size int) []*telemetry.Section {
	var out []*telemetry.Section
	for total > 0 {
		sec := &telemetry.Section{}
		g.fill(sec, min(size, total))
		total -= sec.Rows()
		out = append(out, sec)
	}
	return out
}

// same compares rows, not forms: a text is equal whether plain or by dictionary.
func same(t testing.TB, got, want *telemetry.Section) {
	t.Helper()
	if err := differ(got, want, true); err != nil {
		t.Fatal(err)
	}
}

func differ(got, want *telemetry.Section, received bool) error {
	if got.Rows() != want.Rows() || len(got.Columns) != len(want.Columns) {
		return fmt.Errorf("got %d rows and %d columns, want %d and %d", got.Rows(), len(got.Columns), want.Rows(), len(want.Columns))
	}
	for i := range want.Series {
		if got.Series[i] != want.Series[i] || got.Time[i] != want.Time[i] {
			return fmt.Errorf("row %d: got series %d at %d, want %d at %d", i, got.Series[i], got.Time[i], want.Series[i], want.Time[i])
		}
		if received && got.Received[i] != want.Received[i] {
			return fmt.Errorf("row %d: got received %d, want %d", i, got.Received[i], want.Received[i])
		}
	}
	for c := range want.Columns {
		g, w := &got.Columns[c], &want.Columns[c]
		if g.Type != w.Type {
			return fmt.Errorf("column %d: got type %s, want %s", c, g.Type, w.Type)
		}
		for i := range want.Series {
			if g.Nulls.Get(i) != w.Nulls.Get(i) {
				return fmt.Errorf("column %d row %d: got null %v, want %v", c, i, g.Nulls.Get(i), w.Nulls.Get(i))
			}
			if w.Nulls.Get(i) {
				if !w.Type.Textual() && g.Bits[i] != 0 {
					return fmt.Errorf("column %d row %d: a null has bits %x", c, i, g.Bits[i])
				}
				continue
			}
			if w.Type.Textual() {
				if !bytes.Equal(g.Text(i), w.Text(i)) {
					return fmt.Errorf("column %d row %d: got %q, want %q", c, i, g.Text(i), w.Text(i))
				}
			} else if g.Bits[i] != w.Bits[i] {
				return fmt.Errorf("column %d row %d: got bits %x, want %x", c, i, g.Bits[i], w.Bits[i])
			}
		}
	}
	return nil
}

// rowsOf lists a row's values, so that tests may sort rows the plain way.
type rowsOf struct {
	sec *telemetry.Section
	i   int
}

// sorted returns the rows of the sections by (series, time, arrival).
func sorted(secs []*telemetry.Section) *telemetry.Section {
	var rows []rowsOf
	for _, s := range secs {
		for i := range s.Series {
			rows = append(rows, rowsOf{s, i})
		}
	}
	slices.SortStableFunc(rows, func(a, b rowsOf) int {
		return cmp.Or(cmp.Compare(a.sec.Series[a.i], b.sec.Series[b.i]), cmp.Compare(a.sec.Time[a.i], b.sec.Time[b.i]))
	})
	return collect(secs[0].Table, rows)
}

func collect(t *telemetry.Table, rows []rowsOf) *telemetry.Section {
	out := &telemetry.Section{}
	out.Reset(t)
	values := make([]telemetry.Value, len(t.Columns))
	for _, r := range rows {
		rowValues(values, r.sec, r.i)
		out.AppendRow(r.sec.Series[r.i], r.sec.Time[r.i], r.sec.Received[r.i], values)
	}
	return out
}

// rowValues takes row i apart.
func rowValues(values []telemetry.Value, sec *telemetry.Section, i int) {
	for c := range values {
		v := &sec.Columns[c]
		values[c] = telemetry.Value{Null: v.Nulls.Get(i)}
		switch {
		case values[c].Null:
		case v.Type.Textual():
			values[c].Text = v.Text(i)
		default:
			values[c].Bits = v.Bits[i]
		}
	}
}
