package e2e

import (
	"strings"
	"testing"
)

// TestDeleteWithANodeAndWithout deletes through the control socket and on the
// directory itself.
func TestDeleteWithANodeAndWithout(t *testing.T) {
	long(t)
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema})
	r := p.serve()
	publish(t, r, "p", timed("a", 20))
	left := func() int { return p.number("select count(*) from timed") }
	call := func(want int, say string, args ...string) {
		t.Helper()
		out, stderr, code := p.run(append([]string{"delete", "--table", "timed"}, args...)...)
		if code != want || !strings.Contains(out+stderr, say) {
			t.Errorf("weir delete %q ends with %d, not %d\n%s%s", args, code, want, out, stderr)
		}
	}
	call(0, "5 readings of timed match", "--where", "seq < 5", "--dry-run")
	call(2, "nothing was deleted", "--where", "seq < 5") // no answer to the question
	call(2, "more than a condition", "--where", "1=1) order by (time", "--yes")
	if got := left(); got != 20 {
		t.Fatalf("%d readings are left, want 20", got)
	}
	call(0, "5 readings of timed are deleted", "--where", "seq < 5", "--yes")
	if got := left(); got != 15 {
		t.Errorf("%d readings are left, want 15", got)
	}
	publish(t, r, "p", timed("a", 20)) // delivered again: they stay deleted
	if got := left(); got != 15 {
		t.Errorf("after a redelivery there are %d readings, want 15", got)
	}
	if !strings.Contains(r.out.String(), "readings were deleted") {
		t.Errorf("the log does not say it:\n%s", r.out.String())
	}
	r.stop()
	call(0, "10 readings of timed are deleted", "--where", "seq >= 10", "--yes")
	if got := left(); got != 5 {
		t.Errorf("%d readings are left, want 5", got)
	}
}
