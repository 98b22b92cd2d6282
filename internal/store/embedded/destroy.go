package embedded

import (
	"database/sql/driver"
	"maps"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// clearDestroyed deletes what is left of tenants whose keys were destroyed: nobody
// can read it. Their files are orphans then, which loadSegments removes. A kill
// before the ring forgets them makes the next start do it again.
func (s *Store) clearDestroyed() error {
	if s.ring == nil || s.opt.ReadOnly || len(s.ring.Destroyed()) == 0 {
		return nil
	}
	kept := maps.Clone(*s.tenants.Load())
	for _, owner := range s.ring.Destroyed() {
		if s.opt.Forget != nil {
			if err := s.opt.Forget(telemetry.Tenant(owner)); err != nil {
				return err
			}
		}
		tn := kept[telemetry.Tenant(owner)]
		if tn == nil {
			continue
		}
		if err := s.w.transaction(func() error { return s.deleteTenant(tn) }); err != nil {
			return err
		}
		delete(kept, tn.name)
		s.opt.Logger.Info("the keys of a tenant were destroyed: what is left of its files is deleted, and it begins empty", "tenant", owner)
	}
	s.tenants.Store(&kept)
	return s.ring.Cleared()
}

// deleteTenant deletes all rows of a tenant, in a transaction.
func (s *Store) deleteTenant(tn *tenant) error {
	c := s.contents
	if s.foundContents.said {
		err := s.w.query("SELECT id FROM quarantine WHERE tenant = ?", func(row []driver.Value) error {
			c.quarantine.remove(c.quarantined(asInt(row[0])))
			return nil
		}, tn.id)
		if err == nil {
			err = s.saveContents(&c)
		}
		if err != nil {
			return err
		}
		s.contents = c // a transaction that fails ends the start
	}
	for _, t := range catalogTables {
		key := ""
		for _, c := range t.clear {
			if c == "tenant" {
				key = "tenant"
			}
		}
		if t == tenantsTable {
			key = "id"
		}
		if key == "" {
			continue
		}
		if err := s.w.exec("DELETE FROM "+t.name+" WHERE "+key+" = ?", tn.id); err != nil {
			return err
		}
	}
	return nil
}
