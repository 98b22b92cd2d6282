package testkit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Board is QEMU's lm3s6965evb with an image of the firmware: a Cortex-M3 with
// Ethernet and an SD card. It belongs to one test and ends with it.
type Board struct {
	tb     testing.TB
	cmd    *exec.Cmd
	input  *os.File
	exited chan struct{}
	code   int

	card, monitor string

	mu    sync.Mutex
	lines []string
}

// BoardOptions say how a board is started.
type BoardOptions struct {
	Image  string   // a file in bin/, as weir-lm3s6965.elf
	Card   string   // image of the SD card; its size is a power of two
	Broker int      // port on 127.0.0.1 that the board reaches as 10.0.2.100:1883
	Args   []string // what the program finds on its command line, as "device=d1"
	// Exact makes the emulator count instructions: 32 ns of its time each,
	// whatever the load of this machine.
	Exact bool
	// Monitor lets a test take the card out and put it in: Eject and Insert.
	Monitor bool
	// WriteLog records every write to the card, in the format of dm-log-writes.
	WriteLog string
}

// StartBoard starts the emulator. The images are built by make firmware.
func StartBoard(tb testing.TB, o BoardOptions) *Board {
	tb.Helper()
	qemu, err := exec.LookPath("qemu-system-arm")
	if err != nil {
		Missing(tb, "qemu-system-arm", "install it with: apt-get install qemu-system-arm")
	}
	image := FirmwareImage(tb, o.Image)
	args := []string{
		"-M", "lm3s6965evb", "-kernel", image, "-display", "none", "-monitor", "none", "-serial", "stdio",
		"-semihosting-config", strings.Join(append([]string{"enable=on,target=native,arg=weir"}, prefixed("arg=", o.Args)...), ","),
	}
	if o.Broker != 0 {
		args = append(args, "-nic", fmt.Sprintf("user,model=stellaris,restrict=on,guestfwd=tcp:10.0.2.100:1883-tcp:127.0.0.1:%d", o.Broker))
	} else {
		args = append(args, "-nic", "none")
	}
	switch {
	case o.Card != "" && o.WriteLog != "":
		args = append(args, "-drive", "if=sd,driver=blklogwrites,file.driver=file,file.filename="+o.Card+",log.driver=file,log.filename="+o.WriteLog)
	case o.Card != "":
		args = append(args, "-drive", "if=sd,format=raw,file="+o.Card)
	}
	monitor := ""
	if o.Monitor {
		dir, err := os.MkdirTemp("", "board") // short: the path of a socket has its limit
		if err != nil {
			tb.Fatalf("make the monitor's directory: %v", err)
		}
		tb.Cleanup(func() { _ = os.RemoveAll(dir) })
		monitor = filepath.Join(dir, "monitor")
		args[slices.Index(args, "-monitor")+1] = "unix:" + monitor + ",server,nowait"
	}
	if o.Exact {
		args = append(args, "-icount", "shift=5")
	}
	b := &Board{tb: tb, cmd: exec.Command(qemu, args...), exited: make(chan struct{}), card: o.Card, monitor: monitor}
	in, input, err := os.Pipe()
	if err != nil {
		tb.Fatalf("make the board's serial line: %v", err)
	}
	out, output, err := os.Pipe()
	if err != nil {
		tb.Fatalf("make the board's serial line: %v", err)
	}
	b.cmd.Stdin, b.cmd.Stdout, b.cmd.Stderr, b.input = in, output, output, input
	err = b.cmd.Start()
	_, _ = in.Close(), output.Close() // the child has its own
	if err != nil {
		tb.Fatalf("start the emulator: %v", err)
	}
	go b.read(out)
	tb.Cleanup(func() {
		b.Kill()
		if tb.Failed() {
			tb.Logf("the board said:\n%s", b.Output())
		}
	})
	return b
}

// Eject takes the card out.
func (b *Board) Eject() { b.tb.Helper(); b.command("eject -f sd0") }

// Insert puts a card in: the image of BoardOptions.
func (b *Board) Insert() { b.tb.Helper(); b.command("change sd0 " + b.card + " raw") }

