package broker

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// commitSink acknowledges as the pipeline does: in steps that start an interval
// apart, from a goroutine of its own.
type commitSink struct {
	mu    sync.Mutex
	dirty []*commitSession
	count atomic.Int64
	wake  chan struct{}
	quit  chan struct{}
	ended chan struct{}
}

type commitSession struct {
	f     *commitSink
	acker telemetry.Acker
	token uint64
	n     int64
	noted bool
}

func newCommitSink(interval time.Duration) *commitSink {
	f := &commitSink{wake: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{})}
	go f.run(interval)
	return f
}

func (f *commitSink) run(interval time.Duration) {
	defer close(f.ended)
	for {
		select {
		case <-f.wake:
		case <-f.quit:
			return
		}
		time.Sleep(interval)
		f.mu.Lock()
		dirty := f.dirty
		f.dirty = nil
		tokens := make([]uint64, len(dirty))
		for i, s := range dirty {
			tokens[i], s.noted = s.token, false
		}
		f.mu.Unlock()
		for i, s := range dirty {
			s.acker.Ack(tokens[i])
		}
	}
}

func (f *commitSink) stop() { close(f.quit); <-f.ended }

func (f *commitSink) OpenSession(_ context.Context, _, _ string, a telemetry.Acker) (telemetry.Session, error) {
	return &commitSession{f: f, acker: a}, nil
}

func (s *commitSession) Begin(context.Context) error { s.f.mu.Lock(); return nil }
func (s *commitSession) Add(m *telemetry.Message) bool {
	if m.QoS > 0 {
		s.token = m.Token
	}
	s.n++
	return true
}
func (s *commitSession) Release(_ uint16, token uint64) { s.token = token }
func (s *commitSession) End() {
	if !s.noted {
		s.noted = true
		s.f.dirty = append(s.f.dirty, s)
	}
	s.f.mu.Unlock()
	s.f.count.Add(s.n)
	s.n = 0
	select {
	case s.f.wake <- struct{}{}:
	default:
	}
}
func (s *commitSession) Confirm(uint64) {}
func (s *commitSession) Reset()         {}
func (s *commitSession) Close()         {}

// flood publishes from each of the clients, with up to window messages in flight, until
// the total is acknowledged. It costs little itself: packets are made once.
func flood(tb testing.TB, address string, version wire.Version, clients, total, window int) {
	var wg sync.WaitGroup
	each := total/clients + 1
	ready := make(chan struct{})
	var connected sync.WaitGroup
	for n := range clients {
		wg.Add(1)
		connected.Add(1)
		go func() {
			defer wg.Done()
			nc, err := net.Dial("tcp", address)
			if err != nil {
				connected.Done()
				tb.Error(err)
				return
			}
			defer func() { _ = nc.Close() }()
			c := wire.Connect{Version: version, ClientID: fmt.Sprintf("load%d", n), Clean: true, KeepAlive: 60}
			_, err = nc.Write(wire.AppendConnect(nil, &c))
			r := wire.NewReader(nc, 1<<20)
			if err == nil {
				_, _, err = r.Next()
			}
			connected.Done()
			if err != nil {
				tb.Error(err)
				return
			}
			<-ready
			if err := floodOne(nc, version, n, each, window); err != nil {
				tb.Error(err)
			}
		}()
	}
	connected.Wait()
	close(ready)
	wg.Wait()
}

// floodOne keeps half a window of messages on the way.
func floodOne(nc net.Conn, version wire.Version, n, total, window int) error {
	half := max(window/2, 1)
	var chunk []byte
	for i := range half {
		p := wire.Publish{
			Topic:   []byte(fmt.Sprintf("plants/p03/lines/l2/devices/d%05d/env", n)),
			Payload: []byte(`{"ts":1750000000123,"temperature":21.53,"humidity":48.21,"pressure":1013.25,"battery":3.71,"status":"ok"}`),
			QoS:     1, PacketID: uint16(i + 1),
		}
		chunk = wire.AppendPublish(chunk, version, &p)
	}
	size := len(chunk) / half
	acks := make([]byte, 4*half)
	sent, acked, odd := 0, 0, 0
	for acked < total {
		for sent < total && sent-acked <= window-half {
			k := min(half, total-sent)
			if _, err := nc.Write(chunk[:k*size]); err != nil {
				return err
			}
			sent += k
		}
		k, err := nc.Read(acks)
		if err != nil {
			return err
		}
		acked += (odd + k) / 4
		odd = (odd + k) % 4
	}
	return nil
}

