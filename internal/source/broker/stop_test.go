package broker

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

func TestAWebSocketThatComesWhileTheBrokerStopsIsTurnedAway(t *testing.T) {
	b := start(t, newFakeSink(t), func(c *Config) { c.WebSocket.Listen = "127.0.0.1:0" })
	stop(t, b)
	answer := httptest.NewRecorder()
	b.https[0].Handler.ServeHTTP(answer, httptest.NewRequest("GET", "/mqtt", nil))
	if answer.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d: Stop has waited for the broker's tasks, and this would be one more", answer.Code)
	}
}

func TestADelayedWillIsNotPublishedWhileTheBrokerStops(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	c := dial(t, b, wire.V5, "device", keepSession, withWill(60))
	_ = c.Close()
	c.awaitGone(b, "device")
	b.wills.mu.Lock()
	d := b.wills.waiting["device"]
	b.wills.mu.Unlock()
	if d == nil {
		t.Fatal("no will waits")
	}
	sink.set(func() { sink.hold = true })
	busy := dial(t, b, wire.V5, "busy")
	busy.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1})
	sink.awaitCount(1)
	stopped := make(chan error, 1)
	go func() { stopped <- b.Stop(context.Background()) }() // it waits for the acknowledgement
	for halted, deadline := false, time.Now().Add(patience); !halted; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the broker does not stop")
		}
		for _, conn := range b.connections() {
			conn.mu.Lock()
			halted = halted || conn.halted
			conn.mu.Unlock()
		}
	}
	d.timer.Reset(0)
	sink.never("a will was published", func() bool { return b.Stats().Wills > 0 })
	sink.release()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
