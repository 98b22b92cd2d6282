package embedded

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql/driver"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// manifest is what a tenant's row says of its frames and segments. Where the store
// is sealed it shows when rows of these were taken away, put back or exchanged,
// which no checksum of what is there can show: it is written in the transaction
// of each compaction. Frames are numbered in the order of commits, so those above
// the floor must follow each other from the one that the manifest notes.
type manifest struct {
	floor int64 // frames up to this id are replaced by segments

	// The rest is kept in a sealed store only.
	frames   int64    // number of the newest frame at or below the floor
	carried  int64    // id of the frame that the compaction carried, 0 for none
	segments int64    // rows of table segments
	sum      [16]byte // their MACs, by exclusive or
	deletions

	uncounted bool  // an older program wrote the row, without the rest
	losses    int64 // rows of table losses
	tables    int64 // rows of table tables
	sealedTail
}

// deletions is the manifest's part on table deletions.
type deletions struct {
	uncovered bool  // an older program wrote the row, without this part
	count     int64 // rows of table deletions
	struck    [16]byte
}

// row is a tenant as the catalog holds it.
func (tn *tenant) row(m *manifest) []driver.Value {
	row := []driver.Value{tn.id, string(tn.name), m.floor, m.frames, m.carried, m.segments, m.sum[:], m.count, m.struck[:], m.losses, m.tables}
	return append(row, m.values()...)
}

func readManifest(row []driver.Value) manifest {
	m := manifest{floor: asInt(row[2]), frames: asInt(row[3]), carried: asInt(row[4]), segments: asInt(row[5])}
	copy(m.sum[:], asBytes(row[6]))
	m.uncovered, m.count = row[7] == nil, asInt(row[7])
	copy(m.struck[:], asBytes(row[8]))
	m.uncounted, m.losses, m.tables, m.sealedTail = row[9] == nil, asInt(row[9]), asInt(row[10]), readTail(row[11:])
	return m
}

// saveManifest writes the tenant's row if it changed, in the transaction of what
// changed it. m becomes tn.manifest once that is durable.
func (s *Store) saveManifest(tn *tenant, m *manifest) error {
	if s.ring == nil && m.floor == tn.manifest.floor || *m == tn.manifest {
		return nil
	}
	m.sealedTail = s.tailNow(tn)
	return s.updateRow(tenantsTable, nil, tn.row(m))
}

// raise notes that a compaction replaces frames, the oldest of the tenant.
func (m *manifest) raise(frames []*frame, carried *frame) {
	if len(frames) == 0 {
		return
	}
	m.floor, m.carried = frames[len(frames)-1].id, 0
	for _, f := range frames {
		m.frames = max(m.frames, f.number)
	}
	if carried != nil {
		m.carried = carried.id
	}
}

func (m *manifest) add(row []driver.Value) {
	mac := rowMAC(row)
	m.segments++
	subtle.XORBytes(m.sum[:], m.sum[:], mac[:])
}

func (m *manifest) remove(row []driver.Value) {
	mac := rowMAC(row)
	m.segments--
	subtle.XORBytes(m.sum[:], m.sum[:], mac[:])
}

// rowMAC is the MAC of a segment's row, keyed by its tag, which nobody sees
// without the tenant's key.
func rowMAC(row []driver.Value) (mac [16]byte) {
	n := len(row) - 1
	h := hmac.New(sha256.New, asBytes(row[n]))
	h.Write(appendValues(nil, row[:n]))
	copy(mac[:], h.Sum(nil))
	return mac
}

// Whoever changes rows of table segments does it by the next three, with the
// manifest that the same transaction then saves. Until that is durable the segment
// itself stays as the catalog has it: from that the old row's MAC is computed.

func (s *Store) insertSegment(m *manifest, g *segment) error {
	row := g.row(encodeReplacedBy(g.replaced))
	m.add(row)
	return s.insertRow(segmentsTable, g.tn, row)
}

func (s *Store) deleteSegment(m *manifest, g *segment) error {
	m.remove(g.row(encodeReplacedBy(g.replaced)))
	if g.deletion != nil {
		m.deletions.remove(g.deletion)
		if err := s.w.exec("DELETE FROM deletions WHERE id = ?", g.id); err != nil {
			return err
		}
	}
	return s.w.exec("DELETE FROM segments WHERE id = ?", g.id)
}

// updateSegment changes the overwritten keys that a segment keeps.
func (s *Store) updateSegment(m *manifest, g *segment, replaced []byte) error {
	row := g.row(replaced)
	m.remove(g.row(encodeReplacedBy(g.replaced)))
	m.add(row)
	return s.updateRow(segmentsTable, g.tn, row)
}

// checkSegments compares the rows of table segments with the manifest.
func (s *Store) checkSegments(tn *tenant, found manifest, damaged int) {
	m := &tn.manifest
	if s.ring == nil {
		return
	}
	switch there := found.segments + int64(damaged); {
	case found.segments > m.segments:
		s.loseRows(tn, "table segments of %s has %d rows of tenant %s, and should have %d: some were put back", catalogFile, found.segments, tn.name, m.segments)
	case there < m.segments:
		s.loseRows(tn, "table segments of %s has %d rows of tenant %s, and should have %d: some were taken away", catalogFile, found.segments, tn.name, m.segments)
	case damaged == 0 && found.sum != m.sum:
		s.loseRows(tn, "table segments of %s has rows of tenant %s that are not those that were written last", catalogFile, tn.name)
	}
}

// checkFrames looks for frames that are missing above the floor.
func (s *Store) checkFrames(tn *tenant) {
	m := &tn.manifest
	tn.number = m.frames
	if s.ring == nil {
		return
	}
	carried := false
	for _, f := range tn.frames {
		if f.id%frameStep != 0 {
			carried = carried || f.id == m.carried
			continue
		}
		next := tn.number + 1
		if f.broken != nil {
			f.number = next // its row is damaged, which is reported
		}
		if f.number != next {
			s.foundLoss(tn, LossFrames, "frame %d of tenant %s in %s is number %d, and the one before it number %d: some were taken away or put back", f.id, tn.name, catalogFile, f.number, tn.number)
		}
		tn.number = max(tn.number, f.number)
	}
	if m.carried != 0 && !carried {
		s.foundLoss(tn, LossFrames, "frame %d of tenant %s, which a compaction carried, is missing in %s", m.carried, tn.name, catalogFile)
	}
}

// loseRows makes scans of the tenant say that rows are missing, of which nobody
// knows what they were.
func (s *Store) loseRows(tn *tenant, format string, args ...any) {
	err := telemetry.Errorf(telemetry.CodeDamaged, "load catalog", format, args...).WithHint(acceptHint)
	s.damaged(err)
	tn.lost = append(tn.lost, lostSegment{lo: minTime, hi: maxTime, err: err, manifest: true})
}
