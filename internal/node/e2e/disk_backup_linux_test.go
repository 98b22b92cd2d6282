package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/testkit"
)

func TestAFullDiskDuringABackupLeavesTheEarlierSnapshots(t *testing.T) {
	long(t)
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema})
	importNumbers(t, p, 20_000)
	disk := testkit.SmallDisk(t, 16)
	backup := filepath.Join(disk, "backup")
	p.must("backup", backup)
	p.write("more.csv", "time,client,seq\n2030-01-01T00:00:00Z,x,1\n")
	p.must("import", "--table", "timed", "more.csv")
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	if _, stderr, code := p.run("backup", backup); code != 5 || !strings.Contains(strings.ToLower(stderr), "full") && !strings.Contains(stderr, "no space") {
		t.Errorf("%d %s", code, stderr)
	}
	if out, stderr, code := p.run("verify", backup); code != 0 {
		t.Errorf("the earlier snapshot: %s%s", out, stderr)
	}
	if left, err := os.ReadDir(filepath.Join(backup, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("%d files are left over, %v", len(left), err)
	}
	if n := restore(t, backup).number("select count(*) from timed"); n != 20_000 {
		t.Errorf("%d readings", n)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	p.must("backup", backup)
	if n := restore(t, backup).number("select count(*) from timed"); n != 20_001 {
		t.Errorf("%d readings", n)
	}
}

func TestAFullDiskDuringAnImportEndsItAndItGoesOn(t *testing.T) {
	p := newPlace(t, map[string]string{"bare.yaml": bareSchema})
	disk := testkit.SmallDisk(t, 12)
	p.data = filepath.Join(disk, "data")
	var b strings.Builder
	b.WriteString("time,client,seq\n")
	const rows = 60_000
	for range rows {
		b.WriteString("2026-01-01T00:00:00Z,a,1\n") // equal: only the mark tells them apart
	}
	p.write("bare.csv", b.String())
	p.write("one.csv", "time,client,seq\n2026-01-01T00:00:00Z,b,1\n")
	r := p.serve()
	p.must("import", "--table", "bare", "one.csv")
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	cmd := p.command("import", "bare.csv")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "/readyz says that the disk is full", func() bool { return saysFull(r) })
	_ = cmd.Process.Kill() // a person gives up
	_ = cmd.Wait()         // it was killed
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "/readyz is content again", func() bool { status, _ := r.get("/readyz"); return status == 200 })
	p.must("import", "bare.csv")
	if n := p.number("select count(*) from bare where client = 'a'"); n != rows {
		t.Errorf("%d readings instead of %d", n, rows)
	}
}
