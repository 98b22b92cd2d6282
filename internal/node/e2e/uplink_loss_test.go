package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// stat reads a number of what a device prints at its end.
func stat(t *testing.T, out, name string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.Fields(between(out, " "+name+"=", "\n"))[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestWhatTheRingGaveUpIsDeclaredAndCounted: no card, a small ring, a link that is
// down most of the time. What is not stored is what the gateway counts as lost.
func TestWhatTheRingGaveUpIsDeclaredAndCounted(t *testing.T) {
	p := newPlace(t, map[string]string{"env.yaml": deviceSchema})
	p.write("weir.yaml", uplinkConfig)
	n := p.serve("--config", "weir.yaml")
	d := newRecorder(t, p.dir, n.broker)
	out := d.run("--no-card", "--virtual", "3600", "--sense", "1000", "--ring", "4000", "--overflow", "oldest", "--link-period", "300", "--link-seed", "7")
	all, _ := d.recorded()
	got := p.stored()
	dropped := stat(t, out, "dropped_oldest")
	if dropped == 0 || len(got) == 0 || len(got) == len(all) {
		t.Fatalf("of %d readings %d are stored, %d were dropped: the test says nothing", len(all), len(got), dropped)
	}
	// Time records are dropped like readings.
	if missing := len(all) - len(got); missing > dropped {
		t.Errorf("%d readings are missing, and %d records were dropped", missing, dropped)
	}
	n.metric(fmt.Sprintf(`weir_uplink_lost_total{device="d1"} %d`, dropped))
	n.metric(`weir_uplink_lag_records{device="d1"} 0`)
	for ts, value := range got {
		if all[ts] != value {
			t.Fatalf("the reading of %s was %s and is %s", ts, all[ts], value)
		}
	}
}

// TestAnotherCardIsSweptWhole: two cards that were filled without a link, put in one
// after the other.
func TestAnotherCardIsSweptWhole(t *testing.T) {
	p := newPlace(t, map[string]string{"env.yaml": deviceSchema})
	p.write("weir.yaml", uplinkConfig)
	n := p.serve("--config", "weir.yaml")
	a := newRecorder(t, p.dir, n.broker)
	other := filepath.Join(p.dir, "other")
	p.must("card", "format", other, "--size", "64M")
	one, two := a.card, other
	for _, card := range []string{one, two} {
		a.card = card
		a.unlinked("--virtual", "300", "--sense", "1000")
		a.base += 3_600_000_000
	}
	for _, card := range []string{two, one, two} {
		a.card = card
		a.run("--virtual", "60", "--sense", "1000")
		a.base += 3_600_000_000
		if all, _ := a.recorded(); card == one && !maps.Equal(p.stored(), all) {
			t.Errorf("after both cards were in, %d of %d readings are stored", len(p.stored()), len(all))
		}
	}
	all, _ := a.recorded()
	if got := p.stored(); len(all) < 700 || !maps.Equal(got, all) {
		t.Errorf("%d readings were recorded, %d are stored", len(all), len(got))
	}
}

// TestTheUplinkIsOpenInItsWindowsOnly: one connection for each period.
func TestTheUplinkIsOpenInItsWindowsOnly(t *testing.T) {
	p := newPlace(t, map[string]string{"env.yaml": deviceSchema})
	p.write("weir.yaml", uplinkConfig)
	n := p.serve("--config", "weir.yaml")
	d := newRecorder(t, p.dir, n.broker)
	out := d.run("--local-only", "--virtual", "3600", "--sense", "5000", "--period", "600", "--window", "60")
	t.Log(out)
	all, _ := d.recorded()
	if got := p.stored(); len(all) < 700 || !maps.Equal(got, all) {
		t.Errorf("%d readings were recorded, %d are stored", len(all), len(got))
	}
	if hellos, connects := stat(t, out, "hellos"), stat(t, out, "connects"); connects < 6 || connects > 8 {
		t.Errorf("%d connections and %d hellos in six periods", connects, hellos)
	}
}

// TestWhatRotationOverwroteIsDeclaredAndCounted: a card with room for two segments
// goes round while there is no link. The gateway gets what is left, and counts the
// rest as lost.
func TestWhatRotationOverwroteIsDeclaredAndCounted(t *testing.T) {
	long(t)
	p := newPlace(t, map[string]string{"env.yaml": onceSchema})
	p.write("weir.yaml", uplinkConfig)
	n := p.serve("--config", "weir.yaml")
	d := newRecorder(t, p.dir, n.broker)
	d.card = filepath.Join(p.dir, "small.img")
	p.must("card", "format", d.card, "--size", "64M", "--budget", "8M")
	shortenSegments(t, d.card, 128)
	d.runs = 1 // it is formatted
	d.unlinked("--virtual", "900", "--sense", "100", "--flush", "1000")
	d.base += 3_600_000_000
	d.run("--virtual", "600", "--sense", "60000")
	all, _ := d.recorded()
	got := p.stored()
	missing := len(all) - len(got)
	if missing == 0 || len(got) < len(all)/20 {
		t.Fatalf("of %d readings %d are stored: the test says nothing", len(all), len(got))
	}
	t.Logf("%d readings, %d stored, %d overwritten", len(all), len(got), missing)
	oldest := ""
	for ts := range got {
		if oldest == "" || ts < oldest {
			oldest = ts
		}
	}
	for ts, value := range all {
		if ts > oldest && got[ts] != value {
			t.Fatalf("the reading of %s is newer than the oldest that is stored, and is %q", ts, got[ts])
		}
	}
	n.metric(`weir_uplink_lag_records{device="d1"} 0`)
	// Records that name plans, one for each segment, were overwritten like readings.
	const others = 64
	lost := n.value(`weir_uplink_lost_total{device="d1"}`)
	if lost < missing || lost > missing+others {
		t.Errorf("%d readings are missing, and %d records are counted as lost", missing, lost)
	}
	n.saysLost(t, "overwritten on the card")
}

// TestWhatIsDamagedOnTheCardIsDeclaredAndCounted: some blocks of a card are damaged:
// one in the middle of a run, the first of a run, and two in a row.
func TestWhatIsDamagedOnTheCardIsDeclaredAndCounted(t *testing.T) {
	long(t)
	p := newPlace(t, map[string]string{"env.yaml": onceSchema})
	p.write("weir.yaml", uplinkConfig)
	n := p.serve("--config", "weir.yaml")
	d := newRecorder(t, p.dir, n.broker)
	for range 2 {
		d.unlinked("--virtual", "300", "--sense", "500")
		d.base += 3_600_000_000
	}
	blocks := recordBlocks(t, d.card)
	second := 0 // the first block of the second run
	for i, b := range blocks {
		if i > 0 && b.epoch != blocks[i-1].epoch {
			second = i
		}
	}
	if second < 20 || len(blocks) < second+20 {
		t.Fatalf("the card has %d blocks, the second run begins at %d", len(blocks), second)
	}
	damaged := 0
	card, err := os.OpenFile(d.card, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{10, second, second + 10, second + 11} {
		damaged += blocks[i].count
		if _, err := card.WriteAt([]byte("damage"), blocks[i].at+100); err != nil {
			t.Fatal(err)
		}
	}
	if err := card.Close(); err != nil {
		t.Fatal(err)
	}
	d.run("--virtual", "60", "--sense", "1000")
	all, _ := d.recorded()
	got := p.stored()
	for ts, value := range got {
		if all[ts] != value {
			t.Fatalf("the reading of %s was %q and is %q", ts, all[ts], value)
		}
	}
	lost := n.value(`weir_uplink_lost_total{device="d1"}`)
	if lost != damaged {
		t.Errorf("blocks with %d records are damaged, %d are counted as lost", damaged, lost)
	}
	// The first block of the second run named the plan of its readings: those that are
	// left of it are in the quarantine.
	refused := n.value(`weir_uplink_refused_total{device="d1"}`)
	if missing := len(all) - len(got); refused == 0 || missing > lost+refused {
		t.Errorf("%d readings are missing, %d records are lost and %d quarantined", missing, lost, refused)
	}
	n.saysLost(t, "damaged on the card")
}

// saysLost: the node gives this reason for what was lost, and no other.
func (r *running) saysLost(t *testing.T, reason string) {
	t.Helper()
	said := 0
	for line := range strings.Lines(r.out.String()) {
		if !strings.Contains(line, "declares records lost") {
			continue
		}
		said++
		if !strings.Contains(line, reason) {
			t.Errorf("another reason than %q: %s", reason, line)
		}
	}
	if said == 0 {
		t.Error("nothing was declared lost")
	}
}

// shortenSegments makes the segment files of a fresh card smaller: by their size in
// the directory, and by the ends of their chains in both FATs.
func shortenSegments(t *testing.T, path string, blocks uint32) {
	t.Helper()
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	volume := image[8192*512:]
	cluster := uint32(volume[13]) * 512
	fat := int(le.Uint16(volume[14:])) * 512
	size := int(le.Uint32(volume[36:])) * 512
	root := volume[fat+2*size:]
	for at := 0; root[at] != 0; at += 32 {
		e := root[at : at+32]
		if !bytes.HasPrefix(e, []byte("WEIR")) || !bytes.Equal(e[8:11], []byte("SEG")) {
			continue
		}
		first := uint32(le.Uint16(e[20:]))<<16 | uint32(le.Uint16(e[26:]))
		all, keep := le.Uint32(e[28:])/cluster, blocks*512/cluster
		for copy := range 2 {
			chain := volume[fat+copy*size+4*int(first):]
			le.PutUint32(chain[4*(keep-1):], 0x0FFFFFFF)
			for i := keep; i < all; i++ {
				le.PutUint32(chain[4*i:], 0)
			}
		}
		le.PutUint32(e[28:], keep*cluster)
	}
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
}

// recordBlock is a block of a card that holds records.
type recordBlock struct {
	at    int64 // in the image
	epoch uint64
	count int
}

// recordBlocks finds them, in the order of the card.
func recordBlocks(t *testing.T, path string) []recordBlock {
	t.Helper()
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []recordBlock
	for at := 0; at+512 <= len(image); at += 512 {
		b := image[at : at+512]
		if b[0] == 0x57 && b[1] == 0x62 && b[2]&1 == 0 && b[3] > 0 {
			out = append(out, recordBlock{int64(at), binary.LittleEndian.Uint64(b[20:]), int(b[3])})
		}
	}
	return out
}

// value reads a metric that is a whole number.
func (r *running) value(name string) int { r.p.t.Helper(); return int(r.number(name)) }

// number reads a metric.
func (r *running) number(name string) float64 {
	r.p.t.Helper()
	_, body := r.get("/metrics")
	_, rest, ok := strings.Cut("\n"+body, "\n"+name+" ")
	if !ok {
		r.p.t.Fatalf("there is no metric %s", name)
	}
	text, _, _ := strings.Cut(rest, "\n")
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		r.p.t.Fatal(err)
	}
	return v
}
