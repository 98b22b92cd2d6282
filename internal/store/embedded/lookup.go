package embedded

import (
	"context"
	"sort"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// place names a row in the store: a part of a frame or a block of a segment, and
// the row in it.
type place struct {
	f    *frame
	g    *segment
	part int
	row  int
}

// keySet finds candidates by key: all candidates of a key, by their place in
// the sorted list.
type keySet struct {
	cands  []*candidate
	at     map[rowKey]int // first of the key
	lo, hi int64
	// groups parts them by the tables that share their series: a part of a frame
	// holds rows of one.
	groups map[*seriesGroup]*keyGroup
}

// keyGroup is the candidates of one group of series.
type keyGroup struct {
	cands          []*candidate // by key
	lo, hi         int64
	minRef, maxRef telemetry.SeriesRef
}

func (d *dedup) newKeySet(cands []*candidate) *keySet {
	k := &keySet{cands: cands, at: make(map[rowKey]int, len(cands)), lo: maxTime, hi: minTime, groups: map[*seriesGroup]*keyGroup{}}
	for i, c := range cands {
		if i == 0 || cands[i-1].key != c.key {
			k.at[c.key] = i
		}
		of := d.secs[c.sec].v.group
		g := k.groups[of]
		if g == nil {
			g = &keyGroup{lo: maxTime, hi: minTime, minRef: c.key.series}
			k.groups[of] = g
		}
		g.cands = append(g.cands, c)
		g.lo, g.hi, g.maxRef = min(g.lo, c.key.time), max(g.hi, c.key.time), c.key.series
		k.lo, k.hi = min(k.lo, c.key.time), max(k.hi, c.key.time)
	}
	return k
}

// overlaps reports whether the part may hold one of the keys, as its bounds say.
func (g *keyGroup) overlaps(p *chunk.FrameMeta) bool {
	return g != nil && g.hi >= p.MinTime && g.lo <= p.MaxTime && g.maxRef >= p.MinSeries && g.minRef <= p.MaxSeries
}

// each calls f with the candidates of a key.
func (k *keySet) each(key rowKey, f func(c *candidate)) {
	i, ok := k.at[key]
	if !ok {
		return
	}
	for ; i < len(k.cands) && k.cands[i].key == key; i++ {
		f(k.cands[i])
	}
}

// sources is what a look-up reads, pinned.
type sources struct {
	s      *Store
	frames []*frame   // newest first
	segs   []*segment // newest first
}

func (src *sources) release() {
	for _, f := range src.frames {
		f.pins.Add(-1)
	}
	for _, g := range src.segs {
		src.s.unpinSegment(g)
	}
}

// sources pins what overlaps the times.
func (d *dedup) sources(lo, hi int64) *sources {
	s := d.s
	src := &sources{s: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	add := func(f *frame) {
		if f != nil && f.maxTime >= lo && f.minTime <= hi {
			f.pins.Add(1)
			src.frames = append(src.frames, f)
		}
	}
	for i := len(s.staged) - 1; i >= 0; i-- {
		for j := range s.staged[i].parts {
			if p := &s.staged[i].parts[j]; p.tn == d.tn {
				add(p.frame)
			}
		}
	}
	for i := len(d.tn.frames) - 1; i >= 0; i-- {
		add(d.tn.frames[i])
	}
	for i := len(d.tn.segs) - 1; i >= 0; i-- {
		if g := d.tn.segs[i]; g.maxTime >= lo && g.minTime <= hi {
			g.pins.Add(1)
			src.segs = append(src.segs, g)
		}
	}
	return src
}

// lookUp fills found and same of the candidates, and the latest rows.
func (d *dedup) lookUp(ctx context.Context) error {
	keys := d.newKeySet(d.sortedCandidates())
	lo, hi := keys.lo, keys.hi
	if len(d.unsettled) > 0 {
		lo, hi = minTime, maxTime
	}
	src := d.sources(lo, hi)
	defer src.release()
	var sec telemetry.Section
	for _, f := range src.frames {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.inFrame(f, keys, &sec); err != nil {
			return d.s.failed("look for duplicates", err)
		}
	}
	for _, g := range src.segs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.inSegment(g, keys, &sec); err != nil {
			return d.s.failed("look for duplicates", err)
		}
	}
	if err := d.readLatest(&sec); err != nil {
		return d.s.failed("look for duplicates", err)
	}
	return nil
}

// mayPass returns an error that is not damage: a disk that does not answer, or
// no free file descriptor. The look-up is tried again later, because storing what
// it could not compare would store duplicates. Damaged rows never come back,
// were counted and logged when they were met, and prove nothing: in doubt, store.
func mayPass(err error) error {
	if telemetry.CodeOf(err) == telemetry.CodeDamaged {
		return nil
	}
	return err
}

// inFrame looks the candidates up in one frame.
func (d *dedup) inFrame(f *frame, keys *keySet, sec *telemetry.Section) error {
	parts, err := d.s.frameParts(f)
	if err != nil {
		return mayPass(err)
	}
	var fr *chunk.Frame
	for i := len(parts) - 1; i >= 0; i-- { // the newest rows first
		p := &parts[i]
		v := d.s.version(p.TableID)
		if v == nil {
			continue
		}
		mine := keys.groups[v.group]
		wantKeys := mine.overlaps(p) && d.mayHold(f, i, mine)
		wantLatest := d.wantsLatest(p.MinSeries, p.MaxSeries, p.MaxTime)
		if !wantKeys && !wantLatest {
			continue
		}
		if fr == nil {
			if fr, err = d.s.openFrame(f); err != nil {
				return mayPass(err)
			}
		}
		if _, err := fr.ReadSection(i, sec, v.table, nil, false); err != nil {
			if err := mayPass(d.s.readError("frame", f.id, err)); err != nil {
				return err
			}
			continue
		}
		if wantLatest {
			d.noteLatest(sec, place{f: f, part: i})
		}
		if !wantKeys {
			continue
		}
		d.keepBloom(f, i, len(parts), sec)
		var rows []int
		for row, ref := range sec.Series {
			if t := sec.Time[row]; t >= keys.lo && t <= keys.hi {
				if _, ok := keys.at[rowKey{ref, t}]; ok {
					rows = append(rows, row)
				}
			}
		}
		if len(rows) == 0 {
			continue
		}
		if _, err := fr.ReadSection(i, sec, v.table, v.cols, false); err != nil {
			if err := mayPass(d.s.readError("frame", f.id, err)); err != nil {
				return err
			}
			continue
		}
		for j := len(rows) - 1; j >= 0; j-- {
			d.compare(keys, sec, v, rows[j])
		}
	}
	return nil
}

// mayHold asks the part's Bloom filter, if there is one.
func (d *dedup) mayHold(f *frame, part int, keys *keyGroup) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.blooms == nil || f.blooms[part] == nil {
		return true
	}
	b, p := f.blooms[part], &f.parts[part]
	for _, c := range keys.cands {
		if c.key.time >= p.MinTime && c.key.time <= p.MaxTime && b.has(c.key.hash()) {
			return true
		}
	}
	return false
}

