package firmware

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/card"
	"github.com/weir-telemetry/weir/internal/device/record"
	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// formatted makes a card of 64 MiB and returns its image and layout.
func formatted(t *testing.T) (path string, l card.Layout) {
	t.Helper()
	path = blankCard(t)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if l, err = card.Format(f, 64<<20, card.FormatOptions{ID: 4711, Now: time.Unix(1_750_000_000, 0)}); err != nil {
		t.Fatal(err)
	}
	return path, l
}

// devicePlan is the plan that is linked into the board's image.
func devicePlan(t *testing.T) *record.Plan {
	t.Helper()
	file := filepath.Join(testkit.Root(), "firmware", "port", "lm3s6965", "env.yaml")
	document, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, binary, problems := schema.CompileDevice(file, document)
	if binary == nil {
		t.Fatal(problems)
	}
	plan, err := record.ParsePlan(binary)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// messagesOn reads the messages of W1 that a card holds, in the order of their
// records. It fails the test where a record stands twice, out of order, or is not
// one that was sent.
func messagesOn(t *testing.T, plan *record.Plan, parts []card.Part, what string) []int {
	t.Helper()
	scan := &card.Scan{Parts: parts}
	runs := scan.Survey()
	next := map[*card.Run]uint64{}
	byRun := map[*card.Run][]int{}
	err := scan.Records(func(run *card.Run, records []card.Record) error {
		for _, r := range records {
			if r.Sequence < next[run] {
				continue // written again after a sync that was not seen to end; readers take the first
			}
			next[run] = r.Sequence + 1
			if r.Kind != record.KindReading {
				continue
			}
			var reading record.Reading
			if err := plan.Decode(r.Body, &reading); err != nil {
				return fmt.Errorf("record %d: %w", r.Sequence, err)
			}
			m := int(reading.Time/1e6 - 1_750_000_000_123)
			topic, _ := w1(m)
			if got := string(plan.Topic(nil, reading.Captures)); got != topic {
				return fmt.Errorf("record %d is of %s, message %d was of %s", r.Sequence, got, m, topic)
			}
			byRun[run] = append(byRun[run], m)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	var all []int
	for _, run := range runs {
		all = append(all, byRun[run]...)
	}
	return all
}

// write is one entry of the log of a card's writes.
type write struct {
	sector int64
	data   []byte
	end    int64 // of the log, when the entry was in it
}

// readLog reads what QEMU's blklogwrites wrote, the format of dm-log-writes: a
// superblock, then for each write a sector of sector, count, flags and length, and
// the data.
func readLog(t *testing.T, path string) []write {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []write
	for at := 512; at+512 <= len(b); {
		sector := binary.LittleEndian.Uint64(b[at:])
		count := binary.LittleEndian.Uint64(b[at+8:])
		flags := binary.LittleEndian.Uint64(b[at+16:])
		at += 512
		size := int(count) * 512
		if flags&4 != 0 { // discarded: without data
			size = 0
		}
		if at+size > len(b) {
			break
		}
		if size > 0 {
			out = append(out, write{int64(sector), b[at : at+size], int64(at + size)})
		}
		at += size
	}
	return out
}

// TestAPowerCutLosesNothingThatWasAcknowledged records the card's writes while the
// board works, then looks at every card that a power cut could have left: each
// prefix of the writes, and each with its last write half done: any of its sectors
// there, in any order, and one of them torn. (The recorder syncs each write before
// the next, so that none overtakes another.)
func TestAPowerCutLosesNothingThatWasAcknowledged(t *testing.T) {
	messages := 400
	if testkit.Soak() {
		messages = 20000
	}
	path, layout := formatted(t)
	plan := devicePlan(t)
	log := filepath.Join(t.TempDir(), "writes.log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t)
	ackedAt := map[int]int64{} // size of the log when the message's acknowledgement came; guarded by p.mu
	p.onAck = func() {
		info, err := os.Stat(log)
		if err != nil {
			return
		}
		for m := range p.acked {
			if _, ok := ackedAt[m]; !ok {
				ackedAt[m] = info.Size()
			}
		}
	}
	board := testkit.StartBoard(t, testkit.BoardOptions{Image: "weir-lm3s6965.elf", Card: path, WriteLog: log, Broker: p.port(), Args: []string{"device=cuts"}})
	p.send(messages)
	p.await(messages)
	board.Kill()

	start := int64(8192+layout.Data+(layout.FirstSegment-2)*layout.ClusterSectors) * card.Sector
	segments := image[start : start+2*layout.SegmentBytes()] // more is not written
	parts := []card.Part{{Name: "segments", From: bytes.NewReader(segments), Size: int64(len(segments))}}
	// place is where a write goes. Recording touches nothing but segments.
	place := func(w write) []byte {
		at := w.sector*card.Sector - start
		if at < 0 || at+int64(len(w.data)) > int64(len(segments)) {
			t.Fatalf("a write to sector %d, outside of the segments", w.sector)
		}
		return segments[at : at+int64(len(w.data))]
	}
	acked := func(until int64) map[int]bool {
		out := map[int]bool{}
		for m, size := range ackedAt {
			if size <= until {
				out[m] = true
			}
		}
		return out
	}
	check := func(what string, until int64) {
		found := map[int]bool{}
		last := -1
		for _, m := range messagesOn(t, plan, parts, what) {
			if m <= last || m >= messages {
				t.Fatalf("%s: message %d after %d", what, m, last)
			}
			last = m
			found[m] = true
		}
		for m := range acked(until) {
			if !found[m] {
				t.Fatalf("%s: message %d was acknowledged and is not there", what, m)
			}
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	writes := readLog(t, log)
	if len(writes) < messages/20 {
		t.Fatalf("only %d writes in the log", len(writes))
	}
	images := 0
	for i, w := range writes {
		before := int64(0)
		if i > 0 {
			before = writes[i-1].end
		}
		to := place(w)
		old := bytes.Clone(to)
		for range 4 {
			torn := random.IntN(len(w.data) / card.Sector)
			for s := 0; s < len(w.data); s += card.Sector {
				n := card.Sector * random.IntN(2)
				if s/card.Sector == torn {
					n = 1 + random.IntN(card.Sector-1)
				}
				copy(to[s:s+n], w.data[s:])
			}
			check(fmt.Sprintf("write %d half done", i), before)
			copy(to, old)
		}
		copy(to, w.data)
		check(fmt.Sprintf("after write %d", i), w.end)
		images += 5
	}
	t.Logf("%d messages, %d writes, %d disks", messages, len(writes), images)
}

// TestARecorderGoesOnAfterPowerCuts cuts the board's power again and again while
// messages flow; what was acknowledged is on the card, once and in order, and the
// card is clean for other programs.
func TestARecorderGoesOnAfterPowerCuts(t *testing.T) {
	cuts := 4
	if testkit.Soak() {
		cuts = 200
	}
	path, _ := formatted(t)
	plan := devicePlan(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	p := newPeer(t)
	options := testkit.BoardOptions{Image: "weir-lm3s6965.elf", Card: path, Broker: p.port(), Args: []string{"device=cuts"}}
	for range cuts {
		board := testkit.StartBoard(t, options)
		p.send(p.count() + 50 + random.IntN(400))
		p.await(p.count() + 1 + random.IntN(30))
		board.Kill()
	}
	board := testkit.StartBoard(t, options)
	// A few more messages show that this start has mounted the card and goes on.
	p.mu.Lock()
	all := p.last + 20
	p.mu.Unlock()
	p.send(all)
	p.await(all)
	board.Send("q")
	if code := board.Exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	source, err := card.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	count := map[int]int{}
	for _, m := range messagesOn(t, plan, source.Parts, "the card") {
		count[m]++
	}
	twice := 0
	for m := range all {
		if count[m] == 0 {
			t.Errorf("message %d was acknowledged and is not there", m)
		}
		if count[m] > 1 {
			twice++
		}
	}
	// A message whose acknowledgement the cut swallowed comes again, and is a new
	// record; its time tells the gateway that it is the same reading.
	t.Logf("%d cuts, %d messages, %d of them came again after a cut", cuts, all, twice)
	if twice > cuts*window {
		t.Errorf("%d messages stand twice, more than can be in flight", twice)
	}
	fsck(t, path)
}

// fsck lets another program judge the card's file system.
func fsck(t *testing.T, path string) {
	t.Helper()
	tool, err := exec.LookPath("fsck.fat")
	if err != nil {
		tool = "/usr/sbin/fsck.fat"
		if _, err := os.Stat(tool); err != nil {
			testkit.Missing(t, "fsck.fat", "install it with: apt-get install dosfstools")
		}
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	volume, err := os.Create(filepath.Join(t.TempDir(), "volume.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer volume.Close()
	if _, err := f.Seek(8192*512, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(volume, f); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "-n", volume.Name()).CombinedOutput(); err != nil {
		t.Errorf("fsck.fat: %v\n%s", err, out)
	}
}
