// Package storetest defines what a store is: Memory is the reference model, and
// Run is the behaviour suite that every store passes.
package storetest

import (
	"bytes"
	"context"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Memory is a store that keeps everything in plain Go values and is written to
// be obviously right. It is the model that other stores are compared with, and
// the store that tests of other rooms run on.
type Memory struct {
	mu       sync.Mutex
	tenants  map[telemetry.Tenant]*memTenant
	sessions map[string]telemetry.SessionID
	ledger   map[telemetry.SessionID]map[uint16]telemetry.LedgerEntry
	staged   []*memStaged // in the order of staging
	nextID   int64
	closed   bool

	// MaxSeries is the series budget of each tenant; 0 is none.
	MaxSeries int
	// RollupsUntil is the time, ns UTC, at midnight, before which scans that ask for
	// rollups get them.
	RollupsUntil int64
	// Now is what RetentionTime returns.
	Now int64
	// BeforeCommit, if set, is called before a staged commit is applied; its
	// error is returned and nothing is applied. Tests inject faults with it.
	BeforeCommit func(*telemetry.Commit) error
}

type memTenant struct {
	tables     map[string]map[int]store.TableRecord
	series     map[string]telemetry.SeriesRef
	info       []memSeries
	rows       map[string][]memRow // by table name
	quarantine []telemetry.Quarantined
	policies   map[string]store.Policy
}

type memSeries struct {
	table string
	info  store.SeriesInfo
}

type memRow struct {
	table    *telemetry.Table
	series   telemetry.SeriesRef
	time     int64
	received int64
	values   []telemetry.Value // Text is owned by the row
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		tenants:  map[telemetry.Tenant]*memTenant{},
		sessions: map[string]telemetry.SessionID{},
		ledger:   map[telemetry.SessionID]map[uint16]telemetry.LedgerEntry{},
	}
}

var _ store.Store = (*Memory)(nil)

func (m *Memory) tenant(t telemetry.Tenant) *memTenant {
	mt := m.tenants[t]
	if mt == nil {
		mt = &memTenant{
			tables: map[string]map[int]store.TableRecord{},
			series: map[string]telemetry.SeriesRef{},
			rows:   map[string][]memRow{}, policies: map[string]store.Policy{},
		}
		m.tenants[t] = mt
	}
	return mt
}

// PutTable implements store.Store.
func (m *Memory) PutTable(_ context.Context, tenant telemetry.Tenant, t *telemetry.Table, document []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	mt := m.tenant(tenant)
	versions := mt.tables[t.Name]
	if versions == nil {
		versions = map[int]store.TableRecord{}
		mt.tables[t.Name] = versions
	}
	if old, ok := versions[t.Version]; ok {
		if !bytes.Equal(old.Document, document) {
			return telemetry.Errorf(telemetry.CodeConflict, "record table",
				"%s version %d is recorded with another document", t.Name, t.Version)
		}
		return nil
	}
	versions[t.Version] = store.TableRecord{Table: t, Document: bytes.Clone(document)}
	return nil
}

// Tables implements store.Store.
func (m *Memory) Tables(_ context.Context, tenant telemetry.Tenant) ([]store.TableRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []store.TableRecord
	for _, versions := range m.tenant(tenant).tables {
		for _, r := range versions {
			out = append(out, r)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i].Table, out[j].Table
		if a.Name != b.Name {
			return a.Name < b.Name
		}
		return a.Version < b.Version
	})
	return out, nil
}

// Series implements store.Store.
func (m *Memory) Series(tenant telemetry.Tenant, table *telemetry.Table, topic []byte, tags [][]byte) (telemetry.SeriesRef, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	mt := m.tenant(tenant)
	var key strings.Builder
	key.WriteString(table.Name + "\x00" + strings.Join(table.Tags, "\x01") + "\x00")
	key.Write(topic)
	info := store.SeriesInfo{Topic: string(topic)}
	for _, t := range tags {
		if t == nil {
			key.WriteString("\x00n")
		} else {
			key.WriteString("\x00v" + string(t))
		}
		info.Tags = append(info.Tags, store.Tag{Value: string(t), Null: t == nil})
	}
	if ref, ok := mt.series[key.String()]; ok {
		return ref, nil
	}
	if m.MaxSeries > 0 && len(mt.info) >= m.MaxSeries {
		return 0, telemetry.Errorf(telemetry.CodeCardinality, "issue series", "the budget of %d series is spent", m.MaxSeries)
	}
	ref := telemetry.SeriesRef(len(mt.info))
	mt.series[key.String()] = ref
	mt.info = append(mt.info, memSeries{table: table.Name, info: info})
	return ref, nil
}