// keepBloom builds the filter of a part that a look-up has decoded.
func (d *dedup) keepBloom(f *frame, part, parts int, sec *telemetry.Section) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.blooms == nil {
		f.blooms = make([]bloom, parts)
	}
	if f.blooms[part] == nil {
		f.blooms[part] = bloomOf(sec)
	}
}

// compare tells the candidates of a stored row's key about it. Rows come newest
// first, and where the last one wins only the newest counts.
func (d *dedup) compare(keys *keySet, sec *telemetry.Section, v *tableVersion, row int) {
	keys.each(rowKey{sec.Series[row], sec.Time[row]}, func(c *candidate) {
		mine := &d.secs[c.sec]
		if c.same || c.found && mine.v.identity == telemetry.IdentityTime {
			return
		}
		c.found = true
		c.same = sameRow(mine.sec, mine.v.table, int(c.row), sec, v.table, row)
	})
}

// inSegment looks the candidates up in one segment, reading the pages of series
// and time of the blocks that may hold them.
func (d *dedup) inSegment(g *segment, keys *keySet, sec *telemetry.Section) error {
	seg, err := d.s.openSegment(g)
	if err != nil {
		return mayPass(err)
	}
	if err := d.latestInSegment(g, seg); err != nil {
		return err
	}
	blocks := seg.Blocks()
	read, hits := -1, []int(nil) // the block in sec, and rows of it to compare
	flush := func() error {
		if len(hits) > 0 {
			if _, err := seg.ReadBlock(read, sec, g.v.cols, false); err != nil {
				if err := mayPass(d.s.readError("segment", g.id, err)); err != nil {
					return err
				}
			} else {
				for j := len(hits) - 1; j >= 0; j-- {
					d.compare(keys, sec, g.v, hits[j])
				}
			}
		}
		hits = hits[:0]
		return nil
	}
	for i, c := range keys.cands {
		if i > 0 && keys.cands[i-1].key == c.key || c.key.time < g.minTime || c.key.time > g.maxTime {
			continue
		}
		first, last := seg.Find(c.key.series)
		for b := first; b < last; b++ {
			if c.key.time < blocks[b].MinTime || c.key.time > blocks[b].MaxTime {
				continue
			}
			run, ok, err := d.findRun(g, seg, b, c.key)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if b != read {
				if err := flush(); err != nil {
					return err
				}
				if _, err := seg.ReadBlock(b, sec, nil, false); err != nil {
					if err := mayPass(d.s.readError("segment", g.id, err)); err != nil {
						return err
					}
					read = -1
					continue
				}
				read = b
			}
			times := sec.Time[run.Start : run.Start+run.Rows]
			j := sort.Search(len(times), func(j int) bool { return times[j] >= c.key.time })
			for ; j < len(times) && times[j] == c.key.time; j++ {
				hits = append(hits, run.Start+j)
			}
		}
	}
	return flush()
}

