package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Rollups and retention are steps like merges: one at a time, each one transaction.
// What is due is found by looking at the lists of segments and rollups; nothing
// else is remembered, so a step that was interrupted is found again.

var _ store.Keeper = (*Store)(nil)

// SetPolicy implements store.Keeper.
func (s *Store) SetPolicy(tenant telemetry.Tenant, table string, p store.Policy) error {
	if err := s.writable("set policy"); err != nil {
		return err
	}
	for _, r := range p.Rollups {
		if r.Every < time.Second || r.Every%time.Second != 0 || s.opt.Partition%r.Every != 0 {
			return telemetry.Errorf(telemetry.CodeInvalid, "set policy", "rollups of %s cannot be %s wide: whole seconds that divide %s", table, r.Every, s.opt.Partition)
		}
	}
	tn := s.ensureTenant(tenant)
	tn.mu.Lock()
	defer tn.mu.Unlock()
	policies := map[string]store.Policy{}
	for k, v := range tn.policies {
		policies[k] = v
	}
	p.Rollups = slices.Clone(p.Rollups)
	slices.SortFunc(p.Rollups, func(a, b store.Rollup) int { return int((a.Every - b.Every) / time.Second) })
	policies[table] = p
	tn.policies = policies
	return nil
}

// tablePolicy is a table with what holds for it, and its segments.
type tablePolicy struct {
	name *tableName
	store.Policy
	parts map[int64][]*segment // own segments by partition, ascending by arrival
	mixed []*segment
	// overwritten is, for the partitions of all tables, the newest frame that
	// overwrote rows there.
	overwritten map[int64]int64
}

// policies returns the tables that have one, with the segments as they are now.
func (s *Store) policiesOf(tn *tenant) map[string]*tablePolicy {
	out := map[string]*tablePolicy{}
	tn.mu.Lock()
	for table, p := range tn.policies {
		if n := tn.names[table]; n != nil && (p.Retention > 0 || len(p.Rollups) > 0) {
			c := *n
			out[table] = &tablePolicy{name: &c, Policy: p, parts: map[int64][]*segment{}}
		}
	}
	tn.mu.Unlock()
	if len(out) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	overwritten := s.overwritten(tn)
	for _, p := range out {
		p.overwritten = overwritten
	}
	for _, g := range tn.segs {
		p := out[g.v.name.name]
		switch {
		case p == nil:
		case !s.isOwn(g):
			p.mixed = append(p.mixed, g)
		default:
			p.parts[g.partition] = append(p.parts[g.partition], g)
		}
	}
	return out
}

// keepAll does all steps that are due, as long as level 0 is not.
func (s *Store) keepAll(ctx context.Context, tn *tenant, all bool) error {
	for again := true; again && (all || !s.due(tn)); {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if again, err = s.keepOne(ctx, tn, all); err != nil {
			return err
		}
	}
	return s.saveTimeHourly()
}

// keepOne does one step of retention or rollups, if one is due.
func (s *Store) keepOne(ctx context.Context, tn *tenant, all bool) (bool, error) {
	s.compactMu.Lock()
	defer s.compactMu.Unlock()
	now := s.trusted.Now()
	tables := s.policiesOf(tn)
	for _, p := range tables {
		done, err := s.retire(ctx, tn, p, now)
		if done || err != nil {
			return done, err
		}
	}
	if s.isBusy(tn) && !all {
		return false, nil
	}
	for _, p := range tables {
		done, err := s.rollUpOne(ctx, tn, p, now, all)
		if done || err != nil {
			return done, err
		}
	}
	tn.rollupDebt.Store(s.debtOf(tn, tables, now))
	return s.dropRollups(tn, now)
}

// debtOf counts the partitions whose rollups are to be made, or made anew.
func (s *Store) debtOf(tn *tenant, tables map[string]*tablePolicy, now int64) (debt int64) {
	for _, p := range tables {
		groups, overwritten := s.rollupsOf(tn, p.name.name), p.overwritten
		for part, segs := range p.parts {
			_, to, ok := s.partitionBounds(part)
			widths := p.widthsAt(to, now)
			have := coverOf(groups[part], overwritten[part], segs)
			if !ok || len(widths) == 0 || have.complete(widths) {
				continue
			}
			if known, asked := tn.payments[rollupKey{p.name.name, part}]; asked && known.question == question(segs, widths) && have.complete(known.widths) {
				continue
			}
			debt++
		}
	}
	return debt
}

