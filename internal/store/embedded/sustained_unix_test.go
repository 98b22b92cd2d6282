//go:build unix

package embedded

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// BenchmarkSustained commits the standard workload in bursts of 10,000 rows as
// fast as the store takes it, with compaction and checkpoints running, and
// reports CPU, debt, log size and memory. WEIR_SUSTAINED is a rate in rows a
// second to hold instead, and WEIR_SUSTAINED_SECONDS how long to hold it;
// WEIR_SUSTAINED_SEALED=1 encrypts the store. With WEIR_SUSTAINED_MANUAL=1 nothing is
// compacted: commits take then what they would if compaction cost them nothing.
func BenchmarkSustained(b *testing.B) {
	rate, _ := strconv.Atoi(os.Getenv("WEIR_SUSTAINED"))
	seconds, _ := strconv.Atoi(os.Getenv("WEIR_SUSTAINED_SECONDS"))
	if seconds == 0 {
		seconds = 5
	}
	burst := 10_000
	if rate > 0 {
		burst = max(rate/500, 1)
	}
	for b.Loop() {
		opt := Options{Dir: b.TempDir()}
		opt.ManualCompaction = os.Getenv("WEIR_SUSTAINED_MANUAL") != ""
		if os.Getenv("WEIR_SUSTAINED_SEALED") != "" {
			opt.Sealing = seal.Holding(seal.NewMaster())
		}
		s := open(b, opt)
		f := newFleet(b, s, 1000)
		secs := make([]*telemetry.Section, 64)
		for i := range secs {
			f.section(burst)
			secs[i] = &telemetry.Section{}
			secs[i].Reset(f.table)
			appendRows(secs[i], &f.sec, 0, burst)
		}
		span := int64(64*burst/1000+1) * 1e9
		start, cpu, rows := time.Now(), cpuTime(), 0
		var maxWAL, maxDebt int64
		var commits []time.Duration
		var before store.Staged
		for n := 0; time.Since(start) < time.Duration(seconds)*time.Second; n++ {
			sec := secs[n%64]
			st, err := s.Stage(context.Background(), &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{sec}}}})
			if err != nil {
				b.Fatal(err)
			}
			if before != nil {
				at := time.Now()
				if err := before.Commit(context.Background()); err != nil {
					b.Fatal(err)
				}
				commits = append(commits, time.Since(at))
			}
			before = st
			rows += burst
			for i := range sec.Time { // the next round of these rows is later
				sec.Time[i] += span
			}
			if n%50 == 0 {
				stats := s.Stats()
				maxWAL, maxDebt = max(maxWAL, stats.WALSize), max(maxDebt, stats.Level0Rows)
			}
			if rate > 0 {
				time.Sleep(time.Duration(rows)*time.Second/time.Duration(rate) - time.Since(start))
			}
		}
		before.Abort()
		took, used := time.Since(start), cpuTime()-cpu
		slices.Sort(commits)
		st := s.Stats()
		b.Logf("%.0f rows/s, %.3f us CPU a row, level 0 at most %d rows and now %d, log at most %.1f MB, commits p50 %v p99 %v slowest %v, RSS %d MB, heap %d MB, %d segments, %d compactions, %d checkpoints, merged %d rows, %.2f bytes a row",
			float64(rows)/took.Seconds(), float64(used.Microseconds())/float64(rows), maxDebt, st.Level0Rows, float64(maxWAL)/1e6, commits[len(commits)/2], commits[len(commits)*99/100], commits[len(commits)-1], rssMB(), heapMB(),
			st.Segments, st.Compactions, st.Checkpoints, st.MergedRows, float64(st.SegmentSize)/max(1, float64(st.SegmentRows)))
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func cpuTime() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func heapMB() int {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc >> 20)
}

func rssMB() int {
	data, err := os.ReadFile(filepath.Join("/proc/self/status"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	kb, _ := strconv.Atoi(strings.Fields(rest)[0])
	return kb >> 10
}
