package command

import (
	"context"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/node/probe"
)

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
		if err = d.examine(ctx, what, login, config.DefaultQoS, false); err == nil {
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
		shared := m.ShareGroup != ""
		for _, filter := range m.Topics {
			shared = shared || strings.HasPrefix(filter, "$share/")
		}
		if err = d.examine(ctx, what, login, m.QoS, shared); err == nil {
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

// examine says what a broker says about itself, and what its queue should be.
func (d *doctor) examine(ctx context.Context, what string, login probe.Login, qos int, shared bool) error {
	broker, err := probe.Ask(ctx, login)
	if err != nil {
		return err
	}
	d.limits(what, qos, shared, broker)
	d.queue(what, broker)
	if d.o.Watch > 0 {
		return d.watch(ctx, what, login)
	}
	return nil
}

// watch looks whether the broker drops messages now.
func (d *doctor) watch(ctx context.Context, what string, login probe.Login) error {
	seen, err := probe.WatchDropped(ctx, login, d.o.Watch)
	switch {
	case err != nil:
		return err
	case seen.Times == 0:
		d.note(what, "the broker said nothing in %s about the messages that it drops ($SYS may be closed to this user)", d.o.Watch)
	case seen.Dropped() > 0:
		d.fail(what, "the broker dropped %d messages while it was watched for %s: a queue is too small for a client that is away or slow", seen.Dropped(), d.o.Watch)
	default:
		d.ok(what, "the broker dropped nothing while it was watched for %s (its counter came %d times)", d.o.Watch, seen.Times)
	}
	return nil
}

func (d *doctor) limits(what string, qos int, shared bool, b *probe.Broker) {
	software := b.Software
	if software == "" {
		software = "a broker that does not say its name"
	}
	d.ok(what, "%s answers in %s with MQTT %s", software, round(b.RoundTrip), b.Version)
	if int(b.Limits.MaximumQoS) < qos {
		d.fail(what, "the broker grants QoS %d at most, and sources asks for %d", b.Limits.MaximumQoS, qos)
	}
	if shared && !b.Limits.Shared {
		d.fail(what, "the broker has no shared subscriptions, and the source asks for one")
	}
	if !b.Limits.Wildcards {
		d.note(what, "the broker grants no wildcards: sources need a topic filter for each topic")
	}
	if b.Limits.MaximumPacketSize > 0 {
		d.note(what, "the broker takes packets of %d bytes at most", b.Limits.MaximumPacketSize)
	}
	if b.Expiry < d.o.Outage {
		d.fail(what, "the broker forgets the session after %s, sooner than the outage of %s", b.Expiry, d.o.Outage)
	}
	if b.Dropped != "" && b.Dropped != "0" {
		d.note(what, "the broker has dropped %s messages since its start, for any of its clients; --watch 1m says whether it does now", b.Dropped)
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
