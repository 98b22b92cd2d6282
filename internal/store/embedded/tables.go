package embedded

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/json"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// tenant is what the store holds in memory for one tenant.
type tenant struct {
	id        int64
	name      telemetry.Tenant
	persisted bool // its row stands in the catalog; guarded by Store.wmu

	series *seriesIndex
	// saved counts the series that are durable; guarded by Store.wmu.
	saved  uint32
	blocks int // rows of the catalog that hold them; guarded by Store.wmu
	joined int // blocks after they were last joined; guarded by Store.wmu

	manifest manifest   // guarded by Store.wmu
	reach    sealedTail // how far other tables must reach, at a start
	// tableRows counts the rows of table tables, at a start.
	tableRows int64
	number    int64 // of the newest frame; guarded by Store.wmu

	mu     sync.Mutex // guards names and adding to byPtr
	names  map[string]*tableName
	byPtr  atomic.Pointer[map[*telemetry.Table]*tableVersion]
	groups uint32 // the series groups issued

	quarantine quarantine

	marks watermarks // owned by Stage
	// marksFloor is at or above the times of all rows that were not looked at when
	// the marks were restored.
	marksFloor int64

	compacted time.Time // when level 0 was last compacted; owned by the compaction
	busy      time.Time // when level 0 last filled the memory; owned by the compaction
	rowBytes  int64     // memory of a decoded row; owned by the compaction

	// merging are the sources of a merge of packs that is under way while level 0
	// is compacted; owned by the compaction.
	merging []*segment

	compactRows atomic.Int64 // how many rows one compaction takes

	// What readers see, guarded by Store.mu. Slices are replaced or appended to,
	// never changed in place, so that a view may keep them.
	frames []*frame   // committed, ascending by id
	segs   []*segment // ascending by arrival
	// rollups are the segments that hold aggregates.
	rollups []*segment
	// rolledUp are the same by table, in groups; it is replaced, not changed.
	rolledUp   map[string][]*rollupGroup
	policies   map[string]store.Policy // by table; guarded by mu
	rollupDebt atomic.Int64            // partitions whose rollups are to be made
	payments   map[rollupKey]payment   // which rollups pay; owned by the compaction

	// What damage of the catalog has lost. After the start only AcceptLosses changes
	// it: it replaces lost and lostRollups, which Store.mu guards then.
	lost    []lostSegment
	unknown []refRange // series without keys
	// lostRollups are the ids of damaged rows of table rollups.
	lostRollups []int64

	level0Rows  int // of frames; guarded by Store.mu
	carriedRows int // of the frame that compaction carried; guarded by Store.mu
}

// tableName is a table with all its versions.
type tableName struct {
	name     string
	versions []*tableVersion // ascending
	groups   []*seriesGroup
}

// tableVersion is one recorded version.
type tableVersion struct {
	id     uint32
	table  *telemetry.Table
	name   *tableName
	group  *seriesGroup
	record store.TableRecord
	// identity is Table.Identity, or IdentityNone where the time is that of
	// receipt: then content says nothing about identity.
	identity telemetry.Identity
	cols     []int // all columns
}

// seriesGroup is the versions of a table that share their series: those with
// the same tag names.
type seriesGroup struct {
	id   uint32
	tags []string
}

// storedTable is a Table as the catalog holds it, in JSON.
type storedTable struct {
	Tags          []string       `json:"tags"`
	Columns       []storedColumn `json:"columns"`
	Identity      uint8          `json:"identity"`
	TimeInPayload bool           `json:"time_in_payload"`
}

type storedColumn struct {
	Name string `json:"name"`
	Type uint8  `json:"type"`
	Unit string `json:"unit,omitempty"`
}

func encodeTable(t *telemetry.Table) ([]byte, error) {
	st := storedTable{Tags: t.Tags, Identity: uint8(t.Identity), TimeInPayload: t.TimeInPayload}
	for _, c := range t.Columns {
		st.Columns = append(st.Columns, storedColumn{c.Name, uint8(c.Type), c.Unit})
	}
	return json.Marshal(st)
}

func decodeTable(name string, version int, data []byte) (*telemetry.Table, error) {
	var st storedTable
	if err := json.Unmarshal(data, &st); err != nil {
		return nil, telemetry.Errorf(telemetry.CodeDamaged, "load table", "definition of %s version %d: %v", name, version, err)
	}
	t := &telemetry.Table{
		Name: name, Version: version, Tags: st.Tags,
		Identity: telemetry.Identity(st.Identity), TimeInPayload: st.TimeInPayload,
	}
	for _, c := range st.Columns {
		t.Columns = append(t.Columns, telemetry.Column{Name: c.Name, Type: telemetry.ColumnType(c.Type), Unit: c.Unit})
	}
	return t, nil
}

