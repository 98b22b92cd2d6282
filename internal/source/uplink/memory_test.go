package uplink

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestWhatIsRememberedOfADeviceComesBackFromItsMarks enters facts at random and
// reads the memory back after each.
func TestWhatIsRememberedOfADeviceComesBackFromItsMarks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	kept := marks{}
	m := newMemory(nil)
	for range 400 {
		id := 1 + random.Uint64N(3)
		switch first := 1 + random.Uint64N(300); random.IntN(5) {
		case 0, 1:
			m.add(kept, id, span{first, first + 1 + random.Uint64N(20)}, random.IntN(4) == 0)
		case 2:
			m.bind(kept, id, random.IntN(4), [8]byte{byte(id), byte(random.IntN(2))})
		case 3:
			m.learn(kept, id, point{int64(first), int64(first) * 2})
		case 4:
			m.swept(kept, id, first)
			m.sees(kept, uint32(first))
		}
		var all []telemetry.Mark
		for k, v := range kept {
			all = append(all, telemetry.Mark{ID: k, Value: v})
		}
		again := newMemory(all)
		if again.sweepEpoch != m.sweepEpoch || again.sweepSequence != m.sweepSequence || again.card != m.card {
			t.Fatal("the sweep is another")
		}
		for id, e := range m.epochs {
			a := again.epoch(id)
			if !slices.Equal(a.got, e.got) || !slices.Equal(a.lost, e.lost) || !slices.Equal(a.points, e.points) || !reflect.DeepEqual(a.spanRows, e.spanRows) {
				t.Fatalf("epoch %d was %+v and is %+v", id, e, a)
			}
		}
	}
}

func TestATimeIsPlacedByTheTimesAroundIt(t *testing.T) {
	m := newMemory(nil)
	e := m.epoch(1)
	if _, ok := e.timeOf(5); ok {
		t.Error("a time out of nothing")
	}
	m.learn(marks{}, 1, point{1000, 50_000})
	if at, _ := e.timeOf(400); at != 49_400 {
		t.Errorf("before the only one: %d", at)
	}
	// The device's clock runs slow by a tenth.
	m.learn(marks{}, 1, point{2000, 51_100})
	for uptime, want := range map[int64]int64{1000: 50_000, 1500: 50_550, 2000: 51_100, 500: 49_500, 3000: 52_100} {
		if at, _ := e.timeOf(uptime); at != want {
			t.Errorf("%d lies at %d, want %d", uptime, at, want)
		}
	}
}

// Sequences have 48 bits, also where an int has 32.
func TestWhatWasPutOffIsForgottenOnceItIsStored(t *testing.T) {
	const at = 1<<33 | 1<<31
	m, l := newMemory(nil), later{}
	l.add(1, at)
	l.add(1, at+2)
	m.add(marks{}, 1, span{at, at + 1}, false)
	l.settle(m)
	if want := (spans{{at + 2, at + 3}}); !slices.Equal(l.spans[1], want) {
		t.Errorf("%v is put off, want %v", l.spans[1], want)
	}
	m.add(marks{}, 1, span{at + 2, at + 3}, false)
	if l.settle(m); l.count() != 0 || len(l.spans) != 0 {
		t.Errorf("%v is put off, and all of it is stored", l.spans)
	}
}
