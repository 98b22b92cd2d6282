package broker

import (
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

func TestAMessageCostsNoAllocation(t *testing.T) {
	b := start(t, newFakeSink(t))
	other := dial(t, b, wire.V5, "subscriber")
	other.subscribe(wire.Subscription{Filter: "other/#"})
	commits := newCommitSink(time.Millisecond)
	defer commits.stop()
	eachVersion(t, func(t *testing.T, v wire.Version) {
		for _, qos := range []uint8{0, 1} {
			c := newConn(b, nil, "tcp")
			c.version, c.phase = v, connected
			c.session = &session{b: b, id: "device"}
			c.sink = &commitSession{f: commits, acker: c}
			c.buf = numbered(v, qos, 1, 1000)
			each := testing.AllocsPerRun(100, func() {
				c.r, c.w = 0, len(c.buf)
				for more := false; !more; {
					var err error
					if more, err = c.step(); err != nil {
						t.Fatal(err)
					}
				}
				c.work.Store(1) // there is a writer, which is this test
				c.endBurst()
				c.mu.Lock()
				c.durable.Store(c.token)
				c.takeAcks()
				returnWrite(c.out)
				c.out = nil
				c.mu.Unlock()
			})
			// What is borrowed may have been collected: a few for a thousand messages.
			if each > 10 {
				t.Errorf("QoS %d: %.0f allocations for 1,000 messages", qos, each)
			}
			c.cancel()
		}
	})
}
