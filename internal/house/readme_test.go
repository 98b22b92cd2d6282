package house

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// codeBlocks returns the fenced blocks of a language in a Markdown file.
func codeBlocks(t *testing.T, file, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// readmeNode starts the demo in dir as `make run` does, on free ports.
func readmeNode(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "bin", "weir"), "serve", "--demo")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "WEIR_HTTP_LISTEN=127.0.0.1:0", "WEIR_BROKER_LISTEN=127.0.0.1:0")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines, open := bufio.NewScanner(stdout), true; lines.Scan(); {
			if open && strings.Contains(lines.Text(), "Try in another terminal") {
				close(started)
				open = false
			}
		}
	}()
	select {
	case <-started:
	case <-drained:
		t.Fatalf("weir serve --demo ended: %s", stderr.Bytes())
	case <-time.After(3 * time.Minute):
		t.Fatalf("weir serve --demo said nothing for three minutes: %s", stderr.Bytes())
	}
	t.Cleanup(func() {
		cancel()
		<-drained
		if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("weir serve --demo: %v\n%s", err, stderr.Bytes())
		}
	})
}

func TestTheCommandsOfTheReadmeRun(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short; the long form runs in make test")
	}
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "bin", "weir"), "../../cmd/weir")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	readmeNode(t, dir)

	// The schema of the README goes where the README says.
	yaml := codeBlocks(t, "../../README.md", "yaml")
	if len(yaml) != 1 {
		t.Fatalf("%d YAML blocks in the README, want its schema", len(yaml))
	}
	if err := os.WriteFile(filepath.Join(dir, "schemas", "boiler.yaml"), []byte(yaml[0]), 0o644); err != nil {
		t.Fatal(err)
	}

	// A broker that refuses everybody stands in for the reader's own: serve must
	// start all the same, and go on trying.
	ran := 0
	for _, block := range codeBlocks(t, "../../README.md", "sh") {
		for line := range strings.Lines(block) {
			line = strings.TrimSpace(line)
			command, _, _ := strings.Cut(line, "     #")
			switch {
			case command == "" || strings.HasPrefix(command, "make "):
				continue // make test is what runs this test
			case strings.HasPrefix(command, "bin/weir serve --from"):
				serveFrom(t, dir, command)
			default:
				cmd := exec.Command("bash", "-o", "pipefail", "-c", command)
				cmd.Dir = dir
				out, err := cmd.CombinedOutput()
				if err != nil || len(bytes.TrimSpace(out)) == 0 {
					t.Errorf("%s: %v\n%s", command, err, out)
				}
			}
			ran++
			t.Logf("ran %s", command)
		}
	}
	if ran < 9 {
		t.Errorf("only %d commands were found in the README", ran)
	}
}

// serveFrom runs `weir serve --from` beside the demo until it subscribes.
func serveFrom(t *testing.T, dir, command string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	args := strings.Fields(strings.ReplaceAll(command, "127.0.0.1:1883", l.Addr().String()))
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, args[0]), append(args[1:], "--data-dir", t.TempDir())...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "WEIR_HTTP_LISTEN=127.0.0.1:0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(3 * time.Minute))
	conn, err := l.Accept()
	if err == nil {
		first := make([]byte, 1)
		if _, err = conn.Read(first); err == nil && first[0] != 0x10 {
			err = fmt.Errorf("first byte 0x%02x, want a CONNECT", first[0])
		}
		_ = conn.Close()
	}
	_ = cmd.Process.Signal(os.Interrupt)
	if waitErr := cmd.Wait(); err != nil || waitErr != nil {
		t.Errorf("%s: %v, %v\n%s", command, err, waitErr, out.Bytes())
	}
}

func TestLinksOfTheDocumentsLeadSomewhere(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/*/*.md"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	links := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(string(text), -1) {
			links++
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", file, m[1])
			}
		}
	}
	if links < 10 {
		t.Errorf("only %d links found", links)
	}
}
