//go:build unix

package broker

import (
	"fmt"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// raiseFileLimit returns how many clients can be held in this process, which has
// both ends of their connections.
func raiseFileLimit(t *testing.T, want int) int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	l.Cur = l.Max
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	return min(want, int(min(l.Cur, 1<<20)-200)/2)
}

func TestIdleClientsCostLittle(t *testing.T) {
	want := 10_000
	if testing.Short() || raceEnabled {
		want = 1000
	}
	n := raiseFileLimit(t, want)
	sink := newFakeSink(t)
	b := start(t, sink, func(c *Config) { c.MaxClients = 20_000 })
	memory := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := memory()
	conns := make([]net.Conn, n)
	for i := range conns {
		nc, err := net.Dial("tcp", b.address("tcp"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		conns[i] = nc
		id := fmt.Sprint("idle", i)
		_, err = nc.Write(append(wire.AppendConnect(nil, &wire.Connect{Version: wire.V311, ClientID: id, Clean: true, KeepAlive: 600}), numbered(wire.V311, 1, 1, 1)...))
		if err != nil {
			t.Fatal(err)
		}
	}
	var buf [8]byte
	for _, nc := range conns {
		_ = nc.SetReadDeadline(time.Now().Add(3 * patience))
		for got := 0; got < 8; {
			k, err := nc.Read(buf[got:])
			if err != nil {
				t.Fatal(err)
			}
			got += k
		}
	}
	each := float64(memory()-before) / float64(n)
	// Two thirds are the stacks of the two goroutines that mochi has for a client.
	t.Logf("%d idle clients that have published: %.1f KB each, this test's own end included", n, each/1024)
	if each > 40<<10 && !raceEnabled {
		t.Errorf("an idle client costs %.0f bytes", each)
	}
}

func TestAWaitingConnectionHoldsABufferOfTheSizeOfWhatItHas(t *testing.T) {
	c := &conn{raw: &rawReader{}}
	c.room()
	if cap(c.buf) != readBufferSize {
		t.Fatalf("reads go to a buffer of %d bytes", cap(c.buf))
	}
	c.w = copy(c.buf, "part of a packet")
	c.park()
	if cap(c.buf) != len("part of a packet") {
		t.Errorf("%d bytes are held for %d", cap(c.buf), c.w)
	}
	c.need = 100
	c.room()
	if cap(c.buf) != readBufferSize || string(c.buf[c.r:c.w]) != "part of a packet" {
		t.Errorf("the next read goes to %d bytes behind %q", cap(c.buf), c.buf[c.r:c.w])
	}
	c.r = c.w
	c.park()
	if c.buf != nil {
		t.Error("a connection without bytes holds a buffer")
	}
}
