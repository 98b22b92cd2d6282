package embedded

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql/driver"
	"encoding/binary"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Rows of tables quarantine and sessions come and go one by one, so no numbers show
// that some are missing. A sealed store counts them, and adds up MACs of them, in a row
// of table counters that is written with each change of theirs; commits without any
// write nothing more. How many changes there were stands in frames and manifests too,
// so that the row cannot be put back as it was together with what it counts.

// sealedContents is what the row says.
type sealedContents struct {
	changes    int64
	secret     [16]byte // keys the MACs; nobody sees it without the node's key
	quarantine rowSet
	sessions   rowSet
}

// rowSet is rows of a table.
type rowSet struct {
	rows int64
	sum  [16]byte // of their MACs, by exclusive or
}

const (
	counterContents = "contents"
	contentsBytes   = 16 + 2*(8+16)
)

func (c *sealedContents) mac(table string, row ...driver.Value) (mac [16]byte) {
	h := hmac.New(sha256.New, c.secret[:])
	h.Write(appendValues(append([]byte(table), 0), row))
	copy(mac[:], h.Sum(nil))
	return mac
}

func (r *rowSet) add(mac [16]byte) {
	r.rows++
	subtle.XORBytes(r.sum[:], r.sum[:], mac[:])
}

func (r *rowSet) remove(mac [16]byte) {
	r.rows--
	subtle.XORBytes(r.sum[:], r.sum[:], mac[:])
}

// quarantined is the MAC of a row of quarantine: what it holds is tied to its id,
// which is never used again.
func (c *sealedContents) quarantined(id int64) [16]byte { return c.mac("quarantine", id) }

func (c *sealedContents) session(id telemetry.SessionID, key string) [16]byte {
	return c.mac("sessions", int64(id), []byte(key))
}

func (c *sealedContents) encode() []byte {
	b := append([]byte{}, c.secret[:]...)
	for _, r := range []*rowSet{&c.quarantine, &c.sessions} {
		b = append(binary.LittleEndian.AppendUint64(b, uint64(r.rows)), r.sum[:]...)
	}
	return b
}

// readContents reads the row; ok is false where an older program wrote no such.
func readContents(changes int64, b []byte) (c sealedContents, ok bool) {
	if len(b) != contentsBytes {
		return c, false
	}
	c.changes = changes
	b = b[copy(c.secret[:], b):]
	for _, r := range []*rowSet{&c.quarantine, &c.sessions} {
		r.rows = int64(binary.LittleEndian.Uint64(b))
		b = b[8+copy(r.sum[:], b[8:24]):]
	}
	return c, true
}

// loadContents reads the row, if there is one that is intact.
func (s *Store) loadContents() error {
	if s.ring == nil {
		return nil
	}
	return s.eachRow(s.w, countersTable, "WHERE name = ?", "", func(r *catalogRow) error {
		if r.intact {
			s.contents, s.foundContents.said = readContents(asInt(r.v[1]), asBytes(r.v[2]))
		}
		return nil
	}, counterContents)
}

// saveContents enters what a transaction changed, at its end; wmu is held. c becomes
// Store.contents once that is durable.
func (s *Store) saveContents(c *sealedContents) error {
	if s.ring == nil || *c == s.contents {
		return nil
	}
	c.changes++
	return s.insertRow(countersTable, nil, []driver.Value{counterContents, c.changes, c.encode()})
}

// foundContents is what a start finds in the tables.
type foundContents struct {
	said                 bool    // the row is there
	quarantine, sessions []int64 // ids of intact rows
	keys                 []string
	badQuarantine        int64 // damaged rows, which were set aside
	badSessions          int64
}

// checkContents compares the tables with the row, when all is loaded.
func (s *Store) checkContents() {
	f := &s.foundContents
	if s.ring == nil {
		return
	}
	reach, all := int64(0), s.tenantsInOrder()
	for _, tn := range all {
		reach = max(reach, tn.reach.contents)
	}
	now := s.contents
	if !f.said {
		_, _ = rand.Read(now.secret[:]) // never fails: crypto/rand ends the process instead
	}
	now.quarantine, now.sessions, now.changes = rowSet{}, rowSet{}, max(now.changes, reach)
	for _, id := range f.quarantine {
		now.quarantine.add(now.quarantined(id))
	}
	for i, id := range f.sessions {
		now.sessions.add(now.session(telemetry.SessionID(id), f.keys[i]))
	}
	if len(all) > 0 && (f.said || reach > 0) {
		s.compareContents(all[0], &now, reach)
	}
	s.recounted = &now
}

// compareContents notes what does not fit, for a tenant: it may be of any.
func (s *Store) compareContents(tn *tenant, now *sealedContents, reach int64) {
	f, said := &s.foundContents, &s.contents
	switch {
	case !f.said:
		s.foundLoss(tn, LossQuarantine, "row contents of table counters in %s is missing, which counts %d changes of quarantine and sessions", catalogFile, reach)
		return
	case said.changes < reach:
		s.foundLoss(tn, LossQuarantine, "row contents of table counters in %s is of %d changes of quarantine and sessions, and there were %d: it was put back", catalogFile, said.changes, reach)
		return
	}
	for _, t := range []struct {
		kind, table string
		said, now   *rowSet
		bad         int64
	}{
		{LossQuarantine, "quarantine", &said.quarantine, &now.quarantine, f.badQuarantine},
		{LossSessions, "sessions", &said.sessions, &now.sessions, f.badSessions},
	} {
		if there := t.now.rows + t.bad; there != t.said.rows || t.bad == 0 && t.now.sum != t.said.sum {
			s.foundLoss(tn, t.kind, "table %s of %s has %d rows at change %d, and should have %d: some were taken away or exchanged", t.table, catalogFile, there, said.changes, t.said.rows)
		}
	}
}

// saveRecounted enters what is there, when what was missing is noted.
func (s *Store) saveRecounted() error {
	c := s.recounted
	s.recounted, s.foundContents = nil, foundContents{}
	if c == nil {
		return nil
	}
	if c.quarantine == s.contents.quarantine && c.sessions == s.contents.sessions && c.secret == s.contents.secret && c.changes == s.contents.changes {
		return nil
	}
	if err := s.w.transaction(func() error { return s.saveContents(c) }); err != nil {
		return err
	}
	s.contents = *c
	return nil
}
