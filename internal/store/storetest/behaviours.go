package storetest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

func table(name string, version int, id telemetry.Identity) *telemetry.Table {
	return &telemetry.Table{
		Name: name, Version: version, Tags: []string{"device"},
		Columns:  []telemetry.Column{{Name: "v", Type: telemetry.Float, Unit: "Cel"}, {Name: "s", Type: telemetry.String}},
		Identity: id, TimeInPayload: true,
	}
}

func num(f float64) telemetry.Value { return telemetry.Value{Bits: math.Float64bits(f)} }
func text(s string) telemetry.Value { return telemetry.Value{Text: []byte(s)} }

var null = telemetry.Value{Null: true}

// rowsOf fills a section of a table like table's with readings of one series.
func rowsOf(t *telemetry.Table, ref telemetry.SeriesRef, times []int64, values ...float64) *telemetry.Section {
	s := section(t)
	for i, at := range times {
		s.AppendRow(ref, at, at+5, []telemetry.Value{num(values[i]), text("ok")})
	}
	return s
}

func testTables(t *testing.T, h *harness) {
	env := table("env", 1, telemetry.IdentityTimeValues)
	h.put(env)
	h.put(env)
	other := *env
	if err := h.PutTable(h.ctx, telemetry.DefaultTenant, &other, []byte("another document")); telemetry.CodeOf(err) != telemetry.CodeConflict {
		t.Errorf("another document under the same version: %v", err)
	}
	v2 := table("env", 2, telemetry.IdentityTimeValues)
	v2.Columns = append(v2.Columns, telemetry.Column{Name: "_rest", Type: telemetry.JSON})
	h.put(v2)
	h.put(table("air", 7, telemetry.IdentityTime))
	h.reopen()
	got, err := h.Tables(h.ctx, telemetry.DefaultTenant)
	h.must(err)
	var names []string
	for _, r := range got {
		names = append(names, fmt.Sprint(r.Table.Name, r.Table.Version, string(r.Document)))
	}
	h.want("tables", names, []string{"air7document of air", "env1document of env", "env2document of env"})
	h.want("second version", *got[2].Table, *v2)
}

func testSeries(t *testing.T, h *harness) {
	env := h.put(table("env", 1, telemetry.IdentityTimeValues))
	two := *env
	two.Version = 2
	h.put(&two)
	refs := []telemetry.SeriesRef{
		h.series(env, "a", "d1"), h.series(env, "a", "d2"), h.series(env, "a", "-"), h.series(env, "a", ""), h.series(env, "b", "d1"),
	}
	h.want("refs", refs, []int{0, 1, 2, 3, 4})
	h.want("same series of another version", h.series(&two, "b", "d1"), 4)
	h.commit(rowsOf(env, 4, []int64{1}, 1))
	h.reopen()
	h.want("ref after reopening", h.series(env, "b", "d1"), 4)
	h.want("ref of an unused series after reopening", h.series(env, "a", "-"), 2)
	h.want("next ref", h.series(env, "c", "d1"), 5)
	info := h.rows(all("env"))
	h.want("row", info, `[v1 b device="d1" @1 r6 v=float:3ff0000000000000 s="ok"]`)
	long := strings.Repeat("x", 60_000)
	ref := h.series(env, long, long)
	h.want("long keys", h.series(env, long, long), ref)
}

func testCardinality(t *testing.T, h *harness) {
	h.stop()
	h.config.MaxSeries = 2
	h.start()
	env := h.put(table("env", 1, telemetry.IdentityTimeValues))
	h.series(env, "a", "1")
	h.series(env, "b", "1")
	if _, err := h.Series(telemetry.DefaultTenant, env, []byte("c"), tagBytes([]string{"1"})); telemetry.CodeOf(err) != telemetry.CodeCardinality {
		t.Errorf("third series of two: %v", err)
	}
	h.want("known series", h.series(env, "b", "1"), 1)
}

func testReopen(_ *testing.T, h *harness) {
	env := h.put(table("env", 1, telemetry.IdentityTimeValues))
	a := h.series(env, "a", "1")
	h.commit(rowsOf(env, a, []int64{10, 20}, 1, 2))
	h.commit(rowsOf(env, a, []int64{30}, 3))
	before := h.rows(all("env"))
	h.want("count", len(before), 3)
	h.reopen()
	h.want("rows", h.rows(all("env")), before)
	h.compact()
	h.want("rows after compaction", h.rows(all("env")), before)
	h.reopen()
	h.want("rows after compaction and reopening", h.rows(all("env")), before)
	h.want("redelivered", h.commit(rowsOf(env, a, []int64{10, 20, 30, 40}, 1, 2, 3, 4)), [][]int32{{0, 1, 2}})
}

