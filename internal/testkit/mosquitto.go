package testkit

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Mosquitto is a real broker that belongs to one test. It is stopped when the
// test ends.
type Mosquitto struct {
	Port int
	Dir  string // its temporary directory: configuration, persistence, log

	tb     testing.TB
	binary string
	cmd    *exec.Cmd
	exited chan struct{}
}

// StartMosquitto starts a Mosquitto that listens on a free port of 127.0.0.1.
// lines are appended to its configuration after the listener, so that options
// of the listener (cafile, certfile, ...) may stand among them; {dir} in a line
// is replaced by the broker's directory. Anonymous clients are allowed unless
// a line says otherwise. Nothing else differs from the defaults, so queues are
// limited as those of an untouched installation; persistence is off unless a
// line turns it on.
func StartMosquitto(tb testing.TB, lines ...string) *Mosquitto {
	tb.Helper()
	m := &Mosquitto{tb: tb, binary: Binary(tb, "mosquitto"), Dir: tb.TempDir()}
	// The free port may be taken between choosing and listening.
	for range 5 {
		m.Port = FreePort(tb)
		m.configure(lines)
		if m.start() {
			tb.Cleanup(m.Kill)
			return m
		}
	}
	tb.Fatalf("mosquitto did not start: %s", m.Log())
	return nil
}

// Binary finds a program of the Mosquitto packages, which stand in /usr/sbin on
// Debian, where an ordinary user's PATH does not look.
func Binary(tb testing.TB, name string) string {
	tb.Helper()
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p
		}
	}
	Missing(tb, name, "install it with: apt-get install mosquitto mosquitto-clients")
	return ""
}

func (m *Mosquitto) configure(lines []string) {
	m.tb.Helper()
	var b strings.Builder
	text := strings.ReplaceAll(strings.Join(lines, "\n"), "{dir}", m.Dir)
	if os.Geteuid() == 0 {
		// Else it changes to the user mosquitto, who cannot read the test's keys.
		b.WriteString("user root\n")
	}
	if !strings.Contains(text, "allow_anonymous") {
		b.WriteString("allow_anonymous true\n")
	}
	fmt.Fprintf(&b, "persistence_location %s/\nlog_dest file %s\nlistener %d 127.0.0.1\n%s\n", m.Dir, m.logFile(), m.Port, text)
	if err := os.WriteFile(m.config(), []byte(b.String()), 0o600); err != nil {
		m.tb.Fatalf("write mosquitto's configuration: %v", err)
	}
}

func (m *Mosquitto) config() string  { return filepath.Join(m.Dir, "mosquitto.conf") }
func (m *Mosquitto) logFile() string { return filepath.Join(m.Dir, "mosquitto.log") }

// Addr returns host:port of the listener.
func (m *Mosquitto) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(m.Port)) }

// URL returns the mqtt:// address of the listener.
func (m *Mosquitto) URL() string { return "mqtt://" + m.Addr() }

// Log returns what the broker wrote so far.
func (m *Mosquitto) Log() string {
	b, err := os.ReadFile(m.logFile())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Publish publishes one message at QoS 1 with mosquitto_pub; options are its own,
// as "-r" or "--cafile".
func (m *Mosquitto) Publish(topic, payload string, options ...string) {
	m.tb.Helper()
	args := append([]string{"-h", "127.0.0.1", "-p", strconv.Itoa(m.Port), "-q", "1", "-t", topic, "-m", payload}, options...)
	if out, err := exec.Command(Binary(m.tb, "mosquitto_pub"), args...).CombinedOutput(); err != nil {
		m.tb.Fatalf("mosquitto_pub: %v: %s\n%s", err, out, m.Log())
	}
}

// start runs the broker and reports whether it listens.
func (m *Mosquitto) start() bool {
	m.tb.Helper()
	ran := strings.Count(m.Log(), " running")
	cmd := exec.Command(m.binary, "-c", m.config())
	console, err := os.OpenFile(m.logFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		m.tb.Fatalf("open mosquitto's log: %v", err)
	}
	cmd.Stdout, cmd.Stderr = console, console
	err = cmd.Start()
	_ = console.Close() // the child has its own
	if err != nil {
		m.tb.Fatalf("start mosquitto: %v", err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // the way it ended is the test's own doing
	}()
	m.cmd, m.exited = cmd, exited
	deadline := time.Now().Add(time.Minute)
	for {
		// Once it runs, every listener is open; that one answers does not say so.
		if strings.Count(m.Log(), " running") > ran {
			if c, err := net.DialTimeout("tcp", m.Addr(), time.Second); err == nil {
				_ = c.Close()
				return true
			}
		}
		select {
		case <-exited:
			m.cmd = nil
			return false
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			m.Kill()
			return false
		}
	}
}

// Start starts a stopped broker again, on the same port.
func (m *Mosquitto) Start() {
	m.tb.Helper()
	if m.cmd != nil {
		m.tb.Fatal("mosquitto runs already")
	}
	for range 20 {
		if m.start() {
			return
		}
		time.Sleep(50 * time.Millisecond) // the port may still be held
	}
	m.tb.Fatalf("mosquitto did not start again: %s", m.Log())
}

// Stop ends the broker as a service manager does; with persistence it saves
// its state.
func (m *Mosquitto) Stop() { m.end(syscall.SIGTERM) }

// Kill ends the broker at once, as a power cut does.
func (m *Mosquitto) Kill() { m.end(syscall.SIGKILL) }

// Restart is Stop and Start.
func (m *Mosquitto) Restart() {
	m.tb.Helper()
	m.Stop()
	m.Start()
}

// Pause freezes the broker's process until Resume; its sockets stay open.
func (m *Mosquitto) Pause() { m.signal(pauseSignal) }

// Resume lets a paused broker go on.
func (m *Mosquitto) Resume() { m.signal(resumeSignal) }

func (m *Mosquitto) signal(s os.Signal) {
	m.tb.Helper()
	if s == nil || m.cmd == nil {
		m.tb.Fatal("this platform cannot pause a process, or mosquitto is stopped")
	}
	if err := m.cmd.Process.Signal(s); err != nil {
		m.tb.Fatalf("signal mosquitto: %v", err)
	}
}

func (m *Mosquitto) end(s syscall.Signal) {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Signal(s) // it may be gone already
	select {
	case <-m.exited:
	case <-time.After(10 * time.Second):
		_ = m.cmd.Process.Kill()
		<-m.exited
	}
	m.cmd = nil
}
