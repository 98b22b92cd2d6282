//go:build unix

package pipeline

import (
	"syscall"
	"testing"
)

// cpuTimer reports the processor time of all threads by operation, which says more
// than the wall clock where several things run at once.
func cpuTimer(b *testing.B) (stop func()) {
	b.Helper()
	before := cpuTime(b)
	return func() { b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op") }
}

func cpuTime(b *testing.B) int64 {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return r.Utime.Nano() + r.Stime.Nano()
}
