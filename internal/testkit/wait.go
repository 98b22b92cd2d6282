package testkit

import (
	"net"
	"os"
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
	EventuallyWithin(tb, 30*time.Second, what, cond)
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

// FreePort returns a TCP port of 127.0.0.1 on which nothing listens. Another
// process may take it before the caller does: be ready to ask again.
func FreePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listen on a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
