package broker

import (
	"context"
	"log/slog"
	"net"
	"os/exec"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// waitFor waits on a condition for as long as a test has patience.
func waitFor(mu *sync.Mutex, cond *sync.Cond, ok func() bool) bool {
	late := false
	timer := time.AfterFunc(patience, func() { mu.Lock(); late = true; cond.Broadcast(); mu.Unlock() })
	defer timer.Stop()
	mu.Lock()
	defer mu.Unlock()
	for !ok() && !late {
		cond.Wait()
	}
	return ok()
}

// start runs a broker on a free port until the test ends.
func start(t testing.TB, sink *fakeSink, change ...func(*Config)) *Broker {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	for _, f := range change {
		f(&cfg)
	}
	b, err := New(cfg, sink, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, b) })
	return b
}

func stop(t testing.TB, b *Broker) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := b.Stop(ctx); err != nil {
		t.Error(err)
	}
	if n := b.queued.Load(); len(b.sessions) == 0 && n != 0 {
		t.Errorf("%d bytes are accounted to no session", n)
	}
}

func (b *Broker) address(transport string) string {
	for _, a := range b.Addrs() {
		if a.Transport == transport {
			return a.String()
		}
	}
	return ""
}

// client is a client that does what the test says, packet by packet.
type client struct {
	t testing.TB
	net.Conn
	r       *wire.Reader
	version wire.Version
	connack wire.Connack
}

// dial connects and expects to be accepted.
func dial(t testing.TB, b *Broker, version wire.Version, id string, change ...func(*wire.Connect)) *client {
	t.Helper()
	c := dialRaw(t, b, version, id, change...)
	if c.connack.Reason != wire.Success {
		t.Fatalf("client %q: refused: %v", id, c.connack.Reason)
	}
	return c
}

func dialRaw(t testing.TB, b *Broker, version wire.Version, id string, change ...func(*wire.Connect)) *client {
	t.Helper()
	nc, err := net.Dial("tcp", b.address("tcp"))
	if err != nil {
		t.Fatal(err)
	}
	return handshake(t, nc, version, id, change...)
}

func handshake(t testing.TB, nc net.Conn, version wire.Version, id string, change ...func(*wire.Connect)) *client {
	t.Helper()
	t.Cleanup(func() { _ = nc.Close() })
	c := &client{t: t, Conn: nc, r: wire.NewReader(nc, 1<<24), version: version}
	p := wire.Connect{Version: version, ClientID: id, KeepAlive: 60, Clean: true}
	for _, f := range change {
		f(&p)
	}
	c.write(wire.AppendConnect(nil, &p))
	first, body := c.next()
	if err := wire.ParseConnack(&c.connack, version, first, body); err != nil {
		t.Fatal(err)
	}
	return c
}

// keepSession is a change of CONNECT.
func keepSession(p *wire.Connect) {
	p.Clean = false
	if p.Version >= wire.V5 {
		p.Properties.SetUint(wire.SessionExpiry, 3600)
	}
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if _, err := c.Conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// next returns the next packet.
func (c *client) next() (first byte, body []byte) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	first, body, err := c.r.Next()
	if err != nil {
		c.t.Fatalf("next packet: %v", err)
	}
	return first, body
}

// closed expects the connection to end without another packet.
func (c *client) closed() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if first, body, err := c.r.Next(); err == nil {
		c.t.Fatalf("got %v % x instead of the end", wire.PacketType(first>>4), body)
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatal("the connection stays open")
	}
}

// disconnected expects DISCONNECT with a reason in MQTT 5, and the end.
func (c *client) disconnected(reason wire.ReasonCode) {
	c.t.Helper()
	if c.version >= wire.V5 {
		first, body := c.next()
		var d wire.Disconnect
		if wire.PacketType(first>>4) != wire.DISCONNECT {
			c.t.Fatalf("got %v instead of DISCONNECT", wire.PacketType(first>>4))
		}
		if err := wire.ParseDisconnect(&d, c.version, first, body); err != nil || d.Reason != reason {
			c.t.Fatalf("DISCONNECT says %v, %v; want %v", d.Reason, err, reason)
		}
	}
	c.closed()
}

// ping expects an answer to each of two PINGREQ, and nothing else before them:
// what was sent before is handled, and nothing of it was answered. One would not
// do, because what is written with its answer may stand behind it.
func (c *client) ping() {
	c.t.Helper()
	for range 2 {
		c.write(wire.AppendPingreq(nil))
		if first, body := c.next(); wire.PacketType(first>>4) != wire.PINGRESP {
			c.t.Fatalf("got %v % x instead of PINGRESP", wire.PacketType(first>>4), body)
		}
	}
}

