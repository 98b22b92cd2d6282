package embedded

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// fleet makes the readings of the standard workload: devices in turn, one
// reading a second each, hundredths around a base of the device's own.
type fleet struct {
	table *telemetry.Table
	refs  []telemetry.SeriesRef
	base  []float64
	rng   *rand.Rand
	next  int
	sec   telemetry.Section
	vals  [5]telemetry.Value
}

func newFleet(tb testing.TB, s *Store, devices int) *fleet {
	tb.Helper()
	f := &fleet{table: env(), rng: rand.New(rand.NewPCG(1, 2))}
	if err := s.PutTable(context.Background(), telemetry.DefaultTenant, f.table, nil); err != nil {
		tb.Fatal(err)
	}
	for d := range devices {
		f.refs = append(f.refs, device(tb, s, f.table, d))
		f.base = append(f.base, float64(1500+f.rng.IntN(1000)))
	}
	return f
}

var statusOK = []byte("ok")

const fleetStart = int64(1_750_000_000_000)

// section fills the fleet's section with the next readings.
func (f *fleet) section(rows int) *telemetry.Section {
	f.sec.Reset(f.table)
	for range rows {
		d := f.next % len(f.refs)
		at := fleetStart + int64(f.next/len(f.refs))*1000 + int64(d%1000)
		f.next++
		cents := func(base float64, n int) telemetry.Value { return float((base + float64(f.rng.IntN(n))) / 100) }
		f.vals = [5]telemetry.Value{
			cents(f.base[d], 20), cents(f.base[d]*2, 30), cents(f.base[d]+100000, 40), float(3.71), {Text: statusOK},
		}
		f.sec.AppendRow(f.refs[d], at*1e6, at*1e6+int64(f.next/100)*1000, f.vals[:])
	}
	return &f.sec
}

func BenchmarkStageCommit(b *testing.B) {
	for _, rows := range []int{2000, 10000} {
		for _, part := range []string{"stage", "commit"} {
			b.Run(fmt.Sprintf("rows=%d/time=%s", rows, part), func(b *testing.B) {
				s := open(b, Options{ManualCompaction: true})
				f := newFleet(b, s, 1000)
				b.ReportAllocs()
				bytes, n := 0, 0
				for b.Loop() {
					b.StopTimer()
					c := &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{f.section(rows)}}}}
					if part == "stage" {
						b.StartTimer()
					}
					st, err := s.Stage(context.Background(), c)
					if err != nil {
						b.Fatal(err)
					}
					if part == "stage" {
						b.StopTimer()
					} else {
						b.StartTimer()
					}
					if err := st.Commit(context.Background()); err != nil {
						b.Fatal(err)
					}
					if part == "stage" {
						b.StartTimer()
					}
					bytes += s.level0(s.tenant(telemetry.DefaultTenant))[n].size
					n++
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*rows), "ns/row")
				b.ReportMetric(float64(bytes)/float64(n*rows), "B/row")
			})
		}
	}
}

func BenchmarkCompaction(b *testing.B) {
	const rows, commits = 10000, 40
	s := open(b, Options{ManualCompaction: true, Dir: b.TempDir()})
	f := newFleet(b, s, 1000)
	tn := s.tenant(telemetry.DefaultTenant)
	n, size := 0, int64(0)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for range commits {
			commit(b, s, f.section(rows))
		}
		b.StartTimer()
		if _, err := s.compactLevel0(context.Background(), tn, false); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		n += rows * commits
		size = s.stats.segmentBytes.Load()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/row")
	b.ReportMetric(float64(size)/float64(n), "B/row")
}

