package storetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
	"pgregory.net/rapid"
)

// testModel runs random commits, restarts and compactions against the store and
// against Memory, which is obviously right: duplicates, rows, ledger and
// quarantine agree after each step.
func testModel(t *testing.T, h *harness) {
	h.stop()
	rapid.Check(t, func(rt *rapid.T) {
		m := newMachine(rt, t, h.open)
		defer m.close()
		steps := rapid.IntRange(4, 25).Draw(rt, "steps")
		for range steps {
			m.step()
		}
		m.compare()
	})
}

// machine drives the store and the model in step.
type machine struct {
	*rapid.T
	tb     testing.TB
	open   Open
	config Config
	real   store.Store
	model  *Memory
	ctx    context.Context
	tables []*telemetry.Table

	// Staged and not yet committed, in order.
	staged, modelStaged []store.Staged
	session             telemetry.SessionID
}

func newMachine(rt *rapid.T, tb testing.TB, open Open) *machine {
	m := &machine{T: rt, tb: tb, open: open, config: Config{Dir: tb.TempDir()}, model: NewMemory(), ctx: context.Background()}
	m.real = open(tb, m.config)
	cols := []telemetry.Column{{Name: "f", Type: telemetry.Float}, {Name: "i", Type: telemetry.Int}, {Name: "s", Type: telemetry.String}, {Name: "b", Type: telemetry.Bool}}
	add := func(name string, version int, id telemetry.Identity, inPayload bool, cols []telemetry.Column) {
		m.tables = append(m.tables, &telemetry.Table{
			Name: name, Version: version, Tags: []string{"d", "e"}, Columns: cols, Identity: id, TimeInPayload: inPayload,
		})
	}
	add("tv", 1, telemetry.IdentityTimeValues, true, cols)
	add("tv", 2, telemetry.IdentityTimeValues, true, append(cols[:len(cols):len(cols)], telemetry.Column{Name: "_rest", Type: telemetry.JSON}))
	add("last", 1, telemetry.IdentityTime, true, cols)
	add("last", 2, telemetry.IdentityTime, true, cols[:3])
	add("none", 1, telemetry.IdentityNone, true, cols)
	add("pulse", 1, telemetry.IdentityTimeValues, false, cols[:1])
	for _, t := range m.tables {
		m.must(m.real.PutTable(m.ctx, telemetry.DefaultTenant, t, nil))
		m.must(m.model.PutTable(m.ctx, telemetry.DefaultTenant, t, nil))
	}
	m.openSession()
	return m
}

func (m *machine) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatalf("%v", err)
	}
}

func (m *machine) close() { m.must(m.real.Close()) }

func (m *machine) openSession() {
	id, got, err := m.real.OpenSession(m.ctx, "session")
	m.must(err)
	wantID, want, err := m.model.OpenSession(m.ctx, "session")
	m.must(err)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		m.Fatalf("ledger: got %v, want %v", got, want)
	}
	if id != wantID {
		m.Fatalf("session: got %d, want %d", id, wantID)
	}
	m.session = id
}

func (m *machine) step() {
	switch rapid.SampledFrom([]string{"stage", "stage", "stage", "commit", "commit", "compact", "reopen", "abort", "compare", "ledger"}).Draw(m.T, "step") {
	case "stage":
		m.stage()
	case "commit":
		m.commit(1)
	case "compact":
		if c, ok := m.real.(compactor); ok {
			m.must(c.Compact(m.ctx))
		}
	case "reopen":
		m.commit(rapid.IntRange(0, len(m.staged)).Draw(m.T, "committed before the restart"))
		m.staged, m.modelStaged = nil, nil
		m.must(m.real.Close())
		m.real = m.open(m.tb, m.config)
		m.must(m.model.Close())
		m.model.Reopen()
		m.openSession()
	case "abort":
		for i := len(m.staged) - 1; i >= 0; i-- {
			m.staged[i].Abort()
			m.modelStaged[i].Abort()
		}
		m.staged, m.modelStaged = nil, nil
	case "compare":
		m.compare()
	case "ledger":
		m.openSession()
	}
}

func (m *machine) commit(n int) {
	for ; n > 0 && len(m.staged) > 0; n-- {
		m.must(m.staged[0].Commit(m.ctx))
		m.must(m.modelStaged[0].Commit(m.ctx))
		m.staged, m.modelStaged = m.staged[1:], m.modelStaged[1:]
	}
}

