package firmware

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/weir-telemetry/weir/internal/testkit"
)

// peer is the least of a broker: it greets one client at a time, sends it
// messages of W1 at QoS 1, and notes which it acknowledged. A real Mosquitto is
// in the other tests; here it matters to know exactly what was acknowledged.
type peer struct {
	tb testing.TB
	l  net.Listener

	mu       sync.Mutex
	conn     net.Conn
	next     int            // the next message to be sent for the first time
	last     int            // the last one to be sent
	inflight map[uint16]int // packet id -> message
	acked    map[int]bool
	onAck    func()
}

const window = 20 // messages in flight, as a default Mosquitto has

func newPeer(tb testing.TB) *peer {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &peer{tb: tb, l: l, inflight: map[uint16]int{}, acked: map[int]bool{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.serve(c)
		}
	}()
	tb.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		if p.conn != nil {
			_ = p.conn.Close()
		}
		p.mu.Unlock()
		<-done
	})
	return p
}

func (p *peer) port() int { return p.l.Addr().(*net.TCPAddr).Port }

// w1 is message i of the first workload.
func w1(i int) (topic string, payload []byte) {
	device := i % 100
	return fmt.Sprintf("plants/p%02d/lines/l%d/devices/d%05d/env", device%10, device%4, device),
		fmt.Appendf(nil, `{"ts":%d,"temperature":%d.%02d,"humidity":48.21,"pressure":1013.25,"battery":3.71,"status":"ok"}`, 1_750_000_000_123+i, 20+i%7, i%100)
}

// send lets the peer send messages up to and without n.
func (p *peer) send(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = n
	p.fill()
}

// count is how many messages were acknowledged.
func (p *peer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acked)
}

// await waits until n messages were acknowledged.
func (p *peer) await(n int) {
	p.tb.Helper()
	testkit.Eventually(p.tb, fmt.Sprintf("%d messages are acknowledged", n), func() bool { return p.count() >= n })
}

func (p *peer) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		head, err := r.ReadByte()
		if err != nil {
			break
		}
		length, err := binary.ReadUvarint(r)
		if err != nil {
			break
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(r, body); err != nil {
			break
		}
		if !p.take(c, head, body) {
			break
		}
		if r.Buffered() == 0 { // what came together is answered together, whatever the load of this machine
			p.refill()
		}
	}
	p.mu.Lock()
	if p.conn == c {
		p.conn = nil
	}
	p.mu.Unlock()
}

// take acts on one packet of the client.
func (p *peer) take(c net.Conn, head byte, body []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	var answer []byte
	switch head >> 4 {
	case 1: // CONNECT: the session is kept
		p.conn = nil
		answer = []byte{0x20, 2, 1, 0}
	case 3: // PUBLISH at QoS 1
		if head&6 == 2 {
			n := 2 + int(binary.BigEndian.Uint16(body))
			answer = []byte{0x40, 2, body[n], body[n+1]}
		}
	case 4: // PUBACK
		id := binary.BigEndian.Uint16(body)
		if m, ok := p.inflight[id]; ok {
			delete(p.inflight, id)
			p.acked[m] = true
			if p.onAck != nil {
				p.onAck()
			}
		}
	case 8: // SUBSCRIBE to one filter
		answer = []byte{0x90, 3, body[0], body[1], 1}
		if p.conn == nil {
			p.conn = c
			var packets []byte
			for id, m := range p.inflight {
				packets = appendPublish(packets, id, m, true)
			}
			_, _ = c.Write(packets) // a broken connection is seen by the reader
		}
	case 12:
		answer = []byte{0xD0, 0}
	case 14:
		return false
	}
	if answer != nil {
		if _, err := c.Write(answer); err != nil {
			return false
		}
	}
	return true
}

func (p *peer) refill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fill()
}

// fill keeps the window full, with one write; mu is held.
func (p *peer) fill() {
	var packets []byte
	for p.conn != nil && p.next < p.last && len(p.inflight) < window {
		id := uint16(p.next%60000) + 1
		p.inflight[id] = p.next
		packets = appendPublish(packets, id, p.next, false)
		p.next++
	}
	if packets != nil {
		_, _ = p.conn.Write(packets) // a broken connection is seen by the reader
	}
}

func appendPublish(dst []byte, id uint16, m int, dup bool) []byte {
	topic, payload := w1(m)
	head := byte(0x32)
	if dup {
		head |= 8
	}
	dst = binary.AppendUvarint(append(dst, head), uint64(2+len(topic)+2+len(payload)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(topic)))
	dst = append(dst, topic...)
	dst = binary.BigEndian.AppendUint16(dst, id)
	return append(dst, payload...)
}
