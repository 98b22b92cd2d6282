package embedded

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// A loss is something that cannot be read any more: what a person gave up so that
// the rest goes on, or what a start found missing. Each is a row of table losses
// that is never deleted, and a sealed store's manifest counts them, so what was lost
// cannot be made unsaid; docs/format/catalog.md describes it.

var lossesTable = &catalogTable{
	name: "losses", clear: []string{"id", "tenant"}, secret: []string{"found", "accepted", "kind", "name", "place", "what", "rows", "min_time", "max_time"},
	plainSQL: `id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, found INTEGER NOT NULL, accepted INTEGER NOT NULL, kind TEXT NOT NULL,
		name TEXT NOT NULL, place TEXT NOT NULL, what TEXT NOT NULL, rows INTEGER NOT NULL, min_time INTEGER NOT NULL, max_time INTEGER NOT NULL,
		crc INTEGER NOT NULL`,
	sealedSQL: "id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, crc INTEGER NOT NULL, sealed BLOB NOT NULL",
}

// The kinds of losses.
const (
	LossSegment    = "segment"    // all readings of a segment
	LossBlocks     = "blocks"     // the readings of some blocks of a segment
	LossRollup     = "rollup"     // aggregates
	LossDeletion   = "deletion"   // which readings of a segment were deleted: they come back
	LossRows       = "rows"       // rows of the catalog and what they named; nobody knows what that was
	LossFrames     = "frames"     // commits of level 0
	LossLedger     = "ledger"     // what tells a redelivery
	LossTables     = "tables"     // recorded schemas
	LossQuarantine = "quarantine" // quarantine records
	LossSessions   = "sessions"   // names of MQTT sessions
)

// Loss is one thing that is lost.
type Loss struct {
	ID       int64            `json:"id,omitempty"` // row of table losses; 0: it is in none
	Kind     string           `json:"kind"`
	Tenant   telemetry.Tenant `json:"tenant"`
	Table    string           `json:"table,omitempty"` // "": nobody knows
	Rows     int64            `json:"rows"`            // readings, aggregates or records; -1: nobody knows
	From     int64            `json:"from"`            // time of the first reading, ns; From > To: nobody knows
	To       int64            `json:"to"`
	Place    string           `json:"place"` // file, or table of the catalog
	What     string           `json:"what"`  // is wrong with it
	Found    int64            `json:"found,omitempty"`
	Accepted int64            `json:"accepted,omitempty"` // when it was given up, ns; 0: it is not
	// Part is which row or segment it is, for AcceptLosses.
	Part int64 `json:"part,omitempty"`
}

// noTimes are the times of a loss that nobody knows.
const noFrom, noTo = 1, 0

// acceptHint is what to do about what is missing.
const acceptHint = "put back what is missing from a backup, or give it up: weir verify --accept-loss says what that is, and asks"

// Extent says which readings a loss is about.
func (l *Loss) Extent() string {
	rows, table, times := "an unknown number", l.Table, "of an unknown time"
	if l.Rows >= 0 {
		rows = itoa(l.Rows)
	}
	if table == "" {
		table = "unknown tables"
	}
	if l.From <= l.To {
		times = "from " + lossTime(l.From) + " to " + lossTime(l.To)
	}
	switch l.Kind {
	case LossDeletion:
		return fmt.Sprintf("%s readings of %s %s that were deleted, and come back", rows, table, times)
	case LossSessions:
		return "names of MQTT sessions: messages of theirs that are delivered again may be stored twice"
	case LossLedger:
		return "what tells messages that were delivered again: some may be stored twice"
	case LossTables:
		return "recorded versions of schemas"
	case LossQuarantine:
		return rows + " quarantined messages"
	case LossRollup:
		return fmt.Sprintf("%s aggregates of %s %s", rows, table, times)
	}
	return fmt.Sprintf("%s readings of %s %s", rows, table, times)
}

func lossTime(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }

// stopsScans reports whether readings may be missing, of which nobody knows what they
// were.
func (l *Loss) stopsScans() bool { return l.Kind == LossFrames || l.Kind == LossRows }