func testTenants(t *testing.T, h *harness) {
	env := table("env", 1, telemetry.IdentityTimeValues)
	h.put(env)
	h.must(h.PutTable(h.ctx, "other", env, nil))
	h.series(env, "a", "1")
	ref, err := h.Series("other", env, []byte("b"), tagBytes([]string{"1"}))
	h.must(err)
	h.want("refs are issued by tenant", ref, 0)
	mine, theirs := rowsOf(env, 0, []int64{1}, 1), rowsOf(env, 0, []int64{1}, 1)
	st, err := h.Stage(h.ctx, &telemetry.Commit{Batches: []*telemetry.Batch{
		{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{mine}},
		{Tenant: "other", Sections: []*telemetry.Section{theirs}, Quarantine: []telemetry.Quarantined{{Topic: "t", Offset: -1}}},
	}})
	h.must(err)
	h.must(st.Commit(h.ctx))
	h.want("the same reading of two tenants", len(mine.Duplicates)+len(theirs.Duplicates), 0)
	for range 2 {
		h.want("mine", h.rows(all("env")), `[v1 a device="1" @1 r6 v=float:3ff0000000000000 s="ok"]`)
		r := all("env")
		r.Tenant = "other"
		h.want("theirs", h.rows(r), `[v1 b device="1" @1 r6 v=float:3ff0000000000000 s="ok"]`)
		h.want("my quarantine", len(quarantined(h, telemetry.DefaultTenant, store.QuarantineFilter{})), 0)
		h.want("their quarantine", len(quarantined(h, "other", store.QuarantineFilter{})), 1)
		h.compact()
		h.reopen()
	}
}

func testTypes(_ *testing.T, h *harness) {
	all5 := &telemetry.Table{
		Name: "types", Version: 1, Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
		Columns: []telemetry.Column{
			{Name: "f", Type: telemetry.Float},
			{Name: "i", Type: telemetry.Int},
			{Name: "b", Type: telemetry.Bool},
			{Name: "s", Type: telemetry.String},
			{Name: "j", Type: telemetry.JSON},
		},
	}
	h.put(all5)
	ref := h.series(all5, "a")
	sec := section(all5)
	floats := []float64{0, math.Copysign(0, -1), 1.1, math.MaxFloat64, 5e-324, -273.15, math.Pi}
	ints := []int64{0, -1, math.MaxInt64, math.MinInt64, 1 << 53, 42, -42}
	texts := []string{"", "ü€", "\x00", strings.Repeat("long", 5000), "a", "a", "b"}
	for i := range floats {
		sec.AppendRow(ref, math.MinInt64/2+int64(i)*(math.MaxInt64/8), int64(i), []telemetry.Value{
			num(floats[i]), {Bits: uint64(ints[i])}, {Bits: uint64(i & 1)}, text(texts[i]), text(`{"n":` + fmt.Sprint(i) + `}`),
		})
	}
	sec.AppendRow(ref, math.MaxInt64-1, 9, []telemetry.Value{null, null, null, null, null})
	h.commit(sec)
	before := h.rows(all("types"))
	h.want("count", len(before), 8)
	for i, f := range floats {
		want := fmt.Sprintf("f=float:%x i=int:%x b=bool:%x s=%q", math.Float64bits(f), uint64(ints[i]), i&1, texts[i])
		if !slices.ContainsFunc(before, func(r string) bool { return strings.Contains(r, want) }) {
			h.Errorf("no row has %.200s", want)
		}
	}
	h.reopen()
	h.want("rows", h.rows(all("types")), before)
	h.compact()
	h.want("rows after compaction", h.rows(all("types")), before)
}

