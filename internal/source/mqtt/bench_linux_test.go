package mqtt

import (
	"context"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// swallow is a sink that does nothing but acknowledge, in batches at least two
// milliseconds apart, as the commit loop does.
type swallow struct {
	acker telemetry.Acker
	last  atomic.Uint64
	bytes int
	stop  chan struct{}
}

func (s *swallow) OpenSession(_ context.Context, _, _ string, acker telemetry.Acker) (telemetry.Session, error) {
	s.acker = acker
	go func() {
		for {
			select {
			case <-s.stop:
				return
			case <-time.After(2 * time.Millisecond):
				acker.Ack(s.last.Load())
			}
		}
	}()
	return &swallowSession{swallow: s}, nil
}

type swallowSession struct {
	*swallow
	token uint64
}

func (s *swallowSession) Begin(context.Context) error { return nil }
func (s *swallowSession) Add(m *telemetry.Message) bool {
	s.token = m.Token
	s.bytes += len(m.Payload)
	return true
}
func (s *swallowSession) Release(_ uint16, token uint64) { s.token = token }
func (s *swallowSession) End()                           { s.last.Store(s.token) }
func (s *swallowSession) Confirm(uint64)                 {}
func (s *swallowSession) Reset()                         {}
func (s *swallowSession) Close()                         { close(s.stop) }

func threadCPU(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func processCPU(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReceiveAndAcknowledge is the whole source over loopback, fed by a
// broker in the same process that keeps to the receive maximum. The figure
// cpu-ns/msg leaves out the CPU of the broker's two threads.
func BenchmarkReceiveAndAcknowledge(b *testing.B) {
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		b.Run("version="+v.String(), func(b *testing.B) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			s, err := New(Config{URL: "mqtt://" + l.Addr().String(), Topics: []string{"#"}, Version: v.String()}, &swallow{stop: make(chan struct{})}, nil)
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			go func() { done <- s.Run(ctx) }()
			conn := acceptSubscriber(b, l, v)

			const lap = 1 << 15 // ids 1 to 32768, two laps in flight
			packets := stream(v, lap)
			laps := b.N/lap + 1
			var (
				acked  atomic.Int64
				signal = make(chan struct{}, 1)
				cpu    = make(chan time.Duration, 2)
			)
			b.ReportAllocs()
			b.ResetTimer()
			before := processCPU(b)
			go func() { // counts acknowledgements by their bytes
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				start := threadCPU(b)
				buf := make([]byte, 256<<10)
				for got, want := 0, laps*lap*4; got < want; {
					n, err := conn.Read(buf)
					if err != nil {
						b.Error(err)
						break
					}
					got += n
					acked.Store(int64(got / 4))
					select {
					case signal <- struct{}{}:
					default:
					}
				}
				cpu <- threadCPU(b) - start
			}()
			go func() {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				start := threadCPU(b)
				for i := range laps {
					for int64(i-1)*lap > acked.Load() {
						<-signal
					}
					if _, err := conn.Write(packets); err != nil {
						b.Error(err)
						break
					}
				}
				cpu <- threadCPU(b) - start
			}()
			broker := <-cpu + <-cpu
			own := processCPU(b) - before - broker
			n := float64(laps * lap)
			b.StopTimer()
			b.ReportMetric(float64(own.Nanoseconds())/n, "cpu-ns/msg")
			b.ReportMetric(float64(broker.Nanoseconds())/n, "broker-cpu-ns/msg")
			b.ReportMetric(n/b.Elapsed().Seconds(), "msg/s")
			cancel()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}

// acceptSubscriber plays the broker up to the SUBACK.
func acceptSubscriber(tb testing.TB, l net.Listener, v wire.Version) net.Conn {
	tb.Helper()
	conn, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	r := wire.NewReader(conn, 1<<20)
	if _, _, err := r.Next(); err != nil {
		tb.Fatal(err)
	}
	if _, err := conn.Write(wire.AppendConnack(nil, v, &wire.Connack{})); err != nil {
		tb.Fatal(err)
	}
	first, body, err := r.Next()
	var sub wire.Subscribe
	if err == nil {
		err = wire.ParseSubscribe(&sub, v, first, body)
	}
	if err == nil {
		_, err = conn.Write(wire.AppendSuback(nil, v, &wire.Suback{PacketID: sub.PacketID, Reasons: []wire.ReasonCode{wire.GrantedQoS1}}))
	}
	if err != nil && err != io.EOF {
		tb.Fatal(err)
	}
	return conn
}
