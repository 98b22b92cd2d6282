package bench

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

func TestTheMinimalProgramIsFedInOrder(t *testing.T) {
	f, err := listenFeeder()
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	floorCtx, stopFloor := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- RunFloor(floorCtx, f.url(), filepath.Join(t.TempDir(), "log")) }()
	const messages = 200_000 // three times round the packet ids
	p, rest, err := f.accept(ctx, NewW1(1000, 7), pumpOptions{qos: 1, count: messages})
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close()
	if err := p.run(ctx, rest); err != nil {
		t.Fatal(err)
	}
	stopFloor()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if p.acked.Load() != messages || p.strays != 0 || p.latency.n != messages {
		t.Errorf("acknowledged %d of %d, %d out of order", p.acked.Load(), messages, p.strays)
	}
}

func TestWorkloadsAreWholePublishPackets(t *testing.T) {
	for name, w := range map[string]Workload{"W1": NewW1(1000, 1), "W2": NewW2(1_000_000, 1)} {
		for _, v := range []wire.Version{wire.V311, wire.V5} {
			var packet []byte
			var p wire.Publish
			for i := range 5000 {
				packet = w.Append(packet[:0], packetID(int64(i)), 1, v == wire.V5)
				h, n, err := wire.ReadHeader(packet)
				if err != nil || n == 0 || n+h.Remaining != len(packet) {
					t.Fatalf("%s %v message %d: header %+v, %d of %d bytes, %v", name, v, i, h, n+h.Remaining, len(packet), err)
				}
				if err := wire.ParsePublish(&p, v, h.First, packet[n:]); err != nil {
					t.Fatalf("%s %v message %d: %v", name, v, i, err)
				}
				if p.PacketID != packetID(int64(i)) || len(p.Payload) == 0 {
					t.Fatalf("%s %v message %d: %+v", name, v, i, p)
				}
			}
			if name == "W1" {
				t.Logf("%s %s", p.Topic, p.Payload)
			}
		}
	}
}

func BenchmarkW1Append(b *testing.B) {
	w := NewW1(1000, 1)
	buf := make([]byte, 0, 1<<16)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if len(buf) > 60000 {
			buf = buf[:0]
		}
		buf = w.Append(buf, uint16(i), 1, true)
	}
}