func (c *client) publish(p wire.Publish) {
	c.t.Helper()
	c.write(wire.AppendPublish(nil, c.version, &p))
}

// ack expects an acknowledgement.
func (c *client) ack(kind wire.PacketType, id uint16, reason wire.ReasonCode) {
	c.t.Helper()
	first, body := c.next()
	var a wire.Ack
	if wire.PacketType(first>>4) != kind {
		c.t.Fatalf("got %v % x instead of %v", wire.PacketType(first>>4), body, kind)
	}
	if err := wire.ParseAck(&a, c.version, first, body); err != nil {
		c.t.Fatal(err)
	}
	if a.PacketID != id || a.Reason != reason {
		c.t.Fatalf("%v is for %d with %v, want %d with %v", kind, a.PacketID, a.Reason, id, reason)
	}
}

func (c *client) sendAck(kind wire.PacketType, id uint16) {
	c.t.Helper()
	c.write(wire.AppendAck(nil, kind, id))
}

// subscribe expects each filter to be granted.
func (c *client) subscribe(subs ...wire.Subscription) {
	c.t.Helper()
	c.subscribeWith(wire.Properties{}, subs...)
}

func (c *client) subscribeWith(props wire.Properties, subs ...wire.Subscription) {
	c.t.Helper()
	c.write(wire.AppendSubscribe(nil, c.version, &wire.Subscribe{PacketID: 7777, Subscriptions: subs, Properties: props}))
	first, body := c.next()
	var a wire.Suback
	if err := wire.ParseSuback(&a, c.version, first, body); err != nil {
		c.t.Fatalf("%v: %v", wire.PacketType(first>>4), err)
	}
	for i, r := range a.Reasons {
		if r != wire.ReasonCode(subs[i].QoS) {
			c.t.Fatalf("filter %q: %v", subs[i].Filter, r)
		}
	}
}

// message expects a PUBLISH, which is a copy.
func (c *client) message() wire.Publish {
	c.t.Helper()
	first, body := c.next()
	if wire.PacketType(first>>4) != wire.PUBLISH {
		c.t.Fatalf("got %v % x instead of PUBLISH", wire.PacketType(first>>4), body)
	}
	var p wire.Publish
	if err := wire.ParsePublish(&p, c.version, first, append([]byte(nil), body...)); err != nil {
		c.t.Fatal(err)
	}
	return p
}

var versions = []wire.Version{wire.V311, wire.V5}

func eachVersion(t *testing.T, f func(t *testing.T, v wire.Version)) {
	for _, v := range versions {
		t.Run("MQTT "+v.String(), func(t *testing.T) { f(t, v) })
	}
}

func TestAPublishIsAcknowledgedAfterTheCommitAndNotBefore(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		sink.hold = true
		b := start(t, sink)
		c := dial(t, b, v, "device")
		c.publish(wire.Publish{Topic: []byte("a/b"), Payload: []byte("1"), QoS: 1, PacketID: 10})
		c.publish(wire.Publish{Topic: []byte("a/c"), Payload: []byte("2"), QoS: 2, PacketID: 11})
		c.publish(wire.Publish{Topic: []byte("a/d"), Payload: []byte("3"), QoS: 0})
		all := sink.awaitCount(3)
		if all[0].topic != "a/b" || all[0].payload != "1" || all[0].key != "broker:device" || all[1].qos != 2 || all[2].topic != "a/d" {
			t.Errorf("the sink got %+v", all)
		}
		c.ping() // nothing was acknowledged
		sink.release()
		c.ack(wire.PUBACK, 10, wire.Success)
		c.ack(wire.PUBREC, 11, wire.Success)
		sink.set(func() { sink.hold = true })
		c.sendAck(wire.PUBREL, 11)
		sink.awaitEvent("release broker:device 11")
		c.ping() // PUBCOMP waits for the removal from the ledger
		sink.release()
		c.ack(wire.PUBCOMP, 11, wire.Success)
	})
}

func TestMosquittoPubIsAcknowledged(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	host, port, _ := net.SplitHostPort(b.address("tcp"))
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		for _, qos := range []string{"0", "1", "2"} {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			out, err := exec.CommandContext(ctx, "mosquitto_pub", "-V", version, "-h", host, "-p", port, "-q", qos, "-t", "x/"+version, "-m", qos).CombinedOutput()
			cancel()
			if err != nil {
				t.Fatalf("mosquitto_pub -V %s -q %s: %v: %s", version, qos, err, out)
			}
		}
	}
	sink.awaitCount(9)
}
