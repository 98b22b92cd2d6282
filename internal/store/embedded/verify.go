package embedded

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Damage is one thing that Verify found.
type Damage struct {
	Kind   string // "catalog", "manifest", "frame", "segment" or "quarantine"
	Tenant telemetry.Tenant
	ID     int64  // of the frame, segment or row; 0 where none is known
	File   string // that is damaged
	Offset int64  // of the damaged bytes in File, with Length; 0, 0: all of it, or unknown
	Length int64
	Err    error
}

func (d *Damage) String() string { return fmt.Sprintf("%s %d in %s: %v", d.Kind, d.ID, d.File, d.Err) }

// Verified is what Verify has read so far.
type Verified struct {
	Rows       int64 // of the catalog
	Frames     int64
	Segments   int64
	Quarantine int64 // rows of quarantine records
	Bytes      int64 // of frames and segments
}

// Verify reads everything that the store keeps, from the disk and not from caches,
// and reports all damage: what fails its checksum, what a sealed store says was
// changed, moved or put back, and rows that the manifest of a sealed store misses.
// A running node may be verified. progress, which may be nil, is told after each
// frame and segment what has been read. The error says why Verify could not go on.
func (s *Store) Verify(ctx context.Context, report func(Damage), progress func(Verified)) error {
	v := &verification{s: s, report: report, progress: progress}
	if err := v.catalog(ctx); err != nil {
		return err
	}
	for _, err := range s.goneSeries {
		v.report(Damage{Kind: "manifest", File: s.catalogPath(), Err: err})
	}
	for _, tn := range *s.tenants.Load() {
		if err := v.tenant(ctx, tn); err != nil {
			return err
		}
	}
	return nil
}

type verification struct {
	s        *Store
	report   func(Damage)
	progress func(Verified)
	done     Verified
}

func (v *verification) step() {
	if v.progress != nil {
		v.progress(v.done)
	}
}

// found reports an error that is damage, and returns any other.
func (v *verification) found(d Damage) error {
	if d.Err == nil {
		return nil
	}
	if telemetry.CodeOf(d.Err) != telemetry.CodeDamaged {
		return d.Err
	}
	v.report(d)
	return nil
}

// catalog reads the database's pages and all rows.
func (v *verification) catalog(ctx context.Context) error {
	s := v.s
	path := s.catalogPath()
	err := s.read(func(c *conn) error {
		return c.query("PRAGMA quick_check(20)", func(row []driver.Value) error {
			if said := asText(row[0]); said != "ok" {
				v.report(Damage{Kind: "catalog", File: path, Err: telemetry.Errorf(telemetry.CodeDamaged, "verify catalog", "%s", said)})
			}
			return nil
		})
	})
	if err := v.found(Damage{Kind: "catalog", File: path, Err: err}); err != nil {
		return err
	}
	for _, t := range catalogTables {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := s.read(func(c *conn) error {
			return s.eachRow(c, t, "", "", func(r *catalogRow) error {
				v.done.Rows++
				if !r.intact {
					id, _ := r.v[0].(int64)
					v.report(Damage{Kind: "catalog", ID: id, File: path, Err: damagedRow(t.name, id)})
				}
				return nil
			})
		})
		if err := v.found(Damage{Kind: "catalog", File: path, Err: err}); err != nil {
			return err
		}
	}
	return nil
}

func (v *verification) tenant(ctx context.Context, tn *tenant) error {
	s := v.s
	frames, segs := v.pin(tn)
	defer v.unpin(frames, segs)
	// What starts found missing, and nothing of which stands in a row.
	for _, err := range s.missing(tn) {
		v.report(Damage{Kind: "manifest", Tenant: tn.name, File: s.catalogPath(), Err: err})
	}
	for _, f := range frames {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := v.found(Damage{Kind: "frame", Tenant: tn.name, ID: f.id, File: s.catalogPath(), Err: v.frame(f)}); err != nil {
			return err
		}
		v.step()
	}
	for _, g := range segs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := v.segment(g); err != nil {
			return err
		}
		v.step()
	}
	return v.quarantine(ctx, tn)
}

// pin takes all frames and segments of a tenant.
func (v *verification) pin(tn *tenant) ([]*frame, []*segment) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	for _, f := range tn.frames {
		f.pins.Add(1)
	}
	segs := slices.Concat(tn.segs, tn.rollups)
	for _, g := range segs {
		g.pins.Add(1)
	}
	return tn.frames, segs
}

func (v *verification) unpin(frames []*frame, segs []*segment) {
	for _, f := range frames {
		f.pins.Add(-1)
	}
	for _, g := range segs {
		v.s.unpinSegment(g)
	}
}

// missing returns what is missing of a tenant and was not given up.
func (s *Store) missing(tn *tenant) (errs []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range tn.lost {
		if l.manifest && l.loss == nil {
			errs = append(errs, l.err)
		}
	}
	for _, l := range s.losses {
		if l.Tenant == tn.name && l.Accepted == 0 {
			errs = append(errs, l.err())
		}
	}
	return errs
}

func (v *verification) frame(f *frame) error {
	s := v.s
	data, err := s.frameBytes(f)
	if err != nil {
		return err
	}
	v.done.Frames++
	v.done.Bytes += int64(len(data))
	if f.tag == nil && s.ring != nil {
		return damagedRow("frames", f.id)
	}
	fr, err := chunk.OpenFrame(data, chunk.FrameOptions{Keys: s.chunkKeys(), Identity: f.tag})
	if err != nil {
		return err
	}
	var sec telemetry.Section
	for i, p := range fr.Sections() {
		tv := s.version(p.TableID)
		if tv == nil {
			return telemetry.Errorf(telemetry.CodeDamaged, "verify frame", "frame %d has unknown table %d", f.id, p.TableID)
		}
		if _, err := fr.ReadSection(i, &sec, tv.table, tv.cols, true); err != nil {
			return s.readError("frame", f.id, err)
		}
	}
	return nil
}

// segment reads a segment's bytes anew, beside what is cached of it.
func (v *verification) segment(g *segment) error {
	d := Damage{Kind: "segment", Tenant: g.tn.name, ID: g.id, File: v.s.pathOf(g)}
	damage, _, err := v.s.damageOf(g, &v.done)
	if err != nil {
		d.Err = err
		return v.found(d)
	}
	for _, c := range damage {
		at := d
		at.Offset, at.Length, at.Err = c.Offset, c.Length, c.Err
		if g.pack != nil {
			at.Offset += g.start
		}
		if err := v.found(at); err != nil {
			return err
		}
	}
	return nil
}

func (v *verification) quarantine(ctx context.Context, tn *tenant) error {
	s := v.s
	q := &tn.quarantine
	q.mu.Lock()
	chunks := append([]quarantineChunk(nil), q.chunks...)
	q.mu.Unlock()
	for _, c := range chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := s.read(func(conn *conn) error {
			_, err := s.quarantineChunk(conn, tn, c)
			return err
		})
		v.done.Quarantine++
		if err := v.found(Damage{Kind: "quarantine", Tenant: tn.name, ID: c.first, File: s.catalogPath(), Err: err}); err != nil {
			return err
		}
	}
	return nil
}