// OpenSession implements store.Store.
func (m *Memory) OpenSession(_ context.Context, key string) (telemetry.SessionID, []telemetry.LedgerEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id, ok := m.sessions[key]
	if !ok {
		id = telemetry.SessionID(len(m.sessions) + 1)
		m.sessions[key] = id
	}
	var out []telemetry.LedgerEntry
	for _, e := range m.ledger[id] {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b telemetry.LedgerEntry) int { return int(a.PacketID) - int(b.PacketID) })
	return id, out, nil
}

type memStaged struct {
	m      *Memory
	commit *telemetry.Commit
	rows   []memPut // in order
	done   bool
}

type memPut struct {
	tenant telemetry.Tenant
	row    memRow
}

// Stage implements store.Store.
func (m *Memory) Stage(_ context.Context, c *telemetry.Commit) (store.Staged, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, telemetry.Errorf(telemetry.CodeUnavailable, "stage", "the store is closed")
	}
	st := &memStaged{m: m, commit: cloneCommit(c)}
	for _, b := range c.Batches {
		for _, sec := range b.Sections {
			sec.Duplicates = sec.Duplicates[:0]
			for i := range sec.Series {
				row := rowOf(sec, i)
				onlyIfChanged := slices.Contains(sec.OnlyIfChanged, int32(i))
				if m.has(st, b.Tenant, &row, onlyIfChanged) {
					sec.Duplicates = append(sec.Duplicates, int32(i))
					continue
				}
				st.rows = append(st.rows, memPut{b.Tenant, row})
			}
		}
	}
	m.staged = append(m.staged, st)
	return st, nil
}

// has reports whether the reading is already stored or staged.
func (m *Memory) has(st *memStaged, tenant telemetry.Tenant, row *memRow, onlyIfChanged bool) bool {
	var all []*memRow
	rows := m.tenant(tenant).rows[row.table.Name]
	for i := range rows {
		all = append(all, &rows[i])
	}
	for _, s := range append(slices.Clone(m.staged), st) {
		for i := range s.rows {
			if s.rows[i].tenant == tenant && s.rows[i].row.table.Name == row.table.Name {
				all = append(all, &s.rows[i].row)
			}
		}
	}
	var latest *memRow
	dup := false
	for _, r := range all {
		if r.series != row.series {
			continue
		}
		if latest == nil || r.time >= latest.time {
			latest = r
		}
		if r.time == row.time {
			switch row.table.Identity {
			case telemetry.IdentityTimeValues:
				dup = dup || sameValues(r, row)
			case telemetry.IdentityTime:
				dup = sameValues(r, row) // the last one at this time counts
			}
		}
	}
	if onlyIfChanged && latest != nil && sameValues(latest, row) {
		return true
	}
	return dup && row.table.TimeInPayload
}

func sameValues(a, b *memRow) bool {
	for i := range a.table.Columns {
		va := a.values[i]
		j := b.table.ColumnIndex(a.table.Columns[i].Name)
		if j < 0 {
			if !va.Null {
				return false
			}
			continue
		}
		vb := b.values[j]
		if va.Null != vb.Null || a.table.Columns[i].Type != b.table.Columns[j].Type && !va.Null {
			return false
		}
		if !va.Null && (va.Bits != vb.Bits || !bytes.Equal(va.Text, vb.Text)) {
			return false
		}
	}
	for j := range b.table.Columns {
		if a.table.ColumnIndex(b.table.Columns[j].Name) < 0 && !b.values[j].Null {
			return false
		}
	}
	return true
}

func rowOf(sec *telemetry.Section, i int) memRow {
	row := memRow{table: sec.Table, series: sec.Series[i], time: sec.Time[i], received: sec.Received[i]}
	for c := range sec.Columns {
		v := &sec.Columns[c]
		val := telemetry.Value{Null: v.Nulls.Get(i)}
		switch {
		case val.Null:
		case v.Type.Textual():
			val.Text = bytes.Clone(v.Text(i))
		default:
			val.Bits = v.Bits[i]
		}
		row.values = append(row.values, val)
	}
	return row
}

