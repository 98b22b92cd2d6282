//go:build !linux

package probe

// ClockKept is unknown where no portable call tells it.
func ClockKept() (kept, known bool) { return false, false }
