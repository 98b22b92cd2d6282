package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	for name, child := range map[string]func(dir string) error{
		"WEIR_TEST_KILL_DIR":      killedChild,
		"WEIR_TEST_UPGRADE_DIR":   upgradingChild,
		"WEIR_TEST_DELETE_DIR":    deletingChild,
		"WEIR_TEST_ROLLUP_DIR":    agingChild,
		"WEIR_TEST_AGING_CUT_DIR": agingCutChild,
	} {
		if dir := os.Getenv(name); dir != "" {
			if err := child(dir); err != nil {
				fmt.Println("error", err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// pulse has no time in its payload: only the session ledger tells redelivery.
func pulse() *telemetry.Table {
	return &telemetry.Table{
		Name: "pulse", Version: 1, Tags: []string{"device"},
		Columns: []telemetry.Column{{Name: "n", Type: telemetry.Int}}, Identity: telemetry.IdentityTimeValues,
	}
}

// killedChild commits numbered readings until it is killed, and prints what is
// acknowledged. It begins at a number that the parent gives, below what was
// acknowledged: redelivery of readings with a time must not store them again,
// and of pulses is found in the ledger.
func killedChild(dir string) error {
	start, err := strconv.Atoi(os.Getenv("WEIR_TEST_KILL_START"))
	if err != nil {
		return err
	}
	ctx := context.Background()
	// Small limits, so that compactions, merges and checkpoints are always under way.
	opt, err := killOptions(dir, os.Getenv("WEIR_TEST_KILL_KEY"))
	if err != nil {
		return err
	}
	opt.CompactRows, opt.MergeFanIn, opt.WALBytes, opt.Partition, opt.CacheBytes = 300, 3, 128<<10, time.Second, 64<<10
	s, err := Open(ctx, opt)
	if err != nil {
		return err
	}
	table, pulses := env(), pulse()
	for _, t := range []*telemetry.Table{table, pulses} {
		if err := s.PutTable(ctx, telemetry.DefaultTenant, t, nil); err != nil {
			return err
		}
	}
	session, entries, err := s.OpenSession(ctx, "mqtt:test")
	if err != nil {
		return err
	}
	held := map[uint64]bool{}
	for _, e := range entries {
		held[e.Hash] = true
	}
	for n := start; ; {
		c, next, err := killBatch(s, table, pulses, session, held, n)
		if err != nil {
			return err
		}
		st, err := s.Stage(ctx, c)
		if err != nil {
			return err
		}
		if err := st.Commit(ctx); err != nil {
			return err
		}
		n = next
		fmt.Println("ack", n)
	}
}

// killOptions are those of a store that is sealed by the key in a file, "" for one
// in clear.
func killOptions(dir, keyFile string) (o Options, err error) {
	o.Dir = dir
	if keyFile != "" {
		o.Sealing, err = seal.Source{File: keyFile}.Load(context.Background())
	}
	return o, err
}

func killBatch(s *Store, table, pulses *telemetry.Table, session telemetry.SessionID, held map[uint64]bool, n int) (*telemetry.Commit, int, error) {
	var readings, counts telemetry.Section
	readings.Reset(table)
	counts.Reset(pulses)
	c := &telemetry.Commit{}
	end := n + 20 + n%30
	for ; n < end; n++ {
		topic, tags := deviceKey(n % 50)
		ref, err := s.Series(telemetry.DefaultTenant, table, topic, tags)
		if err != nil {
			return nil, 0, err
		}
		at := int64(n) * 1e6
		if n%17 == 0 {
			at -= 5e9 // late, into an old partition
		}
		readings.AppendRow(ref, at, at, []telemetry.Value{float(float64(n)), float(2), float(3), float(4), {Text: []byte("ok")}})
		packet, hash := uint16(n%2000+1), uint64(n+1)
		if held[hash] {
			continue // redelivered: a commit of the life before holds it
		}
		if ref, err = s.Series(telemetry.DefaultTenant, pulses, []byte("pulse"), [][]byte{[]byte("d")}); err != nil {
			return nil, 0, err
		}
		counts.AppendRow(ref, time.Now().UnixNano(), 1, []telemetry.Value{{Bits: uint64(n)}})
		c.Ledger = append(c.Ledger,
			telemetry.LedgerOp{Session: session, PacketID: packet, QoS: 1, Kind: telemetry.LedgerPut, Hash: hash})
		if old := n - 1000; old >= 0 {
			c.Ledger = append(c.Ledger, telemetry.LedgerOp{Session: session, PacketID: uint16(old%2000 + 1), Kind: telemetry.LedgerDrop})
		}
	}
	c.Batches = []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{&readings, &counts}}}
	return c, n, nil
}

// killOnce runs a child from start, kills it at a random moment and returns the
// last number that it acknowledged.
func killOnce(t *testing.T, dir, keyFile string, start int, rng *rand.Rand) int {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), "WEIR_TEST_KILL_DIR="+dir, "WEIR_TEST_KILL_START="+strconv.Itoa(start), "WEIR_TEST_KILL_KEY="+keyFile)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The moment counts from an acknowledgement, or falls into the opening.
	afterAcks, wait := rng.IntN(60), time.Duration(rng.IntN(4000))*time.Microsecond
	kill := func() {
		time.Sleep(wait)
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
	}
	acked, acks := start, 0
	if afterAcks == 0 {
		kill()
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), "ack ")
		if !ok {
			t.Errorf("child: %s", lines.Text())
			continue
		}
		if acked, err = strconv.Atoi(rest); err != nil {
			t.Fatal(err)
		}
		if acks++; acks == afterAcks {
			kill()
		}
	}
	_ = cmd.Wait() // it was killed
	return acked
}