func cloneCommit(c *telemetry.Commit) *telemetry.Commit {
	out := &telemetry.Commit{Ledger: slices.Clone(c.Ledger)}
	for _, b := range c.Batches {
		nb := &telemetry.Batch{Tenant: b.Tenant, Resolved: slices.Clone(b.Resolved)}
		for _, q := range b.Quarantine {
			q.Payload = bytes.Clone(q.Payload)
			q.Topic, q.Source, q.Detail = strings.Clone(q.Topic), strings.Clone(q.Source), strings.Clone(q.Detail)
			nb.Quarantine = append(nb.Quarantine, q)
		}
		out.Batches = append(out.Batches, nb)
	}
	return out
}

// Commit implements store.Staged.
func (s *memStaged) Commit(context.Context) error {
	m := s.m
	if m.BeforeCommit != nil {
		if err := m.BeforeCommit(s.commit); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.done || len(m.staged) == 0 || m.staged[0] != s {
		return telemetry.Errorf(telemetry.CodeInternal, "commit", "staged commits are committed in order, once")
	}
	s.done = true
	m.staged = m.staged[1:]
	for _, p := range s.rows {
		mt := m.tenant(p.tenant)
		rows := mt.rows[p.row.table.Name]
		if p.row.table.Identity == telemetry.IdentityTime && p.row.table.TimeInPayload {
			rows = slices.DeleteFunc(rows, func(r memRow) bool {
				return r.series == p.row.series && r.time == p.row.time
			})
		}
		mt.rows[p.row.table.Name] = append(rows, p.row)
	}
	for _, b := range s.commit.Batches {
		mt := m.tenant(b.Tenant)
		mt.quarantine = slices.DeleteFunc(mt.quarantine, func(q telemetry.Quarantined) bool {
			return slices.Contains(b.Resolved, q.ID)
		})
		for _, q := range b.Quarantine {
			m.nextID++
			q.ID = m.nextID
			mt.quarantine = append(mt.quarantine, q)
		}
	}
	for _, op := range s.commit.Ledger {
		switch op.Kind {
		case telemetry.LedgerPut:
			if m.ledger[op.Session] == nil {
				m.ledger[op.Session] = map[uint16]telemetry.LedgerEntry{}
			}
			m.ledger[op.Session][op.PacketID] = telemetry.LedgerEntry{PacketID: op.PacketID, QoS: op.QoS, Hash: op.Hash}
		case telemetry.LedgerDrop:
			delete(m.ledger[op.Session], op.PacketID)
		case telemetry.LedgerReset:
			delete(m.ledger, op.Session)
		}
	}
	return nil
}

// Abort implements store.Staged.
func (s *memStaged) Abort() {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.done = true
	s.m.staged = slices.DeleteFunc(s.m.staged, func(o *memStaged) bool { return o == s })
}

// Quarantined implements store.Store.
func (m *Memory) Quarantined(_ context.Context, tenant telemetry.Tenant, f store.QuarantineFilter, yield func(*telemetry.Quarantined) bool) error {
	m.mu.Lock()
	all := slices.Clone(m.tenant(tenant).quarantine)
	m.mu.Unlock()
	n := 0
	for i := len(all) - 1; i >= 0; i-- {
		q := &all[i]
		if f.Schema != "" && q.Schema != f.Schema || f.Reason != "" && q.Reason != f.Reason ||
			f.BeforeID != 0 && q.ID >= f.BeforeID || q.Received < f.Since ||
			f.Topic != "" && !telemetry.TopicMatches(f.Topic, q.Topic) {
			continue
		}
		if f.Limit > 0 && n >= f.Limit {
			return nil
		}
		n++
		if !yield(q) {
			return nil
		}
	}
	return nil
}

// Health implements store.Store.
func (m *Memory) Health() error { return nil }

// Close implements store.Store.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// Reopen makes a closed store usable again and forgets what was staged and not
// committed, as a restart of the process does.
func (m *Memory) Reopen() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = false
	m.staged = nil
}