// widthsAt returns the widths that are kept of times up to end.
func (p *tablePolicy) widthsAt(end, now int64) (widths []int64) {
	for _, r := range p.Rollups {
		if r.Keep == 0 || now == 0 || end > now-int64(r.Keep) {
			widths = append(widths, int64(r.Every))
		}
	}
	return widths
}

// rollupKey is a partition of a table.
type rollupKey struct {
	table string
	part  int64
}

// quietAfter is how long a partition is left alone after its newest segment: its
// rollups are made when merges have settled, once and not with each of them.
const quietAfter = coldAfter

// rollUpOne makes the rollups of one partition of the table, where they are due.
func (s *Store) rollUpOne(ctx context.Context, tn *tenant, p *tablePolicy, now int64, all bool) (bool, error) {
	if len(p.Rollups) == 0 {
		return false, nil
	}
	groups, overwritten := s.rollupsOf(tn, p.name.name), p.overwritten
	parts := slices.Sorted(maps.Keys(p.parts))
	slices.Reverse(parts) // what is asked for most comes first
	for _, part := range parts {
		segs := p.parts[part]
		_, to, ok := s.partitionBounds(part)
		if segs = s.readable(segs); !ok || len(segs) == 0 || !all && !s.isQuiet(segs) {
			continue
		}
		widths := p.widthsAt(to, now)
		have := coverOf(groups[part], overwritten[part], segs)
		if len(widths) == 0 || have.complete(widths) {
			continue
		}
		widths, err := s.paying(tn, rollupKey{p.name.name, part}, segs, widths)
		if err != nil || len(widths) == 0 || have.complete(widths) {
			if err := mayPass(err); err != nil {
				return false, err
			}
			continue
		}
		c := &compaction{s: s, tn: tn, unrolled: have.all}
		if err := c.rollUp(ctx, p.name, part, segs, widths, maxTime, false); err != nil {
			c.discard()
			return true, s.mergeFailed(segs, err)
		}
		if len(c.rolled) == 0 {
			// All of its rows are deleted or overwritten: there is nothing to say.
			tn.payments[rollupKey{p.name.name, part}] = payment{question: question(segs, p.widthsAt(to, now))}
			if len(c.unrolled) == 0 {
				continue
			}
		}
		return true, s.enterRolled(c, nil)
	}
	return false, nil
}

// enterRolled enters a step and counts what it made.
func (s *Store) enterRolled(c *compaction, segs []*segment) error {
	if err := c.enter(nil, segs); err != nil {
		c.discard()
		return err
	}
	for _, g := range c.rolled {
		s.stats.rollups.Add(1)
		s.stats.rollupRows.Add(g.rows)
		s.stats.rollupBytes.Add(g.size)
	}
	return nil
}

// rollupsOf returns the groups of a table by partition.
func (s *Store) rollupsOf(tn *tenant, table string) map[int64][]*rollupGroup {
	s.mu.Lock()
	defer s.mu.Unlock()
	groups := map[int64][]*rollupGroup{}
	for _, o := range tn.rolledUp[table] {
		groups[o.partition] = append(groups[o.partition], o)
	}
	return groups
}

// readable leaves out segments that cannot be read.
func (s *Store) readable(segs []*segment) (out []*segment) {
	for _, g := range segs {
		if !g.isUnmergeable(s) && (g.deletion == nil || g.deletion.err == nil) {
			out = append(out, g)
		}
	}
	return out
}

func (s *Store) isQuiet(segs []*segment) bool {
	newest := int64(minTime)
	for _, g := range segs {
		newest = max(newest, g.created)
	}
	return s.opt.Now().Sub(time.Unix(0, newest)).Abs() >= quietAfter
}