// command tells the emulator's monitor something.
func (b *Board) command(line string) {
	b.tb.Helper()
	c, err := net.Dial("unix", b.monitor)
	if err != nil {
		b.tb.Fatalf("reach the emulator's monitor: %v", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		b.tb.Fatal(err)
	}
	if _, err := c.Write([]byte(line + "\n")); err != nil {
		b.tb.Fatalf("tell the emulator %q: %v", line, err)
	}
	// It prompts before and after the command.
	var said []byte
	for buf := make([]byte, 4096); bytes.Count(said, []byte("(qemu) ")) < 2; {
		n, err := c.Read(buf)
		said = append(said, buf[:n]...)
		if err != nil {
			b.tb.Fatalf("the emulator's monitor said %q to %q: %v", said, line, err)
		}
	}
	if bytes.Contains(said, []byte("Error")) {
		b.tb.Fatalf("the emulator's monitor said %q to %q", said, line)
	}
}

// FirmwareImage returns the path of an image that make firmware leaves in bin.
func FirmwareImage(tb testing.TB, name string) string {
	tb.Helper()
	path := filepath.Join(Root(), "bin", name)
	if _, err := os.Stat(path); err != nil {
		Missing(tb, path, "build it with: make firmware")
	}
	return path
}

// Root is the directory of the module.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

func prefixed(prefix string, words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = prefix + strings.ReplaceAll(w, ",", ",,")
	}
	return out
}

func (b *Board) read(out *os.File) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		b.mu.Lock()
		b.lines = append(b.lines, lines.Text())
		b.mu.Unlock()
	}
	err := b.cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		b.code = 0
	case errors.As(err, &exit):
		b.code = exit.ExitCode()
	default:
		b.code = -1
	}
	_ = out.Close()
	close(b.exited)
}

// Output returns what came over the serial line so far.
func (b *Board) Output() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines, "\n")
}

// Count counts the lines so far that contain text.
func (b *Board) Count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, l := range b.lines {
		if strings.Contains(l, text) {
			n++
		}
	}
	return n
}

// Last returns the newest line that contains text, or "".
func (b *Board) Last(text string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.lines) - 1; i >= 0; i-- {
		if strings.Contains(b.lines[i], text) {
			return b.lines[i]
		}
	}
	return ""
}

// Await waits until n lines contain text, and fails the test when the board ends
// before.
func (b *Board) Await(n int, text string) {
	b.tb.Helper()
	Eventually(b.tb, fmt.Sprintf("%d lines with %q come over the serial line", n, text), func() bool {
		if b.Count(text) >= n {
			return true
		}
		select {
		case <-b.exited:
			if b.Count(text) < n {
				b.tb.Fatalf("the board ended (exit code %d) before %q came:\n%s", b.code, text, b.Output())
			}
		default:
		}
		return false
	})
}

// Send types on the serial line.
func (b *Board) Send(s string) {
	b.tb.Helper()
	if _, err := b.input.WriteString(s); err != nil {
		b.tb.Fatalf("write to the board's serial line: %v", err)
	}
}

// Ask sends a command and returns the fields name=value of the line that answers it.
func (b *Board) Ask(command, line string) map[string]int {
	b.tb.Helper()
	n := b.Count(line)
	b.Send(command)
	b.Await(n+1, line)
	return BoardFields(b.Last(line))
}

// BoardFields reads the fields name=value of a line of the serial line.
func BoardFields(line string) map[string]int {
	out := map[string]int{}
	for _, word := range strings.Fields(line) {
		name, value, ok := strings.Cut(word, "=")
		n := 0
		if _, err := fmt.Sscanf(value, "%d", &n); ok && err == nil {
			out[name] = n
		}
	}
	return out
}

// Exit waits until the program ends and returns its exit code.
func (b *Board) Exit() int {
	b.tb.Helper()
	select {
	case <-b.exited:
		return b.code
	case <-time.After(5 * time.Minute):
		b.tb.Fatalf("the board does not end:\n%s", b.Output())
		return -1
	}
}

// Kill cuts the board's power. What the emulator handed to the card's file is
// there; what the program had in memory is gone.
func (b *Board) Kill() {
	_ = b.cmd.Process.Kill() // it may have ended
	<-b.exited
	_ = b.input.Close()
}
