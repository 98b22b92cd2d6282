package embedded

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestATagIsComparedInTheKey holds the comparison of bytes to the words of the key,
// for keys that are cut off too.
func TestATagIsComparedInTheKey(t *testing.T) {
	const seed = 11
	r := rand.New(rand.NewPCG(seed, 1))
	words := [][]byte{nil, {}, []byte("a"), []byte("ab"), make([]byte, 200)}
	for range 2000 {
		tags := make([][]byte, r.IntN(5))
		for i := range tags {
			tags[i] = words[r.IntN(len(words))]
		}
		key := appendSeriesKey(nil, uint32(r.IntN(1000)), words[1+r.IntN(4)], tags)
		_, n := binary.Uvarint(key)
		for tag := range 6 {
			for _, w := range words[1:] {
				want := tag < len(tags) && tags[tag] != nil && string(tags[tag]) == string(w)
				if got := tagEquals(key[n:], tag, string(w)); got != want {
					t.Fatalf("seed %d: tag %d of %q is %q: %v, want %v", seed, tag, tags, w, got, want)
				}
			}
			tagEquals(key[n:n+r.IntN(len(key)-n+1)], tag, "a")
		}
	}
}

// TestASeriesIsFoundByItsTags asks with and without the hint, over two versions of
// which one lacks a tag, and for null.
func TestASeriesIsFoundByItsTags(t *testing.T) {
	s := open(t, Options{ManualCompaction: true})
	ctx := context.Background()
	for version, tags := range [][]string{{"site", "device"}, {"device", "model"}} {
		tab := &telemetry.Table{Name: "env", Version: version + 1, Tags: tags, Columns: []telemetry.Column{{Name: "v", Type: telemetry.Int}}, Identity: telemetry.IdentityNone}
		if err := s.PutTable(ctx, telemetry.DefaultTenant, tab, []byte(fmt.Sprint(version))); err != nil {
			t.Fatal(err)
		}
		sec := &telemetry.Section{}
		sec.Reset(tab)
		for i := range 60 {
			values := [][]byte{[]byte(fmt.Sprint("x", i%3)), []byte(fmt.Sprint("x", i%5))}
			if i%7 == 0 {
				values[0] = nil
			}
			ref, err := s.Series(telemetry.DefaultTenant, tab, fmt.Appendf(nil, "t/%d/%d", version, i), values)
			if err != nil {
				t.Fatal(err)
			}
			sec.AppendRow(ref, int64(i), int64(i), []telemetry.Value{{Bits: uint64(i)}})
		}
		commit(t, s, sec)
	}
	for _, is := range [][]store.TagIs{
		{{Tag: "device", Value: "x2"}},
		{{Tag: "site", Value: "x1"}},
		{{Tag: "model", Value: "x4"}, {Tag: "device", Value: "x0"}},
		{{Tag: "site", Value: ""}},
		{{Tag: "no such", Value: "x1"}},
	} {
		found := func(hint []store.TagIs) (topics []string, asked int) {
			var names []string
			sc, err := s.Scan(ctx, store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: "env", From: minTime, To: maxTime, TagIs: hint, Match: func(topic string, tags []store.Tag) bool {
				asked++
				for _, c := range is {
					ok := false
					for i, name := range names {
						ok = ok || name == c.Tag && !tags[i].Null && tags[i].Value == c.Value
					}
					if !ok {
						return false
					}
				}
				topics = append(topics, topic)
				return true
			}})
			if err != nil {
				t.Fatal(err)
			}
			sc.Close()
			if len(names) == 0 { // the order of the tags is the scan's: ask again, knowing it
				names, topics, asked = sc.TagNames(), nil, 0
				again, err := s.Scan(ctx, store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: "env", From: minTime, To: maxTime, TagIs: hint, Match: sc.(*scan).req.Match})
				if err != nil {
					t.Fatal(err)
				}
				again.Close()
			}
			return topics, asked
		}
		want, all := found(nil)
		got, asked := found(is)
		if fmt.Sprint(got) != fmt.Sprint(want) || asked != len(want) || all != 120 {
			t.Errorf("%v: found %v of %d asked, want %v of %d", is, got, asked, want, all)
		}
	}
}
