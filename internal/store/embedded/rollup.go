package embedded

import (
	"cmp"
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// rollupsTable lists the segments that hold aggregates; docs/format/catalog.md
// describes it.
var rollupsTable = &catalogTable{
	name: "rollups", clear: []string{"id", "tenant"},
	secret: []string{"name", "width", "partition", "seen", "created", "rows", "size", "min_time", "max_time", "pack", "start", "final", "made_from"}, hidden: []string{"tag"},
	plainSQL: `id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, name TEXT NOT NULL, width INTEGER NOT NULL,
		partition INTEGER NOT NULL, seen INTEGER NOT NULL, created INTEGER NOT NULL, rows INTEGER NOT NULL, size INTEGER NOT NULL,
		min_time INTEGER NOT NULL, max_time INTEGER NOT NULL, pack INTEGER NOT NULL, start INTEGER NOT NULL, final INTEGER NOT NULL,
		crc INTEGER NOT NULL, made_from BLOB NOT NULL`,
	sealedSQL: "id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, crc INTEGER NOT NULL, sealed BLOB NOT NULL",
}

// rollupOf is what makes a segment one of aggregates. Its rows stand in for the
// readings of the segments that it was made from, and for nothing else: readings
// that came later are added to it by whoever asks. A partition whose readings are
// gone has final ones only.
type rollupOf struct {
	table string
	width int64
	// sources are the states of the segments whose readings it holds, ascending.
	// Rollups of several widths with the same sources say the same. from are those
	// of them that were there when the store was opened, or it was made.
	sources []int64
	from    []*segment
	// seen is the newest frame that had been compacted when it was made: what
	// later ones overwrite is still in it.
	seen  int64
	final bool // the sources are deleted by age; guarded by Store.mu
	// bad says that damage was met in it: while the sources are there, they are read
	// instead, and it is made anew.
	bad atomic.Bool
}

// rollupVersion stands for the table of rollup segments, which say themselves
// which columns they have.
var rollupVersion = &tableVersion{table: &telemetry.Table{}, name: &tableName{}}

// rollupRow is a rollup as the catalog holds it.
func (g *segment) rollupRow(final bool) []driver.Value {
	r := g.rollup
	var sources []byte
	before := int64(0)
	for _, id := range r.sources {
		sources = binary.AppendUvarint(sources, uint64(id-before))
		before = id
	}
	isFinal := int64(0)
	if final {
		isFinal = 1
	}
	return []driver.Value{
		g.id, g.tn.id, r.table, r.width, g.partition, r.seen, g.created, g.rows, g.size, g.minTime, g.maxTime,
		g.packID(), g.start, isFinal, notNil(sources), g.tag,
	}
}

func readSources(b []byte) (sources []int64, ok bool) {
	at := int64(0)
	for len(b) > 0 {
		d, n := binary.Uvarint(b)
		if n <= 0 || d == 0 || d > 1<<62 {
			return nil, false
		}
		at, b = at+int64(d), b[n:]
		sources = append(sources, at)
	}
	return sources, true
}

// The rows of table rollups count for the manifest as those of table segments do.

func (s *Store) insertRollup(m *manifest, g *segment) error {
	row := g.rollupRow(g.rollup.final)
	m.add(row)
	return s.insertRow(rollupsTable, g.tn, row)
}

func (s *Store) deleteRollup(m *manifest, g *segment) error {
	m.remove(g.rollupRow(g.rollup.final))
	return s.w.exec("DELETE FROM rollups WHERE id = ?", g.id)
}

func (s *Store) finishRollup(m *manifest, g *segment) error {
	row := g.rollupRow(true)
	m.remove(g.rollupRow(g.rollup.final))
	m.add(row)
	return s.updateRow(rollupsTable, g.tn, row)
}

// loadRollups reads the list of rollups. Damaged rows are told, and their files
// stay: of a partition whose readings are gone they hold all there is.
func (s *Store) loadRollups(known map[string]bool, found map[*tenant]manifest, packs map[int64]*pack) (damaged int, err error) {
	err = s.eachRow(s.w, rollupsTable, "ORDER BY id", "", func(r *catalogRow) error {
		row := r.v
		id := asInt(row[0])
		known[filepath.Base(s.segmentPath(id))] = true
		s.nextSegment.Store(max(s.nextSegment.Load(), id+1))
		sources, ok := readSources(asBytes(row[14]))
		if !r.intact || !ok {
			damaged++
			s.damaged(damagedRow("rollups", id))
			if tn := s.tenantOrAny(asInt(row[1])); tn != nil {
				tn.lostRollups = append(tn.lostRollups, id)
			}
			return nil
		}
		g := &segment{
			id: id, tn: s.tenantByID(asInt(row[1])), v: rollupVersion, partition: asInt(row[4]), created: asInt(row[6]),
			rows: asInt(row[7]), size: asInt(row[8]), minTime: asInt(row[9]), maxTime: asInt(row[10]), start: asInt(row[12]), tag: asBytes(row[15]),
			rollup: &rollupOf{table: asText(row[2]), width: asInt(row[3]), seen: asInt(row[5]), sources: sources, final: asInt(row[13]) != 0},
		}
		if g.tn == nil || g.rollup.width <= 0 {
			return telemetry.Errorf(telemetry.CodeDamaged, "load rollups", "rollup %d belongs to no tenant", id)
		}
		for _, src := range sources {
			// An id that names readings here never names others.
			s.nextSegment.Store(max(s.nextSegment.Load(), src+1))
		}
		if in := asInt(row[11]); in != 0 {
			s.packOf(g, in, known, packs)
		}
		seen := found[g.tn]
		seen.add(row)
		found[g.tn] = seen
		g.tn.rollups = append(g.tn.rollups, g)
		return nil
	})
	return damaged, err
}

// resolveRollups finds the segments that the rollups were made from, after a start.
func (s *Store) resolveRollups() error {
	for _, tn := range *s.tenants.Load() {
		byState := make(map[int64]*segment, len(tn.segs))
		for _, g := range tn.segs {
			byState[g.state()] = g
		}
		for _, g := range tn.rollups {
			for _, state := range g.rollup.sources {
				if src := byState[state]; src != nil {
					g.rollup.from = append(g.rollup.from, src)
				}
			}
		}
		tn.regroup()
	}
	return nil
}

// packOf makes a segment that is being loaded a part of a pack.
func (s *Store) packOf(g *segment, in int64, known map[string]bool, packs map[int64]*pack) {
	if packs[in] == nil {
		packs[in] = s.newPack(in)
		known[filepath.Base(packs[in].file.path)] = true
		s.nextSegment.Store(max(s.nextSegment.Load(), in+1))
	}
	g.pack = packs[in]
	g.pack.live.Add(1)
}

// rollupGroup is rollups of several widths that were made from the same segments.
// It does not change.
type rollupGroup struct {
	partition int64
	sources   []int64
	from      []*segment
	seen      int64
	final     bool
	widths    []*segment // ascending by width
}

// regroup parts the tenant's rollups into groups, by table; Store.mu is held.
func (tn *tenant) regroup() {
	at, all := map[string]*rollupGroup{}, map[string][]*rollupGroup{}
	for _, g := range tn.rollups {
		r := g.rollup
		key := fmt.Sprint(r.table, "\x00", g.partition, r.seen, r.final, r.sources)
		o := at[key]
		if o == nil {
			o = &rollupGroup{partition: g.partition, sources: r.sources, from: r.from, seen: r.seen, final: r.final}
			at[key] = o
			all[r.table] = append(all[r.table], o)
		}
		o.widths = append(o.widths, g)
	}
	for _, o := range at {
		slices.SortFunc(o.widths, func(a, b *segment) int { return cmp.Compare(a.rollup.width, b.rollup.width) })
	}
	tn.rolledUp = all
}

// FinalRollups returns the span of the rollups of a table that overlap a range of
// time and are all that is left of their readings: no deletion reaches into them.
func (s *Store) FinalRollups(name telemetry.Tenant, table string, from, to int64) (span store.TimeSpan, found bool) {
	tn := s.tenant(name)
	if tn == nil {
		return span, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range tn.rolledUp[table] {
		if !o.final {
			continue
		}
		for _, g := range o.widths {
			end := g.maxTime + g.rollup.width
			if g.minTime >= to || end <= from {
				continue
			}
			if !found {
				span = store.TimeSpan{From: g.minTime, To: end}
			}
			found = true
			span.From, span.To = min(span.From, g.minTime), max(span.To, end)
		}
	}
	return span, found
}

// isLive reports whether all sources are still segments of the store, with the same
// rows: what the group says of them holds. Store.mu is held.
func (o *rollupGroup) isLive() bool {
	if len(o.from) < len(o.sources) {
		return false
	}
	for _, g := range o.from {
		if _, same := slices.BinarySearch(o.sources, g.state()); !same || g.removed.Load() {
			return false
		}
	}
	return true
}

// partitionBounds returns the times of a partition; ok is false where int64 ends
// inside of it.
func (s *Store) partitionBounds(p int64) (from, to int64, ok bool) {
	n := int64(s.opt.Partition)
	if p == mixedPartition || p <= minTime/n || p >= maxTime/n-1 {
		return minTime, maxTime, false
	}
	return p * n, (p + 1) * n, true
}

// enterRollups changes the list of rollups, in the transaction of a step.
func (c *compaction) enterRollups(m *manifest) error {
	for _, g := range c.rolled {
		if err := c.s.insertRollup(m, g); err != nil {
			return err
		}
	}
	for _, g := range c.finished {
		if err := c.s.finishRollup(m, g); err != nil {
			return err
		}
	}
	for _, g := range c.unrolled {
		if err := c.s.deleteRollup(m, g); err != nil {
			return err
		}
	}
	return nil
}

// publishRollups shows readers the new rollups, and returns those that go; Store.mu
// is held.
func (c *compaction) publishRollups() (gone []*segment) {
	if len(c.rolled)+len(c.finished)+len(c.unrolled) == 0 {
		return nil
	}
	for _, g := range c.finished {
		g.rollup.final = true
	}
	kept := make([]*segment, 0, len(c.tn.rollups)+len(c.rolled))
	for _, g := range c.tn.rollups {
		if !slices.Contains(c.unrolled, g) {
			kept = append(kept, g)
		}
	}
	c.tn.rollups = append(kept, c.rolled...)
	c.tn.regroup()
	return c.unrolled
}
