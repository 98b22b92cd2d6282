package pipeline

import (
	"context"
	"sync"
	"sync/atomic"
)

// budget is the bound of BufferBytes: bytes are taken before they are used and
// given back when their commit is done. Who must wait is served in the order of
// asking, so that a fast source cannot starve a slow one.
type budget struct {
	limit int64
	used  atomic.Int64

	waiting atomic.Int32 // len(waiters), readable without the lock
	mu      sync.Mutex
	waiters []*waiter
	closed  error
}

type waiter struct {
	n     int64
	ready chan error // capacity 1
}

// try takes n bytes if there is room and nobody waits.
func (b *budget) try(n int64) bool {
	return b.waiting.Load() == 0 && b.fit(n)
}

// fit takes n bytes if there is room. Something always fits into an empty budget.
func (b *budget) fit(n int64) bool {
	for {
		used := b.used.Load()
		if used > 0 && used+n > b.limit {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// force takes n bytes whether or not there is room: they are in use already.
func (b *budget) force(n int64) { b.used.Add(n) }

// take waits until n bytes are there. It returns the context's error, or the
// error that the budget was closed with.
func (b *budget) take(ctx context.Context, n int64) error {
	if b.try(n) {
		return nil
	}
	b.mu.Lock()
	if b.closed != nil {
		defer b.mu.Unlock()
		return b.closed
	}
	w := &waiter{n: n, ready: make(chan error, 1)}
	b.waiters = append(b.waiters, w)
	b.waiting.Store(int32(len(b.waiters)))
	b.serve() // what was given back between try and here woke nobody
	b.mu.Unlock()
	select {
	case err := <-w.ready:
		return err
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, o := range b.waiters {
		if o == w {
			b.waiters = append(b.waiters[:i], b.waiters[i+1:]...)
			b.waiting.Store(int32(len(b.waiters)))
			b.serve()
			return ctx.Err()
		}
	}
	// It was served at the same moment.
	if err := <-w.ready; err != nil {
		return err
	}
	b.used.Add(-n)
	b.serve()
	return ctx.Err()
}

// give returns n bytes.
func (b *budget) give(n int64) {
	b.used.Add(-n)
	if b.waiting.Load() != 0 {
		b.mu.Lock()
		b.serve()
		b.mu.Unlock()
	}
}

// serve lets waiters go while there is room. The lock is held.
func (b *budget) serve() {
	n := 0
	for n < len(b.waiters) && b.fit(b.waiters[n].n) {
		b.waiters[n].ready <- nil
		n++
	}
	b.waiters = append(b.waiters[:0], b.waiters[n:]...)
	b.waiting.Store(int32(len(b.waiters)))
}

// close lets all waiters go with the error, now and later.
func (b *budget) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = err
	for _, w := range b.waiters {
		w.ready <- err
	}
	b.waiters = nil
	b.waiting.Store(0)
}
