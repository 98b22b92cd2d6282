package node

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

var _ control.Ages = (*Node)(nil)

// setPolicies tells the store what the schemas say about rollups and retention. The
// newest version of a table decides. A table whose document is gone keeps what it
// said last, which the first call reads from the documents that the store has.
func (n *Node) setPolicies(set *schema.Set) {
	newest := map[string]*schema.Plan{}
	for _, p := range set.Plans() {
		if o := newest[p.Table().Name]; o == nil || o.Version() < p.Version() {
			newest[p.Table().Name] = p
		}
	}
	if n.policies == nil {
		n.policies = map[string]store.Policy{}
		n.recordedPolicies(newest)
	}
	for table, p := range newest {
		n.setPolicy(table, policyOf(p))
	}
}

// tablesRecorded lets the policies follow documents that were recorded without
// becoming active, as an import brings them: its rows are to be judged by them.
func (n *Node) tablesRecorded() {
	n.following.Lock()
	defer n.following.Unlock()
	if n.registry == nil || n.policies == nil {
		return
	}
	active := map[string]*schema.Plan{}
	for _, p := range n.registry.Current().Plans() {
		active[p.Table().Name] = p
	}
	n.recordedPolicies(active)
}

// recordedPolicies sets what recorded documents said of tables that no schema is
// active for.
func (n *Node) recordedPolicies(active map[string]*schema.Plan) {
	records, err := n.store.Tables(n.work, telemetry.DefaultTenant)
	if err != nil {
		n.log.Error("the retention of tables without a schema is not known: they stay as they are", "error", err)
		return
	}
	last := map[string]store.TableRecord{}
	for _, r := range records { // by version ascending
		last[r.Table.Name] = r
	}
	for table, r := range last {
		if active[table] != nil {
			continue
		}
		if p, _ := schema.Compile(table, r.Document); p != nil {
			n.setPolicy(table, policyOf(p))
		}
	}
}

// setPolicy tells the store of one table, where that is news.
func (n *Node) setPolicy(table string, p store.Policy) {
	old, known := n.policies[table]
	if known && samePolicy(old, p) || !known && p.Retention == 0 && len(p.Rollups) == 0 {
		return
	}
	if err := n.store.SetPolicy(telemetry.DefaultTenant, table, p); err != nil {
		n.log.Error("rollups and retention of a table stay as they were", "table", table, "error", err)
		return
	}
	n.policies[table] = p
	k := keptOf(table, p)
	n.log.Info("rollups and retention", "table", table, "retention", cmp.Or(k.Retention, "for ever"), "rollups", strings.Join(k.Rollups, ", "))
}

func samePolicy(a, b store.Policy) bool {
	return a.Retention == b.Retention && slices.Equal(a.Rollups, b.Rollups)
}

func policyOf(p *schema.Plan) store.Policy {
	out := store.Policy{Retention: p.Retention()}
	for _, r := range p.Rollups() {
		out.Rollups = append(out.Rollups, store.Rollup{Every: r.Every, Keep: r.Keep})
	}
	return out
}

func keptOf(table string, p store.Policy) control.Kept {
	k := control.Kept{Table: table}
	if p.Retention > 0 {
		k.Retention = telemetry.Span(p.Retention)
	}
	for _, r := range p.Rollups {
		s := telemetry.Span(r.Every)
		if r.Keep > 0 {
			s += " for " + telemetry.Span(r.Keep)
		}
		k.Rollups = append(k.Rollups, s)
	}
	return k
}

// Retention implements control.Ages.
func (n *Node) Retention(_ context.Context, confirm bool) (*control.Retention, error) {
	if confirm {
		at, err := n.store.ConfirmTime()
		if err != nil {
			return nil, err
		}
		n.log.Warn("the wall clock was confirmed: retention goes by it", "time", time.Unix(0, at).UTC())
	}
	n.following.Lock()
	policies := maps.Clone(n.policies)
	n.following.Unlock()
	now := n.store.RetentionTime()
	out := &control.Retention{AheadSeconds: n.store.Stats().RetentionAhead.Seconds()}
	if now != 0 {
		out.Time = time.Unix(0, now).UTC()
	}
	for _, table := range slices.Sorted(maps.Keys(policies)) {
		out.Tables = append(out.Tables, keptOf(table, policies[table]))
	}
	return out, nil
}