// allowAll is what mochi needs to let anybody in.
type allowAll struct{ mqtt.HookBase }

func (*allowAll) ID() string { return "allow" }
func (*allowAll) Provides(b byte) bool {
	return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck
}
func (*allowAll) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }
func (*allowAll) OnACLCheck(*mqtt.Client, string, bool) bool              { return true }

func stockMochi(tb testing.TB) (address string, stop func()) {
	s := mqtt.New(&mqtt.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err := s.AddHook(new(allowAll), nil); err != nil {
		tb.Fatal(err)
	}
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.AddListener(listeners.NewNet("tcp", nl)); err != nil {
		tb.Fatal(err)
	}
	if err := s.Serve(); err != nil {
		tb.Fatal(err)
	}
	return nl.Addr().String(), func() { _ = s.Close() }
}

func benchBroker(b *testing.B, change ...func(*Config)) (*Broker, func()) {
	sink := newCommitSink(2 * time.Millisecond)
	cfg := DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	for _, f := range change {
		f(&cfg)
	}
	br, err := New(cfg, sink, nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := br.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	return br, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = br.Stop(ctx)
		sink.stop()
	}
}

// measure floods and returns messages per second and allocations per message, of both
// sides together.
func measure(tb testing.TB, address string, clients, total, window int) (rate, allocs float64) {
	flood(tb, address, wire.V311, clients, total/10, window) // warm
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	started := time.Now()
	flood(tb, address, wire.V311, clients, total, window)
	took := time.Since(started)
	runtime.ReadMemStats(&after)
	return float64(total) / took.Seconds(), float64(after.Mallocs-before.Mallocs) / float64(total)
}

// BenchmarkAgainstMochi compares, in one run, 100 clients that publish flat out at QoS 1
// to this broker, which acknowledges after commits 2 ms apart, and to mochi alone, which
// acknowledges at once.
func BenchmarkAgainstMochi(b *testing.B) {
	const clients, total, window = 100, 300_000, 400
	for b.Loop() {
		address, stopMochi := stockMochi(b)
		mochi, mochiAllocs := measure(b, address, clients, total, window)
		stopMochi()
		br, stop := benchBroker(b)
		ours, oursAllocs := measure(b, br.address("tcp"), clients, total, window)
		stop()
		b.ReportMetric(mochi, "mochi-msgs/s")
		b.ReportMetric(ours, "ours-msgs/s")
		b.ReportMetric(ours/mochi, "ours/mochi")
		b.ReportMetric(mochiAllocs, "mochi-allocs/msg")
		b.ReportMetric(oursAllocs, "ours-allocs/msg")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkPublish is the cost of one message with nobody subscribed, with a subscription
// that matches nothing, and with one QoS 0 subscriber.
func BenchmarkPublish(b *testing.B) {
	for _, bc := range []struct{ name, filter string }{{"no subscribers", ""}, {"others subscribed", "other/#"}, {"one subscriber", "plants/#"}} {
		b.Run(bc.name, func(b *testing.B) {
			br, stop := benchBroker(b)
			defer stop()
			if bc.filter != "" {
				c := dial(b, br, wire.V311, "subscriber")
				c.subscribe(wire.Subscription{Filter: bc.filter})
				go func() { _, _ = io.Copy(io.Discard, c.Conn) }()
			}
			b.ReportAllocs()
			b.ResetTimer()
			flood(b, br.address("tcp"), wire.V311, 10, b.N, 2000)
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}
