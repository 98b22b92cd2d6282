package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mqtt3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/weir-telemetry/weir/internal/testkit"
)

const secretSchema = `
name: tafelwort
version: 1
topic: sekretwerk/{line}/quellwort/env
format: json
time: {at: /ts, as: unix_ms}
payload:
  type: object
  required: [ts, value]
  properties:
    ts:    {type: integer}
    value: {type: number, maximum: 5000, x-unit: einheitwort}
    note:  {type: string}
`

// What the readings are made of.
const (
	secretStart = 1_750_123_456_789 // ms
	secretCount = 20_000
	secretValue = 1234.567890123
)

func secretReading(i int) (string, []byte, bool) {
	topic := fmt.Sprintf("sekretwerk/linienwort-%02d/quellwort/env", i%20)
	payload := fmt.Appendf(nil, `{"ts":%d,"value":%s,"note":"notizwort-%d"}`, secretStart+i, strconv.FormatFloat(secretValue+float64(i%7), 'f', -1, 64), i%3)
	if i%1000 == 999 {
		payload = fmt.Appendf(nil, `{"ts":%d,"value":9999,"note":"quarantaenewort"}`, secretStart+i)
	}
	return topic, payload, i < secretCount
}

// needles are what must not stand in clear anywhere, by what it is.
func needles() map[string][]byte {
	all := map[string][]byte{}
	for _, text := range []string{
		"sekretwerk", "quellwort", "linienwort-07", "notizwort-1", "quarantaenewort", "behaltenwort", "wartewort", "filterwort", "sitzungswort",
		"tafelwort", "einheitwort", "1234.567890123", strconv.Itoa(secretStart)[:9], "2025-06-17T01:24",
	} {
		all["text "+text] = []byte(text)
	}
	number := func(what string, v uint64) {
		all[what+" little-endian"] = binary.LittleEndian.AppendUint64(nil, v)
		all[what+" big-endian"] = binary.BigEndian.AppendUint64(nil, v)
	}
	number("float", math.Float64bits(secretValue))
	for _, i := range []int64{0, 1, 19_998} {
		number("milliseconds", uint64(secretStart+i))
		number("nanoseconds", uint64((secretStart+i)*1_000_000))
	}
	// A store that packs times keeps multiples or differences of them.
	number("seconds", secretStart/1000)
	number("microseconds", secretStart*1000)
	return all
}

// haystack searches all files of some directories, again and again.
type haystack struct {
	dirs  []string
	mu    sync.Mutex
	found map[string]string // needle and file
	files map[string]bool   // every file that was ever seen
	bytes int64
}

