package probe

import "golang.org/x/sys/unix"

// staUnsync is STA_UNSYNC of adjtimex(2).
const staUnsync = 0x40

// ClockKept reports whether something keeps the clock right; known is false where
// the system does not say.
func ClockKept() (kept, known bool) {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return false, false
	}
	return t.Status&staUnsync == 0 && state != unix.TIME_ERROR, true
}
