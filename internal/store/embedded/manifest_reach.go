package embedded

import (
	"database/sql/driver"
	"errors"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// sealedTail is how far other tables reached when a row was written: rows at their
// end that are gone are missed by it. Each frame has it, so it costs commits no write
// of their own.
type sealedTail struct {
	series   int64 // of the tenant that are durable
	ledger   int64 // the newest row of table ledger
	contents int64 // changes of what sealedContents counts
}

func (t *sealedTail) values() []driver.Value {
	return []driver.Value{t.series, t.ledger, t.contents}
}

func readTail(v []driver.Value) sealedTail {
	return sealedTail{series: asInt(v[0]), ledger: asInt(v[1]), contents: asInt(v[2])}
}

func (t *sealedTail) raise(o sealedTail) {
	t.series, t.ledger, t.contents = max(t.series, o.series), max(t.ledger, o.ledger), max(t.contents, o.contents)
}

// tailNow is what stands in the catalog; wmu is held.
func (s *Store) tailNow(tn *tenant) sealedTail {
	return sealedTail{series: int64(tn.saved), ledger: s.ledger.nextRow - 1, contents: s.contents.changes}
}

// checkReach looks for rows that are missing at the end of tables, when all of a
// sealed store's catalog is loaded.
func (s *Store) checkReach() error {
	if s.ring == nil {
		return nil
	}
	var furthest *tenant
	for _, tn := range *s.tenants.Load() {
		if m := &tn.manifest; !m.uncounted && m.tables != tn.tableRows {
			s.foundLoss(tn, LossTables, "table tables of %s has %d rows of tenant %s, and should have %d", catalogFile, tn.tableRows, tn.name, m.tables)
		}
		if has := int64(tn.series.count.Load()); tn.reach.series > has {
			err := telemetry.Errorf(telemetry.CodeDamaged, "load series", "no row of table series in %s holds series %d to %d of tenant %s",
				catalogFile, has, tn.reach.series-1, tn.name)
			s.lostSeries, s.goneSeries = append(s.lostSeries, err), append(s.goneSeries, err)
			s.damaged(err)
			if err := s.loseSeries(tn, uint32(tn.reach.series)); err != nil {
				return err
			}
		}
		if furthest == nil || tn.reach.ledger > furthest.reach.ledger || tn.reach.ledger == furthest.reach.ledger && tn.id < furthest.id {
			furthest = tn
		}
	}
	s.checkContents()
	if furthest == nil {
		return nil
	}
	l := s.ledger
	if last := l.nextRow - 1; furthest.reach.ledger > last {
		// What is gone may have dropped entries; see loadLedger.
		l.gaps = append(l.gaps, ledgerGap{last + 1, furthest.reach.ledger})
		l.forgetAll()
		l.nextRow = furthest.reach.ledger + 1
	}
	for _, g := range l.gaps {
		s.foundLoss(furthest, LossLedger, "rows %d to %d of table ledger in %s are missing", g.from, g.to, catalogFile)
	}
	return nil
}

// coverManifests writes the manifests anew that an older program wrote: what is
// there is believed, once.
func (s *Store) coverManifests() error {
	if s.ring == nil {
		return nil
	}
	var errs []error
	for _, tn := range *s.tenants.Load() {
		if m := tn.manifest; m.uncovered || m.uncounted {
			if m.uncounted {
				m.tables = tn.tableRows
			}
			m.uncovered, m.uncounted = false, false
			err := s.w.transaction(func() error { return s.saveManifest(tn, &m) })
			if err == nil {
				tn.manifest = m
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
