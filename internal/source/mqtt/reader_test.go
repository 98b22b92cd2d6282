package mqtt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// script is a connection that gives the stream in pieces of chosen sizes, and
// swallows what is written.
type script struct {
	stream []byte
	pieces []int // sizes in turn; empty: as much as fits
	turn   int
}

func (s *script) Read(b []byte) (int, error) {
	if len(s.stream) == 0 {
		return 0, io.EOF
	}
	n := len(b)
	if len(s.pieces) > 0 {
		n = min(n, s.pieces[s.turn%len(s.pieces)])
		s.turn++
	}
	n = copy(b[:n], s.stream)
	s.stream = s.stream[n:]
	return n, nil
}

func (s *script) Write(b []byte) (int, error)      { return len(b), nil }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// newLink is a link that stands, without its writer running.
func newLink(tb testing.TB, cfg Config, session telemetry.Session, v wire.Version, nc net.Conn) *link {
	tb.Helper()
	cfg.URL = "mqtt://h"
	s, err := New(cfg, nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	s.session = session
	l := &link{s: s, nc: nc, version: v, buf: make([]byte, bufferStart), session: session}
	l.aliases.init(s.aliasMaximum())
	l.w = newWriter(nc, s.ring, &s.stats)
	return l
}

// What is handed on does not depend on how the stream is cut, and it is what
// package wire says stands in it.
func TestMessagesDoNotDependOnHowTheStreamIsCut(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := rapid.SampledFrom([]wire.Version{wire.V311, wire.V5}).Draw(rt, "version")
		const limit, keep = 3000, 100
		var stream []byte
		type want struct {
			topic, payload string
			size           int
			qos            uint8
			id             uint16
		}
		var wants []want
		var releases []uint16
		for range rapid.IntRange(1, 40).Draw(rt, "packets") {
			switch rapid.IntRange(0, 9).Draw(rt, "kind") {
			case 0:
				stream = wire.AppendPingresp(stream)
			case 1:
				id := rapid.Uint16Min(1).Draw(rt, "id")
				stream = wire.AppendAck(stream, wire.PUBREL, id)
				releases = append(releases, id)
			default:
				size := rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(limit-3, limit+3), rapid.IntRange(0, 60000)).Draw(rt, "size")
				p := wire.Publish{Topic: []byte(rapid.StringMatching(`[a-z/]{1,60}`).Draw(rt, "topic")), Payload: bytes.Repeat([]byte{'p'}, size)}
				if p.QoS = uint8(rapid.IntRange(0, 2).Draw(rt, "qos")); p.QoS > 0 {
					p.PacketID = rapid.Uint16Min(1).Draw(rt, "id")
				}
				if v == wire.V5 && rapid.Bool().Draw(rt, "props") {
					p.Properties.SetUint(wire.MessageExpiry, 7)
					p.Properties.Users = []wire.User{{Key: []byte("k"), Value: bytes.Repeat([]byte("v"), size%5000)}}
				}
				stream = wire.AppendPublish(stream, v, &p)
				kept := p.Payload
				if size > limit {
					kept = kept[:keep]
				}
				wants = append(wants, want{string(p.Topic), string(kept), size, p.QoS, p.PacketID})
			}
		}
		pieces := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 10), rapid.IntRange(1, 100000)), 0, 8).Draw(rt, "pieces")
		sink := &recorder{held: true, small: rapid.IntRange(0, 3).Draw(rt, "small")}
		l := newLink(t, Config{MaxPayload: limit, KeepOversized: keep, ReadBuffer: 32 << 10}, sink, v, &script{stream: stream, pieces: pieces})
		if err := l.serve(context.Background()); !errors.Is(err, io.EOF) {
			rt.Fatalf("serve: %v", err)
		}
		if len(sink.faults) > 0 {
			rt.Fatalf("the session was misused: %v", sink.faults)
		}
		var got []want
		for _, m := range sink.messages() {
			got = append(got, want{m.topic, m.payload, m.Size, m.QoS, m.PacketID})
		}
		if !slices.Equal(got, wants) {
			rt.Fatalf("got %d messages, want %d", len(got), len(wants))
		}
		if !slices.Equal(sink.releases(), releases) {
			rt.Fatalf("released %v, want %v", sink.releases(), releases)
		}
	})
}

