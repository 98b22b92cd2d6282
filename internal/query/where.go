package query

import (
	"context"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Condition picks rows of one table.
type Condition struct {
	p     *plan
	limit int64
}

// Condition reads a condition, as SQL has it after WHERE, for something that is
// done to rows, as "export". Only what the executor runs by itself is taken.
func (e *Engine) Condition(ctx context.Context, tenant telemetry.Tenant, table, where, op string) (*Condition, error) {
	p, err := e.conditionPlan(ctx, tenant, table, where, op)
	if err != nil {
		return nil, err
	}
	return &Condition{p, e.opts.MemoryLimit}, nil
}

// Request is a scan of what may meet the condition.
func (c *Condition) Request(tenant telemetry.Tenant) store.ScanRequest {
	return newExecution(c.p, c.limit).request(tenant)
}

// Picker returns a function that calls yield with the rows of a unit that meet the
// condition, ascending, in parts. It is for one scan and one goroutine.
func (c *Condition) Picker(scan store.Scan) func(ctx context.Context, u store.Unit, yield func([]int32)) error {
	w := newWorker(c.p, scan, newExecution(c.p, c.limit))
	var rows []int32
	return func(ctx context.Context, u store.Unit, yield func([]int32)) error {
		return w.unit(ctx, u, func(ch *chunk, sel []int32) error {
			rows = rows[:0]
			for _, r := range sel {
				rows = append(rows, r+int32(ch.lo))
			}
			yield(rows)
			return nil
		})
	}
}
