package query

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"github.com/weir-telemetry/weir/internal/store"
)

// unitRows are the batches of one unit, which follow those of the unit before.
type unitRows struct {
	unit store.Unit
	out  chan *Batch
}

// stream runs a select without order: workers decode ahead, and the rows come
// in the order of the units. Memory is bounded by the channels.
func (x *execution) stream(ctx context.Context, scan store.Scan) *Rows {
	ctx, cancel := context.WithCancelCause(ctx)
	units := scan.Units()
	x.count(scan)
	n := max(1, min(runtime.GOMAXPROCS(0), len(units)))
	order := make(chan *unitRows, n)
	jobs := make(chan *unitRows, n)
	pool := &sync.Pool{New: func() any { return &Batch{} }}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(order)
		defer close(jobs)
		for _, u := range units {
			r := &unitRows{unit: u, out: make(chan *Batch, 2)}
			select {
			case order <- r:
			case <-ctx.Done():
				return
			}
			jobs <- r // has room, or a worker takes it: jobs never outnumber order
		}
	})
	for range n {
		w := newWorker(x.plan, scan, x)
		wg.Go(func() {
			for r := range jobs {
				if ctx.Err() == nil {
					err := w.unit(ctx, r.unit, func(c *chunk, sel []int32) error {
						return w.project(ctx, c, sel, pool, r.out)
					})
					if err != nil {
						cancel(err)
					}
				}
				close(r.out)
			}
		})
	}
	var current *unitRows
	var last *Batch
	limits := cut{x.plan.limit, x.plan.offset}
	ended := limits.limit == 0
	return &Rows{
		columns: x.plan.resultColumns(),
		next: func() (*Batch, error) {
			if last != nil {
				pool.Put(last)
				last = nil
			}
			for !ended {
				if current == nil {
					var ok bool
					if current, ok = <-order; !ok {
						break
					}
				}
				b, ok := <-current.out
				if !ok {
					current = nil
					if ctx.Err() != nil {
						break
					}
					continue
				}
				last = b
				ended = limits.apply(b)
				if b.n > 0 {
					return b, nil
				}
			}
			if ended {
				return nil, nil
			}
			if ctx.Err() != nil {
				return nil, contextError(ctx)
			}
			return nil, nil
		},
		stop: func() {
			cancel(errClosed)
			wg.Wait()
			scan.Close()
		},
		stats: x.snapshot,
	}
}

var errClosed = errors.New("the rows were closed")

// project computes the outputs of selected rows into a batch.
func (w *worker) project(ctx context.Context, c *chunk, sel []int32, pool *sync.Pool, out chan<- *Batch) error {
	b := pool.Get().(*Batch)
	b.n = len(sel)
	if len(b.cols) != len(w.outs) {
		b.cols = make([]outColumn, len(w.outs))
	}
	for i, n := range w.outs {
		v, err := n.eval(c)
		if err != nil {
			return err
		}
		b.cols[i].gather(v, sel)
	}
	select {
	case out <- b:
		return nil
	case <-ctx.Done():
		return contextError(ctx)
	}
}