func FuzzTheReaderTakesAnyBytes(f *testing.F) {
	f.Add(true, 3, stream(wire.V5, 3))
	f.Add(false, 1000, stream(wire.V311, 3))
	f.Add(true, 7, announce(wire.V5, wire.Publish{Topic: []byte("t"), Alias: 3, QoS: 1, PacketID: 1}, 70000))
	f.Add(true, 1, wire.AppendSuback(nil, wire.V5, &wire.Suback{PacketID: 1, Reasons: []wire.ReasonCode{0x87}}))
	f.Add(true, 1, wire.AppendDisconnect(nil, wire.V5, &wire.Disconnect{Reason: wire.ServerBusy}))
	f.Fuzz(func(t *testing.T, v5 bool, piece int, b []byte) {
		v := wire.V311
		if v5 {
			v = wire.V5
		}
		run := func(pieces ...int) ([]recorded, error) {
			sink := &recorder{held: true}
			l := newLink(t, Config{MaxPayload: 100, KeepOversized: 10}, sink, v, &script{stream: b, pieces: pieces})
			l.s.subs.status = map[string]FilterStatus{}
			err := l.serve(context.Background())
			if err == nil {
				t.Fatal("serve returned no error")
			}
			if len(sink.faults) > 0 {
				t.Fatalf("the session was misused: %v", sink.faults)
			}
			if len(l.buf) > 1<<20 {
				t.Fatalf("the buffer grew to %d bytes for %d", len(l.buf), len(b))
			}
			return sink.messages(), err
		}
		whole, err1 := run()
		cut, err2 := run(max(1, piece&0xff))
		if len(whole) != len(cut) || err1.Error() != err2.Error() {
			t.Fatalf("whole: %d messages, %v; cut: %d messages, %v", len(whole), err1, len(cut), err2)
		}
		for i := range whole {
			if whole[i].topic != cut[i].topic || whole[i].payload != cut[i].payload || whole[i].Size != cut[i].Size {
				t.Fatalf("message %d differs: %+v, %+v", i, whole[i], cut[i])
			}
		}
	})
}

func TestTheReadBufferGrowsUnderLoadAndIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t, Config{}, &nothing{}, wire.V311, &script{stream: stream(wire.V311, 20000)})
		if err := l.serve(t.Context()); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if len(l.buf) != 256<<10 {
			t.Errorf("under load the buffer has %d bytes", len(l.buf))
		}
		time.Sleep(time.Minute)
		l.nc = &script{stream: wire.AppendPingresp(nil)}
		if err := l.serve(t.Context()); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if len(l.buf) != bufferStart {
			t.Errorf("when idle the buffer has %d bytes", len(l.buf))
		}
		// One larger packet is taken whole, and its memory is given back too.
		big := wire.AppendPublish(nil, wire.V311, &wire.Publish{Topic: []byte("a"), Payload: make([]byte, 1<<20)})
		l.nc = &script{stream: big}
		if err := l.serve(t.Context()); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if len(l.buf) < 1<<20 || len(l.buf) > 2<<20 {
			t.Errorf("for a packet of 1 MiB the buffer has %d bytes", len(l.buf))
		}
		time.Sleep(time.Minute)
		l.nc = &script{stream: wire.AppendPingresp(nil)}
		if err := l.serve(t.Context()); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if len(l.buf) != bufferStart {
			t.Errorf("when idle again the buffer has %d bytes", len(l.buf))
		}
	})
}

// nothing is a session that does nothing.
type nothing struct{ token uint64 }

func (n *nothing) Begin(context.Context) error { return nil }
func (n *nothing) Add(m *telemetry.Message) bool {
	n.token = m.Token
	return true
}
func (n *nothing) Release(_ uint16, t uint64) { n.token = t }
func (n *nothing) End()                       {}
func (n *nothing) Confirm(uint64)             {}
func (n *nothing) Reset()                     {}
func (n *nothing) Close()                     {}

func TestNothingIsAllocatedPerMessage(t *testing.T) {
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		packets := stream(v, 1000)
		if v == wire.V5 {
			p := wire.Publish{Topic: []byte("a"), Alias: 4, QoS: 2, PacketID: 1, Payload: []byte("x")}
			p.Properties.Users = []wire.User{{Key: []byte("k"), Value: []byte("v")}}
			packets = wire.AppendPublish(packets, v, &p)
			p.Topic = nil
			packets = wire.AppendPublish(packets, v, &p)
		}
		packets = append(packets, announce(v, wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1}, 5000)...)
		packets = append(packets, make([]byte, 5000)...)
		session := &nothing{}
		nc := &script{}
		l := newLink(t, Config{MaxPayload: 4096, KeepOversized: 16}, session, v, nc)
		var acks []byte
		lap := func(packets []byte) {
			nc.stream = packets
			if err := l.serve(t.Context()); !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			l.s.ring.Ack(session.token)
			acks = l.s.ring.take(acks[:0], maxAcksPerWrite)
		}
		lap(packets)
		// The error at the end of the stream is allocated, whatever came before it.
		end := testing.AllocsPerRun(20, func() { lap(nil) })
		if n := testing.AllocsPerRun(20, func() { lap(packets) }); n > end+2 { // fmt's pool misses at random under the race detector
			t.Errorf("version %s: %v allocations for 1,000 messages", v, n-end)
		}
	}
}
