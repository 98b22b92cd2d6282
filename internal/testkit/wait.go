package testkit

import (
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Missing ends a test whose outside requirement is absent: a skip that says
// what to install, and a failure where CI=true.
func Missing(tb testing.TB, what, hint string) {
	tb.Helper()
	if os.Getenv("CI") == "true" {
		tb.Fatalf("%s is missing, and CI=true: %s", what, hint)
	}
	tb.Skipf("SKIPPED, NOT TESTED: %s is missing: %s", what, hint)
}

// Soak reports whether the long form of a test is asked for (WEIR_SOAK=1).
func Soak() bool { return os.Getenv("WEIR_SOAK") == "1" }

// Eventually waits until cond holds, and fails the test with what it waited for
// when that takes longer than a generous limit.
func Eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	EventuallyWithin(tb, 3*time.Minute, what, cond)
}

// EventuallyWithin is Eventually with a limit of the caller's choice.
func EventuallyWithin(tb testing.TB, limit time.Duration, what string, cond func() bool) {
	tb.Helper()
	deadline := time.Now().Add(limit)
	for pause := time.Millisecond; !cond(); pause = min(2*pause, 50*time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("waited %s in vain until %s", limit, what)
		}
		time.Sleep(pause)
	}
}

// given are the ports that this process has given out: none is given twice.
var given sync.Map

// FreePort returns a TCP port of 127.0.0.1 on which nothing listens, for a program
// that is told its port and may be started again on it. It lies below those that
// systems give out themselves (Linux from 32,768, others from 49,152): none of the
// listeners on port 0 and connections that other tests make meanwhile can get it.
func FreePort(tb testing.TB) int {
	tb.Helper()
	const from, to = 10_000, 32_000
	var last error
	for range 100 {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(from+rand.IntN(to-from))))
		if last = err; err == nil {
			port := l.Addr().(*net.TCPAddr).Port
			_ = l.Close()
			if _, again := given.LoadOrStore(port, true); !again {
				return port
			}
		}
	}
	tb.Fatalf("listen on a free port: %v", last)
	return 0
}