func (h *haystack) search() error {
	all := needles()
	for _, dir := range h.dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && !d.Type().IsRegular() {
				return nil // it went meanwhile
			}
			if err != nil {
				return err
			}
			data, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			h.files[path] = true
			h.bytes += int64(len(data))
			for what, needle := range all {
				if bytes.Contains(data, needle) || strings.Contains(path, string(needle)) {
					h.found[what] = path
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func client3(t *testing.T, address, id string, clean bool) mqtt3.Client {
	t.Helper()
	o := mqtt3.NewClientOptions().AddBroker("tcp://" + address).SetClientID(id).SetCleanSession(clean)
	c := mqtt3.NewClient(o)
	if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	return c
}

func done(t *testing.T, token mqtt3.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
}

// ingestSecrets runs a node through everything that writes, and searches its
// files meanwhile.
func ingestSecrets(t *testing.T, encrypted bool) (*haystack, *place) {
	t.Helper()
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	p := newPlace(t, map[string]string{"doc.yaml": secretSchema})
	port := strconv.Itoa(testkit.FreePort(t))
	p.write("weir.yaml", fmt.Sprintf(`
log: {level: debug}
sources:
  - mqtt: {url: "mqtt://127.0.0.1:%s", topics: ["filterwort/+"]}
encryption: {enabled: %v, key_file: ./keys.d/master.key}
`, port, encrypted))
	if err := os.Mkdir(filepath.Join(p.dir, "keys.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if encrypted {
		p.must("key", "init")
	}
	h := &haystack{dirs: []string{p.data, tmp}, found: map[string]string{}, files: map[string]bool{}}
	look := func() {
		if err := h.search(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
	serve := func() *running { return p.serve("--set", "broker.listen=127.0.0.1:"+port, "--set", "http.listen=") }

	r := serve()
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			look()
			select {
			case <-end:
				return
			default:
			}
		}
	}()
	absent := client3(t, r.broker, "sitzungswort", false)
	done(t, absent.Subscribe("sekretwerk/wartewort/#", 1, nil))
	absent.Disconnect(100)
	c := client3(t, r.broker, "sender", true)
	done(t, c.Publish("sekretwerk/behalten", 1, true, "behaltenwort"))
	done(t, c.Publish("sekretwerk/wartewort/x", 1, false, "wartewort"))
	c.Disconnect(100)
	publish(t, r, "device", secretReading)
	// Sorts and grouping in SQLite, and in the engine, while compactions run.
	for _, sql := range []string{
		"select count(*) from (select *, row_number() over (partition by line order by value desc, note) as n from tafelwort) where n > 1",
		"select line, note, count(*) from tafelwort group by line, note order by 3 desc, 1",
		"select * from tafelwort order by value desc, time limit 5",
	} {
		p.must("query", sql)
	}
	testkit.Eventually(t, "level 0 was compacted", func() bool {
		segs, _ := filepath.Glob(filepath.Join(p.data, "segments", "*"))
		return len(segs) > 0
	})
	if n := p.number("select count(*) from tafelwort"); n != secretCount-secretCount/1000 {
		t.Errorf("%d readings", n)
	}
	close(end)
	<-ended
	if code := r.stop(); code != 0 {
		t.Errorf("the node ends with %d", code)
	}
	look()
	log := r.out.String()
	r = serve()
	publish(t, r, "again", func(i int) (string, []byte, bool) { return secretReading(i + secretCount - 500) })
	r.kill()
	look()
	log += r.out.String()
	r = serve()
	kept := make(chan string, 1)
	c = client3(t, r.broker, "receiver", true)
	done(t, c.Subscribe("sekretwerk/behalten", 1, func(_ mqtt3.Client, m mqtt3.Message) { kept <- string(m.Payload()) }))
	select {
	case payload := <-kept:
		if payload != "behaltenwort" {
			t.Errorf("%q was retained", payload)
		}
	case <-time.After(patience):
		t.Error("the retained message is gone")
	}
	c.Disconnect(100)
	// What a crash prints.
	if err := r.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	<-r.exited
	if dump := r.out.String(); !strings.Contains(dump, "goroutine 1 ") {
		t.Errorf("no dump: %.200s", dump)
	}
	look()
	log += r.out.String()
	if encrypted {
		noKey(t, p, log, h)
		for what, needle := range needles() {
			if strings.Contains(log, string(needle)) && !slices.Contains([]string{"text tafelwort"}, what) {
				t.Errorf("the log shows %s", what)
			}
		}
	}
	return h, p
}

// noKey looks for the master key in logs, dumps and files.
func noKey(t *testing.T, p *place, log string, h *haystack) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "keys.d", "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for file := range h.files {
		if data, err := os.ReadFile(file); err == nil {
			log += string(data)
		}
	}
	for what, form := range map[string]string{
		"raw": string(key[:16]), "hex": hex.EncodeToString(key[:16]), "base64": base64.StdEncoding.EncodeToString(key[:15]),
		"decimal": strings.Trim(fmt.Sprint(key[:8]), "[]"), "a word of a dump": fmt.Sprintf("0x%x", binary.LittleEndian.Uint64(key)),
	} {
		if strings.Contains(log, form) {
			t.Errorf("the master key stands in logs, dumps or files as %s", what)
		}
	}
}

func TestWithEncryptionTheDiskShowsNothing(t *testing.T) {
	h, p := ingestSecrets(t, true)
	for what, file := range h.found {
		t.Errorf("%s stands in %s", what, file)
	}
	if len(h.files) < 8 || h.bytes < 1<<20 {
		t.Errorf("only %d files with %d bytes were searched: %v", len(h.files), h.bytes, h.files)
	}
	// What a kill left opens, and what was kept is there.
	if n := p.number("select count(*) from tafelwort"); n != secretCount-secretCount/1000 {
		t.Errorf("%d readings after the kill", n)
	}
	if out := p.must("quarantine", "list", "--limit", "0", "--format", "json"); strings.Count(out, "quarantaenewort") < secretCount/1000 {
		t.Errorf("the quarantine: %.300s", out)
	}
	p.must("verify")
}

// The same without encryption finds much, or the search would prove nothing.
func TestTheSearchForSecretsFindsThem(t *testing.T) {
	long(t)
	h, _ := ingestSecrets(t, false)
	for _, what := range []string{
		"text sekretwerk", "text linienwort-07", "text behaltenwort", "text wartewort", "text quarantaenewort", "text filterwort", "text tafelwort",
		"text notizwort-1", "text sitzungswort",
	} {
		if h.found[what] == "" {
			t.Errorf("%s was not found", what)
		}
	}
	t.Logf("found: %v", h.found)
}
