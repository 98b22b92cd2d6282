package mqtt

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// maxAcksPerWrite bounds the write buffer to 64 KiB and a little.
const maxAcksPerWrite = 16 << 10

// closeTimeout bounds the last write of a connection, so that a broker which
// does not read cannot hold the shutdown.
const closeTimeout = 2 * time.Second

var errKeepAlive = errors.New("the broker is silent: no answer to a PINGREQ (keep alive timeout)")

// writer owns the sending side of one connection: acknowledgements, control
// packets and pings, and it watches whether pings are answered.
type writer struct {
	nc           net.Conn
	ring         *ring
	stats        *counters
	keepAlive    time.Duration
	confirmAfter time.Duration
	confirmFrom  time.Time // pings before this confirm nothing

	// The reader's state: how often it read, and whether it waits in Read. While
	// it is held up by back-pressure, a missing PINGRESP means nothing.
	reads   atomic.Uint64
	waiting atomic.Bool

	mu      sync.Mutex
	control []byte // packets to send
	last    bool   // nothing follows control
	pings   []ping // sent and unanswered
	err     error  // why the connection was given up

	wake chan struct{}
	done chan struct{}
}

type ping struct {
	upTo    uint64 // acknowledged on the wire before it
	confirm bool
}

func newWriter(nc net.Conn, r *ring, stats *counters) *writer {
	return &writer{nc: nc, ring: r, stats: stats, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// send queues a control packet.
func (w *writer) send(packet []byte) {
	w.mu.Lock()
	if !w.last {
		w.control = append(w.control, packet...)
	}
	w.mu.Unlock()
	signal(w.wake)
}

// finish sends what is acknowledged and then the packet, which may be empty,
// and ends the writer.
func (w *writer) finish(packet []byte) {
	w.mu.Lock()
	w.control = append(w.control, packet...)
	w.last = true
	w.mu.Unlock()
	_ = w.nc.SetWriteDeadline(time.Now().Add(closeTimeout)) // where it fails, the writer does too
	signal(w.wake)
	<-w.done
}

// give up closes the connection; the first reason is kept.
func (w *writer) giveUp(err error) {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	w.mu.Unlock()
	_ = w.nc.Close() // the reason matters, not how the close went
}

// failure returns why the writer gave up.
func (w *writer) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// pingAnswered returns the ping that a PINGRESP belongs to.
func (w *writer) pingAnswered() (ping, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pings) == 0 {
		return ping{}, false
	}
	p := w.pings[0]
	w.pings = append(w.pings[:0], w.pings[1:]...)
	return p, true
}

func (w *writer) unanswered() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pings)
}

func (w *writer) run() {
	defer close(w.done)
	now := time.Now()
	var (
		buf       []byte
		lastWrite = now
		firstAck  time.Time // of those that no ping covers yet; zero: none
		silence   = silence{timeout: max(w.keepAlive/2, time.Second)}
		timer     = time.NewTimer(time.Hour)
	)
	defer timer.Stop()
	for {
		before := w.ring.written.Load()
		buf = w.ring.take(buf[:0], maxAcksPerWrite)
		acks := w.ring.written.Load() - before

		w.mu.Lock()
		// What ends the connection goes after the last acknowledgement.
		last, patience := w.last && !w.ring.pending(), max(w.keepAlive, time.Second)
		if w.last {
			patience = closeTimeout
		}
		if last || !w.last {
			buf = append(buf, w.control...)
			w.control = w.control[:0]
		}
		w.mu.Unlock()

		now = time.Now()
		if acks > 0 && firstAck.IsZero() {
			firstAck = now
		}
		if due := w.pingDue(lastWrite, firstAck); !last && !now.Before(due) {
			// Sent after the acknowledgements of this same write.
			buf = wire.AppendPingreq(buf)
			confirm := !now.Before(w.confirmFrom)
			w.mu.Lock()
			w.pings = append(w.pings, ping{upTo: w.ring.written.Load() - 1, confirm: confirm})
			w.mu.Unlock()
			w.stats.pings.Add(1)
			firstAck = time.Time{}
		}
		if len(buf) > 0 {
			lastWrite = now
			// A broker that does not read is as dead as one that does not answer.
			err := w.nc.SetWriteDeadline(now.Add(patience))
			if err == nil {
				_, err = w.nc.Write(buf)
			}
			if err != nil {
				w.giveUp(err)
				return
			}
			w.stats.bytesOut.Add(uint64(len(buf)))
			w.stats.acks.Add(acks)
			w.ring.sent.Store(w.ring.written.Load())
			if w.ring.pending() {
				continue
			}
		}
		if last {
			return
		}
		if silence.tooLong(w, now) {
			w.giveUp(errKeepAlive)
			return
		}
		timer.Reset(time.Until(earlier(w.pingDue(lastWrite, firstAck), silence.deadline)))
		select {
		case <-w.wake:
		case <-w.ring.wake:
		case <-timer.C:
		}
	}
}

// pingDue returns when the next PINGREQ is to be sent.
func (w *writer) pingDue(lastWrite, firstAck time.Time) time.Time {
	due := lastWrite.Add(w.keepAlive * 3 / 4)
	if !firstAck.IsZero() {
		confirm := firstAck.Add(w.confirmAfter)
		if confirm.Before(w.confirmFrom) {
			confirm = w.confirmFrom
		}
		due = earlier(due, confirm)
	}
	return due
}

// earlier returns the earlier of two times, of which zero means never.
func earlier(a, b time.Time) time.Time {
	if b.IsZero() || !a.IsZero() && a.Before(b) {
		return a
	}
	return b
}

// silence measures for how long a ping stays unanswered while the reader waits
// and nothing comes.
type silence struct {
	timeout  time.Duration
	deadline time.Time // zero: no ping is unanswered
	reads    uint64
}

func (s *silence) tooLong(w *writer, now time.Time) bool {
	if w.unanswered() == 0 {
		s.deadline = time.Time{}
		return false
	}
	reads := w.reads.Load()
	if s.deadline.IsZero() || reads != s.reads || !w.waiting.Load() {
		s.reads = reads
		s.deadline = now.Add(s.timeout)
		return false
	}
	return !now.Before(s.deadline)
}