func BenchmarkMerge(b *testing.B) {
	n := 0
	var size int64
	for b.Loop() {
		b.StopTimer()
		s := open(b, Options{ManualCompaction: true, Dir: b.TempDir()})
		f := newFleet(b, s, 1000)
		tn := s.tenant(telemetry.DefaultTenant)
		for range 8 {
			for range 10 {
				commit(b, s, f.section(10000))
			}
			if _, err := s.compactLevel0(context.Background(), tn, false); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		merged, err := s.mergeOne(context.Background(), tn, false)
		if err != nil || !merged {
			b.Fatal(merged, err)
		}
		b.StopTimer()
		n += 800_000
		size = s.stats.mergedBytes.Load()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/row")
	b.ReportMetric(float64(size)/800_000, "B/row")
}

func BenchmarkSeriesHit(b *testing.B) {
	for _, devices := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(devices), func(b *testing.B) {
			s := open(b, Options{ManualCompaction: true})
			f := newFleet(b, s, devices)
			type key struct {
				topic []byte
				tags  [][]byte
			}
			keys := make([]key, 4096)
			for i := range keys {
				keys[i].topic, keys[i].tags = deviceKey(i * 7919 % devices)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				k := &keys[i&4095]
				i++
				if _, err := s.Series(telemetry.DefaultTenant, f.table, k.topic, k.tags); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLookup stages commits of which one row in twenty is late by up to an
// hour, against a store of a million readings.
func BenchmarkLookup(b *testing.B) {
	for _, where := range []string{"level0", "segments"} {
		b.Run(where, func(b *testing.B) {
			s := open(b, Options{ManualCompaction: true})
			f := newFleet(b, s, 1000)
			for range 100 {
				commit(b, s, f.section(10000))
			}
			if where == "segments" {
				if err := s.Compact(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			n := 0
			for b.Loop() {
				b.StopTimer()
				sec := f.section(2000)
				for i := 0; i < 2000; i += 20 {
					sec.Time[i] -= int64(f.rng.IntN(900))*1e9 + 500
				}
				c := &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{sec}}}}
				b.StartTimer()
				st, err := s.Stage(context.Background(), c)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				st.Abort()
				n += 100
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/late-row")
		})
	}
}

func BenchmarkScan(b *testing.B) {
	s := open(b, Options{ManualCompaction: true})
	f := newFleet(b, s, 1000)
	const rows = 1_000_000
	for range rows / 10000 {
		commit(b, s, f.section(10000))
	}
	for _, where := range []string{"level0", "segments"} {
		if where == "segments" {
			if err := s.Compact(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(where+"/all", func(b *testing.B) {
			var sec telemetry.Section
			for b.Loop() {
				sc, err := s.Scan(context.Background(), store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: "env", From: minTime, To: maxTime})
				if err != nil {
					b.Fatal(err)
				}
				for _, u := range sc.Units() {
					if _, err := u.Read(&sec, []string{"temperature"}, false); err != nil {
						b.Fatal(err)
					}
				}
				sc.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
		b.Run(where+"/one-device", func(b *testing.B) {
			var sec telemetry.Section
			for b.Loop() {
				sc, err := s.Scan(context.Background(), store.ScanRequest{
					Tenant: telemetry.DefaultTenant, Table: "env", From: minTime, To: maxTime,
					Match: func(_ string, tags []store.Tag) bool { return tags[2].Value == "d00123" },
				})
				if err != nil {
					b.Fatal(err)
				}
				for _, u := range sc.Units() {
					if _, err := u.Read(&sec, []string{"temperature"}, false); err != nil {
						b.Fatal(err)
					}
				}
				sc.Close()
			}
		})
	}
}

// BenchmarkMatch opens a scan that asks for one of 200,000 series.
func BenchmarkMatch(b *testing.B) {
	s := open(b, Options{ManualCompaction: true})
	newFleet(b, s, 200_000)
	for b.Loop() {
		sc, err := s.Scan(context.Background(), store.ScanRequest{
			Tenant: telemetry.DefaultTenant, Table: "env", From: minTime, To: maxTime,
			Match: func(_ string, tags []store.Tag) bool { return tags[2].Value == "d00123" },
		})
		if err != nil {
			b.Fatal(err)
		}
		sc.Close()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200_000, "ns/series")
}
