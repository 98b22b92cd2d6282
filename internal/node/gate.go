package node

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"sort"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// gate stands between the schema documents and the store: it decides which table
// a plan fills, and keeps out what does not fit the readings that are stored.
//
// A schema's family are the tables that its versions fill: "env", and "env_v3"
// where version 3 broke with what was there and a person accepted that. A later
// version belongs to the youngest table that is not younger than itself.
type gate struct {
	store  store.Store
	tenant telemetry.Tenant
	mu     sync.Mutex // one decision at a time: each looks at what the last recorded
}

// member is a recorded version of a family.
type member struct {
	plan  *schema.Plan // what was recorded, in the table that it fills
	table string
}

// tableName is asked by the registry which table a plan fills. Errors are left to
// approve, which is asked next.
func (g *gate) tableName(p *schema.Plan) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	family, err := g.family(context.Background(), p.Name())
	if err != nil {
		return ""
	}
	for _, m := range family {
		if m.plan.Version() == p.Version() {
			return m.table
		}
	}
	return home(family, p)
}

// approve is asked by the registry about every new plan, with the table that
// tableName gave it, and records it.
func (g *gate) approve(p *schema.Plan) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, breaks, err := g.place(context.Background(), p)
	if err == nil && len(breaks) > 0 {
		err = refusal(p, breaks)
	}
	return err
}

func refusal(p *schema.Plan, breaks []schema.Break) error {
	return telemetry.Errorf(telemetry.CodeConflict, "approve schema", "version %d of %s does not fit the readings that are stored:\n  %s",
		p.Version(), p.Name(), strings.Join(describeBreaks(breaks), "\n  ")).
		WithHint(fmt.Sprintf("weir schema accept --break %s keeps the old readings in their table and opens %s", p.File(), brokenName(p)))
}

func describeBreaks(breaks []schema.Break) []string {
	lines := make([]string, len(breaks))
	for i, b := range breaks {
		lines[i] = b.Path + ": " + b.What
	}
	return lines
}

// brokenName is the table of a version that breaks with the ones before it. The
// compiler keeps such names for it: no schema can be called so.
func brokenName(p *schema.Plan) string { return fmt.Sprintf("%s_v%d", p.Name(), p.Version()) }

// place finds the table of a plan and records it there, or says what it breaks.
func (g *gate) place(ctx context.Context, p *schema.Plan) (*schema.Plan, []schema.Break, error) {
	table, recorded, breaks, err := g.find(ctx, p)
	switch {
	case err != nil || len(breaks) > 0:
		return nil, breaks, err
	case recorded:
		return p.WithTable(table), nil, nil
	}
	placed, err := g.record(ctx, p, table)
	return placed, nil, err
}

// find is place that records nothing.
func (g *gate) find(ctx context.Context, p *schema.Plan) (table string, recorded bool, breaks []schema.Break, err error) {
	family, err := g.family(ctx, p.Name())
	if err != nil {
		return "", false, nil, err
	}
	for _, m := range family {
		if m.plan.Version() != p.Version() {
			continue
		}
		if !sameDocument(m.plan.Document(), p.Document()) {
			return "", false, nil, telemetry.Errorf(telemetry.CodeConflict, "approve schema",
				"version %d of %s is recorded with other content", p.Version(), p.Name()).
				WithHint(fmt.Sprintf("readings name the version that they were checked by; give the changed document version: %d", newest(family)+1))
		}
		return m.table, true, nil, nil
	}
	table = home(family, p)
	for _, m := range family {
		if m.table != table {
			continue
		}
		older, newer := m.plan, p
		if m.plan.Version() > p.Version() {
			older, newer = p, m.plan
		}
		breaks = appendNew(breaks, schema.Compare(older, newer))
	}
	return table, false, breaks, nil
}

// check says what accepting the document would do, and does nothing.
func (g *gate) check(ctx context.Context, file string, document []byte) (*control.Accepted, error) {
	p, problems := schema.Compile(file, document)
	if len(problems) > 0 {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, "check schema", "the document has errors:\n%s", problems.Error())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	table, _, breaks, err := g.find(ctx, p)
	if err == nil && len(breaks) > 0 {
		err = refusal(p, breaks)
	}
	if err != nil {
		return nil, err
	}
	return &control.Accepted{Name: p.Name(), Version: p.Version(), Table: table}, nil
}

// home is the table that a new version belongs to: the youngest one that was
// opened by an older version.
func home(family []member, p *schema.Plan) string {
	table := p.Name()
	if len(family) > 0 {
		table = family[0].table
	}
	opened := map[string]bool{}
	for _, m := range family { // ascending versions, so the first of a table opened it
		if !opened[m.table] && m.plan.Version() < p.Version() {
			table = m.table
		}
		opened[m.table] = true
	}
	return table
}

func newest(family []member) int { return family[len(family)-1].plan.Version() }

func appendNew(all, more []schema.Break) []schema.Break {
	for _, b := range more {
		known := false
		for _, a := range all {
			known = known || a == b
		}
		if !known {
			all = append(all, b)
		}
	}
	return all
}

func (g *gate) record(ctx context.Context, p *schema.Plan, table string) (*schema.Plan, error) {
	if table != p.Table().Name {
		p = p.WithTable(table)
	}
	if err := g.store.PutTable(ctx, g.tenant, p.Table(), p.Document()); err != nil {
		return nil, fmt.Errorf("record schema %s version %d: %w", p.Name(), p.Version(), err)
	}
	return p, nil
}

// family returns the recorded versions of a schema, ascending.
func (g *gate) family(ctx context.Context, name string) ([]member, error) {
	records, err := g.store.Tables(ctx, g.tenant)
	if err != nil {
		return nil, fmt.Errorf("read recorded schemas: %w", err)
	}
	var family []member
	for _, r := range records {
		if r.Table.Name != name && !strings.HasPrefix(r.Table.Name, name+"_v") {
			continue
		}
		plan, problems := schema.Compile(r.Table.Name, r.Document)
		if len(problems) > 0 {
			return nil, telemetry.Errorf(telemetry.CodeDamaged, "approve schema",
				"the recorded document of %s version %d does not compile any more: %v", r.Table.Name, r.Table.Version, problems)
		}
		if plan.Name() != name { // "a_vent" is no version of "a"
			continue
		}
		family = append(family, member{plan.WithTable(r.Table.Name), r.Table.Name})
	}
	sort.SliceStable(family, func(i, j int) bool { return family[i].plan.Version() < family[j].plan.Version() })
	return family, nil
}

// accept records a document that a person stands behind.
func (g *gate) accept(ctx context.Context, file string, document []byte, breaking bool) (*control.Accepted, error) {
	p, problems := schema.Compile(file, document)
	if len(problems) > 0 {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, "accept schema", "the document has errors:\n%s", problems.Error())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	placed, breaks, err := g.place(ctx, p)
	if err != nil {
		return nil, err
	}
	if len(breaks) > 0 {
		if !breaking {
			return nil, refusal(p, breaks)
		}
		if placed, err = g.record(ctx, p, brokenName(p)); err != nil {
			return nil, err
		}
	}
	return &control.Accepted{Name: p.Name(), Version: p.Version(), Table: placed.Table().Name, Breaks: describeBreaks(breaks)}, nil
}

// sameDocument reports whether two documents say the same: comments, order of
// keys and YAML or JSON make no difference.
func sameDocument(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var va, vb any
	return yaml.Unmarshal(a, &va) == nil && yaml.Unmarshal(b, &vb) == nil && reflect.DeepEqual(va, vb)
}