func testVersions(_ *testing.T, h *harness) {
	v1 := h.put(&telemetry.Table{
		Name: "env", Version: 1, Tags: []string{"device"}, Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
		Columns: []telemetry.Column{{Name: "n", Type: telemetry.Int}},
	})
	v2 := h.put(&telemetry.Table{
		Name: "env", Version: 2, Tags: []string{"device"}, Identity: telemetry.IdentityTimeValues, TimeInPayload: true,
		Columns: []telemetry.Column{{Name: "n", Type: telemetry.Float}, {Name: "s", Type: telemetry.String}},
	})
	ref := h.series(v1, "a", "1")
	one, two := section(v1), section(v2)
	one.AppendRow(ref, 1, 1, []telemetry.Value{{Bits: 3}})
	one.AppendRow(ref, 3, 3, []telemetry.Value{null})
	two.AppendRow(ref, 2, 2, []telemetry.Value{num(1.5), text("x")})
	h.want("duplicates", h.commit(one, two), [][]int32{{}, {}})
	want := `[v1 a device="1" @1 r1 n=float:4008000000000000 s=null v1 a device="1" @3 r3 n=null s=null v2 a device="1" @2 r2 n=float:3ff8000000000000 s="x"]`
	for range 2 {
		h.want("rows", h.rows(all("env")), want)
		again := section(v2)
		again.AppendRow(ref, 3, 9, []telemetry.Value{null, null})
		h.want("a reading that only lacks nulls", h.commit(again), [][]int32{{0}})
		h.compact()
		h.reopen()
	}
}

func testTimeValues(_ *testing.T, h *harness) {
	env := h.put(table("env", 1, telemetry.IdentityTimeValues))
	a, b := h.series(env, "a", "1"), h.series(env, "b", "1")
	h.want("in one section", h.commit(rowsOf(env, a, []int64{10, 10, 10, 5, 5}, 1, 2, 1, 3, 3)), [][]int32{{2, 4}})
	for range 3 {
		h.want("again", h.commit(rowsOf(env, a, []int64{10, 5, 10}, 2, 3, 1), rowsOf(env, a, []int64{5}, 3)), [][]int32{{0, 1, 2}, {0}})
		h.want("count", len(h.rows(all("env"))), 3)
		h.compact()
		h.reopen()
	}
	h.want("another series", h.commit(rowsOf(env, b, []int64{10}, 1)), [][]int32{{}})
	h.want("late", h.commit(rowsOf(env, a, []int64{7}, 1)), [][]int32{{}})
	h.want("late again", h.commit(rowsOf(env, a, []int64{7}, 1)), [][]int32{{0}})
	zero := rowsOf(env, a, []int64{7, 7}, 0, math.Copysign(0, -1))
	h.want("zero is not negative zero", h.commit(zero), [][]int32{{}})
}

func testTimeIdentity(_ *testing.T, h *harness) {
	env := h.put(table("env", 1, telemetry.IdentityTime))
	a := h.series(env, "a", "1")
	values := func() (out []string) {
		for _, r := range h.rows(all("env")) {
			out = append(out, r[strings.Index(r, "@"):strings.Index(r, " s=")])
		}
		return out
	}
	h.want("in one section", h.commit(rowsOf(env, a, []int64{10, 10, 10, 20}, 1, 2, 1, 3)), [][]int32{{}})
	h.want("rows", values(), "[@10 r15 v=float:3ff0000000000000 @20 r25 v=float:4008000000000000]")
	h.compact()
	h.want("the same", h.commit(rowsOf(env, a, []int64{10}, 1)), [][]int32{{0}})
	h.want("another", h.commit(rowsOf(env, a, []int64{10}, 2)), [][]int32{{}})
	for range 2 {
		h.want("rows", values(), "[@10 r15 v=float:4000000000000000 @20 r25 v=float:4008000000000000]")
		h.reopen()
		h.want("rows", values(), "[@10 r15 v=float:4000000000000000 @20 r25 v=float:4008000000000000]")
		h.compact()
	}
	h.want("back to the first", h.commit(rowsOf(env, a, []int64{10}, 1)), [][]int32{{}})
	h.want("rows", values(), "[@10 r15 v=float:3ff0000000000000 @20 r25 v=float:4008000000000000]")
}

// testOlderVersionWins has rows of another table come first in each commit, so
// that what a store notes of the overwritten keys may stand with that table.
func testOlderVersionWins(_ *testing.T, h *harness) {
	other := h.put(table("another", 1, telemetry.IdentityNone))
	one := h.put(table("env", 1, telemetry.IdentityTime))
	two := h.put(table("env", 2, telemetry.IdentityTime))
	b, a := h.series(other, "b", "1"), h.series(one, "a", "1")
	h.commit(rowsOf(other, b, []int64{10}, 1), rowsOf(two, a, []int64{10, 20}, 1, 2))
	h.compact()
	h.commit(rowsOf(other, b, []int64{11}, 1), rowsOf(one, a, []int64{10}, 3))
	want := []string{
		`v1 a device="1" @10 r15 v=float:4008000000000000 s="ok"`,
		`v2 a device="1" @20 r25 v=float:4000000000000000 s="ok"`,
	}
	h.want("before the compaction", h.rows(all("env")), want)
	for range 4 {
		h.compact()
		h.want("after a compaction", h.rows(all("env")), want)
		h.reopen()
		h.want("after reopening", h.rows(all("env")), want)
	}
	h.want("rows of the other table", len(h.rows(all("another"))), 2)
}

