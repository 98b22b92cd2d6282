package firmware

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/card"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// TestTheProgramOfTheReadmeRecords: what firmware/README.md shows compiles without a
// warning, runs, and leaves its readings on the card.
func TestTheProgramOfTheReadmeRecords(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: the program uses the posix port, which is for Linux")
	}
	dir := filepath.Join(testkit.Root(), "firmware")
	text, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	programs := regexp.MustCompile("(?s)```c\n(.*?)```").FindAllSubmatch(text, -1)
	if len(programs) != 1 {
		t.Fatalf("%d programs in the README", len(programs))
	}
	work := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	source, program, image := filepath.Join(work, "main.c"), filepath.Join(work, "program"), filepath.Join(work, "card.img")
	if err := os.WriteFile(source, programs[0][1], 0o600); err != nil {
		t.Fatal(err)
	}
	library := "../bin/firmware/san/libweir.a"
	testkit.FirmwareTool(t, "card") // is built from it
	run("cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
		"-Icore/include", "-Iport/posix", "-o", program, source, "fuzz/fuzz_env_plan.c",
		"port/posix/card.c", "port/posix/clock.c", "port/posix/watchdog.c", library)
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := card.Format(f, size, card.FormatOptions{ID: 7, Budget: 8 << 20, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	run(program, image)
	src, err := card.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	scan := &card.Scan{Parts: src.Parts}
	runs := scan.Survey()
	readings := 0
	err = scan.Records(func(_ *card.Run, records []card.Record) error {
		for _, r := range records {
			if r.Kind == 0x01 {
				readings++
			}
		}
		return nil
	})
	if err != nil || len(runs) != 1 || runs[0].Device != "d1" || readings != 100 || len(runs[0].Missing()) != 0 {
		t.Errorf("%v: %d runs, %d readings, want 100 of one run of d1", err, len(runs), readings)
	}
}