// findRun returns the run of a block that may hold the key.
func (d *dedup) findRun(g *segment, seg *chunk.Segment, block int, key rowKey) (_ chunk.Run, ok bool, _ error) {
	head, err := d.s.segmentHead(g, seg, block)
	if err != nil {
		return chunk.Run{}, false, mayPass(err)
	}
	run, ok := head.FindRun(key.series, key.time)
	return run, ok, nil
}

// wantsLatest reports whether a part with these bounds may hold the latest row
// of a series that is asked for. Sources come newest first, so an equal time
// does not count.
func (d *dedup) wantsLatest(lo, hi telemetry.SeriesRef, newest int64) bool {
	for ref, l := range d.unsettled {
		if ref >= lo && ref <= hi && (!l.found || newest > l.time) {
			return true
		}
	}
	return false
}

// noteLatest notes the rows of a frame's part that are later than what is known.
func (d *dedup) noteLatest(sec *telemetry.Section, at place) {
	best := map[telemetry.SeriesRef]int{}
	for row, ref := range sec.Series {
		l := d.unsettled[ref]
		if l == nil || l.found && sec.Time[row] <= l.time {
			continue
		}
		if old, ok := best[ref]; !ok || sec.Time[row] >= sec.Time[old] {
			best[ref] = row
		}
	}
	for ref, row := range best {
		at.row = row
		d.noteRow(ref, d.unsettled[ref], sec.Time[row], at)
	}
}

// latestInSegment does the same for a segment, from the runs of its blocks.
func (d *dedup) latestInSegment(g *segment, seg *chunk.Segment) error {
	for ref, l := range d.unsettled {
		if l.found && l.time >= g.maxTime {
			continue
		}
		first, last := seg.Find(ref)
		for b := last - 1; b >= first; b-- {
			head, err := d.s.segmentHead(g, seg, b)
			if err != nil {
				if err := mayPass(err); err != nil {
					return err
				}
				continue
			}
			r, ok := head.LastRun(ref)
			if !ok {
				continue
			}
			if !l.found || r.MaxTime > l.time {
				d.noteRow(ref, l, r.MaxTime, place{g: g, part: b, row: r.Start + r.Rows - 1})
			}
			break // earlier blocks hold earlier rows
		}
	}
	return nil
}

// readLatest reads the values of the latest rows that stand in the store, each
// part once. A row that is damaged counts as not there.
func (d *dedup) readLatest(sec *telemetry.Section) error {
	byPart := map[place][]*latestRow{}
	for _, l := range d.latest {
		if l.found {
			part := l.at
			part.row = 0
			byPart[part] = append(byPart[part], l)
		}
	}
	for part, rows := range byPart {
		v, err := d.readPart(part, sec)
		if err := mayPass(err); err != nil {
			return err
		}
		for _, l := range rows {
			if err != nil {
				*l = latestRow{}
				continue
			}
			one := &telemetry.Section{}
			one.Reset(v.table)
			appendRows(one, sec, l.at.row, l.at.row+1)
			l.sec, l.v, l.row = one, v, 0
		}
	}
	return nil
}

func (d *dedup) readPart(p place, sec *telemetry.Section) (*tableVersion, error) {
	if p.g != nil {
		seg, err := d.s.openSegment(p.g)
		if err == nil {
			if _, err = seg.ReadBlock(p.part, sec, p.g.v.cols, false); err != nil {
				err = d.s.readError("segment", p.g.id, err)
			}
		}
		return p.g.v, err
	}
	fr, err := d.s.openFrame(p.f)
	if err != nil {
		return nil, err
	}
	v := d.s.version(fr.Sections()[p.part].TableID)
	if _, err := fr.ReadSection(p.part, sec, v.table, v.cols, false); err != nil {
		return nil, d.s.readError("frame", p.f.id, err)
	}
	return v, nil
}
