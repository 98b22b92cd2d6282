package broker

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// FuzzConnection sends a client's bytes, after a good CONNECT, whole and in pieces. The
// broker must end the connection and everything of it, keep the sink's bursts whole,
// give its tokens in ascending order, and serve the next client.
func FuzzConnection(f *testing.F) {
	for _, v := range versions {
		f.Add(v == wire.V5, uint8(3), numbered(v, 1, 1, 3))
		f.Add(v == wire.V5, uint8(1), append(numbered(v, 2, 1, 2), wire.AppendAck(nil, wire.PUBREL, 1)...))
		f.Add(v == wire.V5, uint8(7), wire.AppendSubscribe(numbered(v, 0, 1, 1), v, &wire.Subscribe{PacketID: 1, Subscriptions: []wire.Subscription{{Filter: "#", QoS: 2}}}))
		f.Add(v == wire.V5, uint8(9), wire.AppendUnsubscribe(nil, v, &wire.Unsubscribe{PacketID: 1, Filters: []string{"#"}}))
		f.Add(v == wire.V5, uint8(50), wire.AppendPublish(nil, v, &wire.Publish{Topic: []byte("r"), Payload: make([]byte, 300), Retain: true}))
		f.Add(v == wire.V5, uint8(2), wire.AppendDisconnect(wire.AppendPingreq(nil), v, &wire.Disconnect{}))
	}
	f.Add(true, uint8(4), wire.AppendPublish(wire.AppendPublish(nil, wire.V5, &wire.Publish{Topic: []byte("t"), Alias: 1}), wire.V5, &wire.Publish{Alias: 1}))
	sink := newFakeSink(f)
	b := start(f, sink, func(c *Config) { c.MaxPayload, c.MaxPacket, c.MaxInflight = 200, 4096, 20 })
	f.Fuzz(func(t *testing.T, five bool, piece uint8, stream []byte) {
		version := wire.V311
		if five {
			version = wire.V5
		}
		talk := func(piece int) {
			sink.set(func() { sink.got, sink.events = nil, nil })
			ours, theirs := net.Pipe()
			b.tasks.Add(1)
			go func() {
				defer b.tasks.Done()
				b.adopt(theirs, "tcp")
			}()
			_ = ours.SetDeadline(time.Now().Add(patience))
			drained := make(chan error)
			go func() {
				_, err := io.Copy(io.Discard, ours)
				drained <- err
			}()
			all := wire.AppendConnect(nil, &wire.Connect{Version: version, ClientID: "fuzz", Clean: true})
			all = append(all, stream...)
			all = append(all, wire.AppendDisconnect(nil, version, &wire.Disconnect{})...)
			for len(all) > 0 {
				n := min(piece, len(all))
				if _, err := ours.Write(all[:n]); err != nil {
					break // the broker has ended it
				}
				all = all[n:]
			}
			// The stream may end in the middle of a packet.
			time.AfterFunc(5*time.Millisecond, func() { _ = ours.Close() })
			<-drained
			(&client{t: t}).awaitGone(b, "fuzz")
		}
		talk(1 << 20)
		talk(int(piece) + 1)
	})
}
