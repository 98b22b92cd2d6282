package command

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/node/probe"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// DoctorOptions say what the node should survive.
type DoctorOptions struct {
	Outage time.Duration
	Rate   float64 // messages/s; 0: what the running node receives, else 10
	Size   int     // bytes of a message
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

// brokers asks the brokers that the running node takes messages from, or, where
// none runs, those of the configuration.
func (d *doctor) brokers(ctx context.Context) {
	embedded := d.Config.Broker.Enabled
	if d.status != nil {
		embedded = false
		for _, s := range d.status.Sources {
			embedded = embedded || s.Kind == "broker"
		}
	}
	if embedded {
		d.ok("broker", "devices of the embedded broker keep what was not acknowledged; nothing else queues for the node")
	}
	if d.status == nil {
		for i := range d.Config.Sources {
			d.source(ctx, i)
		}
		return
	}
	for i := range d.status.Sources {
		if s := &d.status.Sources[i]; s.Kind == "mqtt" {
			d.runningSource(ctx, s)
		}
	}
}

// runningSource asks the broker of one source of the running node. How to log in
// stands in the configuration alone; a node that was started with other flags has
// sources that the one read here does not know.
func (d *doctor) runningSource(ctx context.Context, s *control.SourceStatus) {
	for i := range d.Config.Sources {
		if m := &d.Config.Sources[i].MQTT; m.Name == s.Name && m.URL == s.URL {
			d.source(ctx, i)
			return
		}
	}
	what := "source " + s.Name
	login := probe.Login{}
	var err error
	if login.Address, login.TLS, err = node.BrokerAddress(s.URL); err == nil {
		var broker *probe.Broker
		if broker, err = probe.Ask(ctx, login); err == nil {
			d.limits(what, config.DefaultQoS, broker)
			d.queue(what, broker)
			return
		}
	}
	if s.Connected {
		d.note(what, "%s cannot be asked without the flags that the node was started with: %v", s.URL, err)
		return
	}
	d.fail(what, "%s cannot be asked: %v", s.URL, err)
}

func (d *doctor) source(ctx context.Context, i int) {
	m := &d.Config.Sources[i].MQTT
	what := "source " + m.Name
	login, err := node.BrokerLogin(d.Config.Config, i)
	if err == nil {
		var broker *probe.Broker
		if broker, err = probe.Ask(ctx, login); err == nil {
			d.limits(what, m.QoS, broker)
			d.queue(what, broker)
			return
		}
	}
	hint := ""
	if os.IsPermission(err) || isNotExist(err) {
		hint = " (is the file there, and may this user read it?)"
	}
	d.fail(what, "%s cannot be asked: %v%s", m.URL, err, hint)
}

func isNotExist(err error) bool {
	return err != nil && strings.Contains(err.Error(), fs.ErrNotExist.Error())
}

func (d *doctor) limits(what string, qos int, b *probe.Broker) {
	software := b.Software
	if software == "" {
		software = "a broker that does not say its name"
	}
	d.ok(what, "%s answers in %s with MQTT %s", software, round(b.RoundTrip), b.Version)
	if int(b.Limits.MaximumQoS) < qos {
		d.fail(what, "the broker grants QoS %d at most, and sources asks for %d", b.Limits.MaximumQoS, qos)
	}
	if b.Limits.MaximumPacketSize > 0 {
		d.note(what, "the broker takes packets of %d bytes at most", b.Limits.MaximumPacketSize)
	}
	if b.Expiry < d.o.Outage {
		d.fail(what, "the broker forgets the session after %s, sooner than the outage of %s", b.Expiry, d.o.Outage)
	}
	if b.Dropped != "" && b.Dropped != "0" {
		d.note(what, "the broker has dropped %s messages since its start, for any of its clients", b.Dropped)
	}
}

// queue sizes the broker's queue for the outage. Mosquitto keeps 1,000 messages
// for a client unless it is told otherwise, and holds them in memory.
func (d *doctor) queue(what string, b *probe.Broker) {
	rate := d.o.Rate
	origin := "as --rate says"
	if rate <= 0 {
		rate, origin = 10, "assumed; --rate says otherwise"
		if d.status != nil {
			for _, s := range d.status.Sources {
				if up := time.Since(d.status.Started).Seconds(); "source "+s.Name == what && s.Received > 0 && up > 1 {
					rate, origin = float64(s.Received)/up, "what the running node receives"
				}
			}
		}
	}
	const mosquittoDefault = 1000
	const overhead = 250 // bytes that Mosquitto needs for a queued message besides its content, measured roughly
	messages := int64(rate*d.o.Outage.Seconds()*1.2) + mosquittoDefault
	bytes := messages * int64(d.o.Size+overhead)
	d.note(what, "at %.4g messages/s (%s) a default Mosquitto holds %s of the stream while the node is away", rate, origin,
		round(time.Duration(mosquittoDefault/rate*float64(time.Second))))
	if d.err != nil {
		return
	}
	d.err = d.printf(`
      For an outage of %s, put this into mosquitto.conf (about %d MB of the broker's memory):

        max_queued_messages %d
        max_queued_bytes 0
        max_inflight_messages 0
        persistence true
        autosave_interval 60
        persistent_client_expiration %dd

      Mosquitto keeps its queue in memory and writes it at autosave_interval: a crash of
      the broker loses what came since. QoS 0 messages queue only with queue_qos0_messages.

`, d.o.Outage, bytes>>20+1, messages, max(7, int(d.o.Outage.Hours()/24)+1))
}
