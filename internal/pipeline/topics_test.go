package pipeline

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

func newTopics(limit int64) *topicCache {
	t := &topicCache{}
	t.init(&cacheBudget{limit: limit, share: limit})
	return t
}

func TestTopicCache(t *testing.T) {
	t.Run("BehavesAsAMapWhileThereIsRoom", rapid.MakeCheck(func(t *rapid.T) {
		c := newTopics(1 << 30)
		model := map[string]entry{}
		cursors := []cursor{newCursor(), newCursor(), newCursor()}
		keys := rapid.OneOf(
			rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("d/%d", rapid.IntRange(0, 50).Draw(t, "n")) }),
			rapid.StringN(0, 10, 40), rapid.StringN(2000, 2100, 2200))
		t.Repeat(map[string]func(*rapid.T){
			"ask": func(t *rapid.T) {
				key := keys.Draw(t, "key")
				kind := rapid.SampledFrom([]int{0, kindTags}).Draw(t, "kind")
				name := fmt.Sprint(kind, key)
				from := &cursors[rapid.IntRange(0, 2).Draw(t, "cursor")]
				at, e, ok := c.find(from, []byte(key), kind)
				want, had := model[name]
				if ok != had || ok && e.series() != want.series() || ok && e.route() != want.route() {
					t.Fatalf("find(%q) = %v, %v; want %v, %v", key, e, ok, want, had)
				}
				if ok {
					if rapid.Bool().Draw(t, "set") {
						ref := telemetry.SeriesRef(rapid.Uint32().Draw(t, "ref"))
						c.setSeries(at, ref)
						model[name] = makeEntry(ref, want.route())
					}
					return
				}
				e = makeEntry(telemetry.SeriesRef(rapid.Uint32().Draw(t, "ref")), rapid.Uint16().Draw(t, "route"))
				if c.insert([]byte(key), kind, e, 0) != noPlace {
					model[name] = e
				} else if len(key) <= maxTopicKey {
					t.Fatalf("no room for %q", key)
				}
			},
			"reset": func(t *rapid.T) { c.reset(); clear(model) },
			"": func(t *rapid.T) {
				n := 0
				c.each(func(uint32, entry, int) { n++ })
				if n != len(model) || c.count != n {
					t.Fatalf("%d entries are walked, %d counted, want %d", n, c.count, len(model))
				}
			},
		})
	}))
	t.Run("AMillionTopicsTakeAtMost100BytesEach", func(t *testing.T) {
		c := newTopics(1 << 30)
		const n = 1_000_000
		for i := range n {
			c.insert(deviceTopic(nil, i), 0, makeEntry(telemetry.SeriesRef(i), 2), 0)
			if used := c.shared.used.Load(); i > 100_000 && used > 100*int64(i) {
				t.Fatalf("%d topics take %d bytes each", i, used/int64(i))
			}
		}
		t.Logf("%d topics of %d bytes take %.1f bytes each", n, len(deviceTopic(nil, 1)), float64(c.shared.used.Load())/n)
		at := newCursor()
		for range 100_000 {
			i := rand.IntN(n)
			if _, e, ok := c.find(&at, deviceTopic(nil, i), 0); !ok || int(e.series()) != i {
				t.Fatalf("topic %d has series %v, %v", i, e.series(), ok)
			}
		}
	})
	t.Run("KeepsToItsBytesAndStillServesACycleThatDoesNotFit", func(t *testing.T) {
		c := newTopics(1 << 20)
		at := newCursor()
		hits, asked := 0, 0
		for round := range 10 {
			for i := range 16_000 { // about 13,000 fit
				asked++
				key := deviceTopic(nil, i)
				if _, _, ok := c.find(&at, key, 0); ok {
					hits++
				} else {
					c.insert(key, 0, makeEntry(1, 2), uint64(asked))
				}
			}
			c.tidy()
			if used := c.shared.used.Load(); used > 1<<20 {
				t.Fatalf("round %d: %d bytes are used", round, used)
			}
		}
		if hits < asked/2 {
			t.Errorf("%d of %d lookups hit", hits, asked)
		}
	})
	t.Run("GivesUpContentThatHasHadItsDay", func(t *testing.T) {
		c := newTopics(1 << 20)
		at := newCursor()
		asked := uint64(0)
		ask := func(i int) bool {
			asked++
			key := deviceTopic(nil, i)
			_, _, ok := c.find(&at, key, 0)
			if !ok {
				c.insert(key, 0, makeEntry(1, 2), asked)
			}
			c.tidy()
			return ok
		}
		for i := range 20_000 {
			ask(i)
		}
		hits := 0
		for round := range 100 {
			for i := range 1000 {
				if ask(1_000_000+i) && round == 99 {
					hits++
				}
			}
		}
		if hits != 1000 {
			t.Errorf("%d of 1000 new topics are remembered", hits)
		}
	})
	t.Run("ALaneWithMoreThanItsShareGivesWay", func(t *testing.T) {
		b := &cacheBudget{limit: 1 << 20, share: 1 << 19}
		big, small := &lane{}, &lane{}
		big.topics.init(b)
		small.topics.init(b)
		b.lanes = []*lane{big, small}
		for i := range 20_000 {
			big.topics.insert(deviceTopic(nil, i), 0, 0, 0)
		}
		small.topics.insert([]byte("a"), 0, 0, 0)
		big.topics.tidy()
		if small.topics.insert([]byte("a"), 0, 0, 1); small.topics.count == 0 && small.topics.frozen {
			small.topics.reset()
			small.topics.insert([]byte("a"), 0, 0, 1)
		}
		if small.topics.count != 1 {
			t.Error("the small lane has no room")
		}
	})
}

// deviceTopic is a topic of 45 bytes.
func deviceTopic(dst []byte, i int) []byte {
	return fmt.Appendf(dst, "plants/p03/lines/l2/devices/device-%06d/env", i)
}
