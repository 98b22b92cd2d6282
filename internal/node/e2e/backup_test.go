package e2e

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// emptyMachine is a place where nothing is but the binary.
func emptyMachine(t *testing.T) *place {
	t.Helper()
	dir := t.TempDir()
	return &place{t: t, dir: dir, data: filepath.Join(dir, "var", "weir")}
}

// restore brings a backup to an empty machine.
func restore(t *testing.T, backup string, more ...string) *place {
	t.Helper()
	p := emptyMachine(t)
	out := p.must(append([]string{"restore", backup, "--data-dir", p.data, "--schemas", filepath.Join(p.dir, "schemas"), "--config-dir", filepath.Join(p.dir, "etc")}, more...)...)
	if !strings.Contains(out, "every file is whole") {
		t.Errorf("restore says %q", out)
	}
	return p
}

// killed runs a command and kills it after a random while; it reports whether it
// ended before.
func (p *place) killed(random *rand.Rand, most time.Duration, args ...string) bool {
	p.t.Helper()
	cmd := p.command(args...)
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err == nil
	case <-time.After(time.Duration(random.Int64N(int64(most)))):
	}
	_ = cmd.Process.Kill() // it may end at the same moment
	<-ended
	return cmd.ProcessState.Success()
}

// growing is the while for a command that is run until it ends before it is killed:
// it grows by a part of itself each time, so that any machine gets there.
func growing(first time.Duration, by float64, kills int) time.Duration {
	return time.Duration(float64(first) * math.Pow(1+by, float64(kills)))
}

func TestBackupsOfARunningNodeRestoreOnAnEmptyMachineToWhatWasAcknowledged(t *testing.T) {
	random := seeded(t)
	messages := 4000
	if testkit.Soak() {
		messages = 200_000
	}
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema, "bare.yaml": bareSchema})
	backup := filepath.Join(t.TempDir(), "backup")
	r := p.serve()
	l := startPacedLoad(deadline(t), func() string { return r.broker }, messages, 2)
	whole := ""
	for l.acked() < 4*messages {
		before := l.acked()
		// The command is killed now and then; what it wrote until then is of no harm.
		if !p.killed(random, 400*time.Millisecond, "backup", backup, "--keep", "3", "--rate", "0B") {
			continue
		}
		whole = backup
		got := restore(t, backup)
		n := got.number("select count(*) from timed") + got.number("select count(*) from bare")
		if n < before {
			t.Errorf("the snapshot has %d readings, %d messages were acknowledged before it began", n, before)
		}
		if out, _, code := got.run("verify"); code != 0 {
			t.Errorf("verify of what was restored: %s", out)
		}
	}
	l.wait(t)
	p.must("backup", backup, "--verify")
	if out, _, code := p.run("verify", backup); code != 0 {
		t.Errorf("verify %s: %s", backup, out)
	}
	if code := r.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	t.Logf("a snapshot was finished under load: %v", whole != "")
	// A node starts there, has all, and goes on.
	got := restore(t, backup)
	node := got.serve()
	l.verify(t, got)
	if code := node.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestARedeliveryAfterARestoreIsNotStoredTwice(t *testing.T) {
	p := newPlace(t, map[string]string{"bare.yaml": bareSchema, "timed.yaml": timedSchema})
	backup := filepath.Join(t.TempDir(), "backup")
	r := p.serve()
	// A client that never learns of its acknowledgements sends all of it again.
	say := bare("b1", 50)
	pub := &publisher{id: "b1", qos: 1, window: 50, address: func() string { return r.broker }, next: say}
	if err := pub.run(deadline(t)); err != nil {
		t.Fatal(err)
	}
	p.must("backup", backup)
	if code := r.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	before := p.number("select count(*) from bare")
	got := restore(t, backup)
	if n := got.number("select count(*) from bare"); n != before || n == 0 {
		t.Errorf("%d readings after the restore, %d before", n, before)
	}
	if out := got.must("quarantine", "list"); !strings.Contains(out, "nothing is in quarantine") {
		t.Errorf("quarantine: %s", out)
	}
	// What the ledger held is held: the same ids in the same session.
	data, err := os.ReadFile(filepath.Join(got.data, "node.json"))
	if err != nil {
		t.Fatal(err)
	}
	if was, err := os.ReadFile(filepath.Join(p.data, "node.json")); err != nil || string(was) != string(data) {
		t.Errorf("the key of the ledger is another one: %v", err)
	}
	resent := got.serve()
	again(t, resent, "b1", 50)
	testkit.Eventually(t, "what was redelivered is counted", func() bool {
		s, err := resent.status()
		return err == nil && len(s.Sources) == 1 && s.Sources[0].Received == 50 && s.Sources[0].InFlight == 0
	})
	if n := got.number("select count(*) from bare"); n != before {
		t.Errorf("%d readings after the redelivery, %d before", n, before)
	}
}

