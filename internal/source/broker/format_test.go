package broker

import (
	"bytes"
	"encoding/hex"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// The bytes are written out from docs/format/broker-journal.md: a change of the
// format is a change of that page and of the magic.
func TestTheJournalsBytesAreThoseOfItsDescription(t *testing.T) {
	b := &Broker{cfg: DefaultConfig()}
	m := &message{topic: "r", payload: []byte("x"), qos: 1, retain: true, expires: 0x0102}
	sub := packetsSubscription("a/#")
	sub.RetainHandling, sub.RetainAsPublished = 2, true
	publish := "33 07 0001 72 0001 00 78" // PUBLISH of MQTT 5: QoS 1, RETAIN, topic r, packet id 1, no properties, payload x
	for name, c := range map[string]struct {
		record []byte
		bytes  string
	}{
		"session":           {b.sessionRecord(&session{id: "one", version: 5, expiry: 3600, gone: 7, resetPending: true}), "01 03 6f6e65 05 100e0000 0700000000000000 01"},
		"session gone":      {sessionGone("one"), "02 03 6f6e65"},
		"subscription":      {subscriptionRecord("one", sub), "03 03 6f6e65 03 612f23 01 03 02 03000000"},
		"subscription gone": {subscriptionGone("one", "b"), "04 03 6f6e65 01 62"},
		"retained":          {retainedRecord(m), "05 0201000000000000 " + publish},
		"retained gone":     {retainedGone("r"), "06 01 72"},
		"queued": {
			queuedRecord("one", &delivery{m: m, qos: 2, packetID: 7, retain: true, released: true, ids: []uint32{9}}),
			"07 03 6f6e65 0700 02 03 01 09000000 0201000000000000 " + publish,
		},
	} {
		want, err := hex.DecodeString(strings.ReplaceAll(c.bytes, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.record, want) {
			t.Errorf("%s is % x, want % x", name, c.record, want)
		}
		sum := crc32.Checksum(want, crc32.MakeTable(crc32.Castagnoli))
		frame := append([]byte{byte(len(want)), 0, 0, 0, byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)}, want...)
		if got := appendFrame(nil, c.record); !bytes.Equal(got, frame) {
			t.Errorf("the frame of %s is % x, want % x", name, got, frame)
		}
	}
	if journalMagic != "WEIRBRK1" || recQueued != 7 || wire.V5 != 5 {
		t.Error("the magic or the kinds have changed")
	}
}