func testNoIdentity(_ *testing.T, h *harness) {
	none := h.put(table("none", 1, telemetry.IdentityNone))
	pulse := table("pulse", 1, telemetry.IdentityTimeValues)
	pulse.TimeInPayload = false
	h.put(pulse)
	n := 0
	for _, t := range []*telemetry.Table{none, pulse} {
		ref := h.series(t, "a", "1")
		for range 2 {
			h.want("two equal readings", h.commit(rowsOf(t, ref, []int64{10, 10}, 1, 1), rowsOf(t, ref, []int64{10}, 1)), [][]int32{{}, {}})
			h.compact()
			h.reopen()
		}
		n += 6
	}
	h.want("rows", len(h.rows(all("none")))+len(h.rows(all("pulse"))), n)
}

func testRetained(_ *testing.T, h *harness) {
	env := h.put(table("env", 1, telemetry.IdentityTimeValues))
	pulse := table("pulse", 1, telemetry.IdentityNone)
	pulse.TimeInPayload = false
	h.put(pulse)
	for _, t := range []*telemetry.Table{env, pulse} {
		a, b := h.series(t, "a", "1"), h.series(t, "b", "1")
		retained := func(ref telemetry.SeriesRef, at int64, v float64) [][]int32 {
			s := rowsOf(t, ref, []int64{at}, v)
			s.OnlyIfChanged = []int32{0}
			return h.commit(s)
		}
		h.want("first", retained(a, 10, 1), [][]int32{{}})
		h.want("unchanged", retained(a, 20, 1), [][]int32{{0}})
		h.compact()
		h.want("unchanged, compacted", retained(a, 30, 1), [][]int32{{0}})
		h.reopen()
		h.want("unchanged, reopened", retained(a, 40, 1), [][]int32{{0}})
		h.want("changed", retained(a, 50, 2), [][]int32{{}})
		h.want("changed back", retained(a, 60, 1), [][]int32{{}})
		s := rowsOf(t, b, []int64{10, 20, 30, 40}, 1, 1, 2, 2)
		s.OnlyIfChanged = []int32{1, 2, 3}
		h.want("in one section", h.commit(s), [][]int32{{1, 3}})
	}
	a := h.series(env, "a", "1")
	s := rowsOf(env, a, []int64{50}, 2)
	s.OnlyIfChanged = []int32{0}
	h.want("an old reading that is stored", h.commit(s), [][]int32{{0}})
}

func testAbort(_ *testing.T, h *harness) {
	env := h.put(table("env", 1, telemetry.IdentityTimeValues))
	a := h.series(env, "a", "1")
	st, _ := h.stage(rowsOf(env, a, []int64{10, 20}, 1, 2))
	st.Abort()
	h.want("rows", len(h.rows(all("env"))), 0)
	h.want("duplicates of what was aborted", h.commit(rowsOf(env, a, []int64{10, 20}, 1, 2)), [][]int32{{}})
	h.want("rows", len(h.rows(all("env"))), 2)
}

func testOrder(t *testing.T, h *harness) {
	env := h.put(table("env", 1, telemetry.IdentityTimeValues))
	a := h.series(env, "a", "1")
	one, _ := h.stage(rowsOf(env, a, []int64{10}, 1))
	two, _ := h.stage(rowsOf(env, a, []int64{20}, 1))
	if err := two.Commit(h.ctx); err == nil {
		t.Error("the second staged commit was committed first")
	}
	h.want("rows before the commit", len(h.rows(all("env"))), 0)
	h.must(one.Commit(h.ctx))
	h.must(two.Commit(h.ctx))
	h.want("rows", len(h.rows(all("env"))), 2)
}

