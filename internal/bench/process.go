package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a child whose use of the machine is read from /proc (Linux).
type process struct {
	cmd    *exec.Cmd
	stderr tail
	done   chan struct{}
	err    error // of Wait, once done is closed
}

// tail keeps the last bytes written to it, for error messages.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - 8<<10; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func startProcess(name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout = io.Discard
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// stop asks the process to end and waits; it kills it after 30 s.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not stop within 30 s", p.cmd.Path)
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		return fmt.Errorf("%s: %w\n%s", p.cmd.Path, p.err, bytes.TrimSpace(p.stderr.buf))
	}
	return p.err
}

// usage is what a process has used so far.
type usage struct {
	cpu          time.Duration // user and system
	resident     int64         // bytes now
	peakResident int64
	written      int64 // bytes that it caused to be written to the device
}

// clockTick is the unit of utime and stime in /proc/PID/stat: USER_HZ, which is
// 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

func (p *process) usage() (usage, error) {
	if p.cmd == nil {
		return usage{}, nil // somebody else's process: nothing is measured
	}
	dir := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return usage{}, fmt.Errorf("read what the process used (Linux only): %w", err)
	}
	// The command's name, in parentheses, may hold spaces.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks := func(i int) time.Duration {
		n, _ := strconv.ParseInt(fields[i], 10, 64)
		return time.Duration(n) * clockTick
	}
	u := usage{cpu: ticks(11) + ticks(12)}
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return usage{}, err
	}
	u.resident = 1024 * procValue(status, "VmRSS:")
	u.peakResident = 1024 * procValue(status, "VmHWM:")
	io, err := os.ReadFile(dir + "io")
	if err != nil {
		return usage{}, err
	}
	u.written = procValue(io, "write_bytes:")
	return u, nil
}

func procValue(text []byte, key string) int64 {
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n
		}
	}
	return 0
}

// watch samples the process until ctx ends and returns the largest resident size.
func (p *process) watch(ctx context.Context) (peak int64) {
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return peak
		case <-tick.C:
			if u, err := p.usage(); err == nil {
				peak = max(peak, u.resident)
			}
		}
	}
}

// diskUse returns the bytes that the files below dir hold.
func diskUse(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // a file may vanish while the tree is walked
		}
		if info, err := d.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total
}

// probeSync appends 4 KB and syncs, n times, and returns the times it took.
func probeSync(dir string, n int) (*histogram, error) {
	f, err := os.CreateTemp(dir, "sync-probe-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var h histogram
	page := make([]byte, 4096)
	for range n {
		start := time.Now()
		if _, err := f.Write(page); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		h.add(time.Since(start), 1)
	}
	return &h, nil
}
