package node

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/weir-telemetry/weir/internal/node/config"
)

// sizes are the sizes that the configuration leaves to the node.
type sizes struct {
	buffer, query, limit int64
	heads                int64 // of the store's blocks
}

func chooseSizes(c *config.Config, machine int64) sizes {
	large := machine == 0 || machine >= 2<<30
	s := sizes{buffer: 16 << 20, query: 64 << 20, limit: machine / 2}
	if large {
		s.buffer, s.query = 64<<20, 256<<20
	}
	s.heads = min(max(machine/128, 16<<20), 256<<20)
	for _, f := range []struct {
		given config.Size
		value *int64
	}{{c.Pipeline.Buffer, &s.buffer}, {c.Query.Memory, &s.query}, {c.Memory.Limit, &s.limit}} {
		if !f.given.Auto {
			*f.value = f.given.Bytes
		}
	}
	return s
}

// TuneMemory tells the collector of this process what the configuration says, and
// keeps telling it while the process runs. GOGC and GOMEMLIMIT in the environment
// win, because whoever sets them means it. It is called once, early.
func TuneMemory(c *config.Config) {
	if !c.Node.Profile {
		// Sampling allocations costs more than a megabyte, and nobody can ask
		// for the samples.
		runtime.MemProfileRate = 0
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(c.Memory.GC)
		tendCollector(c.Memory.GC)
	}
	if limit := chooseSizes(c, machineMemory()).limit; os.Getenv("GOMEMLIMIT") == "" && limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	tendPages()
}

// What a heap may grow between collections is a share of it, which is right for
// garbage and wrong for the catalog of a million series: that holds no pointers, so
// that collecting costs little, and a fifth of it is a lot of memory.
const (
	heapHeadroom  = 8 << 20
	leastGC       = 5
	collectorTick = 2 * time.Second
)

// gcPercent is how much a heap of so many live bytes may grow.
func gcPercent(configured int, live uint64) int {
	return max(min(configured, int(heapHeadroom*100/max(live, 1))), min(configured, leastGC))
}

// tendCollector keeps what the collector was told in proportion to the heap. A
// timer needs no goroutine while it waits.
func tendCollector(configured int) {
	told := configured
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	var timer *time.Timer
	timer = time.AfterFunc(time.Hour, func() {
		metrics.Read(sample)
		if sample[0].Value.Kind() == metrics.KindUint64 {
			if p := gcPercent(configured, sample[0].Value.Uint64()); p != told {
				debug.SetGCPercent(p)
				told = p
			}
		}
		timer.Reset(collectorTick)
	})
	timer.Reset(collectorTick)
}

// pagesTick is how often pages of the binary that were used once are let go.
const pagesTick = 10 * time.Second

// tendPages lets go of the binary's pages again and again: the kernel maps sixteen
// where one is touched and never unmaps them, so that all code that ran once stays
// resident. What is in use is mapped again at once.
func tendPages() {
	var timer *time.Timer
	timer = time.AfterFunc(time.Hour, func() {
		returnStartPages()
		timer.Reset(pagesTick)
	})
	timer.Reset(pagesTick)
}