func testStagedDuplicates(_ *testing.T, h *harness) {
	env := h.put(table("env", 1, telemetry.IdentityTimeValues))
	a := h.series(env, "a", "1")
	one, _ := h.stage(rowsOf(env, a, []int64{10}, 1))
	two, dups := h.stage(rowsOf(env, a, []int64{10, 10}, 1, 2))
	h.want("duplicates", dups, [][]int32{{0}})
	h.must(one.Commit(h.ctx))
	h.must(two.Commit(h.ctx))
	h.want("rows", len(h.rows(all("env"))), 2)
}

func testScan(_ *testing.T, h *harness) {
	env := h.put(table("env", 1, telemetry.IdentityTimeValues))
	h.put(table("air", 1, telemetry.IdentityTimeValues))
	var refs []telemetry.SeriesRef
	for d := range 20 {
		refs = append(refs, h.series(env, fmt.Sprintf("d/%d", d), fmt.Sprint(d)))
	}
	for range 2 {
		for batch := range 3 {
			sec := section(env)
			for i := range 300 {
				at := int64(batch*300 + i)
				sec.AppendRow(refs[i%20], at, at, []telemetry.Value{num(float64(at)), text("ok")})
			}
			h.commit(sec)
		}
		h.want("all", len(h.rows(all("env"))), 900)
		h.want("a table without rows", len(h.rows(all("air"))), 0)
		r := all("env")
		r.From, r.To = 100, 200
		h.want("from is in, to is not", len(h.rows(r)), 100)
		r.From, r.To = 900, 1000
		h.want("beyond the newest", len(h.rows(r)), 0)
		r = all("env")
		calls := map[string]int{}
		r.Match = func(topic string, tags []store.Tag) bool {
			calls[topic]++
			return tags[0].Value == "3" || tags[0].Value == "17"
		}
		h.want("two devices", len(h.rows(r)), 90)
		for topic, n := range calls {
			h.want("calls of Match for "+topic, n, 1)
		}
		r = all("env")
		r.Ranges = []store.ValueRange{{Column: "v", Min: 450, Max: 1e9}}
		got := 0
		for _, row := range h.rows(r) {
			var at int64
			if _, err := fmt.Sscanf(row[strings.Index(row, "@"):], "@%d", &at); err != nil {
				h.Fatal(err)
			}
			if at >= 450 {
				got++
			}
		}
		h.want("rows within the range are there", got, 450)
		h.compact()
		h.reopen()
	}
	sc, err := h.Scan(h.ctx, all("env"))
	h.must(err)
	defer sc.Close()
	var sec telemetry.Section
	for _, u := range sc.Units() {
		_, err := u.Read(&sec, []string{"s"}, false)
		h.must(err)
		h.want("one column, without received", []int{len(sec.Columns), len(sec.Received), len(sec.Time)}, []int{1, 0, u.Rows()})
		if _, err := u.Read(&sec, []string{"nothing"}, false); err == nil {
			h.Error("an unknown column was read")
		}
	}
}

func testPinned(_ *testing.T, h *harness) {
	env := h.put(table("env", 1, telemetry.IdentityTime))
	a := h.series(env, "a", "1")
	h.commit(rowsOf(env, a, []int64{1, 2}, 1, 2))
	h.compact()
	h.commit(rowsOf(env, a, []int64{3}, 3))
	before := h.rows(all("env"))
	sc, err := h.Scan(h.ctx, all("env"))
	h.must(err)
	h.commit(rowsOf(env, a, []int64{2, 3, 4}, 20, 30, 4))
	h.compact()
	h.commit(rowsOf(env, a, []int64{5}, 5))
	h.compact()
	got, err := scanRows(h.TB, sc, all("env"))
	h.must(err)
	h.want("pinned rows", got, before)
	sc.Close()
	sc.Close()
	h.want("rows now", len(h.rows(all("env"))), 5)
	h.reopen()
	h.want("rows after reopening", len(h.rows(all("env"))), 5)
}

func testNotFound(t *testing.T, h *harness) {
	if _, err := h.Scan(h.ctx, all("nothing")); telemetry.CodeOf(err) != telemetry.CodeNotFound {
		t.Errorf("scan of an unknown table: %v", err)
	}
}

func testClosed(t *testing.T, h *harness) {
	h.put(table("env", 1, telemetry.IdentityTimeValues))
	h.stop()
	if _, err := h.Stage(h.ctx, &telemetry.Commit{}); telemetry.CodeOf(err) != telemetry.CodeUnavailable {
		t.Errorf("stage after close: %v", err)
	}
}
