package embedded

import (
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"slices"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// SQLite has no checksums, so a flipped bit in a row would rename a topic or move
// a floor in silence. Every row of the catalog ends with its own; docs/format/
// catalog.md says what is done about one that fails it.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// rowSum is the checksum of a row's values. NULL and empty are the same to it.
func rowSum(values []driver.Value) uint32 {
	sum := uint32(0)
	var b [9]byte
	for _, v := range values {
		if n, ok := v.(int64); ok {
			b[0] = 1
			binary.LittleEndian.PutUint64(b[1:], uint64(n))
			sum = crc32.Update(sum, castagnoli, b[:])
			continue
		}
		data := asBytes(v)
		b[0] = 2
		binary.LittleEndian.PutUint64(b[1:], uint64(len(data)))
		sum = crc32.Update(crc32.Update(sum, castagnoli, b[:]), castagnoli, data)
	}
	return sum
}

// intact checks a row that ends with its checksum.
func intact(row []driver.Value) bool {
	last := len(row) - 1
	return asInt(row[last]) == int64(rowSum(row[:last]))
}

func damagedRow(table string, id int64) error {
	err := telemetry.Errorf(telemetry.CodeDamaged, "load catalog", "row %d of table %s in %s fails its checksum", id, table, catalogFile)
	switch table {
	case "segments", "deletions", "rollups", "tables", "losses":
		return err.WithHint(acceptHint)
	}
	return err
}

// appendSum and cutSum add and check the checksum at the end of a blob that is
// not read together with its row.
func appendSum(blob []byte) []byte {
	return binary.LittleEndian.AppendUint32(blob, crc32.Checksum(blob, castagnoli))
}

func cutSum(blob []byte) ([]byte, bool) {
	n := len(blob) - 4
	if n < 0 || crc32.Checksum(blob[:n], castagnoli) != binary.LittleEndian.Uint32(blob[n:]) {
		return nil, false
	}
	return blob[:n], true
}

// lostRow is a damaged row that the store can do without.
type lostRow struct {
	table string
	id    int64
	data  []byte // what is in it
}

// keepDamaged writes what is damaged to a file of its own and returns its path. It is
// durable: what it came from is deleted after that.
func (s *Store) keepDamaged(name string, data []byte) (path string, err error) {
	dir := filepath.Join(s.opt.Dir, "damaged")
	if err := durable.MakeDir(dir, 0o700); err != nil {
		return "", err
	}
	path = filepath.Join(dir, name)
	return path, durable.WriteFile(path, path+".tmp", data)
}

// setRowsAside copies damaged rows to files, so that a person can look at them,
// and deletes them.
func (s *Store) setRowsAside(rows []lostRow) error {
	if len(rows) == 0 || s.opt.ReadOnly {
		return nil
	}
	for _, r := range rows {
		if _, err := s.keepDamaged(fmt.Sprintf("%s-%d", r.table, r.id), r.data); err != nil {
			return fmt.Errorf("set damaged row aside: %w", err)
		}
	}
	return s.w.transaction(func() error {
		for _, r := range rows {
			if err := s.w.exec("DELETE FROM "+r.table+" WHERE id = ?", r.id); err != nil {
				return err
			}
		}
		return nil
	})
}

// lostTable is a table version whose row is damaged or missing.
type lostTable struct {
	name string // as a segment tells, else as the damaged row does; "" is unknown
	err  error
	row  bool // it is there, and damaged
}

// lostSegment is a segment that cannot be read because its row, or that of its
// table, is damaged. Its file stays.
type lostSegment struct {
	name   string // of its table; "" is unknown
	rows   int
	lo, hi int64
	err    error
	// manifest says that rows are missing, and that no row of the catalog tells.
	manifest bool
	loss     *Loss  // that notes it; nil: none does
	table    string // of the catalog, whose row id it is; "": none
	id       int64
}

// loseSegment keeps in mind what a damaged row makes unreadable, so that scans
// say so. The file knows its table better than the row does.
func (s *Store) loseSegment(tn *tenant, path string, lost lostSegment) {
	s.damaged(lost.err)
	file := &segmentFile{files: &s.files, path: path}
	if t, table, err := file.table(); path != "" && err == nil {
		lost.name = t.Name
		if l := s.lostTables[table]; l != nil {
			l.name = t.Name
		}
	}
	if tn != nil {
		tn.lost = append(tn.lost, lost)
	}
}

// table returns the table that a segment file records, and its id.
func (f *segmentFile) table() (*telemetry.Table, uint32, error) {
	file, err := f.acquire()
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	f.release()
	if err != nil {
		return nil, 0, errors.Join(err, f.close())
	}
	seg, err := chunk.OpenSegment(f, info.Size(), chunk.OpenOptions{Name: f.path})
	if err = errors.Join(err, f.close()); err != nil {
		return nil, 0, err
	}
	return seg.Table(), seg.Meta().TableID, nil
}

// tenantOrAny finds a tenant for what a damaged row tells of it.
func (s *Store) tenantOrAny(id int64) *tenant {
	if tn := s.tenantByID(id); tn != nil {
		return tn
	}
	for _, tn := range *s.tenants.Load() {
		return tn
	}
	return nil
}

// concerns reports whether what was lost may be rows of a table: it is, or nobody
// knows whose they were.
func (tn *tenant) concerns(lost, table string) bool {
	return lost == table || lost == "" || tn.tableName(lost) == nil
}

// lostPart returns why the rows of a frame's part cannot be read, if they may be
// rows of the scan's table.
func (sc *scan) lostPart(id uint32) error {
	if len(sc.s.lostTables) == 0 || sc.s.version(id) != nil {
		return nil
	}
	l := sc.s.lostTables[id]
	if l == nil {
		return telemetry.Errorf(telemetry.CodeDamaged, "read frame", "no row %d stands in table tables of %s", id, catalogFile)
	}
	if !sc.tn.concerns(l.name, sc.name.name) {
		return nil
	}
	return l.err
}

// addLost stands in for segments that cannot be read.
func (sc *scan) addLost() {
	for _, l := range sc.lost {
		if sc.inTime(l.lo, l.hi) && sc.tn.concerns(l.name, sc.name.name) {
			sc.units = append(sc.units, &brokenUnit{sc: sc, rows: l.rows, lo: l.lo, hi: l.hi, err: l.err})
		}
	}
}

// unknownGroup is the series group of the keys that stand in for lost ones.
const unknownGroup = 1<<32 - 1

// refRange is the series from the first up to and without the second.
type refRange struct{ from, to telemetry.SeriesRef }

// loseSeries issues the refs up to and without to, whose keys are lost, so that
// no other series gets them.
func (s *Store) loseSeries(tn *tenant, to uint32) error {
	from := tn.series.count.Load()
	if to <= from {
		return nil
	}
	data := []byte(nil)
	for ref := from; ref < to; ref++ {
		key := appendSeriesKey(nil, unknownGroup, fmt.Appendf(nil, "unknown series %d", ref), nil)
		data = append(binary.AppendUvarint(data, uint64(len(key))), key...)
	}
	if err := tn.series.load(data, int(to-from)); err != nil {
		return err
	}
	tn.saved = to
	tn.unknown = append(tn.unknown, refRange{telemetry.SeriesRef(from), telemetry.SeriesRef(to)})
	return nil
}

// loseLastSeries issues the refs that rows use and that no block of series holds,
// which are those of a damaged last block.
func (s *Store) loseLastSeries() error {
	if len(s.lostSeries) == 0 {
		return nil
	}
	for _, tn := range *s.tenants.Load() {
		top := uint32(0)
		for _, f := range tn.frames {
			parts, err := s.frameParts(f)
			if err := mayPass(err); err != nil {
				return err
			}
			for _, p := range parts {
				top = max(top, uint32(p.MaxSeries)+1)
			}
		}
		for _, g := range tn.segs {
			seg, err := s.openSegment(g)
			if err := mayPass(err); err != nil {
				return err
			}
			if err == nil {
				top = max(top, uint32(seg.Meta().MaxSeries)+1)
			}
		}
		if err := s.loseSeries(tn, top); err != nil {
			return err
		}
	}
	return nil
}

func (tn *tenant) isUnknown(ref telemetry.SeriesRef) bool {
	return slices.ContainsFunc(tn.unknown, func(r refRange) bool { return ref >= r.from && ref < r.to })
}

// unknown returns why rows cannot be read whose series is lost: without topic
// and tags they would be counted where they do not belong.
func (sc *scan) unknown(sec *telemetry.Section) error {
	if len(sc.tn.unknown) == 0 {
		return nil
	}
	for row, ref := range sec.Series {
		if t := sec.Time[row]; t >= sc.req.From && t < sc.req.To && sc.tn.isUnknown(ref) {
			return telemetry.Errorf(telemetry.CodeDamaged, "scan", "topic and tags of series %d are lost: %w", ref, errors.Join(sc.s.lostSeries...))
		}
	}
	return nil
}
