package broker

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/source/wire"
)

// With a Box the journal holds everything as before, and shows nothing of it.
func TestASealedJournalSurvivesARestartAndShowsNothing(t *testing.T) {
	ring, err := seal.OpenRing(t.TempDir(), seal.Holding(seal.NewMaster()), seal.RingOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	sealed := func(c *Config) { c.Dir, c.Box = dir, ring.Box("plant") }
	sink := newFakeSink(t)
	b := start(t, sink, sealed)
	sub := dial(t, b, wire.V5, "subscriber", keepSession)
	sub.subscribe(wire.Subscription{Filter: "secret/filter/#", QoS: 1})
	_ = sub.Close()
	sub.awaitGone(b, "subscriber")
	c := dial(t, b, wire.V5, "device", keepSession)
	for i := range 3 {
		c.publish(wire.Publish{Topic: fmt.Appendf(nil, "secret/topic/%d", i), Payload: []byte("payload"), QoS: 1, PacketID: uint16(i + 1), Retain: true})
	}
	c.publish(wire.Publish{Topic: []byte("secret/filter/x"), Payload: []byte("waits"), QoS: 1, PacketID: 9})
	sink.awaitCount(4)
	stop(t, b)
	path := filepath.Join(dir, journalName)
	data, err := os.ReadFile(path)
	if err != nil || len(data) == 0 {
		t.Fatal(err)
	}
	for _, text := range []string{"secret", "payload", "waits", "subscriber", "device"} {
		if bytes.Contains(data, []byte(text)) {
			t.Errorf("%q stands in clear", text)
		}
	}

	b = start(t, newFakeSink(t), sealed)
	if s := b.Stats(); s.Retained != 3 || s.Sessions != 2 {
		t.Errorf("%d retained messages and %d sessions came back", s.Retained, s.Sessions)
	}
	sub = dial(t, b, wire.V5, "subscriber", keepSession)
	if p := sub.message(); string(p.Payload) != "waits" {
		t.Errorf("what waited came as %q", p.Payload)
	}
	stop(t, b)

	// A record that somebody changed, with a right checksum, is left out.
	damaged, err := readJournal(data, sealedMagic, func(record []byte) error {
		record = bytes.Clone(record)
		record[len(record)-1] ^= 1
		return b.applyFrame(record)
	})
	if err != nil || damaged == 0 {
		t.Errorf("%d records are damaged, %v", damaged, err)
	}
	// A journal in clear is not one of a node with encryption.
	plain, _ := sample(t)
	if err := os.WriteFile(path, plain, 0o600); err != nil {
		t.Fatal(err)
	}
	if b = start(t, newFakeSink(t), sealed); b.Stats().Retained != 0 {
		t.Error("a journal in clear was read")
	}
}
