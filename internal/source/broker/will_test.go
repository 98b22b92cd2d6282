package broker

import (
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

func withWill(delay uint32) func(*wire.Connect) {
	return func(p *wire.Connect) {
		p.Will = &wire.Will{Topic: []byte("state"), Payload: []byte("gone"), QoS: 1, Retain: true}
		if p.Version < wire.V5 {
			return
		}
		p.Will.Properties.SetText(wire.ContentType, []byte("text/plain"))
		p.Will.Properties.Users = []wire.User{{Key: []byte("k"), Value: []byte("v")}}
		if delay > 0 {
			p.Will.Properties.SetUint(wire.WillDelay, delay)
		}
	}
}

func TestAWillReachesTheSinkAndSubscribers(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		b := start(t, sink)
		sub := dial(t, b, v, "subscriber")
		sub.subscribe(wire.Subscription{Filter: "state", QoS: 1})
		c := dial(t, b, v, "device", withWill(0))
		_ = c.Close()
		p := sub.message()
		if string(p.Payload) != "gone" || p.QoS != 1 || p.Retain {
			t.Errorf("the subscriber got %+v", p)
		}
		if v >= wire.V5 && (string(p.Properties.Text(wire.ContentType)) != "text/plain" || len(p.Properties.Users) != 1) {
			t.Errorf("the will lost its properties: %+v", p.Properties)
		}
		if g := sink.awaitCount(1)[0]; g.topic != "state" || g.payload != "gone" || g.key != "broker~wills" {
			t.Errorf("the sink got %+v", g)
		}
		late := dial(t, b, v, "late")
		late.subscribe(wire.Subscription{Filter: "state", QoS: 1})
		if p := late.message(); !p.Retain {
			t.Errorf("the will is not retained: %+v", p)
		}
	})
}

func TestAWillIsNotPublishedAfterDisconnect(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		b := start(t, sink)
		c := dial(t, b, v, "device", withWill(0))
		c.write(wire.AppendDisconnect(nil, v, &wire.Disconnect{}))
		c.closed()
		c.awaitGone(b, "device")
		if n := b.Stats().Wills; n != 0 {
			t.Errorf("%d wills", n)
		}
		if v < wire.V5 {
			return
		}
		c = dial(t, b, v, "device", withWill(0))
		c.write(wire.AppendDisconnect(nil, v, &wire.Disconnect{Reason: 0x04})) // disconnect with will message
		c.closed()
		sink.awaitCount(1)
	})
}

func TestAWillWithADelayIsCancelledByTheClientsReturn(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	c := dial(t, b, wire.V5, "device", keepSession, withWill(60))
	_ = c.Close()
	c.awaitGone(b, "device")
	c = dial(t, b, wire.V5, "device", keepSession)
	c.ping()
	b.wills.mu.Lock()
	n := len(b.wills.waiting)
	b.wills.mu.Unlock()
	if n != 0 || b.Stats().Wills != 0 {
		t.Errorf("%d wills wait, %d were published", n, b.Stats().Wills)
	}
}

func TestAWillWithADelayComesWhenItIsOver(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	c := dial(t, b, wire.V5, "device", keepSession, withWill(1))
	began := time.Now()
	_ = c.Close()
	sink.awaitCount(1)
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("it came after %v", took)
	}
}

func TestAWillWithADelayComesWhenTheSessionEnds(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	c := dial(t, b, wire.V5, "device", withWill(60)) // the session ends with the connection
	_ = c.Close()
	sink.awaitCount(1)
	c = dial(t, b, wire.V5, "other", keepSession, withWill(60))
	_ = c.Close()
	c.awaitGone(b, "other")
	dial(t, b, wire.V5, "other") // a clean start ends it
	sink.awaitCount(2)
}

func TestATakeoverPublishesTheWill(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		sink := newFakeSink(t)
		b := start(t, sink)
		dial(t, b, v, "device", keepSession, withWill(0))
		dial(t, b, v, "device", keepSession)
		sink.awaitCount(1)
	})
}

func TestStopPublishesNoWills(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	dial(t, b, wire.V5, "device", withWill(0))
	stop(t, b)
	if n := b.Stats().Wills; n != 0 {
		t.Errorf("%d wills", n)
	}
}
