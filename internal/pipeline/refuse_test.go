package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// poison is the temperature that the faulty store refuses.
const poison = 66.6

func refusal() error {
	return telemetry.Errorf(telemetry.CodeRefused, "stage", "a value that this database cannot hold")
}

// refuseStage refuses poison when it is staged, refuseCommit when it is committed.
func (s *tap) refuseStage() {
	s.onStage(func(c *telemetry.Commit) error {
		if slices.Contains(look(c).values, poison) {
			return refusal()
		}
		return nil
	})
}

func (s *tap) refuseCommit() {
	s.onCommit(func(c *seen) error {
		if slices.Contains(c.values, poison) {
			return refusal()
		}
		return nil
	})
}

// Promise 3 of the design: a batch that the store refuses is taken apart to the
// culprits.
func TestARefusedCommit(t *testing.T) {
	for name, refuse := range map[string]func(*tap){"AtStage": (*tap).refuseStage, "AtCommit": (*tap).refuseCommit} {
		t.Run(name+"IsTakenApartAndTheNeighboursAreStored", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newTap()
				refuse(st)
				r := start(t, st, Config{CommitInterval: time.Second}, envDoc, pulseDoc, manyDoc)
				p, q := r.open("a"), r.open("b")
				p.send(env(9, 1, 1))
				p.wait()
				for i := range 50 {
					v := 20.0
					if i == 17 || i == 41 {
						v = poison
					}
					p.send(env(1, i+1, v))
					q.send(pulse(1, float64(i)))
				}
				p.send(msg("env/d1", "not json"))
				q.send(pulse(1, poison), msg("many/g", `{"readings":[{"ts":1,"v":1},{"ts":2,"v":66.6},{"ts":3,"v":3}]}`))
				p.wait()
				q.wait()
				if n := len(st.readings(t, "env")); n != 49 {
					t.Errorf("%d readings of env, want the 48 good ones and the first", n)
				}
				if n := len(st.readings(t, "pulse")); n != 50 {
					t.Errorf("%d readings of pulse", n)
				}
				if n := len(st.readings(t, "many")); n != 2 {
					t.Errorf("%d readings of many", n)
				}
				refused := 0
				for _, rec := range st.quarantined(t) {
					if rec.Reason != telemetry.ReasonRefused {
						continue
					}
					refused++
					if !strings.Contains(rec.Detail, "cannot hold") || !json.Valid(rec.Payload) || !strings.Contains(string(rec.Payload), "66.6") {
						t.Errorf("the record says %q, payload %s", rec.Detail, rec.Payload)
					}
					if !slices.Contains([]string{"env/d1", "pulse/m1", "many/g"}, rec.Topic) || rec.Source != "src" {
						t.Errorf("topic %q, source %q", rec.Topic, rec.Source)
					}
				}
				if refused != 4 {
					t.Errorf("%d readings are quarantined as refused, want 4", refused)
				}
				r.drain()
				s := r.source("src")
				if s.Quarantined[telemetry.ReasonRefused] != 4 || s.QuarantinedReadings != 4 || s.Stored != 99 {
					t.Errorf("counted %+v", s)
				}

				// When the database can hold it, replay brings it back.
				st.onStage(nil)
				st.onCommit(nil)
				r2 := start(t, st, Config{}, envDoc, pulseDoc, manyDoc)
				got, err := r2.Replay(context.Background(), store.QuarantineFilter{Reason: telemetry.ReasonRefused})
				if err != nil || got.Stored != 4 || got.Readings != 4 {
					t.Errorf("replay: %+v, %v", got, err)
				}
				if n := len(st.readings(t, "env")) + len(st.readings(t, "pulse")) + len(st.readings(t, "many")); n != 51+51+3 {
					t.Errorf("%d readings after the replay", n)
				}
				if want := "env/d1 d1 18 66.6 ok null"; !slices.Contains(st.readings(t, "env"), want) {
					t.Errorf("the refused reading did not come back whole: %q", st.readings(t, "env"))
				}
			})
		})
	}
	t.Run("DoesNotDisturbTheOneStagedBehindIt", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			st.onCommit(func(c *seen) error {
				time.Sleep(time.Second)
				if slices.Contains(c.values, poison) {
					return refusal()
				}
				return nil
			})
			r := start(t, st, Config{CommitInterval: time.Millisecond}, envDoc)
			p := r.open("a")
			p.send(env(1, 1, poison), env(1, 2, 20))
			time.Sleep(100 * time.Millisecond)
			// The same reading again, staged while the first is under way: a
			// duplicate only if the first was stored.
			p.send(env(1, 2, 20), env(1, 3, 20))
			p.wait()
			if got := st.readings(t, "env"); len(got) != 2 {
				t.Errorf("stored %q", got)
			}
			if got := p.acked.all; !slices.IsSorted(got) || p.acked.upTo() != 4 {
				t.Errorf("acknowledged %v", got)
			}
		})
	})
	t.Run("NamesTheTopicAlsoWhenTheCacheHasForgottenIt", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			st.refuseCommit()
			r := start(t, st, Config{TopicCacheBytes: 1}, envDoc, taggedDoc)
			p := r.open("a")
			p.send(env(7, 1, poison), msg("tagged/g1", `{"ts":1,"v":66.6,"sensor":"left"}`))
			p.wait()
			var got []string
			for _, q := range st.quarantined(t) {
				got = append(got, q.Topic)
				if q.Topic == "tagged/g1" && !strings.Contains(string(q.Payload), `"tags":{"gateway":"g1","sensor":"left"}`) {
					t.Errorf("the tags are lost: %s", q.Payload)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, []string{"env/d7", "tagged/g1"}) {
				t.Errorf("quarantined topics %q", got)
			}
		})
	})
	t.Run("OfARecordIsDroppedInTheEndAndCounted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			st.onStage(func(c *telemetry.Commit) error {
				if len(c.Batches[0].Quarantine) > 0 {
					return refusal()
				}
				return nil
			})
			r := start(t, st, Config{}, envDoc)
			p := r.open("a")
			p.send(msg("env/d1", "bad"), env(1, 1, 20))
			p.wait()
			if n := len(st.readings(t, "env")); n != 1 {
				t.Errorf("%d readings", n)
			}
			r.drain()
			if s := r.source("src"); s.Dropped[DroppedRecord] != 1 || s.Stored != 1 {
				t.Errorf("counted %+v", s)
			}
		})
	})
	t.Run("StoresEveryPartWithItsOwnLedgerEntries", rapid.MakeCheck(func(rt *rapid.T) {
		// Whichever rows are refused, and wherever the process dies, a message
		// is stored once: its entry is durable if and only if it is.
		st := newTap()
		st.refuseCommit()
		bad := rapid.SliceOfN(rapid.Bool(), 12, 12).Draw(rt, "refused")
		dieAfter := rapid.IntRange(0, 30).Draw(rt, "dies after commits")
		var commits atomic.Int64
		gone := telemetry.Errorf(telemetry.CodeUnavailable, "commit", "the power is gone")
		var readings, records int
		st.onCommit(func(c *seen) error {
			if slices.Contains(c.values, poison) {
				return refusal()
			}
			if int(commits.Add(1)) > dieAfter {
				return gone
			}
			return nil
		})
		synctest.Test(t, func(t *testing.T) {
			r := start(t, st, Config{CommitInterval: time.Hour}, pulseDoc)
			p := r.open("a")
			var ms []telemetry.Message
			for i, b := range bad {
				v := float64(i)
				if b {
					v = poison
				}
				m := pulse(i, v)
				m.PacketID = uint16(i + 1)
				ms = append(ms, m)
			}
			p.send(ms...)
			time.Sleep(2 * time.Second)
			r.crash()
			// The broker sends again what was not acknowledged: here everything.
			commits.Store(-1 << 40)
			r = start(t, st, Config{CommitInterval: time.Hour}, pulseDoc)
			p = r.open("a")
			for i := range ms {
				ms[i].Dup = true
			}
			p.send(ms...)
			p.wait()
			readings, records = len(st.readings(t, "pulse")), len(st.quarantined(t))
			r.drain()
		})
		good := 0
		for _, b := range bad {
			if !b {
				good++
			}
		}
		if readings != good || records != len(bad)-good {
			rt.Fatalf("%d readings and %d records of %d good and %d refused messages", readings, records, good, len(bad)-good)
		}
	}))
}

