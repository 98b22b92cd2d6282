package embedded

import (
	"crypto/subtle"
	"database/sql/driver"
)

// Without its row of table deletions a segment would show again what was deleted of
// it. So a sealed store's manifest counts these rows too, and adds up MACs of them,
// which are keyed by their segments' tags.

func (m *deletions) add(d *deletion) {
	m.count++
	subtle.XORBytes(m.struck[:], m.struck[:], d.mac[:])
}

func (m *deletions) remove(d *deletion) {
	m.count--
	subtle.XORBytes(m.struck[:], m.struck[:], d.mac[:])
}

// deletionMAC is the MAC of a segment's row of table deletions, nothing where the
// store is not sealed.
func (s *Store) deletionMAC(g *segment, row []driver.Value) (mac [16]byte) {
	if s.ring == nil {
		return mac
	}
	return rowMAC(append(row[:len(row):len(row)], g.tag))
}

// saveDeletion enters the deleted rows of a segment, in a transaction whose end
// saves the manifest.
func (s *Store) saveDeletion(m *manifest, g *segment, d *deletion) error {
	row := []driver.Value{g.id, g.tn.id, d.number, d.created, d.rows, encodeRuns(d.runs)}
	d.mac = s.deletionMAC(g, row)
	m.deletions.add(d)
	if g.deletion != nil {
		m.deletions.remove(g.deletion)
		return s.updateRow(deletionsTable, g.tn, row)
	}
	return s.insertRow(deletionsTable, g.tn, row)
}

// foundDeletions is what loading finds of a tenant.
type foundDeletions struct {
	deletions
	damaged int64       // rows of which the MAC is not known
	void    []*deletion // those of them whose segments are there
}

// checkDeletions compares the rows of table deletions with the manifest. damaged is
// how many belong to no segment that is known.
func (s *Store) checkDeletions(tn *tenant, found *foundDeletions, damaged int64) {
	if s.ring == nil {
		return
	}
	m := &tn.manifest.deletions
	damaged += found.damaged
	if m.uncovered { // as it is, once
		m.count, m.struck = found.count+found.damaged, found.struck
	}
	switch {
	case found.count > m.count:
		s.loseRows(tn, "table deletions of %s has %d rows of tenant %s, and should have %d: some were put back", catalogFile, found.count, tn.name, m.count)
	case found.count+damaged < m.count:
		s.loseRows(tn, "table deletions of %s has %d rows of tenant %s, and should have %d: some were taken away, and what they deleted would come back",
			catalogFile, found.count+damaged, tn.name, m.count)
	case damaged == 0 && found.struck != m.struck:
		s.loseRows(tn, "table deletions of %s has rows of tenant %s that are not those that were written last", catalogFile, tn.name)
	}
	if len(found.void) > 0 {
		// Together the damaged rows have what is left of the sum: it is right again
		// when the last of them goes with its segment.
		subtle.XORBytes(found.void[0].mac[:], m.struck[:], found.struck[:])
	}
}
