package pipeline

import (
	"encoding/binary"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestLedger(t *testing.T) {
	t.Run("BehavesAsAMapOfPacketIDs", rapid.MakeCheck(func(t *rapid.T) {
		var l ledger
		model := map[uint16]ledgerEntry{}
		ids := rapid.OneOf(rapid.Uint16Range(1, 40), rapid.Uint16())
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				e := ledgerEntry{rapid.Uint64().Draw(t, "hash"), rapid.Uint64Range(1, 100).Draw(t, "token"), ids.Draw(t, "id"), uint8(rapid.IntRange(1, 2).Draw(t, "qos"))}
				l.put(e)
				model[e.id] = e
			},
			"drop": func(t *rapid.T) {
				id := ids.Draw(t, "id")
				_, had := model[id]
				if l.drop(id) != had {
					t.Fatalf("drop(%d) should report %v", id, had)
				}
				delete(model, id)
			},
			"confirm": func(t *rapid.T) {
				upTo, fresh := rapid.Uint64Range(0, 100).Draw(t, "upTo"), rapid.Uint64Range(0, 100).Draw(t, "fresh")
				got := l.confirmed(nil, upTo, fresh)
				var want []uint16
				for id, e := range model {
					ends := e.token <= upTo || e.token == carried && fresh != 0 && fresh <= upTo
					if e.qos == 1 && ends {
						want = append(want, id)
					}
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("confirmed(%d, %d) = %v, want %v", upTo, fresh, got, want)
				}
			},
			"carry": func(t *rapid.T) {
				l.carry()
				for id, e := range model {
					e.token = carried
					model[id] = e
				}
			},
			"fill": func(t *rapid.T) {
				from := ids.Draw(t, "from")
				for i := range uint16(rapid.SampledFrom([]int{300, 5000}).Draw(t, "count")) {
					e := ledgerEntry{1, 2, from + i, 1}
					l.put(e)
					model[e.id] = e
				}
			},
			"clear": func(t *rapid.T) {
				for id := range model {
					l.drop(id)
				}
				clear(model)
			},
			"": func(t *rapid.T) {
				if l.n != len(model) {
					t.Fatalf("%d entries, want %d", l.n, len(model))
				}
				for id, e := range model {
					if got := l.find(id); got == nil || *got != e {
						t.Fatalf("find(%d) = %v, want %v", id, got, e)
					}
				}
			},
		})
	}))
	t.Run("CostsNothingWhenEmpty", func(t *testing.T) {
		var l ledger
		for id := range uint16(60000) {
			l.put(ledgerEntry{id: id, qos: 1})
		}
		for id := range uint16(60000) {
			l.drop(id)
		}
		if l.slots != nil {
			t.Errorf("%d slots are kept for no entry", len(l.slots))
		}
	})
	t.Run("TakesAllPacketIDs", func(t *testing.T) {
		var l ledger
		for id := 1; id <= 65535; id++ {
			l.put(ledgerEntry{hash: uint64(id), id: uint16(id), qos: 1})
		}
		if l.n != 65535 || len(l.slots)*24 > 4<<20 {
			t.Errorf("%d entries in %d slots", l.n, len(l.slots))
		}
	})
	t.Run("LoadsWhatTheStoreHolds", func(t *testing.T) {
		var l ledger
		l.load([]telemetry.LedgerEntry{{PacketID: 7, QoS: 2, Hash: 9}})
		if e := l.find(7); e == nil || e.qos != 2 || e.hash != 9 || e.token != carried {
			t.Errorf("loaded %v", e)
		}
	})
}

// The vectors of the reference implementation (Aumasson, Bernstein 2012) whose
// input is whole words, which is how the parts are joined here.
func TestSipHash(t *testing.T) {
	var key [16]byte
	var in [64]byte
	for i := range key {
		key[i] = byte(i)
	}
	for i := range in {
		in[i] = byte(i)
	}
	for n := 16; n <= 56; n += 8 {
		head := [2]uint64{binary.LittleEndian.Uint64(in[:]), binary.LittleEndian.Uint64(in[8:])}
		got := sipHash(&key, head, in[16:n], nil)
		if ref := plainSipHash(key, in[:n]); got != ref {
			t.Errorf("%d bytes: %016x, the plain implementation says %016x", n, got, ref)
		}
	}
	if got := plainSipHash(key, in[:15]); got != 0xa129ca6149be45e5 {
		t.Errorf("15 bytes: %016x is not the test vector of the paper", got)
	}
}

// plainSipHash follows the paper byte by byte.
func plainSipHash(key [16]byte, in []byte) uint64 {
	k0, k1 := binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])
	s := sip{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	padded := append(slices.Clone(in), make([]byte, 7-len(in)%8)...)
	padded = append(padded, byte(len(in)))
	for ; len(padded) > 0; padded = padded[8:] {
		s.word(binary.LittleEndian.Uint64(padded))
	}
	s.v2 ^= 0xff
	for range 4 {
		s.round()
	}
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3
}

func FuzzHashTellsPartsApart(f *testing.F) {
	f.Add([]byte("a/b"), []byte("1"), uint8(1))
	f.Fuzz(func(t *testing.T, topic, payload []byte, move uint8) {
		s := &session{p: &Pipeline{}, state: &sessionState{id: 1}}
		all := append(slices.Clone(topic), payload...)
		cut := int(move) % (len(all) + 1)
		a := s.hash(&telemetry.Message{Topic: topic, Payload: payload, PacketID: 1})
		b := s.hash(&telemetry.Message{Topic: all[:cut], Payload: all[cut:], PacketID: 1})
		if same := cut == len(topic); same != (a == b) {
			t.Errorf("topic %q payload %q, and cut at %d: equal hashes %v", topic, payload, cut, a == b)
		}
	})
}
