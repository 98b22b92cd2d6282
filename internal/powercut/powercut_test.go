package powercut

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// The test binary plays the recorded program: it appends records to a file and
// reports each over a socket, after the sync or, broken on purpose, before.
func TestMain(m *testing.M) {
	if dir := os.Getenv("POWERCUT_CHILD"); dir != "" {
		play := map[string]func(dir, address string, broken bool){"log": child, "store": storeChild, "upgrade": upgradeChild}[os.Getenv("POWERCUT_PLAY")]
		play(dir, os.Getenv(Address), os.Getenv("POWERCUT_BROKEN") != "")
		return
	}
	os.Exit(m.Run())
}

const records = 20

func child(dir, address string, broken bool) {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	conn, err := net.Dial("tcp", address)
	check(err)
	temp, name := filepath.Join(dir, "log.tmp"), filepath.Join(dir, "log")
	f, err := os.Create(temp)
	check(err)
	check(os.Rename(temp, name))
	d, err := os.Open(dir)
	check(err)
	check(d.Sync())
	for i := range records {
		record := make([]byte, 1000)
		binary.BigEndian.PutUint32(record, uint32(i+1))
		binary.BigEndian.PutUint32(record[996:], uint32(i+1))
		_, err := f.Write(record)
		check(err)
		if !broken {
			check(f.Sync())
		}
		_, err = conn.Write([]byte{byte(i + 1)})
		check(err)
		check(f.Sync())
	}
}

// record runs this test binary as the named program and returns what it wrote.
func record(t *testing.T, play string, broken bool) ([]Event, string) {
	t.Helper()
	env := []string{"POWERCUT_PLAY=" + play}
	if broken {
		env = append(env, "POWERCUT_BROKEN=1")
	}
	return Record(t, "POWERCUT_CHILD", env...)
}

// missing builds a disk for every position and counts the records that were
// reported before it and are not whole on it.
func missing(t *testing.T, events []Event, root string, cut Cut) (count int) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, uint64(cut)))
	reported := 0
	for i := range events {
		if events[i].Kind == Send {
			reported = int(events[i].Data[0])
		}
		dir := t.TempDir()
		if err := Disk(events, root, dir, events[i].Start+1, cut, random); err != nil {
			t.Fatal(err)
		}
		data, _ := os.ReadFile(filepath.Join(dir, "log"))
		for r := 1; r <= reported; r++ {
			from := (r - 1) * 1000
			if len(data) < from+1000 || binary.BigEndian.Uint32(data[from:]) != uint32(r) || binary.BigEndian.Uint32(data[from+996:]) != uint32(r) {
				count++
			}
		}
	}
	if reported != records {
		t.Fatalf("the recording holds %d reports, want %d", reported, records)
	}
	return count
}

func TestADiskAfterACutHoldsWhatWasSyncedBeforeItWasReported(t *testing.T) {
	events, root := record(t, "log", false)
	for _, cut := range []Cut{Lost, Kept, Mixed} {
		if n := missing(t, events, root, cut); n != 0 {
			t.Errorf("%v: %d reported records are missing", cut, n)
		}
	}
}

func TestAProgramThatReportsBeforeItSyncsIsFound(t *testing.T) {
	events, root := record(t, "log", true)
	for _, cut := range []Cut{Lost, Mixed} {
		if n := missing(t, events, root, cut); n == 0 {
			t.Errorf("%v: no disk shows the loss", cut)
		}
	}
	if n := missing(t, events, root, Kept); n != 0 {
		t.Errorf("kept: %d records are missing although every write is on the disk", n)
	}
}
