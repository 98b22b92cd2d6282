package e2e

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// weir is the binary under test, and node the one that serves: the same, or one
// with the race detector, in which a command takes a second to start.
var weir, node string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "weir-e2e-")
	if err != nil {
		panic(err)
	}
	weir = filepath.Join(dir, "weir")
	if runtime.GOOS == "windows" {
		weir += ".exe"
	}
	build := exec.Command("go", "build", "-o", weir, "github.com/weir-telemetry/weir/cmd/weir")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	builds := []*exec.Cmd{build}
	node = weir
	if raceEnabled { // the node is looked at as well, and ends at the first race
		node += "-raced"
		builds = append(builds, exec.Command("go", "build", "-race", "-o", node, "github.com/weir-telemetry/weir/cmd/weir"))
		if err := os.Setenv("GORACE", "halt_on_error=1"); err != nil {
			panic(err)
		}
	}
	for _, build := range builds {
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the binary: %v\n%s", err, out)
			os.Exit(1)
		}
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// long marks a test that says little about races, and is not run beside them.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short; make test runs it in its long form")
	}
}

// place is the directory of one test's node.
type place struct {
	t    *testing.T
	dir  string // working directory of the commands
	data string
}

// newPlace makes a directory with these schema documents, by file name.
func newPlace(t *testing.T, schemas map[string]string) *place {
	t.Helper()
	dir := t.TempDir()
	p := &place{t: t, dir: dir, data: filepath.Join(dir, "weir-data")}
	if err := os.Mkdir(filepath.Join(dir, "schemas"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, doc := range schemas {
		p.write("schemas/"+name, doc)
	}
	return p
}

func (p *place) write(name, content string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// command is a run of the binary in the place, on free ports.
func (p *place) command(args ...string) *exec.Cmd {
	binary := weir
	if len(args) > 0 && args[0] == "serve" {
		binary = node
	}
	cmd := exec.Command(binary, args...)
	cmd.Dir = p.dir
	cmd.Env = environ("WEIR_BROKER_LISTEN=127.0.0.1:0", "WEIR_HTTP_LISTEN=127.0.0.1:0", "WEIR_DATA_DIR="+p.data)
	return cmd
}

// environ is the environment without what would configure the binary.
func environ(more ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "WEIR_") && !strings.HasPrefix(e, "GOGC") {
			env = append(env, e)
		}
	}
	return append(env, more...)
}

// run runs a command to its end.
func (p *place) run(args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	return p.feed("", args...)
}

// feed is run with standard input.
func (p *place) feed(in string, args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	cmd := p.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(in), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatalf("weir %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must is run for a command that has to succeed.
func (p *place) must(args ...string) string {
	p.t.Helper()
	stdout, stderr, code := p.run(args...)
	if code != 0 {
		p.t.Fatalf("weir %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// rows asks SQL and returns the rows without their header.
func (p *place) rows(sql string) [][]string {
	p.t.Helper()
	all, err := csv.NewReader(strings.NewReader(p.must("query", "--format", "csv", sql))).ReadAll()
	if err != nil || len(all) == 0 {
		p.t.Fatalf("%s: %v, %d lines", sql, err, len(all))
	}
	return all[1:]
}

// number asks SQL for one number.
func (p *place) number(sql string) int {
	p.t.Helper()
	rows := p.rows(sql)
	if len(rows) != 1 || len(rows[0]) != 1 {
		p.t.Fatalf("%s answers %q, not one number", sql, rows)
	}
	n, err := strconv.Atoi(rows[0][0])
	if err != nil {
		p.t.Fatalf("%s answers %q", sql, rows)
	}
	return n
}

// running is a node.
type running struct {
	p      *place
	cmd    *exec.Cmd
	out    lockedBuffer // both streams
	exited chan struct{}
	err    error
	broker string // host:port
	http   string
}

// lockedBuffer is written by the process and read by the test.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// launch starts a node without waiting for it.
func (p *place) launch(args ...string) *running {
	p.t.Helper()
	r := &running{p: p, cmd: p.command(append([]string{"serve"}, args...)...), exited: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.out
	if err := r.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		defer close(r.exited)
		r.err = r.cmd.Wait()
	}()
	p.t.Cleanup(func() {
		r.kill()
		if p.t.Failed() {
			p.t.Logf("the node said:\n%s", r.out.String())
		}
	})
	return r
}

// serve starts a node and waits until it answers.
func (p *place) serve(args ...string) *running {
	p.t.Helper()
	r := p.launch(args...)
	testkit.Eventually(p.t, "the node answers", func() bool {
		if r.gone() {
			p.t.Fatalf("the node ended: %v\n%s", r.err, r.out.String())
		}
		return r.locate()
	})
	return r
}

func (r *running) gone() bool {
	select {
	case <-r.exited:
		return true
	default:
		return false
	}
}

// locate learns the node's addresses over its control socket.
func (r *running) locate() bool {
	s, err := r.status()
	if err != nil || s.PID != r.cmd.Process.Pid {
		return false
	}
	r.broker, r.http = "", ""
	for _, l := range s.Listeners {
		switch l.What {
		case "mqtt tcp":
			r.broker = l.Address
		case "http":
			r.http = l.Address
		}
	}
	// The control socket comes first; the others follow.
	return strings.Contains(r.out.String(), "is running")
}

func (r *running) status() (*control.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := control.NewClient(ctx, r.p.data)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Status(ctx)
}

// subscribed reports whether every broker that the node reads from has answered its
// subscriptions: what is published from now on arrives.
func (r *running) subscribed() bool {
	s, err := r.status()
	if err != nil || s.PID != r.cmd.Process.Pid || len(s.Sources) == 0 {
		return false
	}
	for _, source := range s.Sources {
		if !source.Connected || source.Detail != "" {
			return false
		}
	}
	return true
}

// kill ends the node as a power cut of the process would.
func (r *running) kill() {
	if !r.gone() {
		_ = r.cmd.Process.Kill() // it may end at the same moment
	}
	<-r.exited
}

// stop asks the node to end and returns its exit code.
func (r *running) stop() int {
	r.p.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.p.t.Fatal(err)
	}
	select {
	case <-r.exited:
	case <-time.After(time.Minute): // the promise is 10 s, on a machine that has time
		r.p.t.Fatalf("the node does not end\n%s", r.out.String())
	}
	return r.cmd.ProcessState.ExitCode()
}

// get reads a page of the node's HTTP server.
func (r *running) get(path string) (status int, body string) {
	r.p.t.Helper()
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Get("http://" + r.http + path)
	if err != nil {
		r.p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		r.p.t.Fatal(err)
	}
	return resp.StatusCode, b.String()
}
