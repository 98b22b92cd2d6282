package embedded

import (
	"cmp"
	"context"
	"slices"
)

// Packs are merged as the segments of one large table are: when MergeFanIn of about
// one size stand next to each other. A merge takes all segments of its packs, table
// by table, so that the packs go whole; what grows over CarryRows on the way gets a
// file of its own. A pack of which more than half is dead, because retention or
// `weir delete` took it, is rewritten alone.

// packRows bounds the rows of one merge of packs.
const packRows = 16_000_000

// livePack is a pack with the segments of one tenant in it.
type livePack struct {
	pack          *pack
	segs          []*segment
	rows          int64
	first, newest int64 // arrivals
	size          int64 // of the live segments
}

// packsOf returns the packs of the segments that can be merged, in the order of
// arrival.
func (s *Store) packsOf(segs []*segment) []*livePack {
	at := map[*pack]*livePack{}
	var all []*livePack
	for _, g := range segs {
		if g.pack == nil || g.isUnmergeable(s) || s.isRecent(g) {
			continue
		}
		p := at[g.pack]
		if p == nil {
			p = &livePack{pack: g.pack, first: g.arrival}
			at[g.pack] = p
			all = append(all, p)
		}
		p.segs = append(p.segs, g)
		p.rows += g.rows
		p.size += g.size
		p.first, p.newest = min(p.first, g.arrival), max(p.newest, g.arrival)
	}
	slices.SortStableFunc(all, func(a, b *livePack) int { return cmp.Compare(a.newest, b.newest) })
	return all
}

// pickPacks returns packs to merge, in the order of arrival, or nil.
func (s *Store) pickPacks(packs []*livePack, fanIn int) []*livePack {
	for _, p := range packs {
		if size := fileSize(p.pack.file.path); p.size*2 < size {
			return []*livePack{p}
		}
	}
	for class := 0; class <= sizeClass(packRows); class++ {
		for from := range packs {
			rows, to := int64(0), from
			for to < len(packs) && to-from < maxFanIn && sizeClass(packs[to].rows) <= class && rows+packs[to].rows <= packRows {
				rows += packs[to].rows
				to++
			}
			if to-from >= fanIn {
				return packs[from:to]
			}
		}
	}
	return nil
}

// packFanIn is how many packs are merged at once. While readings come as fast as
// memory allows more of them wait, because a wider merge writes each row less often.
func (s *Store) packFanIn(tn *tenant, now bool) int {
	if !now && s.isBusy(tn) {
		return max(s.opt.MergeFanIn, maxFanIn)
	}
	return s.opt.MergeFanIn
}

// mergePacks merges packs that are due; compactMu is held.
func (s *Store) mergePacks(ctx context.Context, tn *tenant, now bool) (bool, error) {
	s.mu.Lock()
	all := tn.segs
	s.mu.Unlock()
	picked := s.pickPacks(s.packsOf(all), s.packFanIn(tn, now))
	if picked == nil {
		return false, nil
	}
	keys, _ := s.pendingReplaced(tn)
	c := &compaction{s: s, tn: tn}
	groups := groupsOf(picked, all)
	for _, segs := range groups {
		tn.merging = append(tn.merging, segs...)
	}
	defer func() { tn.merging = nil }()
	var segs []*segment
	for _, group := range groups {
		if err := s.compactMeanwhile(ctx, tn); err != nil {
			c.discard()
			return false, err
		}
		if err := c.mergeRows(ctx, group, keys); err != nil {
			c.discard()
			return true, s.mergeFailed(group, err)
		}
		segs = append(segs, group...)
	}
	return true, c.enterMerged(segs)
}

// compactMeanwhile compacts level 0 where that is due, so that a long merge does
// not let it grow.
func (s *Store) compactMeanwhile(ctx context.Context, tn *tenant) error {
	if s.opt.ManualCompaction {
		return ctx.Err()
	}
	for s.isDue(tn) {
		if _, err := s.compactFrames(ctx, tn, false); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// groupsOf parts the segments of the packs by table version and partition, each in
// the order of arrival. Where a segment in a file of its own arrived between them it
// is taken along: rows of one key stay in the order of their arrival only where
// neighbours are merged.
func groupsOf(packs []*livePack, all []*segment) [][]*segment {
	at := map[mergeGroup][]*segment{}
	var order []mergeGroup
	for _, p := range packs {
		for _, g := range p.segs {
			k := mergeGroup{g.v.id, g.partition}
			if at[k] == nil {
				order = append(order, k)
			}
			at[k] = append(at[k], g)
		}
	}
	for _, g := range all {
		k := mergeGroup{g.v.id, g.partition}
		if segs := at[k]; g.pack == nil && g.deletion == nil && len(segs) > 1 && g.arrival > segs[0].arrival && g.arrival < segs[len(segs)-1].arrival {
			at[k] = append(segs, g)
		}
	}
	var out [][]*segment
	for _, k := range order {
		slices.SortStableFunc(at[k], func(a, b *segment) int { return cmp.Compare(a.arrival, b.arrival) })
		out = append(out, at[k])
	}
	return out
}
