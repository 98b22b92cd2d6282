package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// pumpOptions say how messages are sent over one connection.
type pumpOptions struct {
	qos    byte // 0 or 1
	v5     bool
	window int           // messages that may be unacknowledged
	rate   float64       // messages a second; 0 is flat out
	length time.Duration // how long to send; 0: until count
	count  int64         // how many to send; 0: until length
}

// pump sends a workload over a connection whose hand-shake is done, as a broker
// or as a client, and takes the acknowledgements.
type pump struct {
	pumpOptions
	conn     net.Conn
	workload Workload

	write   sync.Mutex
	sent    atomic.Int64
	acked   atomic.Int64
	sentAt  []int64 // by message number modulo its length
	woken   chan struct{}
	latency histogram
	strays  int64 // acknowledgements out of the order of sending
}

// sendChunk is how many bytes are written at once at most.
const sendChunk = 64 << 10

func newPump(conn net.Conn, w Workload, o pumpOptions) *pump {
	o.window = min(o.window, 65535)
	return &pump{
		pumpOptions: o, conn: conn, workload: w,
		sentAt: make([]int64, 1<<16),
		woken:  make(chan struct{}, 1),
	}
}

// packetID returns the id of message n: ids count from 1 to 65,535 in turn, so
// that one is free again when the window allows its next use.
func packetID(n int64) uint16 { return uint16(n%65535 + 1) }

// run sends until the length or count is reached, then waits for the last
// acknowledgements. buffered is what was read behind the hand-shake.
func (p *pump) run(ctx context.Context, buffered []byte) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { _ = p.conn.SetDeadline(time.Now()) })
	defer stop()

	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.receive(buffered); err != nil {
			cancel(fmt.Errorf("receive acknowledgements: %w", err))
		}
	}()
	err := p.send(ctx)
	if err == nil {
		err = p.settle(ctx)
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	_ = p.conn.SetReadDeadline(time.Now())
	<-done
	_ = p.conn.SetDeadline(time.Time{})
	return err
}

func (p *pump) send(ctx context.Context) error {
	start := time.Now()
	buf := make([]byte, 0, sendChunk+4096)
	for n := int64(0); p.count == 0 || n < p.count; {
		elapsed := time.Since(start)
		if p.length > 0 && elapsed >= p.length {
			return nil
		}
		allowed := int64(1) << 62
		if p.rate > 0 {
			allowed = int64(p.rate*elapsed.Seconds()) - n
		}
		if p.qos > 0 {
			allowed = min(allowed, int64(p.window)-(n-p.acked.Load()))
		}
		if p.count > 0 {
			allowed = min(allowed, p.count-n)
		}
		if allowed <= 0 {
			if err := p.idle(ctx, n); err != nil {
				return err
			}
			continue
		}
		buf = buf[:0]
		now := time.Now().UnixNano()
		first := n
		for ; allowed > 0 && len(buf) < sendChunk; allowed-- {
			buf = p.workload.Append(buf, packetID(n), p.qos, p.v5)
			p.sentAt[n&0xffff] = now
			n++
		}
		p.write.Lock()
		p.sent.Store(n)
		_, err := p.conn.Write(buf)
		p.write.Unlock()
		if err != nil {
			return fmt.Errorf("send messages %d to %d: %w", first, n, err)
		}
	}
	return nil
}

// idle waits for an acknowledgement or, with a rate, for the next message's turn.
func (p *pump) idle(ctx context.Context, n int64) error {
	wait := 5 * time.Second
	if p.rate > 0 {
		wait = max(200*time.Microsecond, min(20*time.Millisecond, time.Duration(float64(time.Second)/p.rate)))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.woken:
	case <-timer.C:
	}
	return nil
}

// settle waits until everything that was sent is acknowledged.
func (p *pump) settle(ctx context.Context) error {
	if p.qos == 0 {
		return nil
	}
	for last, since := p.acked.Load(), time.Now(); p.acked.Load() < p.sent.Load(); {
		if err := p.idle(ctx, 0); err != nil {
			return err
		}
		if acked := p.acked.Load(); acked != last {
			last, since = acked, time.Now()
		} else if time.Since(since) > 30*time.Second {
			return fmt.Errorf("%d of %d messages were not acknowledged within 30 s", p.sent.Load()-acked, p.sent.Load())
		}
	}
	return nil
}

func (p *pump) receive(rest []byte) error {
	buf := make([]byte, 64<<10)
	have := copy(buf, rest)
	for {
		used, err := p.take(buf[:have])
		if err != nil {
			return err
		}
		have = copy(buf, buf[used:have])
		n, err := p.conn.Read(buf[have:])
		have += n
		if n > 0 {
			continue
		}
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return nil // run ends
		}
		if errors.Is(err, io.EOF) {
			return errors.New("the peer closed the connection")
		}
		if err != nil {
			return err
		}
	}
}

// take handles the whole packets in b and returns how many bytes they are. Only
// short packets come this way: acknowledgements and pings.
func (p *pump) take(b []byte) (used int, err error) {
	now := time.Now().UnixNano()
	acked := p.acked.Load()
	for len(b)-used >= 2 {
		size := 2 + int(b[used+1])
		if b[used+1] >= 0x80 {
			return 0, fmt.Errorf("unexpected packet of type %d", b[used]>>4)
		}
		if len(b)-used < size {
			break
		}
		packet := b[used : used+size]
		used += size
		switch packet[0] >> 4 {
		case 4: // PUBACK
			if id := uint16(packet[2])<<8 | uint16(packet[3]); id != packetID(acked) {
				p.strays++
			}
			p.latency.add(time.Duration(now-p.sentAt[acked&0xffff]), 1)
			acked++
		case 12: // PINGREQ
			p.write.Lock()
			_, err := p.conn.Write([]byte{0xd0, 0})
			p.write.Unlock()
			if err != nil {
				return 0, err
			}
		case 8, 10: // a later SUBSCRIBE or UNSUBSCRIBE
			return 0, fmt.Errorf("the node changed its subscriptions during the run")
		case 14:
			return 0, fmt.Errorf("the peer disconnected: % x", packet)
		}
	}
	p.acked.Store(acked)
	select {
	case p.woken <- struct{}{}:
	default:
	}
	return used, nil
}
