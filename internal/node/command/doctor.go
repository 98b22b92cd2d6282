package command

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/node/probe"
	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// DoctorOptions say what the node should survive.
type DoctorOptions struct {
	Outage time.Duration
	Rate   float64 // messages/s; 0: what the running node receives, else 10
	Size   int     // bytes of a message
	// Watch is how long the broker's counter of dropped messages is watched; 0:
	// it is read once.
	Watch time.Duration
}

// doctor gathers findings.
type doctor struct {
	*Env
	o      DoctorOptions
	status *control.Status // of the running node; nil: none runs
	failed int
	err    error
}

// Doctor looks for trouble and says what to do about it. The error says that
// something is wrong, not only worth knowing.
func Doctor(ctx context.Context, e *Env, o DoctorOptions) error {
	d := &doctor{Env: e, o: o}
	d.configuration()
	d.node(ctx)
	d.encryption(ctx)
	d.disk()
	d.clock()
	d.listeners()
	d.brokers(ctx)
	if d.err == nil && d.failed > 0 {
		d.err = telemetry.Errorf(telemetry.CodeUnavailable, "doctor", "%d finding(s) need attention", d.failed)
	}
	return d.err
}

func (d *doctor) say(mark, what, format string, args ...any) {
	if d.err == nil {
		d.err = d.printf("%-5s %-14s %s\n", mark, what, fmt.Sprintf(format, args...))
	}
}

func (d *doctor) ok(what, format string, args ...any)   { d.say("ok", what, format, args...) }
func (d *doctor) note(what, format string, args ...any) { d.say("note", what, format, args...) }
func (d *doctor) fail(what, format string, args ...any) {
	d.failed++
	d.say("FAIL", what, format, args...)
}

func (d *doctor) configuration() {
	if d.Config.File != "" {
		d.ok("configuration", "%s", d.Config.File)
	} else {
		d.ok("configuration", "no file; everything has its default")
	}
	for _, w := range d.Config.Warnings {
		d.note("configuration", "%s", w)
	}
}

func (d *doctor) node(ctx context.Context) {
	client, err := control.NewClient(ctx, d.Config.DataDir)
	if err != nil {
		if telemetry.CodeOf(err) == telemetry.CodeNotFound {
			d.note("node", "none is running on %s", shown(d.Config.DataDir))
		} else {
			d.fail("node", "%v", err)
		}
		return
	}
	defer client.Close()
	s, err := client.Status(ctx)
	if err != nil {
		d.fail("node", "%v", err)
		return
	}
	d.status = s
	d.ok("node", "version %s runs as process %d since %s", s.Version, s.PID, s.Started.Local().Format(time.DateTime))
	for _, r := range s.Reasons {
		text := r.Message
		if r.Hint != "" {
			text += " (" + r.Hint + ")"
		}
		if r.Degraded {
			d.note(r.Part, "%s", text)
		} else {
			d.fail(r.Part, "%s", text)
		}
	}
	for _, src := range s.Sources {
		d.ok("source "+src.Name, "%d received = %d stored + %d duplicate + %d quarantined + %d dropped + %d unmatched + %d in flight",
			src.Received, src.Stored, src.Duplicate, src.Quarantined, sum(src.Dropped), src.Unmatched, src.InFlight)
	}
	for i, u := range s.Unmatched {
		if i == 3 {
			break
		}
		d.note("unmatched", "no schema matches %s (%d messages)", visible([]byte(u.Topic), 80), u.Count)
	}
}

// encryption looks whether the next start finds the right master key.
func (d *doctor) encryption(ctx context.Context) {
	err := node.CheckKeys(ctx, d.Config.Config, d.quiet())
	switch {
	case err != nil:
		d.fail("encryption", "%v", err)
	case !d.Config.Encryption.Enabled:
	case seal.Exists(d.Config.DataDir):
		d.ok("encryption", "the master key opens what is in %s", shown(d.Config.DataDir))
	default:
		d.ok("encryption", "the master key is there; nothing is sealed with it yet")
	}
}

func sum(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

func (d *doctor) disk() {
	dir := d.Config.DataDir
	for { // the directory may come into being with the first start
		if _, err := os.Stat(dir); err == nil || !os.IsNotExist(err) {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	m := node.LookAtDisk(dir)
	if m.FreeKnown {
		text := fmt.Sprintf("%.1f GB are free", float64(m.Free)/(1<<30))
		if m.Free < 1<<30 {
			d.fail("data_dir", "%s", text)
		} else {
			d.ok("data_dir", "%s: %s", shown(d.Config.DataDir), text)
		}
	}
	interval := d.Config.Store.CommitInterval
	if m.Card {
		d.note("data_dir", "lies on an SD card or eMMC: commits are 1s apart unless store.commit_interval says otherwise")
	}
	f, err := probe.MeasureFsync(dir, 2*time.Second)
	if err != nil {
		d.fail("disk", "%v", err)
		return
	}
	wait := 2 * time.Millisecond
	if m.Card {
		wait = time.Second
	}
	if !interval.Auto {
		wait = interval.D
	}
	d.ok("disk", "making 8 KB durable takes %s (p99 %s, worst %s of %d): expect acknowledgements within %s",
		round(f.P50), round(f.P99), round(f.Max), f.Writes, round(3*f.P99+wait))
	if f.P50 < 20*time.Microsecond {
		d.note("disk", "that is faster than any disk: does it keep what it syncs when the power goes?")
	}
}

func round(d time.Duration) time.Duration {
	switch {
	case d > 10*time.Second:
		return d.Round(time.Second)
	case d > 10*time.Millisecond:
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}

func (d *doctor) clock() {
	now := time.Now()
	if now.Year() < 2024 {
		d.fail("clock", "shows %s: it is not set", now.Format(time.DateTime))
		return
	}
	switch kept, known := probe.ClockKept(); {
	case known && !kept:
		d.note("clock", "%s, and nothing keeps it right: is an NTP service running?", now.UTC().Format(time.RFC3339))
	case known:
		d.ok("clock", "%s, kept right by the system", now.UTC().Format(time.RFC3339))
	default:
		d.ok("clock", "%s", now.UTC().Format(time.RFC3339))
	}
}

// listeners looks whether a node could listen where it should. A running one
// does already.
func (d *doctor) listeners() {
	if d.status != nil {
		return
	}
	b := d.Config.Broker
	for _, l := range []struct {
		what, key, address string
		wanted             bool
	}{
		{"broker", "broker.listen", b.Listen, b.Enabled},
		{"broker", "broker.tls.listen", b.TLS.Listen, b.Enabled},
		{"broker", "broker.websocket.listen", b.WebSocket.Listen, b.Enabled},
		{"http", "http.listen", d.Config.HTTP.Listen, true},
	} {
		if !l.wanted || l.address == "" {
			continue
		}
		err := node.TryListen(l.address)
		switch {
		case err == nil:
			d.ok(l.what, "%s is free for %s", l.address, l.key)
		case node.IsTaken(err) && l.key == "broker.listen":
			d.fail(l.what, "%s is taken by another program: weir serve --from mqtt://%s takes messages from it", l.address, node.Dialable(l.address))
		case node.IsTaken(err):
			d.fail(l.what, "%s is taken by another program: give %s another address", l.address, l.key)
		default:
			d.fail(l.what, "%s cannot listen: %v", l.key, err)
		}
	}
}
