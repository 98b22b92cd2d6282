package powercut

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cutSeed returns the seed of a run, which WEIR_SEED sets.
func cutSeed() uint64 {
	if s := os.Getenv("WEIR_SEED"); s != "" {
		seed, _ := strconv.ParseUint(s, 10, 64)
		return seed
	}
	return uint64(time.Now().UnixNano())
}

// eachDisk looks at every disk, several at a time: most of what it takes is waiting
// for the file system. It ends at the first problem, but a soak finds all.
func eachDisk(t *testing.T, disks int, problem func(d int) string) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for d := int(next.Add(1)) - 1; d < disks; d = int(next.Add(1)) - 1 {
				if p := problem(d); p != "" {
					t.Error(p)
					if os.Getenv("WEIR_SOAK") == "" {
						next.Store(int64(disks))
					}
				}
			}
		})
	}
	wg.Wait()
}

// CutDisks makes the disks of power cuts and asks holds of each which promise it
// breaks, if any; at is the position of the cut. sends are the events that
// acknowledge: half of a bounded number of cuts come right after one, the others
// anywhere, both spread over the recording. WEIR_SOAK=1 cuts after every event in
// each way.
func CutDisks(t *testing.T, events []Event, root string, sends []int, disks int, holds func(dir string, at int) string) {
	t.Helper()
	seed := cutSeed()
	soak := os.Getenv("WEIR_SOAK") != ""
	if soak {
		disks = 3 * len(events)
	}
	positions := make([]atomic.Bool, len(events))
	eachDisk(t, disks, func(d int) string {
		random := rand.New(rand.NewPCG(seed, uint64(d)))
		stratum := func(n int) int { return min((d*n+random.IntN(n))/disks, n-1) }
		cut, i := Cut(random.IntN(3)), 0
		switch {
		case soak:
			i, cut = d/3, Cut(d%3)
		case d%2 == 0:
			i = sends[stratum(len(sends))]
		default:
			i = stratum(len(events))
		}
		positions[i].Store(true)
		at := events[i].Start + 1
		dir, err := os.MkdirTemp("", "weir-cut-*")
		if err != nil {
			return err.Error()
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := Disk(events, root, dir, at, cut, random); err != nil {
			return err.Error()
		}
		if problem := holds(dir, at); problem != "" {
			return fmt.Sprintf("disk %d, cut %v before line %d (%s): %s", d, cut, at, summary(&events[i]), problem)
		}
		return ""
	})
	cut := 0
	for i := range positions {
		if positions[i].Load() {
			cut++
		}
	}
	t.Logf("seed %d (WEIR_SEED=%d repeats it); %d disks, at %d of %d positions; %d events acknowledge", seed, seed, disks, cut, len(events), len(sends))
}

func summary(e *Event) string {
	return fmt.Sprintf("kind %d of %s at %d, %d bytes", e.Kind, e.Path, e.Offset, len(e.Data))
}