// stage gives both the same random commit and compares what they call duplicates.
func (m *machine) stage() {
	var specs []sectionSpec
	for range rapid.IntRange(0, 3).Draw(m.T, "sections") {
		specs = append(specs, m.drawSection())
	}
	var q []telemetry.Quarantined
	for range rapid.IntRange(0, 2).Draw(m.T, "quarantined") {
		q = append(q, telemetry.Quarantined{
			Topic: rapid.SampledFrom([]string{"a/b", "c"}).Draw(m.T, "topic"), Payload: []byte("x"), Offset: -1,
			Reason: rapid.SampledFrom([]telemetry.Reason{telemetry.ReasonInvalid, telemetry.ReasonTime}).Draw(m.T, "reason"),
		})
	}
	resolved := rapid.SliceOfN(rapid.Int64Range(1, 30), 0, 2).Draw(m.T, "resolved")
	var ops []telemetry.LedgerOp
	for range rapid.IntRange(0, 4).Draw(m.T, "operations") {
		ops = append(ops, telemetry.LedgerOp{
			Session: m.session, PacketID: rapid.Uint16Range(60, 70).Draw(m.T, "packet"), QoS: rapid.Uint8Range(1, 2).Draw(m.T, "qos"),
			Kind: rapid.SampledFrom([]telemetry.LedgerOpKind{1, 1, 1, 2, 2, 3}).Draw(m.T, "kind"), Hash: rapid.Uint64().Draw(m.T, "hash"),
		})
	}
	for i := range ops { // only puts carry a hash and a QoS
		if ops[i].Kind != telemetry.LedgerPut {
			ops[i].Hash, ops[i].QoS = 0, 0
		}
	}
	build := func(s store.Store) *telemetry.Commit {
		b := &telemetry.Batch{Tenant: telemetry.DefaultTenant, Quarantine: q, Resolved: resolved}
		for _, spec := range specs {
			b.Sections = append(b.Sections, m.build(s, spec))
		}
		return &telemetry.Commit{Batches: []*telemetry.Batch{b}, Ledger: ops}
	}
	got, want := build(m.real), build(m.model)
	gotStaged, err := m.real.Stage(m.ctx, got)
	m.must(err)
	wantStaged, err := m.model.Stage(m.ctx, want)
	m.must(err)
	for i := range specs {
		g, w := got.Batches[0].Sections[i].Duplicates, want.Batches[0].Sections[i].Duplicates
		if fmt.Sprint(g) != fmt.Sprint(w) {
			m.Fatalf("duplicates of section %d: got %v, want %v", i, g, w)
		}
	}
	m.staged, m.modelStaged = append(m.staged, gotStaged), append(m.modelStaged, wantStaged)
}

// sectionSpec is a section that can be built for each store.
type sectionSpec struct {
	table     *telemetry.Table
	rows      []rowSpec
	ifChanged []int32
}

type rowSpec struct {
	topic  string
	tags   [][]byte
	time   int64
	values []telemetry.Value
}

// build makes the section with the refs of one store: refs that were issued and
// never committed are lost in a restart, and the model forgets nothing.
func (m *machine) build(s store.Store, spec sectionSpec) *telemetry.Section {
	sec := section(spec.table)
	for i, r := range spec.rows {
		ref, err := s.Series(telemetry.DefaultTenant, spec.table, []byte(r.topic), r.tags)
		m.must(err)
		sec.AppendRow(ref, r.time, int64(i), r.values)
	}
	sec.OnlyIfChanged = spec.ifChanged
	return sec
}

// Few series, times and values, so that rows meet each other; times in several
// partitions, so that late rows do too.
func (m *machine) drawSection() sectionSpec {
	s := sectionSpec{table: rapid.SampledFrom(m.tables).Draw(m.T, "table")}
	const day = int64(24 * 3600 * 1e9)
	for i := range rapid.IntRange(0, 8).Draw(m.T, "rows") {
		tags := [][]byte{nil, []byte("e")}
		if rapid.Bool().Draw(m.T, "tagged") {
			tags[0] = []byte("d")
		}
		r := rowSpec{topic: rapid.SampledFrom([]string{"x/1", "x/2", "y"}).Draw(m.T, "topic"), tags: tags, time: rapid.SampledFrom([]int64{0, 1, 2, day, day + 1, -day, 40 * day}).Draw(m.T, "time")}
		for _, c := range s.table.Columns {
			var v telemetry.Value
			switch n := rapid.Uint64Range(0, 2).Draw(m.T, "value"); {
			case n == 0:
				v.Null = true
			case c.Type.Textual():
				v.Text = []byte(fmt.Sprint(n))
			case c.Type == telemetry.Float:
				v = num(float64(n) / 2)
			default:
				v.Bits = n & 1
			}
			r.values = append(r.values, v)
		}
		s.rows = append(s.rows, r)
		if rapid.IntRange(0, 9).Draw(m.T, "retained") == 0 {
			s.ifChanged = append(s.ifChanged, int32(i))
		}
	}
	return s
}

// compare scans both stores.
func (m *machine) compare() {
	for _, name := range []string{"tv", "last", "none", "pulse"} {
		r := all(name)
		if rapid.Bool().Draw(m.T, "narrow") {
			r.From, r.To = 1, 24*3600*1e9+1
			r.Match = func(topic string, _ []store.Tag) bool { return topic == "x/1" }
		}
		got, want := m.scan(m.real, r), m.scan(m.model, r)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			m.Fatalf("rows of %s:\ngot  %q\nwant %q", name, got, want)
		}
	}
	list := func(s store.Store) (out []telemetry.Quarantined) {
		m.must(s.Quarantined(m.ctx, telemetry.DefaultTenant, store.QuarantineFilter{}, func(q *telemetry.Quarantined) bool {
			c := *q
			c.ID = 0 // an aborted commit may have been issued some
			out = append(out, c)
			return true
		}))
		return out
	}
	if g, w := fmt.Sprint(list(m.real)), fmt.Sprint(list(m.model)); g != w {
		m.Fatalf("quarantine: got %s, want %s", g, w)
	}
}

func (m *machine) scan(s store.Store, r store.ScanRequest) []string {
	sc, err := s.Scan(m.ctx, r)
	m.must(err)
	defer sc.Close()
	rows, err := scanRows(m.tb, sc, r)
	m.must(err)
	return rows
}
