package storetest

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Config is what the suite asks of a store when it opens it.
type Config struct {
	// Dir is the place of the store: opening it again finds what was committed.
	Dir string
	// MaxSeries is the series budget of each tenant; 0 is the store's default.
	MaxSeries int
}

// Open opens the store of a directory. The suite closes it.
type Open func(tb testing.TB, c Config) store.Store

// compactor is implemented by stores that rewrite what they keep; the suite has
// them do it at any moment, and nothing may change.
type compactor interface {
	Compact(ctx context.Context) error
}

// Run checks that what open opens is a store.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, h *harness)
	}{
		{"Tables", testTables},
		{"SeriesHaveDenseRefsForEver", testSeries},
		{"SeriesOverTheBudgetAreRefused", testCardinality},
		{"ReadingsAreThereAfterReopening", testReopen},
		{"ReadingsOfOneTenantAreNotSeenByAnother", testTenants},
		{"EveryTypeComesBackBitForBit", testTypes},
		{"VersionsShareTheirSeriesAndJoinTheirColumns", testVersions},
		{"ASecondReadingOfOneTimeIsADuplicateOnlyIfEqual", testTimeValues},
		{"TheLastReadingOfATimeWinsWhereTimeIsIdentity", testTimeIdentity},
		{"AnOverwriteByAnOlderVersionWinsToo", testOlderVersionWins},
		{"ReadingsWithoutTimeAreNeverDuplicates", testNoIdentity},
		{"RetainedReadingsAreStoredOnlyIfTheyDiffer", testRetained},
		{"AbortForgetsTheCommitAndItsDuplicates", testAbort},
		{"StagedCommitsAreCommittedInOrder", testOrder},
		{"DuplicatesAreFoundAcrossStagedCommits", testStagedDuplicates},
		{"TheLedgerHoldsWhatWasPutAndNotEnded", testLedger},
		{"QuarantineIsListedFilteredAndResolved", testQuarantine},
		{"ScansSelectByTimeSeriesAndRange", testScan},
		{"AScanSeesWhatStoodWhenItBegan", testPinned},
		{"AnUnknownTableIsNotFound", testNotFound},
		{"AClosedStoreRefuses", testClosed},
		{"AgreesWithTheModel", testModel},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &harness{TB: t, open: open, config: Config{Dir: t.TempDir()}}
			h.start()
			defer h.stop()
			c.test(t, h)
		})
	}
}

// harness holds one store under test and what the tests say often.
type harness struct {
	testing.TB
	open   Open
	config Config
	store.Store
	ctx    context.Context
	closed bool
}

func (h *harness) start() {
	h.ctx = context.Background()
	h.Store = h.open(h.TB, h.config)
	h.closed = false
}

func (h *harness) stop() {
	if h.closed {
		return
	}
	h.closed = true
	if err := h.Store.Close(); err != nil {
		h.Errorf("close: %v", err)
	}
}

func (h *harness) reopen() {
	h.Helper()
	h.stop()
	h.start()
}

func (h *harness) compact() {
	h.Helper()
	if c, ok := h.Store.(compactor); ok {
		h.must(c.Compact(h.ctx))
	}
}

func (h *harness) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *harness) put(t *telemetry.Table) *telemetry.Table {
	h.Helper()
	h.must(h.PutTable(h.ctx, telemetry.DefaultTenant, t, []byte("document of "+t.Name)))
	return t
}

func (h *harness) series(t *telemetry.Table, topic string, tags ...string) telemetry.SeriesRef {
	h.Helper()
	ref, err := h.Series(telemetry.DefaultTenant, t, []byte(topic), tagBytes(tags))
	h.must(err)
	return ref
}

// tagBytes gives tag values as Series takes them; "-" is null.
func tagBytes(tags []string) [][]byte {
	var out [][]byte
	for _, t := range tags {
		if t == "-" {
			out = append(out, nil)
		} else {
			out = append(out, []byte(t))
		}
	}
	return out
}

// commit stages and commits sections of the default tenant, and returns the
// rows that were found to be duplicates, section by section.
func (h *harness) commit(secs ...*telemetry.Section) [][]int32 {
	h.Helper()
	st, dups := h.stage(secs...)
	h.must(st.Commit(h.ctx))
	return dups
}

func (h *harness) stage(secs ...*telemetry.Section) (store.Staged, [][]int32) {
	h.Helper()
	st, err := h.Stage(h.ctx, &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: secs}}})
	h.must(err)
	var dups [][]int32
	for _, s := range secs {
		dups = append(dups, slices.Clone(s.Duplicates))
	}
	return st, dups
}

func (h *harness) want(what string, got, want any) {
	h.Helper()
	if g, w := fmt.Sprintf("%v", got), fmt.Sprintf("%v", want); g != w {
		h.Errorf("%s: got %s, want %s", what, g, w)
	}
}

// section returns an empty section of a table.
func section(t *telemetry.Table) *telemetry.Section {
	s := &telemetry.Section{}
	s.Reset(t)
	return s
}

// all is a request for every row of a table.
func all(table string) store.ScanRequest {
	return store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: table, From: -1 << 63, To: 1<<63 - 1}
}

