package testkit

import (
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

func TestOneAtATimeHasTheLock(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: nothing is built there")
	}
	path := filepath.Join(t.TempDir(), "lock")
	var all sync.WaitGroup
	inside := make(chan struct{}, 1)
	for range 8 {
		all.Go(func() {
			for range 50 {
				unlock, err := lockFile(path)
				if err != nil {
					t.Error(err)
					return
				}
				select {
				case inside <- struct{}{}:
				default:
					t.Error("two have the lock")
				}
				runtime.Gosched()
				select {
				case <-inside:
				default:
				}
				unlock()
			}
		})
	}
	all.Wait()
}