// cover is the rollups that a partition has while its readings are there.
type cover struct {
	group *rollupGroup // that stands for all segments, or nil
	all   []*segment   // the rollups of all groups that are not final
}

// coverOf finds the group that stands for exactly these segments.
func coverOf(groups []*rollupGroup, overwritten int64, segs []*segment) (c cover) {
	var states []int64
	for _, g := range segs {
		states = append(states, g.state())
	}
	slices.Sort(states)
	for _, o := range groups {
		if o.final {
			continue
		}
		c.all = append(c.all, o.widths...)
		bad := slices.ContainsFunc(o.widths, func(g *segment) bool { return g.rollup.bad.Load() })
		if slices.Equal(o.sources, states) && o.isLive() && overwritten <= o.seen && !bad {
			c.group = o
		}
	}
	return c
}

// complete reports whether the group has all widths.
func (c *cover) complete(widths []int64) bool {
	if len(widths) == 0 {
		return true
	}
	if c.group == nil {
		return false
	}
	for _, w := range widths {
		if !slices.ContainsFunc(c.group.widths, func(g *segment) bool { return g.rollup.width == w }) {
			return false
		}
	}
	return true
}

// payment is which widths pay for a partition, as long as the question is the same.
type payment struct {
	question string
	widths   []int64
}

func question(segs []*segment, widths []int64) string {
	newest := int64(0)
	for _, g := range segs {
		newest = max(newest, g.state())
	}
	return fmt.Sprint(len(segs), newest, widths)
}

// paying returns the widths whose rollups save enough. Finding out reads the heads of
// all blocks, so the answer is kept until the partition or the policy changes.
func (s *Store) paying(tn *tenant, key rollupKey, segs []*segment, widths []int64) (pay []int64, err error) {
	asked := question(segs, widths)
	if known, ok := tn.payments[key]; ok && known.question == asked {
		return known.widths, nil
	}
	rows := int64(0)
	for _, g := range segs {
		rows += g.rows
	}
	if rows >= int64(s.opt.RollupRows) {
		for _, w := range widths {
			n, readings, err := s.estimate(segs, w)
			if err != nil {
				return nil, err
			}
			if n*int64(s.opt.RollupFactor) <= readings {
				pay = append(pay, w)
			}
		}
	}
	if tn.payments == nil {
		tn.payments = map[rollupKey]payment{}
	}
	tn.payments[key] = payment{asked, pay}
	return pay, nil
}

// dropRollups deletes rollups that are older than they are kept, and those that
// stand for segments that are no longer there or have a width that nobody asks for.
// A final rollup of such a width stays: it is all there is of its readings. Of a
// table whose policy nobody has told yet, nothing goes that may be asked for.
func (s *Store) dropRollups(tn *tenant, now int64) (bool, error) {
	tn.mu.Lock()
	policies := tn.policies // replaced, not changed
	tn.mu.Unlock()
	s.mu.Lock()
	c := &compaction{s: s, tn: tn}
	aged := int64(0)
	for table, groups := range tn.rolledUp {
		p, known := policies[table]
		for _, o := range groups {
			for _, g := range o.widths {
				i := slices.IndexFunc(p.Rollups, func(r store.Rollup) bool { return int64(r.Every) == g.rollup.width })
				old := i >= 0 && p.Rollups[i].Keep > 0 && now != 0 && g.maxTime+g.rollup.width <= now-int64(p.Rollups[i].Keep)
				if old || !o.final && (known && i < 0 || !o.isLive()) {
					c.unrolled = append(c.unrolled, g)
				}
				if old {
					aged++
				}
			}
		}
	}
	s.mu.Unlock()
	if len(c.unrolled) == 0 {
		return false, nil
	}
	c.unrolled = c.unrolled[:min(len(c.unrolled), retirePerStep)]
	if err := errors.Join(s.saveTime(), c.enter(nil, nil)); err != nil {
		return false, err
	}
	if aged > 0 {
		s.stats.retiredRollups.Add(aged)
		s.opt.Logger.Info("rollups older than they are kept were deleted", "rollups", aged)
	}
	return true, nil
}