// rows scans and returns the rows as text, sorted: what the request matches,
// with the filter that callers of Scan apply. It checks what units say of
// themselves against what they hold.
func (h *harness) rows(r store.ScanRequest) []string {
	h.Helper()
	sc, err := h.Scan(h.ctx, r)
	h.must(err)
	defer sc.Close()
	out, err := scanRows(h.TB, sc, r)
	h.must(err)
	return out
}

func scanRows(tb testing.TB, sc store.Scan, r store.ScanRequest) ([]string, error) {
	tb.Helper()
	var names []string
	for _, c := range sc.Columns() {
		names = append(names, c.Name)
	}
	var out []string
	var sec telemetry.Section
	for _, u := range sc.Units() {
		if _, err := u.Read(&sec, names, true); err != nil {
			return nil, err
		}
		checkUnit(tb, sc, u, &sec)
		for i := range sec.Rows() {
			if sec.Time[i] >= r.From && sec.Time[i] < r.To && u.Wanted(sec.Series[i]) {
				out = append(out, rowText(sc, u, &sec, i))
			}
		}
	}
	sort.Strings(out)
	return out, nil
}

func rowText(sc store.Scan, u store.Unit, sec *telemetry.Section, i int) string {
	var b strings.Builder
	info := sc.Series(sec.Series[i])
	fmt.Fprintf(&b, "v%d %s", u.Table().Version, info.Topic)
	for j, t := range info.Tags {
		if t.Null {
			fmt.Fprintf(&b, " %s=null", sc.TagNames()[j])
		} else {
			fmt.Fprintf(&b, " %s=%q", sc.TagNames()[j], t.Value)
		}
	}
	fmt.Fprintf(&b, " @%d r%d", sec.Time[i], sec.Received[i])
	for c, col := range sc.Columns() {
		fmt.Fprintf(&b, " %s=%s", col.Name, valueText(&sec.Columns[c], i))
	}
	return b.String()
}

func valueText(v *telemetry.Vector, i int) string {
	switch {
	case v.Nulls.Get(i):
		return "null"
	case v.Type.Textual():
		return fmt.Sprintf("%q", v.Text(i))
	}
	return fmt.Sprintf("%s:%x", v.Type, v.Bits[i])
}

// checkUnit compares a unit's own account with its rows.
func checkUnit(tb testing.TB, sc store.Scan, u store.Unit, sec *telemetry.Section) {
	tb.Helper()
	if u.Rows() != sec.Rows() {
		tb.Errorf("a unit of %d rows gave %d", u.Rows(), sec.Rows())
	}
	for i := range sec.Rows() {
		if sec.Series[i] >= sc.MaxSeries() {
			tb.Errorf("series %d is not below %d", sec.Series[i], sc.MaxSeries())
		}
		if sec.Time[i] < u.MinTime() || sec.Time[i] > u.MaxTime() {
			tb.Errorf("time %d lies outside %d to %d", sec.Time[i], u.MinTime(), u.MaxTime())
		}
	}
	runs := u.Runs()
	if runs == nil {
		return
	}
	next := 0
	for n, r := range runs {
		if r.Start != next || r.Rows <= 0 || r.Start+r.Rows > sec.Rows() {
			tb.Fatalf("run %d is %+v, after row %d of %d", n, r, next, sec.Rows())
		}
		next += r.Rows
		for i := r.Start; i < next; i++ {
			if sec.Series[i] != r.Series || i > r.Start && sec.Time[i] < sec.Time[i-1] {
				tb.Errorf("row %d of run %+v is of series %d at %d", i, r, sec.Series[i], sec.Time[i])
			}
		}
		if sec.Time[r.Start] != r.MinTime || sec.Time[next-1] != r.MaxTime {
			tb.Errorf("run %+v lies from %d to %d", r, sec.Time[r.Start], sec.Time[next-1])
		}
	}
	if next != sec.Rows() {
		tb.Errorf("runs cover %d rows of %d", next, sec.Rows())
	}
	for c, col := range sc.Columns() {
		if i := u.Table().ColumnIndex(col.Name); i >= 0 && u.Table().Columns[i].Type == col.Type {
			checkStats(tb, u, col, &sec.Columns[c], runs)
		}
	}
}

func checkStats(tb testing.TB, u store.Unit, col telemetry.Column, v *telemetry.Vector, runs []store.Run) {
	tb.Helper()
	stats := u.RunStats(col.Name)
	if stats == nil {
		return
	}
	if len(stats) != len(runs) {
		tb.Fatalf("%d statistics of %s for %d runs", len(stats), col.Name, len(runs))
	}
	for n, r := range runs {
		var want store.ColumnStats
		for i := r.Start; i < r.Start+r.Rows; i++ {
			if v.Nulls.Get(i) {
				continue
			}
			f := asFloat(col.Type, v.Bits[i])
			if want.Count == 0 {
				want.Min, want.Max = f, f
			}
			want.Min, want.Max = min(want.Min, f), max(want.Max, f)
			want.Sum += f
			want.Count++
		}
		got := stats[n]
		if got.Count != want.Count || want.Count > 0 && (got.Min != want.Min || got.Max != want.Max || !near(got.Sum, want.Sum)) {
			tb.Errorf("statistics of %s in run %+v: got %+v, want %+v", col.Name, r, got, want)
		}
	}
}

func near(a, b float64) bool {
	d := max(a-b, b-a)
	return d <= 1e-6*max(1, a, -a)
}
