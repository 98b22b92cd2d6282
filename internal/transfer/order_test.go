package transfer

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/storetest"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestTheOrderDependsOnTheReadingsAlone stores the same readings in two orders and
// exports both with memory for few of them.
func TestTheOrderDependsOnTheReadingsAlone(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	table := &telemetry.Table{
		Name: "env", Version: 1, Tags: []string{"plant", "model"}, Identity: telemetry.IdentityNone,
		Columns: []telemetry.Column{{Name: "f", Type: telemetry.Float}, {Name: "s", Type: telemetry.String}},
	}
	type reading struct {
		series int
		time   int64
		f      float64
		s      string
		null   bool
	}
	var all []reading
	for i := range 3000 {
		all = append(all, reading{rnd.IntN(12), rnd.Int64N(500), float64(rnd.IntN(3)), fmt.Sprint(i % 4), i%9 == 0})
	}
	export := func(limitRows, limitBytes int) (string, int) {
		st := storetest.NewMemory()
		if err := st.PutTable(t.Context(), telemetry.DefaultTenant, table, nil); err != nil {
			t.Fatal(err)
		}
		order := rnd.Perm(len(all))
		for at := 0; at < len(order); at += 100 {
			var sec telemetry.Section
			sec.Reset(table)
			for _, i := range order[at : at+100] {
				r := all[i]
				tags := [][]byte{[]byte(fmt.Sprint(r.series % 3)), nil}
				if r.series%2 == 0 {
					tags[1] = []byte("m")
				}
				ref, err := st.Series(telemetry.DefaultTenant, table, []byte(fmt.Sprintf("t/%d", r.series%5)), tags)
				if err != nil {
					t.Fatal(err)
				}
				sec.AppendRow(ref, r.time, 7, []telemetry.Value{{Bits: math.Float64bits(r.f)}, {Text: []byte(r.s), Null: r.null}})
			}
			staged, err := st.Stage(t.Context(), &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{&sec}}}})
			if err == nil {
				err = staged.Commit(context.Background())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		enc, err := NewEncoder(CSV, &out, Header{Table: "env", Tags: table.Tags, Columns: table.Columns})
		if err != nil {
			t.Fatal(err)
		}
		s := Stretch{Request: store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: "env", From: math.MinInt64, To: math.MaxInt64}, Columns: table.Columns, Tags: table.Tags}
		most := 0
		err = ordered(t.Context(), st, s, limitRows, limitBytes, func(r *Rows) error {
			most = max(most, len(r.Order))
			return enc.Write(r)
		})
		if err == nil {
			err = enc.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return out.String(), most
	}
	whole, _ := export(1<<20, 1<<30)
	if n := strings.Count(whole, "\n"); n != len(all) {
		t.Fatalf("%d rows of %d", n, len(all))
	}
	small, most := export(50, 1<<30)
	if small != whole {
		t.Error("with memory for few rows the file is another")
	}
	if most > 4*50 {
		t.Errorf("%d rows were held at a time", most)
	}
	if again, _ := export(1<<20, 8000); again != whole {
		t.Error("with memory for few bytes the file is another")
	}
}
