package testkit

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Influx is a real InfluxDB 1.x that belongs to one test.
type Influx struct {
	tb  testing.TB
	dir string
	url string
	cmd *exec.Cmd
}

// StartInflux starts InfluxDB on free ports of 127.0.0.1.
func StartInflux(tb testing.TB) *Influx {
	tb.Helper()
	binary, err := exec.LookPath("influxd")
	if err != nil {
		Missing(tb, "influxd", "install it with: apt-get install influxdb")
	}
	i := &Influx{tb: tb, dir: tb.TempDir()}
	port, rpc := FreePort(tb), FreePort(tb)
	i.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	config := filepath.Join(i.dir, "influxdb.conf")
	text := fmt.Sprintf("reporting-disabled = true\nbind-address = \"127.0.0.1:%d\"\n[meta]\ndir = %q\n[data]\ndir = %q\nwal-dir = %q\n[http]\nbind-address = \"127.0.0.1:%d\"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n",
		rpc, filepath.Join(i.dir, "meta"), i.Data(), i.WAL(), port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	log, err := os.Create(filepath.Join(i.dir, "log"))
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	i.cmd = exec.Command(binary, "-config", config)
	i.cmd.Stdout, i.cmd.Stderr = log, log
	if err := i.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(i.Stop)
	Eventually(tb, "InfluxDB answers", func() bool {
		resp, err := http.Get(i.url + "/ping")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	})
	return i
}

// Data and WAL are where it keeps them.
func (i *Influx) Data() string { return filepath.Join(i.dir, "data") }

// WAL is the directory of its write-ahead log.
func (i *Influx) WAL() string { return filepath.Join(i.dir, "wal") }

// Query runs a statement of InfluxQL and returns the answer as CSV.
func (i *Influx) Query(statement string) string {
	i.tb.Helper()
	req, err := http.NewRequest(http.MethodPost, i.url+"/query?epoch=ns&"+url.Values{"q": {statement}}.Encode(), nil)
	if err != nil {
		i.tb.Fatal(err)
	}
	req.Header.Set("Accept", "application/csv")
	return i.do(req)
}

// Write writes lines of line protocol.
func (i *Influx) Write(database, lines string) {
	i.tb.Helper()
	req, err := http.NewRequest(http.MethodPost, i.url+"/write?db="+url.QueryEscape(database), strings.NewReader(lines))
	if err != nil {
		i.tb.Fatal(err)
	}
	i.do(req)
}

func (i *Influx) do(req *http.Request) string {
	i.tb.Helper()
	client := http.Client{Timeout: 3 * time.Minute}
	resp, err := client.Do(req)
	if err != nil {
		i.tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		i.tb.Fatalf("InfluxDB answers %s: %s %v", resp.Status, body, err)
	}
	return string(body)
}

// Export writes what influx_inspect export writes, and returns the file.
func (i *Influx) Export(database string, options ...string) string {
	i.tb.Helper()
	out := filepath.Join(i.dir, "export.lp")
	args := append([]string{"export", "-database", database, "-datadir", i.Data(), "-waldir", i.WAL(), "-out", out}, options...)
	if text, err := exec.Command(influxInspect(i.tb), args...).CombinedOutput(); err != nil {
		i.tb.Fatalf("influx_inspect: %v: %s", err, text)
	}
	return out
}

// influxInspect finds the program, which scripts/install-test-deps builds.
func influxInspect(tb testing.TB) string {
	tb.Helper()
	if path, err := exec.LookPath("influx_inspect"); err == nil {
		return path
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(cache, "weir-test", "bin", "influx_inspect")
	if _, err := os.Stat(path); err != nil {
		Missing(tb, "influx_inspect", "scripts/install-test-deps builds it")
	}
	return path
}

// Stop ends it.
func (i *Influx) Stop() {
	if i.cmd.ProcessState == nil {
		_ = i.cmd.Process.Kill() // it may have ended
		_ = i.cmd.Wait()         // it was killed
	}
}
