package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/device/record"
)

// asChild makes the test binary a process that does not end by itself after the
// first signal, as a node that drains.
const asChild = "WEIR_TEST_DRAINS"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) != "" {
		drainForEver()
	}
	os.Exit(m.Run())
}

func drainForEver() {
	ctx, _ := interruptible(context.Background(), os.Stderr)
	fmt.Println("ready")
	<-ctx.Done()
	fmt.Println("draining")
	time.Sleep(time.Minute) // the bound of a test that fails
	os.Exit(exitInternal)
}

// call runs the command line as a person would, without a process around it.
func call(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(args, streams{strings.NewReader(""), &out, &errs, nil})
	return out.String(), errs.String(), code
}

func TestEveryCommandLineEndsWithItsCode(t *testing.T) {
	t.Chdir(t.TempDir())
	data := filepath.Join(t.TempDir(), "none")
	broken := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(broken, []byte("data_dri: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string // what is in them
	}{
		{nil, exitOK, "Usage: weir", ""},
		{[]string{"--help"}, exitOK, "Usage: weir", ""},
		{[]string{"serve", "--help"}, exitOK, "--lan", ""},
		{[]string{"--version"}, exitOK, "weir dev " + runtime.Version(), ""},
		{[]string{"version"}, exitOK, "weir dev " + runtime.Version(), ""},
		{[]string{"config"}, exitOK, "data_dir", ""},
		{[]string{"sevre"}, exitUsage, "", "sevre"},
		{[]string{"serve", "--demmo"}, exitUsage, "", "--demmo"},
		{[]string{"sevre"}, exitUsage, "", "hint: weir --help"},
		{[]string{"backup", "--list"}, exitUsage, "", "no directory is given"},
		{[]string{"card", "format"}, exitUsage, "", "hint: weir card format --help lists"},
		{[]string{"delete", "--nope"}, exitUsage, "", "hint: weir delete --help lists"},
		{[]string{"query"}, exitUsage, "", `hint: give one statement in quotes, as weir query "select`},
		{[]string{"config", "--set", "nonsense"}, exitUsage, "", "not KEY=VALUE"},
		{[]string{"config", "--config", broken}, exitUsage, "", `did you mean "data_dir"?`},
		{[]string{"config", "--config", "nope.yaml"}, exitNotFound, "", "nope.yaml"},
		{[]string{"query", "--data-dir", data, "select 1"}, exitNotFound, "", "no node has run"},
		{[]string{"schema", "check", "nope.yaml"}, exitNotFound, "", "nope.yaml"},
		{[]string{"upgrade", "--check", "--data-dir", data}, exitNotFound, "", "hint: name the directory with --data-dir"},
		{[]string{"verify", data}, exitNotFound, "", "there is no directory " + data + "\nhint: name the directory that weir backup was given"},
		{[]string{"restore", data, "--data-dir", data}, exitNotFound, "", "hint: name the directory that weir backup was given"},
		{[]string{"backup", "--list", filepath.Dir(data)}, exitNotFound, "", "is not a backup directory: it has no weir-backup.json\nhint: "},
		{[]string{"card", "format", filepath.Join(data, "card.img"), "--size", "64M"}, exitNotFound, "", "there is no directory " + data + " for card.img\nhint: "},
		{[]string{"password", ""}, exitUsage, "", "cannot be a user name"},
	} {
		stdout, stderr, code := call(t, c.args...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("weir %q ends with %d, not %d\n%s%s", c.args, code, c.code, stdout, stderr)
		}
		if c.code == exitOK && stderr != "" || c.code != exitOK && stdout != "" {
			t.Errorf("weir %q writes to the wrong stream:\nstdout %q\nstderr %q", c.args, stdout, stderr)
		}
	}
}

// TestSchemaCompile makes a signed plan, and hears at once of everything that a
// device cannot run.
func TestSchemaCompile(t *testing.T) {
	t.Chdir(t.TempDir())
	good := "name: env\nversion: 2\ntopic: d/{device}/env\nprofile: device\npayload: {properties: {v: {type: number}}}\n"
	bad := "name: env\nversion: 2\ntopic: d/+/env\nrows: /r/*\nunknown: keep\npayload:\n  properties:\n    r: {type: array, items: {pattern: x, type: string}}\n    j: {anyOf: [{type: number}]}\n"
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"good.yaml": []byte(good), "bad.yaml": []byte(bad), "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, errs, code := call(t, "schema", "compile", "--target", "mcu", "good.yaml", "-o", "plan.bin", "--sign", "key.pem")
	if code != exitOK || !strings.Contains(out, hex.EncodeToString(public)) {
		t.Fatalf("%d\n%s%s", code, out, errs)
	}
	envelope, err := os.ReadFile("plan.bin")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := record.Open(envelope, public)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := record.ParsePlan(bin); err != nil || p.Name != "env" || p.Version != 2 {
		t.Errorf("%+v %v", p, err)
	}
	if out, errs, code = call(t, "schema", "compile", "--target=mcu", "good.yaml", "--form=c", "-o", "plan.c"); code != exitOK {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	if c, _ := os.ReadFile("plan.c"); !strings.Contains(string(c), "const uint8_t weir_schema_env[") {
		t.Errorf("no C source:\n%s", c)
	}
	_, errs, code = call(t, "schema", "compile", "--target", "mcu", "bad.yaml")
	for _, want := range []string{
		"bad.yaml:1:1: profile: is missing", "bad.yaml:3:8: topic: a record keeps only named levels", "bad.yaml:4:7: rows: a device does not run this",
		"bad.yaml:5:10: unknown: a device has no room", "bad.yaml:8:30: payload.properties.r.items.pattern: a device does not run this keyword", "bad.yaml:9:9: payload.properties.j.anyOf: a device does not run this keyword",
	} {
		if code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%d: no %q in\n%s", code, want, errs)
		}
	}
}

// TestUpgrade calls the command on a store of the first format.
func TestUpgrade(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if out, errs, code := call(t, "upgrade", "--data-dir", data); code != exitNotFound {
		t.Errorf("no store: %d %s%s", code, out, errs)
	}
	sample := "../../internal/store/embedded/testdata"
	formats, err := os.ReadDir(sample)
	if err != nil || len(formats) == 0 {
		t.Fatal(err)
	}
	if err := os.CopyFS(data, os.DirFS(filepath.Join(sample, formats[0].Name()))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		say  string
	}{
		{[]string{"upgrade", "--check"}, data + " has format "},
		{[]string{"upgrade"}, data + " has format "},
		{[]string{"upgrade"}, "nothing to do"},
	} {
		out, errs, code := call(t, append(c.args, "--data-dir", data)...)
		if code != exitOK || !strings.Contains(out, c.say) || errs != "" {
			t.Errorf("weir %q ends with %d\n%s%s", c.args, code, out, errs)
		}
	}
}

func TestASignalEndsTheWaitForAnAnswer(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	in := &answers{r, ctx}
	if _, err := w.WriteString("yes\n"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := in.Read(buf); err != nil || string(buf[:n]) != "yes\n" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	cancel()
	if n, err := in.Read(buf); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := errors.Join(w.Close(), r.Close()); err != nil { // which ends the read that was left behind
		t.Error(err)
	}
}

func TestOnlyASignalThatComesLaterThanTheFirstForcesTheEnd(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // which has no SIGTERM that one process could send to another
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), asChild+"=1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	wait := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("it says %q, not %q", lines.Text(), want)
		}
	}
	signal := func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	wait("ready")
	first := time.Now()
	for range 2 { // as timeout sends them
		if err := signal(); err != nil {
			t.Fatal(err)
		}
	}
	wait("draining")
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the exit code is asked below
		close(exited)
	}()
	for again := time.NewTicker(50 * time.Millisecond); ; {
		select {
		case <-again.C:
			_ = signal() // it may end at the same moment
			continue
		case <-exited:
		}
		again.Stop()
		break
	}
	if code := cmd.ProcessState.ExitCode(); code != exitForced {
		t.Errorf("exit code %d\n%s", code, errs.String())
	}
	if since := time.Since(first); since < 500*time.Millisecond { // what the documents promise
		t.Errorf("a signal %s after the first ended it", since)
	}
}
