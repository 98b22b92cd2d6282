package node

import (
	"context"
	"slices"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Check implements control.Backend.
func (n *Node) Check(ctx context.Context, file string, document []byte) (*control.Accepted, error) {
	return n.gate.check(ctx, file, document)
}

// Check says what a node would say to the document.
func (r *Reader) Check(ctx context.Context, file string, document []byte) (*control.Accepted, error) {
	g := &gate{store: r.store, tenant: telemetry.DefaultTenant}
	return g.check(ctx, file, document)
}

// Quarantined calls yield for each matching record, newest first, until it
// returns false.
func (r *Reader) Quarantined(ctx context.Context, f control.Filter, yield func(*control.Record) bool) error {
	return quarantined(ctx, r.store, f, yield)
}

// SchemaNames are the names of all schemas that were ever active here.
func (r *Reader) SchemaNames(ctx context.Context) ([]string, error) {
	records, err := r.store.Tables(ctx, telemetry.DefaultTenant)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range records {
		if p, problems := schema.Compile(t.Table.Name, t.Document); len(problems) == 0 && !slices.Contains(names, p.Name()) {
			names = append(names, p.Name())
		}
	}
	return names, nil
}