func TestARestoreThatWasKilledGoesOn(t *testing.T) {
	long(t)
	random := seeded(t)
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema})
	importNumbers(t, p, 30_000)
	backup := filepath.Join(t.TempDir(), "backup")
	p.must("backup", backup)
	got := emptyMachine(t)
	args := []string{"restore", backup, "--data-dir", got.data}
	kills := 0
	for !got.killed(random, growing(20*time.Millisecond, 0.05, kills), args...) {
		kills++
		if _, err := os.Stat(filepath.Join(got.data, "restore.json")); err == nil {
			if _, stderr, code := got.run("query", "select 1"); code == 0 || !strings.Contains(stderr, "did not end") {
				t.Fatalf("a half restored directory answers: %d %s", code, stderr)
			}
		} else if _, err := os.Stat(filepath.Join(got.data, "catalog.db")); err == nil {
			break // it was killed when all was done, before it could say so
		}
		if kills > 200 {
			t.Fatal("the restore never ends")
		}
	}
	t.Logf("%d kills", kills)
	if n := got.number("select count(*) from timed"); n != 30_000 {
		t.Errorf("%d readings", n)
	}
	if _, stderr, code := got.run(args...); code != 4 || !strings.Contains(stderr, "not empty") {
		t.Errorf("a second restore: %d %s", code, stderr)
	}
}

// again sends the first n messages of bare once more, under their packet ids and
// with DUP, as a client does that got no acknowledgement.
func again(t *testing.T, r *running, id string, n int) {
	t.Helper()
	p := &publisher{id: id, qos: 1, window: n, address: func() string { return r.broker }, next: bare(id, 0)}
	conn, reader, present, err := p.connect(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if !present {
		t.Error("the broker's sessions were not restored")
	}
	var unacked []pending
	say := bare(id, n)
	for i := range n {
		topic, payload, _ := say(i)
		m := wire.Publish{Topic: []byte(topic), Payload: payload, QoS: 1, PacketID: uint16(i + 1)}
		unacked = append(unacked, pending{id: uint16(i + 1), packet: wire.AppendPublish(nil, wire.V311, &m)})
	}
	if unacked, _, _, err = p.converse(deadline(t), conn, reader, unacked, uint16(n), true); err != nil || len(unacked) > 0 {
		t.Fatalf("%d are not acknowledged: %v", len(unacked), err)
	}
}

// importNumbers imports numbered readings.
func importNumbers(t *testing.T, p *place, n int) {
	t.Helper()
	var b strings.Builder
	b.WriteString("time,client,seq\n")
	for i := range n {
		fmt.Fprintf(&b, "%s,c%d,%d\n", time.Unix(1_700_000_000+int64(i), 0).UTC().Format(time.RFC3339), i%20, i)
	}
	p.write("timed.csv", b.String())
	p.must("import", "timed.csv")
}

func TestConfigurationUsersAndKeysAreBackedUpAndNamedAgain(t *testing.T) {
	long(t)
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema})
	line, _, _ := p.feed("secret\n", "password", "ada")
	p.write("users", line)
	p.write("tls.key", "PRIVATE-KEY-BYTES")
	p.write("tls.crt", "certificate")
	p.write("weir.yaml", fmt.Sprintf("data_dir: %s\nschemas: ./schemas\nbroker:\n  listen: 127.0.0.1:0\n  password_file: ./users\n  tls:\n    cert_file: ./tls.crt\n    key_file: ./tls.key\n", p.data))
	importNumbers(t, p, 10)
	backup := filepath.Join(t.TempDir(), "backup")
	_, stderr, code := p.run("backup", backup)
	if code != 0 || !strings.Contains(stderr, "tls.key") || !strings.Contains(stderr, "--with-keys") {
		t.Errorf("%d %s", code, stderr)
	}
	if holds(t, backup, "PRIVATE-KEY-BYTES") {
		t.Error("a key is in the backup")
	}
	got := restore(t, backup)
	mended, err := os.ReadFile(filepath.Join(got.dir, "etc", "weir.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{filepath.Join(got.dir, "etc", "files", "broker.password_file"), "listen: 127.0.0.1:0", filepath.Join(got.dir, "schemas")} {
		if !strings.Contains(string(mended), want) {
			t.Errorf("the configuration does not name %s:\n%s", want, mended)
		}
	}
	p.must("backup", backup, "--with-keys")
	if !holds(t, backup, "PRIVATE-KEY-BYTES") {
		t.Error("the key is not in the backup with keys")
	}
	got = restore(t, backup)
	cmd := exec.Command(weir, "config", "--config", filepath.Join(got.dir, "etc", "weir.yaml"))
	cmd.Dir, cmd.Env = got.dir, environ()
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), filepath.Join("etc", "keys", "broker.tls.key_file")) {
		t.Errorf("%v\n%s", err, out)
	}
	if key, err := os.ReadFile(filepath.Join(got.dir, "etc", "keys", "broker.tls.key_file")); err != nil || string(key) != "PRIVATE-KEY-BYTES" {
		t.Errorf("%q %v", key, err)
	}
}

