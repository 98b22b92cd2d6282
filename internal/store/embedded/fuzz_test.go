package embedded

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// FuzzLedger replays any bytes as a ledger blob; operations that were encoded
// come back as the entries that they make.
func FuzzLedger(f *testing.F) {
	f.Add([]byte{ledgerOps, 0x11, 1, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add([]byte{ledgerSnapshot})
	f.Add(appendLedgerOps([]byte{ledgerOps}, []telemetry.LedgerOp{
		{Session: 1, PacketID: 65535, QoS: 2, Kind: telemetry.LedgerPut, Hash: 7},
		{Session: 1, PacketID: 0, QoS: 2, Kind: telemetry.LedgerPut, Hash: 8},
		{Session: 1, Kind: telemetry.LedgerReset},
		{Session: 2, PacketID: 3, Kind: telemetry.LedgerDrop},
	}))
	f.Fuzz(func(t *testing.T, data []byte) {
		a := newLedger()
		if a.apply(data) != nil {
			return
		}
		b := newLedger()
		if err := b.apply(a.snapshot()); err != nil {
			t.Fatalf("the snapshot does not replay: %v", err)
		}
		if a.entries != b.entries || len(a.sessions) != len(b.sessions) {
			t.Fatalf("%d entries of %d sessions became %d of %d", a.entries, len(a.sessions), b.entries, len(b.sessions))
		}
	})
}

// FuzzLedgerOps compares the log with operations that are applied one by one.
func FuzzLedgerOps(f *testing.F) {
	f.Add([]byte{1, 1, 0, 0, 1, 1, 1, 0, 2, 1, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var ops []telemetry.LedgerOp
		want := newLedger()
		for ; len(data) >= 4; data = data[4:] {
			op := telemetry.LedgerOp{Kind: telemetry.LedgerOpKind(data[0]%3 + 1), Session: telemetry.SessionID(data[1] % 4), PacketID: binary.LittleEndian.Uint16(data[2:])}
			switch op.Kind {
			case telemetry.LedgerPut:
				op.QoS, op.Hash = data[0]>>7+1, uint64(len(data))
				want.put(op.Session, op.PacketID, op.QoS, op.Hash)
			case telemetry.LedgerDrop:
				want.drop(op.Session, op.PacketID)
			case telemetry.LedgerReset:
				want.reset(op.Session)
			}
			ops = append(ops, op)
		}
		got := newLedger()
		if err := got.apply(appendLedgerOps([]byte{ledgerOps}, ops)); err != nil {
			t.Fatal(err)
		}
		for id := range telemetry.SessionID(4) {
			for packet := range 1 << 16 {
				g, w := got.entry(id, uint16(packet)), want.entry(id, uint16(packet))
				if g != w {
					t.Fatalf("session %d packet %d: %v, want %v", id, packet, g, w)
				}
			}
		}
	})
}

// entry returns an entry, or none.
func (l *ledger) entry(id telemetry.SessionID, packet uint16) (e telemetry.LedgerEntry) {
	x := l.sessions[id]
	if x == nil {
		return e
	}
	if p, bit := x.pages[packet>>6], packet&63; p != nil && p.used&(1<<bit) != 0 {
		e = telemetry.LedgerEntry{PacketID: packet, QoS: p.qos[bit], Hash: p.hash[bit]}
	}
	return e
}

// FuzzSeriesKey takes any bytes as the key of a series; what is a key is encoded
// to an equal one.
func FuzzSeriesKey(f *testing.F) {
	f.Add(appendSeriesKey(nil, 3, []byte("a/b"), [][]byte{[]byte("x"), nil, {}}))
	f.Fuzz(func(t *testing.T, key []byte) {
		group, info, ok := decodeSeriesKey(key)
		if !ok {
			return
		}
		var tags [][]byte
		for _, tag := range info.Tags {
			if tag.Null {
				tags = append(tags, nil)
			} else {
				tags = append(tags, []byte(tag.Value))
			}
		}
		again := appendSeriesKey(nil, group, []byte(info.Topic), tags)
		g2, i2, ok := decodeSeriesKey(again)
		if !ok || g2 != group || i2.Topic != info.Topic || !slices.Equal(i2.Tags, info.Tags) {
			t.Fatalf("%x became %x", key, again)
		}
		x := newSeriesIndex()
		if err := x.load(append(binary.AppendUvarint(nil, uint64(len(again))), again...), 1); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x.key(0), again) {
			t.Fatal("the index holds another key")
		}
	})
}

// FuzzQuarantine takes any bytes as the records of a chunk.
func FuzzQuarantine(f *testing.F) {
	f.Add(appendQuarantined(nil, &telemetry.Quarantined{ID: 9, Topic: "a/b", Payload: []byte("x"), Offset: -1, Reason: telemetry.ReasonInvalid}, 5))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := quarantineReader{data: data}
		var q telemetry.Quarantined
		for r.next(&q) {
			if q.Size < 0 {
				continue
			}
			again := quarantineReader{data: appendQuarantined(nil, &q, 0)}
			var q2 telemetry.Quarantined
			if !again.next(&q2) || q2.ID != q.ID || q2.Topic != q.Topic || !bytes.Equal(q2.Payload, q.Payload) || q2.Offset != q.Offset || q2.Detail != q.Detail {
				t.Fatalf("%+v became %+v", q, q2)
			}
		}
	})
}