func TestRefusedReadingsAreWrittenInFull(t *testing.T) {
	doc := `
name: wide
version: 3
topic: wide/{a}
format: json
time: {at: /ts, as: unix_ns}
tags: {t: /t}
columns: {rest: {at: /rest}}
payload:
  type: object
  properties:
    ts: {type: integer}
    t: {type: string}
    f: {type: number}
    i: {type: integer}
    b: {type: boolean}
    s: {type: string}
    rest: {type: object}
`
	set := plansOf(t, doc)
	state := newSchemas(set)
	p := state.plans[0]
	rapid.Check(t, func(t *rapid.T) {
		bu := &builder{plan: p}
		bu.section.Reset(p.table)
		time := rapid.Int64Range(-1<<62, 1<<62).Draw(t, "time")
		var want []telemetry.Value
		for _, c := range p.table.Columns {
			if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
				want = append(want, telemetry.Value{Null: true})
				continue
			}
			switch c.Type {
			case telemetry.Float:
				f := rapid.Float64().Filter(func(f float64) bool { return !math.IsInf(f, 0) && !math.IsNaN(f) }).Draw(t, c.Name)
				want = append(want, telemetry.Value{Bits: math.Float64bits(f)})
			case telemetry.Int:
				want = append(want, telemetry.Value{Bits: uint64(rapid.Int64().Draw(t, c.Name))})
			case telemetry.Bool:
				want = append(want, telemetry.Value{Bits: uint64(rapid.IntRange(0, 1).Draw(t, c.Name))})
			case telemetry.JSON:
				want = append(want, telemetry.Value{Text: []byte(`{"x":[1,2.50,"é"]}`)})
			default:
				want = append(want, telemetry.Value{Text: []byte(rapid.String().Draw(t, c.Name))})
			}
		}
		tags := [][]byte{[]byte(rapid.String().Draw(t, "tag")), nil}
		if rapid.Bool().Draw(t, "second") {
			tags[1] = []byte(rapid.String().Draw(t, "tag"))
		}
		bu.add(1, time, 2, want)
		bu.seal()
		payload := appendRefused(nil, &bu.section, 0, tags)
		if !json.Valid(payload) {
			t.Fatalf("not JSON: %s", payload)
		}
		_, row, gotTags, err := readRefused(payload, state.plans)
		if err != nil {
			t.Fatalf("%v: %s", err, payload)
		}
		if row.Time != time || fmt.Sprintf("%q", gotTags) != fmt.Sprintf("%q", tags) || (gotTags[1] == nil) != (tags[1] == nil) {
			t.Fatalf("time %d, tags %q: %s", row.Time, gotTags, payload)
		}
		for i := range want {
			if got := row.Values[i]; got.Null != want[i].Null || got.Bits != want[i].Bits || string(got.Text) != string(want[i].Text) {
				t.Fatalf("column %s is %v, want %v: %s", p.table.Columns[i].Name, got, want[i], payload)
			}
		}
	})
}

func TestTagKeysAreReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &lane{}
		l.topics.init(&cacheBudget{limit: 1 << 30, share: 1 << 30})
		l.topics.insert([]byte("other"), 0, 0, 0)
		at := l.topics.insert([]byte("a/topic"), 0, 0, 0)
		var row schema.Row
		for _, tag := range rapid.SliceOfN(rapid.String(), 0, 4).Draw(t, "tags") {
			row.Tags = append(row.Tags, schema.TagValue{Text: []byte(tag), Null: tag == "null"})
		}
		if rapid.Bool().Draw(t, "long") {
			row.Tags = append(row.Tags, schema.TagValue{Text: []byte(strings.Repeat("x", 300))})
		}
		topic, tags := l.openTagKey(appendTagKey(nil, at, &plan{index: 300}, &row))
		if string(topic) != "a/topic" || len(tags) != len(row.Tags) {
			t.Fatalf("topic %q, tags %q", topic, tags)
		}
		for i := range tags {
			if (tags[i] == nil) != row.Tags[i].Null || tags[i] != nil && string(tags[i]) != string(row.Tags[i].Text) {
				t.Fatalf("tag %d is %q, want %q", i, tags[i], row.Tags[i].Text)
			}
		}
	})
}