// holds reports whether any file below a directory holds the text.
func holds(t *testing.T, dir, text string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		found = found || strings.Contains(string(data), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestVerifyNamesWhatIsDamagedAndExitsWithOne(t *testing.T) {
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema})
	importNumbers(t, p, 100)
	if out, _, code := p.run("verify"); code != 0 || !strings.Contains(out, "is whole") {
		t.Fatalf("%d %s", code, out)
	}
	r := p.serve()
	if out, _, code := p.run("verify", "--json"); code != 0 || !strings.Contains(out, `"damaged": false`) {
		t.Errorf("of a running node: %d %s", code, out)
	}
	if code := r.stop(); code != 0 {
		t.Fatal(code)
	}
	// A file that nobody names is no damage; one that is named and missing is.
	p.write(filepath.Join("weir-data", "segments", "00000000000000ff.seg"), "left over")
	if out, _, code := p.run("verify"); code != 0 || !strings.Contains(out, "00000000000000ff.seg") || !strings.Contains(out, "note") {
		t.Errorf("an orphan: %d %s", code, out)
	}
	r = p.serve() // which removes it
	compacted(t, p)
	if code := r.stop(); code != 0 {
		t.Fatal(code)
	}
	segments, err := filepath.Glob(filepath.Join(p.data, "segments", "*"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("%v %v", segments, err)
	}
	if err := os.Rename(segments[0], segments[0]+".away"); err != nil {
		t.Fatal(err)
	}
	if out, _, code := p.run("verify", "--json"); code != 1 || !strings.Contains(out, "is missing") || !strings.Contains(out, filepath.Base(segments[0])) {
		t.Errorf("a missing segment: %d %s", code, out)
	}
	if err := os.Rename(segments[0]+".away", segments[0]); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(p.data, "catalog.db")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 100; i < 4096 && i < len(data); i++ {
		data[i] ^= 0x55
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	out, stderr, code := p.run("verify")
	if code != 1 || !strings.Contains(out, "DAMAGED") || !strings.Contains(out, "what to do") {
		t.Errorf("%d %s %s", code, out, stderr)
	}
}

// compacted imports until a segment is there.
func compacted(t *testing.T, p *place) {
	t.Helper()
	n := 0
	testkit.Eventually(t, "a segment is written", func() bool {
		n++
		var b strings.Builder
		b.WriteString("time,client,seq\n")
		for i := range 10_000 {
			fmt.Fprintf(&b, "%s,z%d,%d\n", time.Unix(1_800_000_000+int64(i), 0).UTC().Format(time.RFC3339), n, i)
		}
		p.write("more.csv", b.String())
		p.must("import", "--table", "timed", "more.csv")
		segs, err := filepath.Glob(filepath.Join(p.data, "segments", "*"))
		return err == nil && len(segs) > 0
	})
}

func TestAScheduledBackupIsWrittenAndTroubleIsTold(t *testing.T) {
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema})
	importNumbers(t, p, 10)
	backup := filepath.Join(t.TempDir(), "backup")
	r := p.serve("--set", "backup.dir="+backup, "--set", "backup.schedule=24h")
	testkit.Eventually(t, "the missed backup is made up for", func() bool {
		out, _, code := p.run("backup", "--list", "--format", "json", backup)
		return code == 0 && strings.Count(out, `"id"`) == 1
	})
	testkit.Eventually(t, "the metrics tell of it", func() bool {
		_, body := r.get("/metrics")
		return strings.Contains(body, "weir_backup_runs_total 1\n") && strings.Contains(body, "weir_backup_failures_total 0\n")
	})
	if code := r.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.write("file", "")
	r = p.serve("--set", "backup.dir="+filepath.Join(p.dir, "file", "x"), "--set", "backup.schedule=24h")
	testkit.Eventually(t, "/readyz says that the backup failed", func() bool {
		code, body := r.get("/readyz")
		return code == 200 && strings.Contains(body, "the scheduled backup failed")
	})
}
