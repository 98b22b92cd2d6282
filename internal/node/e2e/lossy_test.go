package e2e

import (
	"encoding/binary"
	"net"
	"sync"
	"testing"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// lossy is a broker that loses messages of the uplink: it stands between a device
// and the real one, and what it loses it acknowledges to the device.
type lossy struct {
	address string

	mu   sync.Mutex
	conn net.Conn
	// up and down say of each message of the uplink whether it passes. They are
	// called one at a time.
	up, down func(message []byte) bool
}

func newLossy(t *testing.T, broker string) *lossy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &lossy{address: l.Addr().String()}
	all := func([]byte) bool { return true }
	p.up, p.down = all, all
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conn = client
			p.mu.Unlock()
			serving.Go(func() { p.serve(client, broker) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		serving.Wait()
	})
	return p
}

// cut ends the device's connection.
func (p *lossy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != nil {
		_ = p.conn.Close()
	}
}

// with runs f while no message passes.
func (p *lossy) with(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *lossy) serve(client net.Conn, broker string) {
	defer client.Close()
	server, err := net.Dial("tcp", broker)
	if err != nil {
		return
	}
	defer server.Close()
	var back sync.WaitGroup
	defer back.Wait()
	var writing sync.Mutex // the client's side has two writers
	back.Go(func() {
		defer client.Close()
		pump(server, func(first byte, body []byte) error {
			if m := uplinkMessage(first, body, "weir/down/"); m != nil && !p.passes(m, false) {
				return nil
			}
			writing.Lock()
			defer writing.Unlock()
			return forward(client, first, body)
		})
	})
	pump(client, func(first byte, body []byte) error {
		m := uplinkMessage(first, body, "weir/up/")
		if m == nil || p.passes(m, true) {
			return forward(server, first, body)
		}
		var lost wire.Publish
		if err := wire.ParsePublish(&lost, wire.V311, first, body); err != nil {
			return err
		}
		writing.Lock()
		defer writing.Unlock()
		_, err := client.Write(wire.AppendAck(nil, wire.PUBACK, lost.PacketID))
		return err
	})
	_ = server.Close()
}

func (p *lossy) passes(m []byte, up bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if up {
		return p.up(m)
	}
	return p.down(m)
}

func pump(from net.Conn, each func(first byte, body []byte) error) {
	r := wire.NewReader(from, 1<<20)
	for {
		first, body, err := r.Next()
		if err != nil || each(first, body) != nil {
			return
		}
	}
}

func forward(to net.Conn, first byte, body []byte) error {
	_, err := to.Write(append(wire.AppendHeader(nil, first, len(body)), body...))
	return err
}

// uplinkMessage is the payload of a PUBLISH on a topic of that prefix, else nil.
func uplinkMessage(first byte, body []byte, prefix string) []byte {
	var m wire.Publish
	if wire.PacketType(first>>4) != wire.PUBLISH || wire.ParsePublish(&m, wire.V311, first, body) != nil {
		return nil
	}
	if len(m.Topic) < len(prefix) || string(m.Topic[:len(prefix)]) != prefix {
		return nil
	}
	return m.Payload
}

// The kinds of docs/format/uplink.md that the tests look into.
const (
	upHello, upRecords, upLost, upServed = 0x01, 0x02, 0x03, 0x06
	downCursor, downAsk                  = 0x81, 0x82
)

// stretch is the sequences [first, end) of an epoch.
type stretch struct{ epoch, first, end uint64 }

// cardOf reads what a hello says of the card: 0 none, 1 known, 2 not yet.
func cardOf(m []byte) byte {
	m = m[10:]
	_, last := binary.Uvarint(m)
	_, uptime := binary.Uvarint(m[last:])
	return m[last+uptime+3]
}

// recordsOf reads what a records message holds.
func recordsOf(m []byte) (s stretch, sweep bool) {
	s.epoch = binary.LittleEndian.Uint64(m[2:])
	m = m[10:]
	first, n := binary.Uvarint(m)
	m = m[n:]
	_, n = binary.Uvarint(m) // uptime
	m = m[n:]
	s.first, s.end = first, first+uint64(binary.LittleEndian.Uint16(m[1:]))
	return s, m[0]&1 != 0
}

// asksOf reads an ask; without an end, end is first.
func asksOf(m []byte) (out []stretch) {
	m = m[3:]
	n, size := binary.Uvarint(m)
	m = m[size:]
	for range n {
		s := stretch{epoch: binary.LittleEndian.Uint64(m)}
		m = m[8:]
		s.first, size = binary.Uvarint(m)
		m = m[size:]
		count, size := binary.Uvarint(m)
		m = m[size:]
		s.end = s.first + count
		out = append(out, s)
	}
	return out
}

// cursorOf reads how far an epoch is durable with the gateway.
func cursorOf(m []byte) (epoch, cursor uint64) {
	cursor, _ = binary.Uvarint(m[10:])
	return binary.LittleEndian.Uint64(m[2:]), cursor
}