func newTenant(id int64, name telemetry.Tenant) *tenant {
	tn := &tenant{id: id, name: name, series: newSeriesIndex(), names: map[string]*tableName{}}
	tn.compactRows.Store(1 << 20)
	tn.byPtr.Store(&map[*telemetry.Table]*tableVersion{})
	return tn
}

// tenant returns the state of a tenant, or nil for one that was never seen.
func (s *Store) tenant(name telemetry.Tenant) *tenant {
	return (*s.tenants.Load())[name]
}

// ensureTenant returns the state of a tenant, making it if it is new. It becomes
// durable with the first transaction that uses it.
func (s *Store) ensureTenant(name telemetry.Tenant) *tenant {
	if tn := s.tenant(name); tn != nil {
		return tn
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.tenants.Load()
	if tn := old[name]; tn != nil {
		return tn
	}
	id := int64(1)
	all := make(map[telemetry.Tenant]*tenant, len(old)+1)
	for k, v := range old {
		all[k] = v
		id = max(id, v.id+1)
	}
	tn := newTenant(id, name)
	all[name] = tn
	s.tenants.Store(&all)
	return tn
}

// tenantByID finds a tenant by its number in the catalog.
func (s *Store) tenantByID(id int64) *tenant {
	for _, tn := range *s.tenants.Load() {
		if tn.id == id {
			return tn
		}
	}
	return nil
}

// saveTenant enters a new tenant in the catalog; it runs in a transaction.
func (s *Store) saveTenant(tn *tenant) error {
	if tn.persisted {
		return nil
	}
	return s.insertRow(tenantsTable, nil, tn.row(&manifest{}))
}

// PutTable implements store.Store.
func (s *Store) PutTable(_ context.Context, name telemetry.Tenant, t *telemetry.Table, document []byte) error {
	if err := s.writable("record table"); err != nil {
		return err
	}
	def, err := encodeTable(t)
	if err != nil {
		return telemetry.Errorf(telemetry.CodeInvalid, "record table", "%v", err)
	}
	if len(t.Columns) > chunk.MaxColumns {
		return telemetry.Errorf(telemetry.CodeInvalid, "record table", "%s has %d columns, more than %d", t.Name, len(t.Columns), chunk.MaxColumns)
	}
	tn := s.ensureTenant(name)
	s.wmu.Lock()
	defer s.wmu.Unlock()
	tn.mu.Lock()
	defer tn.mu.Unlock()
	if old := tn.version(t.Name, t.Version); old != nil {
		oldDef, err := encodeTable(old.table)
		if err == nil && bytes.Equal(oldDef, def) && bytes.Equal(old.record.Document, document) {
			tn.remember(t, old)
			return nil
		}
		return telemetry.Errorf(telemetry.CodeConflict, "record table", "%s version %d is recorded with another document", t.Name, t.Version).
			WithHint("give the changed schema a new version")
	}
	group, fresh := tn.groupOf(t), false
	if group == nil {
		group, fresh = &seriesGroup{id: tn.groups, tags: slices.Clone(t.Tags)}, true
	}
	id := s.nextTable
	now := s.opt.Now().UnixNano()
	m := tn.manifest
	m.tables++
	err = s.w.transaction(func() error {
		if err := s.saveTenant(tn); err != nil {
			return err
		}
		if err := s.insertRow(tablesTable, tn, []driver.Value{int64(id), tn.id, t.Name, int64(t.Version), int64(group.id), now, def, notNil(document)}); err != nil {
			return err
		}
		return s.saveManifest(tn, &m)
	})
	if err != nil {
		return s.failed("record table", err)
	}
	tn.persisted, tn.manifest = true, m
	s.nextTable++
	if fresh {
		tn.groups++
	}
	v := tn.enter(id, t, group, document, now)
	tn.remember(t, v)
	s.mu.Lock()
	s.versions[id] = v
	s.mu.Unlock()
	return nil
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// version finds a recorded version; tn.mu is held.
func (tn *tenant) version(name string, version int) *tableVersion {
	if n := tn.names[name]; n != nil {
		for _, v := range n.versions {
			if v.table.Version == version {
				return v
			}
		}
	}
	return nil
}

// groupOf finds the series group of a table, or nil; tn.mu is held.
func (tn *tenant) groupOf(t *telemetry.Table) *seriesGroup {
	if n := tn.names[t.Name]; n != nil {
		for _, g := range n.groups {
			if slices.Equal(g.tags, t.Tags) {
				return g
			}
		}
	}
	return nil
}

// enter adds a recorded version to memory; tn.mu is held.
func (tn *tenant) enter(id uint32, t *telemetry.Table, group *seriesGroup, document []byte, recorded int64) *tableVersion {
	n := tn.names[t.Name]
	if n == nil {
		n = &tableName{name: t.Name}
		tn.names[t.Name] = n
	}
	if !slices.Contains(n.groups, group) {
		n.groups = append(n.groups, group)
	}
	v := &tableVersion{
		id: id, table: t, name: n, group: group, identity: t.Identity,
		record: store.TableRecord{Table: t, Document: bytes.Clone(notNil(document)), Recorded: recorded},
	}
	if !t.TimeInPayload {
		v.identity = telemetry.IdentityNone
	}
	for i := range t.Columns {
		v.cols = append(v.cols, i)
	}
	// Readers hold the old slice, so it is replaced, not changed.
	n.versions = append(slices.Clone(n.versions), v)
	sort.Slice(n.versions, func(i, j int) bool { return n.versions[i].table.Version < n.versions[j].table.Version })
	return v
}

// remember makes a caller's Table pointer the short way to its version; tn.mu
// is held. Reloaded schemas bring new pointers, so the map starts again when it
// has grown.
func (tn *tenant) remember(t *telemetry.Table, v *tableVersion) {
	old := *tn.byPtr.Load()
	m := make(map[*telemetry.Table]*tableVersion, len(old)+1)
	if len(old) < 4096 {
		for k, w := range old {
			m[k] = w
		}
	}
	m[t] = v
	tn.byPtr.Store(&m)
}

// lookup returns the recorded version of a caller's Table.
func (tn *tenant) lookup(t *telemetry.Table) (*tableVersion, error) {
	if v := (*tn.byPtr.Load())[t]; v != nil {
		return v, nil
	}
	tn.mu.Lock()
	defer tn.mu.Unlock()
	v := tn.version(t.Name, t.Version)
	if v == nil {
		return nil, telemetry.Errorf(telemetry.CodeNotFound, "find table", "%s version %d is not recorded", t.Name, t.Version)
	}
	a, errA := encodeTable(v.table)
	b, errB := encodeTable(t)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		return nil, telemetry.Errorf(telemetry.CodeConflict, "find table", "%s version %d is recorded with other columns", t.Name, t.Version)
	}
	tn.remember(t, v)
	return v, nil
}

// tableName returns a table with its versions as they are now, or nil.
func (tn *tenant) tableName(name string) *tableName {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	n := tn.names[name]
	if n == nil {
		return nil
	}
	c := *n
	return &c
}

// Tables implements store.Store.
func (s *Store) Tables(_ context.Context, name telemetry.Tenant) ([]store.TableRecord, error) {
	tn := s.tenant(name)
	if tn == nil {
		return nil, nil
	}
	tn.mu.Lock()
	defer tn.mu.Unlock()
	var out []store.TableRecord
	for _, n := range tn.names {
		for _, v := range n.versions {
			out = append(out, v.record)
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
func (s *Store) Series(name telemetry.Tenant, t *telemetry.Table, topic []byte, tags [][]byte) (telemetry.SeriesRef, error) {
	tn := s.lastTenant.Load() // most nodes have one, and a map costs as much as the rest
	if tn == nil || tn.name != name {
		tn = s.ensureTenant(name)
		s.lastTenant.Store(tn)
	}
	v := (*tn.byPtr.Load())[t]
	if v == nil {
		var err error
		if v, err = tn.lookup(t); err != nil {
			return 0, err
		}
	}
	var buf [256]byte
	key := appendSeriesKey(buf[:0], v.group.id, topic, tags)
	hash := xxhash.Sum64(key)
	if ref, ok := tn.series.find(key, hash); ok {
		return ref, nil
	}
	return s.addSeries(tn, v, key, hash, len(tags))
}

func (s *Store) addSeries(tn *tenant, v *tableVersion, key []byte, hash uint64, tags int) (telemetry.SeriesRef, error) {
	if err := s.writable("issue series"); err != nil {
		return 0, err
	}
	if tags != len(v.table.Tags) {
		return 0, telemetry.Errorf(telemetry.CodeInvalid, "issue series", "%d tags for a table of %d", tags, len(v.table.Tags))
	}
	if len(key) > maxSeriesKey {
		return 0, telemetry.Errorf(telemetry.CodeRefused, "issue series", "topic and tags take %d bytes, more than %d", len(key), maxSeriesKey)
	}
	ref, ok := tn.series.add(key, hash, s.opt.MaxSeries)
	if !ok {
		return 0, telemetry.Errorf(telemetry.CodeCardinality, "issue series", "the budget of %d series is spent", s.opt.MaxSeries).
			WithHint("a tag with ever new values makes a series for each; raise the budget only if the series are meant")
	}
	return ref, nil
}