// TestKilledAtAnyMomentKeepsWhatWasAcknowledgedOnce kills a writing process
// again and again: every acknowledged reading is there, and none is twice.
func TestKilledAtAnyMomentKeepsWhatWasAcknowledgedOnce(t *testing.T) {
	killAgainAndAgain(t, 12, "")
}

// TestASealedStoreThatIsKilledKeepsWhatWasAcknowledged is the same with encryption,
// and with master keys that change in between; nor does its manifest miss anything.
func TestASealedStoreThatIsKilledKeepsWhatWasAcknowledged(t *testing.T) {
	keyFile := filepath.Join(t.TempDir(), "master.key")
	if err := seal.Init(keyFile); err != nil {
		t.Fatal(err)
	}
	killAgainAndAgain(t, 6, keyFile)
}

func killAgainAndAgain(t *testing.T, rounds int, keyFile string) {
	if os.Getenv("WEIR_SOAK") != "" {
		rounds = 300
	}
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("WEIR_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("WEIR_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir, acked := t.TempDir(), 0
	for round := range rounds {
		// Redelivery goes back at most to where the ledger still holds entries.
		start := max(0, acked-rng.IntN(500))
		next := killOnce(t, dir, keyFile, start, rng)
		acked = max(acked, next)
		checkKilled(t, dir, keyFile, acked)
		if t.Failed() {
			t.Fatalf("round %d of %d, WEIR_SEED=%d", round, rounds, seed)
		}
	}
	t.Logf("%d readings acknowledged", acked)
}

// checkKilled opens the store and compares its rows with the acknowledgements.
func checkKilled(t *testing.T, dir, keyFile string, acked int) {
	t.Helper()
	opt, err := killOptions(dir, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if keyFile != "" && acked%2 == 0 && seal.Exists(dir) {
		if _, err := RotateKey(opt, ""); err != nil {
			t.Fatal(err)
		}
		opt.Sealing = nil // the key of before opens nothing
		if opt, err = killOptions(dir, keyFile); err != nil {
			t.Fatal(err)
		}
	}
	opt.ManualCompaction = true
	s, err := Open(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if keyFile != "" {
		if err := s.Verify(context.Background(), func(d Damage) { t.Error(d.String()) }, nil); err != nil {
			t.Error(err)
		}
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, table := range []string{"env", "pulse"} {
		sc, err := s.Scan(context.Background(), store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: table, From: minTime, To: maxTime})
		if telemetry.CodeOf(err) == telemetry.CodeNotFound && acked == 0 {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		seen := map[int]int{}
		var sec telemetry.Section
		for _, u := range sc.Units() {
			if _, err := u.Read(&sec, []string{sc.Columns()[0].Name}, false); err != nil {
				t.Fatal(err)
			}
			for _, bits := range sec.Columns[0].Bits {
				n := int(bits)
				if table == "env" {
					n = int(math.Float64frombits(bits))
				}
				seen[n]++
			}
		}
		sc.Close()
		for n := range acked {
			if seen[n] != 1 {
				t.Errorf("%s: reading %d of %d acknowledged stands there %d times", table, n, acked, seen[n])
				return
			}
		}
		for n, times := range seen {
			if times != 1 {
				t.Errorf("%s: reading %d stands there %d times", table, n, times)
				return
			}
		}
	}
}
