package node

import (
	"encoding/csv"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// watch is a machine's clocks, which stand still unless the test moves them.
type watch struct {
	mu   sync.Mutex
	wall time.Time
	mono time.Duration
}

func (w *watch) read() (int64, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wall.UnixNano(), w.mono
}

func (w *watch) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wall
}

// pass lets time go by.
func (w *watch) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wall, w.mono = w.wall.Add(d), w.mono+d
}

// jump sets the wall clock, and nothing else.
func (w *watch) jump(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wall = w.wall.Add(d)
}

// device publishes at QoS 1 and waits for each acknowledgement.
type device struct {
	t    *testing.T
	conn net.Conn
	r    *wire.Reader
	id   uint16
}

func newDevice(t *testing.T, address string) *device {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	d := &device{t: t, conn: conn, r: wire.NewReader(conn, 1<<16)}
	d.exchange(wire.AppendConnect(nil, &wire.Connect{Version: wire.V311, ClientID: "device", Clean: true}), wire.CONNACK)
	return d
}

func (d *device) exchange(packet []byte, want wire.PacketType) {
	d.t.Helper()
	_ = d.conn.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := d.conn.Write(packet); err != nil {
		d.t.Fatal(err)
	}
	if first, _, err := d.r.Next(); err != nil || wire.PacketType(first>>4) != want {
		d.t.Fatalf("want %v, got %x, %v", want, first, err)
	}
}

func (d *device) publish(topic, payload string) {
	d.t.Helper()
	d.id++
	m := wire.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, PacketID: d.id}
	d.exchange(wire.AppendPublish(nil, wire.V311, &m), wire.PUBACK)
}

// answer asks SQL and returns the rows without their header.
func answer(t *testing.T, n *Node, sql string) [][]string {
	t.Helper()
	var out strings.Builder
	if err := n.Query(t.Context(), sql, "csv", &out); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	rows, err := csv.NewReader(strings.NewReader(out.String())).ReadAll()
	if err != nil || len(rows) == 0 {
		t.Fatalf("%s: %v, %q", sql, err, out.String())
	}
	return rows[1:]
}

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// clockRig is a node on a watch, a device, and what they did.
type clockRig struct {
	*testing.T
	w     *watch
	n     *Node
	d     *device
	seq   int
	given []time.Time // stamps that the rule gives, by seq
}

// send publishes n messages of each schema, 10 ms apart, and notes the stamp that
// they must get: the wall clock's, and off of it while a jump is not believed.
func (c *clockRig) send(n int, off time.Duration) {
	c.Helper()
	for range n {
		c.w.pass(10 * time.Millisecond)
		c.d.publish("bare/x", fmt.Sprintf(`{"seq":%d}`, c.seq))
		c.d.publish("timed/x", fmt.Sprintf(`{"ts":%d,"seq":%d}`, 1_750_000_000_000+int64(c.seq)*1000, c.seq))
		c.given = append(c.given, c.w.now().Add(off))
		c.seq++
	}
}

// verify asks for every reading once, at its stamp.
func (c *clockRig) verify(when string) {
	c.Helper()
	bare := answer(c.T, c.n, "select seq, time, received_at from bare order by seq")
	timed := answer(c.T, c.n, "select seq, time, received_at from timed order by seq")
	if len(bare) != c.seq || len(timed) != c.seq {
		c.Fatalf("%s: %d readings without and %d with a time in the payload, want %d", when, len(bare), len(timed), c.seq)
	}
	const layout = "2006-01-02T15:04:05.000000000Z"
	for i, want := range c.given {
		seq, stamp := strconv.Itoa(i), want.UTC().Format(layout)
		own := time.UnixMilli(1_750_000_000_000 + int64(i)*1000).UTC().Format(layout)
		if r := bare[i]; r[0] != seq || r[1] != stamp || r[2] != stamp {
			c.Fatalf("%s: reading %d without a time is %q, want the stamp %s", when, i, r, stamp)
		}
		if r := timed[i]; r[0] != seq || r[1] != own || r[2] != stamp {
			c.Fatalf("%s: reading %d is %q, want its own time %s, received at %s", when, i, r, own, stamp)
		}
	}
	// What is asked by time finds the same readings, whatever the order of stamps.
	if got := answer(c.T, c.n, "select sum(n) from (select bucket('1d', time) as d, count(*) as n from bare group by d)")[0][0]; got != strconv.Itoa(c.seq) {
		c.Errorf("%s: the days together hold %s readings, want %d", when, got, c.seq)
	}
	last := c.given[len(c.given)-1].UTC().Format(layout)
	if got := answer(c.T, c.n, "select seq from bare where time = '"+last+"'"); len(got) != 1 || got[0][0] != strconv.Itoa(c.seq-1) {
		c.Errorf("%s: at %s there is %q, want the newest reading", when, last, got)
	}
	s, err := c.n.Status(c.Context())
	if err != nil || len(s.Sources) != 1 {
		c.Fatalf("%s: %+v, %v", when, s, err)
	}
	if s := s.Sources[0]; s.Received != s.Stored || s.Duplicate+s.Quarantined+s.Unmatched+s.InFlight != 0 {
		c.Errorf("%s: the counts are %+v", when, s)
	}
	if err := c.n.store.Compact(c.Context()); err != nil {
		c.Errorf("%s: compaction: %v", when, err)
	}
}

