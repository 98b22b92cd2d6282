package pipeline

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBudget(t *testing.T) {
	t.Run("ServesInTheOrderOfAsking", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := &budget{limit: 100}
			if !b.try(100) {
				t.Fatal("an empty budget has room")
			}
			var order []int
			turn := make(chan int)
			for i := range 5 {
				go func() {
					if err := b.take(t.Context(), 60); err != nil {
						t.Error(err)
					}
					turn <- i
				}()
				synctest.Wait()
			}
			b.give(50) // less than the first asks for
			if b.try(1) {
				t.Error("nobody overtakes who waits")
			}
			b.give(50)
			for range 5 {
				order = append(order, <-turn)
				synctest.Wait()
				b.give(60)
			}
			for i, o := range order {
				if i != o {
					t.Fatalf("served in the order %v", order)
				}
			}
			if b.used.Load() != 0 {
				t.Errorf("%d bytes are left over", b.used.Load())
			}
		})
	})
	t.Run("NeverHandsOutMoreThanItHas", func(t *testing.T) {
		b := &budget{limit: 1000}
		var most atomic.Int64
		done := make(chan error)
		for range 8 {
			go func() {
				for i := range 2000 {
					n := int64(1 + i%400)
					if err := b.take(t.Context(), n); err != nil {
						done <- err
						return
					}
					for used := b.used.Load(); ; {
						old := most.Load()
						if used <= old || most.CompareAndSwap(old, used) {
							break
						}
					}
					b.give(n)
				}
				done <- nil
			}()
		}
		for range 8 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		if most.Load() > 1000 || b.used.Load() != 0 {
			t.Errorf("at most %d of 1000 were taken, %d are left over", most.Load(), b.used.Load())
		}
	})
	t.Run("AWaiterMayGiveUp", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := &budget{limit: 10}
			b.force(10)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := b.take(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("take returned %v", err)
			}
			b.give(10)
			if b.used.Load() != 0 || b.waiting.Load() != 0 {
				t.Error("who gave up took something along")
			}
		})
	})
	t.Run("ClosingLetsWaitersGo", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := &budget{limit: 10}
			b.force(10)
			done := make(chan error)
			go func() { done <- b.take(t.Context(), 1) }()
			synctest.Wait()
			b.close(errStopped)
			if err := <-done; !errors.Is(err, errStopped) {
				t.Errorf("take returned %v", err)
			}
			if err := b.take(t.Context(), 1); !errors.Is(err, errStopped) {
				t.Errorf("take after the end returned %v", err)
			}
		})
	})
}
