package node

import (
	"os"
	"runtime/debug"

	"github.com/weir-telemetry/weir/internal/node/config"
)

// sizes are the sizes that the configuration leaves to the node.
type sizes struct {
	buffer, query, limit int64
}

func chooseSizes(c *config.Config, machine int64) sizes {
	large := machine == 0 || machine >= 2<<30
	s := sizes{buffer: 16 << 20, query: 64 << 20, limit: machine / 2}
	if large {
		s.buffer, s.query = 64<<20, 256<<20
	}
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

// TuneMemory tells the collector of this process what the configuration says.
// GOGC and GOMEMLIMIT in the environment win, because whoever sets them means it.
func TuneMemory(c *config.Config) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(c.Memory.GC)
	}
	if limit := chooseSizes(c, machineMemory()).limit; os.Getenv("GOMEMLIMIT") == "" && limit > 0 {
		debug.SetMemoryLimit(limit)
	}
}