func newClockRig(t *testing.T) *clockRig {
	t.Helper()
	w := &watch{wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	cfg := testConfig(t)
	if err := os.MkdirAll(cfg.Schemas, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, doc := range map[string]string{
		"bare":  "name: bare\nversion: 1\ntopic: bare/{d}\nformat: json\npayload: {type: object, properties: {seq: {type: integer}}}\n",
		"timed": "name: timed\nversion: 1\ntopic: timed/{d}\nformat: json\ntime: {at: /ts, as: unix_ms}\npayload: {type: object, properties: {ts: {type: integer}, seq: {type: integer}}}\n",
	} {
		if err := os.WriteFile(filepath.Join(cfg.Schemas, name+".yaml"), []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := startNode(t, cfg, Options{Clock: w.read, Now: w.now})
	return &clockRig{T: t, w: w, n: n, d: newDevice(t, listener(n, "mqtt tcp"))}
}

// The wall clock jumps and stays there: for a minute stamps go on as if nothing had
// happened, then they follow. What carries its own time is not touched by any of it.
func TestAClockThatJumpsAndStaysMovesOnlyTheStamps(t *testing.T) {
	c := newClockRig(t)
	c.send(20, 0)
	c.verify("before any jump")
	for _, jump := range []struct {
		what string
		by   time.Duration
	}{
		{"a day back", -day}, {"a year forward", year}, {"back to the day", day - year}, {"a year forward again", year}, {"a day back again", -day},
	} {
		c.w.jump(jump.by)
		c.send(20, -jump.by)
		c.verify(jump.what + ", not believed yet")
		before := c.given[len(c.given)-1]
		c.w.pass(30 * time.Second)
		c.send(20, -jump.by)
		if after := c.given[len(c.given)-20]; !after.After(before) {
			t.Fatalf("stamps go from %s to %s", before, after)
		}
		c.w.pass(time.Minute)
		c.send(20, 0)
		c.verify(jump.what + ", believed")
	}
}

// After a jump back the stamps of a day come a second time: equal values at equal
// stamps are two readings all the same, since nobody said that they are one.
func TestReadingsWithoutATimeAreKeptWhereTheirStampsRepeat(t *testing.T) {
	c := newClockRig(t)
	const n = 20
	lap := func() {
		for range n {
			c.w.pass(10 * time.Millisecond)
			c.d.publish("bare/x", `{"seq":7}`)
		}
	}
	start := c.w.now()
	lap()
	c.w.pass(day)
	c.w.jump(-day)
	c.d.publish("bare/x", `{"seq":0}`) // the jump is seen
	c.w.pass(time.Minute)
	c.d.publish("bare/x", `{"seq":0}`) // and believed
	// Small steps from here: the clock is set to the start of the first lap, and so
	// far back that it counts as another jump.
	c.w.jump(start.Sub(c.w.now()) - time.Minute)
	c.d.publish("bare/x", `{"seq":0}`)
	c.w.pass(time.Minute)
	c.d.publish("bare/x", `{"seq":0}`)
	if got := c.w.now(); !got.Equal(start) {
		t.Fatalf("the clock shows %s, want %s", got, start)
	}
	lap()
	rows := answer(t, c.n, "select time, count(*) from bare where seq = 7 group by time order by time")
	if len(rows) != n {
		t.Fatalf("%d stamps, want the %d of a lap: %q", len(rows), n, rows)
	}
	for _, r := range rows {
		if r[1] != "2" {
			t.Errorf("at %s there are %s readings, want both", r[0], r[1])
		}
	}
	if err := c.n.store.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := answer(t, c.n, "select count(*) from bare where seq = 7")[0][0]; got != strconv.Itoa(2*n) {
		t.Errorf("%s readings are left after compaction, want %d", got, 2*n)
	}
}
