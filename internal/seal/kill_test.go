package seal

import (
	"bufio"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rotatesIn names the directory in which a child of the test rotates for ever.
const rotatesIn = "WEIR_TEST_ROTATE_IN"

// rotatesRecorded does so for one that is recorded for power cuts.
const rotatesRecorded = "WEIR_TEST_ROTATE_RECORDED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(rotatesIn); dir != "" {
		rotateForEver(dir)
	}
	if dir := os.Getenv(rotatesRecorded); dir != "" {
		if err := rotateRecorded(dir); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

func rotateForEver(dir string) {
	source := Source{File: filepath.Join(dir, "master.key")}
	for first := true; ; first = false {
		c, err := source.Load(context.Background())
		if err != nil {
			panic(err)
		}
		r, err := OpenRing(filepath.Join(dir, "data"), c, RingOptions{})
		if err != nil {
			panic(err)
		}
		if first {
			_, _ = os.Stdout.WriteString("ready\n")
		}
		if err := r.Rotate(""); err != nil {
			panic(err)
		}
	}
}

func TestARotationThatIsKilledLeavesARingThatOpens(t *testing.T) {
	dir := t.TempDir()
	data, keyFile := filepath.Join(dir, "data"), filepath.Join(dir, "master.key")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Init(keyFile); err != nil {
		t.Fatal(err)
	}
	source := Source{File: keyFile}
	c, err := source.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	box, err := openRing(t, data, c, RingOptions{}).AppendBox(nil, "plant", []byte("21.5"), nil)
	if err != nil {
		t.Fatal(err)
	}
	rounds := 15
	if os.Getenv("WEIR_SOAK") != "" {
		rounds = 2000
	}
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	interrupted := 0
	for range rounds {
		killed(t, dir, time.Duration(rng.IntN(30_000))*time.Microsecond)
		c, err := source.Load(t.Context())
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err := Probe(data, c); err != nil {
			t.Fatalf("seed %d: neither of the keys opens: %v", seed, err)
		}
		r := openRing(t, data, c, RingOptions{})
		if r.Resumed() {
			interrupted++
		}
		if plain, err := r.OpenBox(nil, box, nil); err != nil || string(plain) != "21.5" {
			t.Fatalf("seed %d: %q, %v", seed, plain, err)
		}
		if c, err := source.Load(t.Context()); err != nil || Probe(data, &Credentials{masters: c.masters[:1]}) != nil {
			t.Fatalf("seed %d: after a start the key file does not open the ring", seed)
		}
	}
	t.Logf("%d of %d kills came between the ring and the key file", interrupted, rounds)
}

// killed lets a child rotate for about so long and kills it.
func killed(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), rotatesIn+"="+dir)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the child: %q, %v\n%s", line, err, said.String())
	}
	timer := time.NewTimer(after)
	defer timer.Stop()
	<-timer.C
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if strings.Contains(said.String(), "panic") {
		t.Fatal(said.String())
	}
}
