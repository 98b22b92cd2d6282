package mqtt

import (
	"bytes"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// tape is a connection that keeps what is written.
type tape struct {
	script
	written []byte
}

func (t *tape) Write(b []byte) (int, error) {
	t.written = append(t.written, b...)
	return len(b), nil
}

func TestTheDisconnectFollowsTheLastAcknowledgement(t *testing.T) {
	r := newRing()
	const n = 3*maxAcksPerWrite + 7
	var want []byte
	for i := range n {
		id := uint16(i%60000 + 1)
		if _, ok := r.push(wire.PUBACK, id); !ok {
			t.Fatal("the ring is full")
		}
		want = wire.AppendAck(want, wire.PUBACK, id)
	}
	r.Ack(n)
	nc := &tape{}
	w := newWriter(nc, r, &counters{})
	w.keepAlive, w.confirmAfter = time.Minute, time.Minute
	disconnect := wire.AppendDisconnect(nil, wire.V5, &wire.Disconnect{Reason: wire.MalformedPacket})
	finished := make(chan struct{})
	go func() {
		w.finish(disconnect)
		close(finished)
	}()
	testkit.Eventually(t, "the end is asked for", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.last
	})
	w.run()
	<-finished
	if want = append(want, disconnect...); !bytes.Equal(nc.written, want) {
		t.Fatalf("wrote %d bytes, want %d with the DISCONNECT at the end: %x", len(nc.written), len(want), nc.written[len(nc.written)-8:])
	}
}

func TestTheRingKeepsTheOrderWhileItGrows(t *testing.T) {
	r := newRing()
	var want, got []byte
	token := uint64(0)
	for round := range 200 {
		for i := range round * 37 % 1500 {
			id := uint16(i + 1)
			next, ok := r.push(wire.PUBREC, id)
			if !ok || next != token+1 {
				t.Fatalf("token %d after %d", next, token)
			}
			token = next
			want = wire.AppendAck(want, wire.PUBREC, id)
		}
		r.Ack(token - min(token, uint64(round*53%4000)))
		r.Ack(0) // an older one changes nothing
		got = r.take(got, 700)
	}
	r.Ack(token)
	for r.pending() {
		got = r.take(got, 700)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes of acknowledgements, want %d, or out of order", len(got), len(want))
	}
}