func (l *Loss) row(tn *tenant) []driver.Value {
	return []driver.Value{l.ID, tn.id, l.Found, l.Accepted, l.Kind, l.Table, l.Place, l.What, l.Rows, l.From, l.To}
}

// err is the loss as an error of whoever meets it.
func (l *Loss) err() error {
	return telemetry.Errorf(telemetry.CodeDamaged, "load catalog", "%s", l.What).WithHint(acceptHint)
}

// loadLosses reads the losses, before what might find them again.
func (s *Store) loadLosses() error {
	there := map[*tenant]int64{}
	err := s.eachRow(s.w, lossesTable, "ORDER BY id", "", func(r *catalogRow) error {
		v := r.v
		id, tn := asInt(v[0]), s.tenantByID(asInt(v[1]))
		s.nextLoss = max(s.nextLoss, id+1)
		if tn == nil {
			return nil
		}
		there[tn]++
		if !r.intact {
			s.damaged(damagedRow("losses", id))
			tn.lost = append(tn.lost, lostSegment{lo: minTime, hi: maxTime, err: damagedRow("losses", id), table: "losses", id: id, manifest: true})
			return nil
		}
		l := &Loss{
			ID: id, Tenant: tn.name, Found: asInt(v[2]), Accepted: asInt(v[3]), Kind: asText(v[4]), Table: asText(v[5]), Place: asText(v[6]), What: asText(v[7]),
			Rows: asInt(v[8]), From: asInt(v[9]), To: asInt(v[10]),
		}
		s.losses = append(s.losses, l)
		if l.Accepted == 0 && l.stopsScans() {
			tn.lost = append(tn.lost, lostSegment{lo: minTime, hi: maxTime, err: l.err(), manifest: true, loss: l})
		}
		return nil
	})
	for _, tn := range *s.tenants.Load() {
		if m := &tn.manifest; s.ring != nil && !m.uncounted && there[tn] != m.losses {
			s.loseRows(tn, "table losses of %s has %d rows of tenant %s, and should have %d: what was given up as lost is not all told", catalogFile, there[tn], tn.name, m.losses)
		}
	}
	return err
}

// foundLoss notes what a start of a sealed store found missing, and what later steps
// would cover up, unless it is noted already.
func (s *Store) foundLoss(tn *tenant, kind, format string, args ...any) {
	l := &Loss{
		Kind: kind, Tenant: tn.name, Rows: -1, From: noFrom, To: noTo, Place: s.catalogPath(), What: fmt.Sprintf(format, args...), Found: s.opt.Now().UnixNano(),
	}
	for _, known := range s.losses {
		if known.Tenant == l.Tenant && known.Kind == l.Kind && known.What == l.What {
			return
		}
	}
	s.damaged(l.err())
	s.losses = append(s.losses, l)
	if l.stopsScans() {
		tn.lost = append(tn.lost, lostSegment{lo: minTime, hi: maxTime, err: l.err(), manifest: true, loss: l})
	}
}

// saveFoundLosses enters what foundLoss noted.
func (s *Store) saveFoundLosses() error {
	var errs []error
	for _, tn := range *s.tenants.Load() {
		var fresh []*Loss
		for _, l := range s.losses {
			if l.ID == 0 && l.Tenant == tn.name {
				fresh = append(fresh, l)
			}
		}
		if len(fresh) == 0 {
			continue
		}
		m := tn.manifest
		m.tables = tn.tableRows // the loss remembers what it was
		err := s.w.transaction(func() error {
			for _, l := range fresh {
				if err := s.insertLoss(tn, &m, l); err != nil {
					return err
				}
			}
			return s.saveManifest(tn, &m)
		})
		if err == nil {
			tn.manifest = m
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// insertLoss enters a loss, in a transaction whose end saves the manifest.
func (s *Store) insertLoss(tn *tenant, m *manifest, l *Loss) error {
	l.ID = s.nextLoss
	s.nextLoss++
	m.losses++
	return s.insertRow(lossesTable, tn, l.row(tn))
}

// Losses returns what was given up as lost, and what was found missing and is not
// given up, in the order of their finding.
func (s *Store) Losses() (out []Loss) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.losses {
		out = append(out, *l)
	}
	return out
}
