package record

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// firmwareDir is the firmware beside this module's packages.
const firmwareDir = "../../../firmware"

// firmwareSources are the parts of the core that a verdict and a record need.
var firmwareSources = []string{
	"plan", "check", "check_bare", "check_body", "check_level", "check_number", "check_quick", "check_text", "check_time", "check_value", "decimal", "record", "sha512", "ed25519",
}

// firmware is the C checker as a process (firmware/tests/go/checker.c).
type firmware struct {
	in   io.WriteCloser
	out  *bufio.Reader
	cmd  *exec.Cmd
	errs *os.File
}

var buildChecker = sync.OnceValues(func() (string, error) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		return "", fmt.Errorf("no C compiler: %w", err)
	}
	dir, err := os.MkdirTemp("", "weir-checker")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "checker")
	args := []string{
		"-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
		"-I" + firmwareDir + "/core/include", "-I" + firmwareDir + "/core/src", "-o", program, firmwareDir + "/tests/go/checker.c",
	}
	for _, s := range firmwareSources {
		args = append(args, firmwareDir+"/core/src/"+s+".c")
	}
	if out, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the checker: %w\n%s", err, out)
	}
	return program, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if program, err := buildChecker(); err == nil {
		os.RemoveAll(filepath.Dir(program))
	}
	os.Exit(code)
}

// startFirmware starts the C checker, or skips where there is no compiler.
func startFirmware(t testing.TB) *firmware {
	t.Helper()
	program, err := buildChecker()
	if err != nil {
		if _, missing := exec.LookPath("cc"); missing != nil && os.Getenv("CI") != "true" {
			t.Skipf("SKIPPED: the C checker was not run: %v", err)
		}
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errs, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f := &firmware{in: in, out: bufio.NewReader(out), cmd: cmd, errs: errs}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil && !t.Failed() {
			said, _ := os.ReadFile(errs.Name())
			t.Errorf("the checker ended: %v\n%s", err, said)
		}
	})
	return f
}

// ask sends a command and reads an answer of a fixed length.
func (f *firmware) ask(t testing.TB, command []byte, answer int) []byte {
	t.Helper()
	if _, err := f.in.Write(command); err != nil {
		f.died(t, err)
	}
	return f.read(t, answer)
}

func (f *firmware) read(t testing.TB, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(f.out, b); err != nil {
		f.died(t, err)
	}
	return b
}

func (f *firmware) died(t testing.TB, err error) {
	t.Helper()
	said, _ := os.ReadFile(f.errs.Name())
	t.Fatalf("the C checker is gone: %v\n%s", err, said)
}

// plan installs a binary plan and reports whether the firmware takes it.
func (f *firmware) plan(t testing.TB, bin []byte) bool {
	t.Helper()
	return f.ask(t, append(binary.LittleEndian.AppendUint32([]byte{'P'}, uint32(len(bin))), bin...), 1)[0] == 0
}

// said is what the firmware says of a payload.
type said struct {
	matched bool
	verdict int
	code    int
	offset  int
	missing int
	body    []byte
}

func (f *firmware) check(t testing.TB, topic string, payload []byte, seed uint32) said {
	t.Helper()
	c := append(binary.LittleEndian.AppendUint16([]byte{'C'}, uint16(len(topic))), topic...)
	c = append(binary.LittleEndian.AppendUint32(c, uint32(len(payload))), payload...)
	a := f.ask(t, binary.LittleEndian.AppendUint32(c, seed), 10)
	s := said{matched: a[0] != 0, verdict: int(a[1]), code: int(a[2]), offset: int(int32(binary.LittleEndian.Uint32(a[3:]))), missing: int(a[7])}
	s.body = f.read(t, int(binary.LittleEndian.Uint16(a[8:])))
	return s
}

// opens reports whether the firmware takes a body as one of the plan.
func (f *firmware) opens(t testing.TB, body []byte) bool {
	t.Helper()
	return f.ask(t, append(binary.LittleEndian.AppendUint16([]byte{'R'}, uint16(len(body))), body...), 1)[0] == 0
}
