package card

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/testkit"
)

func firmware(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	cmd := exec.Command(testkit.FirmwareTool(t, "card"), args...)
	cmd.Env = append(os.Environ(), environ...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && !strings.HasPrefix(string(out), "refused") {
		t.Fatalf("card %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// blank makes an image of zeros, or of noise as a used card has it.
func blank(t *testing.T, size int64, noise bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "card.img")
	if !noise {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		return path
	}
	data := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(data)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func format(t *testing.T, path string, o FormatOptions) Layout {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	l, err := Format(f, info.Size(), o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// volume cuts the partition out of an image, for programs that know no partitions.
func volume(t *testing.T, image string) string {
	t.Helper()
	out := image + ".fat"
	if err := os.Remove(out); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	cmd := exec.Command("dd", "if="+image, "of="+out, "bs=4M", "skip=1", "conv=sparse", "status=none")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("dd: %v\n%s", err, msg)
	}
	return out
}

func fsck(t *testing.T, volume string) {
	t.Helper()
	out, err := exec.Command(testkit.Binary(t, "fsck.fat"), "-n", volume).CombinedOutput()
	if err != nil || strings.Count(string(out), "\n") != 2 {
		t.Fatalf("fsck.fat: %v\n%s", err, out)
	}
}

// shifted is a medium whose partition stands alone in a file.
type shifted struct {
	*os.File
	first []byte // what was written before the partition
}

func (s *shifted) WriteAt(b []byte, at int64) (int, error) {
	if at < unit*Sector {
		s.first = append([]byte{}, b...)
		return len(b), nil
	}
	return s.File.WriteAt(b, at-unit*Sector)
}

func TestAFormattedCardIsCleanAndOtherProgramsReadIt(t *testing.T) {
	for _, size := range []string{"64M", "96M", "1G", "32G"} {
		bytes, err := ParseSize(size)
		if err != nil {
			t.Fatal(err)
		}
		path := blank(t, bytes-unit*Sector, false)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		l, err := Format(&shifted{File: f}, bytes, FormatOptions{ID: 0x12345678, Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s", size, l)
		fsck(t, path)
		out, err := exec.Command(testkit.Binary(t, "mdir"), "-i", path, "-b", "::").CombinedOutput()
		if err != nil || strings.Count(string(out), ".SEG") != int(l.Segments) {
			t.Errorf("mdir: %v\n%s", err, out)
		}
		v, err := ReadVolume(f, bytes-unit*Sector)
		if err != nil || len(v.Segments) != int(l.Segments) || v.ID != 0x12345678 {
			t.Fatalf("%s: read as %+v, %v", size, v, err)
		}
		for _, s := range v.Segments {
			if s.Skip != "" || s.Start%(4<<20) != 0 {
				t.Errorf("%s: segment %d at %d: %s", size, s.Number, s.Start, s.Skip)
			}
		}
		f.Close()
	}
}

func TestTheFirmwareFormatsTheSameCard(t *testing.T) {
	for _, size := range []int64{64 << 20, 96 << 20, 256 << 20} {
		ours, theirs := blank(t, size, false), blank(t, size, false)
		format(t, ours, FormatOptions{ID: 77, Now: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)})
		firmware(t, nil, "format", theirs, "77")
		a, err := os.ReadFile(ours)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(theirs)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(a); i += Sector {
			if !bytes.Equal(a[i:i+Sector], b[i:i+Sector]) {
				// Go writes more dates than a recorder, which has no clock.
				if i >= 4<<20 && bytes.Contains(a[i:i+Sector], []byte("SEG ")) {
					continue
				}
				t.Fatalf("%d MiB: sector %d differs\n% x\n% x", size>>20, i/Sector, a[i:i+Sector], b[i:i+Sector])
			}
		}
	}
}

// scan reads a card whole and gives its records as the firmware's tool prints them.
func scan(t *testing.T, path string, keys ...Key) ([]string, *Scan, []*Run) {
	t.Helper()
	src, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	s := &Scan{Parts: src.Parts, Keys: keys}
	runs := s.Survey()
	var lines []string
	if err := s.Records(func(_ *Run, rs []Record) error {
		for _, r := range rs {
			lines = append(lines, fmt.Sprintf("%016x %d %d %d %x", r.Epoch, r.Sequence, r.Kind, r.Uptime, r.Body))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return lines, s, runs
}

// sequenced leaves out the records that the card itself wrote.
func sequenced(out string) (lines []string) {
	for l := range strings.Lines(out) {
		if f := strings.Fields(l); len(f) >= 4 {
			if kind, err := strconv.Atoi(f[2]); err == nil && kind < unsequenced {
				lines = append(lines, strings.TrimSuffix(l, "\n"))
			}
		}
	}
	return lines
}

func equal(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range got {
		if strings.TrimSpace(got[i]) != strings.TrimSpace(want[i]) {
			t.Fatalf("record %d is\n%s\nwant\n%s", i, got[i], want[i])
		}
	}
}

func TestWhatTheFirmwareRecordsIsReadAndTheCardStaysClean(t *testing.T) {
	for _, environ := range [][]string{nil, {"COMPRESS=1"}, {"PAGE=8", "SIZE=200"}} {
		image := blank(t, 64<<20, len(environ) == 0)
		format(t, image, FormatOptions{ID: 5, Now: time.Now()})
		t.Log(firmware(t, environ, "record", image, "0x1111", "3000"), firmware(t, environ, "record", image, "0x2222", "500"))
		fsck(t, volume(t, image))
		lines, s, runs := scan(t, image)
		equal(t, lines, sequenced(firmware(t, environ, "read", image)))
		if len(lines) != 3500 || len(runs) != 2 || runs[0].Epoch != 0x1111 || runs[0].Device != "tool" || runs[1].Info.Before != 0x1111 ||
			runs[1].Info.BeforeNext != 3001 || runs[1].Info.Firmware != "card-tool" || len(runs[0].Missing()) != 0 {
			t.Errorf("%d records, %+v, %+v", len(lines), runs, s.Report)
		}
	}
}

func TestSealedBlocksOpenWithTheirKeyOnly(t *testing.T) {
	key := Key{1, 2, 3}
	environ := []string{fmt.Sprintf("KEY=%x", key[:]), "COMPRESS=1"}
	image := blank(t, 64<<20, false)
	format(t, image, FormatOptions{ID: 5, Now: time.Now()})
	firmware(t, environ, "record", image, "0x1111", "300")
	lines, s, _ := scan(t, image, Key{9}, key)
	equal(t, lines, sequenced(firmware(t, environ, "read", image)))
	if len(lines) != 300 || s.Report.Sealed != 0 {
		t.Errorf("%d records, %+v", len(lines), s.Report)
	}
	if lines, s, _ := scan(t, image, Key{9}); len(lines) != 0 || s.Report.Sealed == 0 {
		t.Errorf("another key gives %d records, %+v", len(lines), s.Report)
	}
	if got := sequenced(firmware(t, nil, "read", image)); len(got) != 0 {
		t.Errorf("the firmware reads %d records without the key", len(got))
	}
	stretch := []byte{7, 14, 21, 28} // bodies of the tool have it often
	shows := func() bool {
		data, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(data, stretch)
	}
	if shows() {
		t.Error("the sealed card shows what was recorded")
	}
	firmware(t, nil, "record", image, "0x2222", "300")
	if !shows() {
		t.Error("the search does not find it in clear either")
	}
}

func TestASegmentFileThatWasCopiedOffTheCardIsRead(t *testing.T) {
	image := blank(t, 64<<20, false)
	format(t, image, FormatOptions{ID: 5, Now: time.Now()})
	firmware(t, nil, "record", image, "0x1111", "300")
	dir := t.TempDir()
	out, err := exec.Command(testkit.Binary(t, "mcopy"), "-i", volume(t, image), "::WEIR0000.SEG", "::WEIR0001.SEG", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("mcopy: %v\n%s", err, out)
	}
	for _, path := range []string{dir, filepath.Join(dir, "WEIR0000.SEG")} {
		if lines, _, _ := scan(t, path); len(lines) != 300 {
			t.Errorf("%s: %d records", path, len(lines))
		}
	}
}

func TestDamageLeavesTheRest(t *testing.T) {
	image := blank(t, 64<<20, false)
	l := format(t, image, FormatOptions{ID: 5, Now: time.Now()})
	firmware(t, nil, "record", image, "0x1111", "3000")
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	first := int64(unit+l.Data+unit) * Sector // block 0 of the first segment
	data[first+100] ^= 1                      // its header
	data[first+20*Sector+77] ^= 1
	if err := os.WriteFile(image, data, 0o600); err != nil {
		t.Fatal(err)
	}
	lines, s, runs := scan(t, image)
	if s.Report.Damaged != 2 || len(runs) != 1 || len(runs[0].Missing()) != 1 || unaccounted(runs[0]) != 0 {
		t.Fatalf("%+v, missing %v", s.Report, runs[0].Missing())
	}
	m := runs[0].Missing()[0]
	if len(lines)+int(m.Next-m.First) != 3000 {
		t.Errorf("%d records and %v", len(lines), m)
	}
	read := firmware(t, nil, "read", image)
	equal(t, sequenced(read), lines)
	if !strings.Contains(read, "status -6") {
		t.Error("the firmware's reader did not say that a block is damaged")
	}
	// Without any file system left, the same is found.
	clear(data[:first])
	if err := os.WriteFile(image, data, 0o600); err != nil {
		t.Fatal(err)
	}
	again, _, _ := scan(t, image)
	equal(t, again, lines)
}

// unaccounted is the sequence before which nobody knows what there was; 0: none.
func unaccounted(r *Run) uint64 {
	first, _ := r.Unaccounted()
	return first
}

// TestNothingIsMissingInSilence: the beginning and the end of a run, and a whole
// run, are missed where the card still says that they were there.
func TestNothingIsMissingInSilence(t *testing.T) {
	image := blank(t, 64<<20, false)
	l := format(t, image, FormatOptions{ID: 5, Now: time.Now(), Budget: 8 << 20})
	for _, run := range []string{"0x1111", "0x2222", "0x3333"} {
		firmware(t, nil, "record", image, run, "300")
	}
	whole, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	first := int64(unit+l.Data+unit) * Sector
	blocks := map[uint64][]int64{} // of each run
	for at := first + Sector; at < first+l.SegmentBytes(); at += Sector {
		if b, err := OpenBlock(whole[at : at+Sector]); err == nil {
			blocks[b.Epoch] = append(blocks[b.Epoch], at)
		}
	}
	damaged := func(sectors ...int64) map[uint64]string {
		t.Helper()
		data := bytes.Clone(whole)
		for _, at := range sectors {
			clear(data[at : at+Sector])
		}
		path := filepath.Join(t.TempDir(), "damaged.img")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, runs := scan(t, path)
		said := map[uint64]string{}
		for _, r := range runs {
			said[r.Epoch] = fmt.Sprintf("%d %v %s", unaccounted(r), r.Missing(), r.Device)
		}
		return said
	}
	at := func(block int64) uint64 { // its first sequence
		b, err := OpenBlock(whole[block : block+Sector])
		if err != nil {
			t.Fatal(err)
		}
		return b.First
	}
	two := blocks[0x2222]
	n := len(two)
	for _, c := range []struct {
		name    string
		sectors []int64
		want    string
	}{
		{"nothing", nil, "0 [] tool"},
		{"its beginning", two[:2], fmt.Sprintf("%d [] tool", at(two[2]))},
		{"its end", two[n-2:], fmt.Sprintf("0 [{8738 %d 301}] tool", at(two[n-2]))},
		{"all of it", two, "0 [{8738 1 301}] tool"},
		{"its middle", two[3:5], fmt.Sprintf("0 [{8738 %d %d}] tool", at(two[3]), at(two[5]))},
	} {
		if got := damaged(c.sectors...); got[0x2222] != c.want || len(got) != 3 || got[0x1111] != "0 [] tool" || got[0x3333] != "0 [] tool" {
			t.Errorf("without %s: %v, want %s", c.name, got, c.want)
		}
	}
}

func TestAFragmentedSegmentIsSkippedAndAForeignVolumeRefused(t *testing.T) {
	image := blank(t, 64<<20, false)
	l := format(t, image, FormatOptions{ID: 5, Now: time.Now()})
	firmware(t, nil, "record", image, "0x1111", "100")
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	// The first segment's chain takes two of its clusters in the other order.
	for copies := range l.FATSectors * 2 / l.FATSectors {
		fat := data[(unit+l.Reserved+copies*l.FATSectors)*Sector:]
		c := l.FirstSegment + 100
		le.PutUint32(fat[(c-1)*4:], c+1)
		le.PutUint32(fat[(c+1)*4:], c)
		le.PutUint32(fat[c*4:], c+2)
	}
	if err := os.WriteFile(image, data, 0o600); err != nil {
		t.Fatal(err)
	}
	fsck(t, volume(t, image))
	src, err := Open(image)
	if err != nil || len(src.Notes) != 1 || !strings.Contains(src.Notes[0], "fragmented") {
		t.Fatalf("%v %v", src, err)
	}
	src.Close()
	firmware(t, nil, "record", image, "0x2222", "100")
	if lines, _, _ := scan(t, image); len(lines) != 200 {
		t.Errorf("%d records: the skipped file's blocks are still there to be imported", len(lines))
	}
	copy(data[unit*Sector+3:], "EXFAT   ")
	if err := os.WriteFile(image, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := firmware(t, nil, "read", image); out != "refused 2\n" {
		t.Errorf("the firmware says %q", out)
	}
	if _, err := Open(image); telemetry.CodeOf(err) != telemetry.CodeRefused || !strings.Contains(err.Error(), "weir card format") {
		t.Errorf("exFAT: %v", err)
	}
}

func TestEveryPowerCutOfARecording(t *testing.T) {
	for _, c := range []struct {
		environ       []string
		budget        int64
		records, step int
	}{
		{nil, 0, 700, 1},
		{[]string{"PAGE=8", "COMPRESS=1", "SIZE=61"}, 0, 700, 3},
		{[]string{"SIZE=400"}, 8 << 20, 18000, 1999}, // rotates
	} {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		image := blank(t, 64<<20, false)
		before, log := image+".before", image+".log"
		format(t, image, FormatOptions{ID: 9, Budget: c.budget, Now: time.Now()})
		firmware(t, c.environ, "record", image, "0x1111", strconv.Itoa(c.records/3))
		data, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(before, data, 0o600); err != nil {
			t.Fatal(err)
		}
		firmware(t, c.environ, "record", image, "0x2222", strconv.Itoa(c.records), log)
		t.Log(testkit.ReplayCuts(t, before, log, seed, c.step))
	}
}

// TestAFlushThatCameTooEarlyIsFound breaks the order: a log whose flushes came too early makes
// records durable that are not on the card.
func TestAFlushThatCameTooEarlyIsFound(t *testing.T) {
	image := blank(t, 64<<20, false)
	before, log := image+".before", image+".log"
	format(t, image, FormatOptions{ID: 9, Now: time.Now()})
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(before, data, 0o600); err != nil {
		t.Fatal(err)
	}
	firmware(t, nil, "record", image, "0x2222", "300", log)
	entries, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	// The last block's data is lost although its flush ended: another sector is written instead.
	last := 0
	for at := Sector; at+Sector <= len(entries); {
		count := int(le.Uint64(entries[at+8:]))
		if count > 0 {
			last = at
		}
		at += Sector * (1 + count)
	}
	le.PutUint64(entries[last:], le.Uint64(entries[last:])+300)
	if err := os.WriteFile(log, entries, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(testkit.FirmwareTool(t, "replay"), before, log).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "was durable and is not there") {
		t.Errorf("%v\n%s", err, out)
	}
}
