package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/testkit"
)

const deviceSchema = `name: env
version: 1
profile: device
topic: plants/{plant}/lines/{line}/devices/{device}/env
format: json
time: {at: /ts, as: unix_ms}
unknown: drop
payload:
  type: object
  required: [ts, temperature]
  properties:
    ts:          {type: integer}
    temperature: {type: number, minimum: -40, maximum: 125, x-unit: Cel}
    humidity:    {type: number, minimum: 0, maximum: 100, x-unit: "%RH"}
    pressure:    {type: number, x-unit: hPa}
    battery:     {type: number, minimum: 0, x-unit: V}
    status:      {type: string, enum: [ok, warn, fail]}
`

var deviceBinary = sync.OnceValues(func() (string, error) { return testkit.MakeFirmware("weir-device") })

// recorder is a virtual device: the firmware as a process.
type recorder struct {
	t            *testing.T
	binary       string
	dir          string
	plan, card   string
	log          string
	base         int64
	runs         int
	broker, name string
}

func newRecorder(t *testing.T, dir, broker string) *recorder {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: the posix port of the firmware is built on Linux")
	}
	binary, err := deviceBinary()
	if err != nil {
		t.Fatal(err)
	}
	_, plan, problems := schema.CompileDevice("env.yaml", []byte(deviceSchema))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	r := &recorder{t: t, binary: binary, dir: dir, plan: filepath.Join(dir, "env.plan"), card: filepath.Join(dir, "card.img"), log: filepath.Join(dir, "recorded"), base: 1_750_000_000_000, broker: broker, name: "d1"}
	if err := os.WriteFile(r.plan, plan, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.card, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(r.card, 64<<20); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *recorder) command(args ...string) *exec.Cmd {
	all := []string{"--broker", r.broker, "--device", r.name, "--plan", r.plan, "--log", r.log, "--no-sync"}
	if r.base != 0 {
		all = append(all, "--base", strconv.FormatInt(r.base, 10))
	}
	all = append(all, args...)
	if !slices.Contains(args, "--no-card") {
		all = append(all, "--card", r.card)
		if r.runs == 0 {
			all = append(all, "--format")
		}
	} else {
		all = slices.DeleteFunc(all, func(s string) bool { return s == "--no-card" })
	}
	r.runs++
	return exec.Command(r.binary, all...)
}

// run runs the device to its end.
func (r *recorder) run(args ...string) string {
	r.t.Helper()
	cmd := r.command(args...)
	hung := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() })
	defer hung.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("the device: %v\n%s", err, out)
	}
	return string(out)
}

// recorded are the times of all readings that the device made, and which of them
// it said to be durable.
func (r *recorder) recorded() (all map[string]string, durable map[string]bool) {
	r.t.Helper()
	data, err := os.ReadFile(r.log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // nothing yet
		r.t.Fatal(err)
	}
	all, durable = map[string]string{}, map[string]bool{}
	type made struct {
		sequence int
		ts       string
	}
	epochs := map[string][]made{}
	for _, line := range strings.Split(string(data), "\n") {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		n, err := strconv.Atoi(f[2])
		if err != nil {
			continue // torn by a kill
		}
		switch {
		case f[0] == "R" && len(f) == 5 && strings.HasSuffix(f[4], "}"):
			ts := between(f[4], `"ts":`, ",")
			all[ts] = between(f[4], `"temperature":`, ",")
			epochs[f[1]] = append(epochs[f[1]], made{n, ts})
		case f[0] == "D" && len(f) == 3:
			waiting := epochs[f[1]] // ascending
			for len(waiting) > 0 && waiting[0].sequence <= n {
				durable[waiting[0].ts] = true
				waiting = waiting[1:]
			}
			epochs[f[1]] = waiting
		}
	}
	return all, durable
}

func between(s, before, after string) string {
	_, s, _ = strings.Cut(s, before)
	s, _, _ = strings.Cut(s, after)
	return s
}

// stored asks the gateway for what it has, by time in ms.
func (p *place) stored() map[string]string {
	p.t.Helper()
	out := map[string]string{}
	for _, row := range p.rows(`SELECT time, temperature FROM env ORDER BY time`) {
		at, err := time.Parse(time.RFC3339Nano, row[0])
		if err != nil {
			p.t.Fatal(err)
		}
		key := strconv.FormatInt(at.UnixMilli(), 10)
		if _, twice := out[key]; twice {
			p.t.Errorf("the reading of %s is stored twice", key)
		}
		value, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			p.t.Fatal(err)
		}
		out[key] = strconv.FormatFloat(value, 'f', 2, 64)
	}
	return out
}

const uplinkConfig = "uplink: {enabled: true}\n"

// TestADayOfARecorderWhoseLinkComesAndGoes: what was recorded is with the gateway,
// once, through the embedded broker and through Mosquitto.
func TestADayOfARecorderWhoseLinkComesAndGoes(t *testing.T) {
	seconds := "7200"
	if os.Getenv("WEIR_SOAK") != "" {
		seconds = "86400"
	}
	for _, via := range []string{"embedded broker", "Mosquitto"} {
		for _, order := range []string{"oldest", "newest"} {
			if os.Getenv("WEIR_SOAK") == "" && (via == "Mosquitto") != (order == "newest") {
				continue
			}
			t.Run(via+"/"+order+" first", func(t *testing.T) {
				p := newPlace(t, map[string]string{"env.yaml": deviceSchema})
				config := uplinkConfig
				var broker string
				if via == "Mosquitto" {
					m := testkit.StartMosquitto(t)
					broker = fmt.Sprintf("127.0.0.1:%d", m.Port)
					config += "broker: {enabled: false}\nsources:\n  - mqtt: {url: \"mqtt://" + broker + "\"}\n"
				}
				p.write("weir.yaml", config)
				n := p.serve("--config", "weir.yaml")
				if broker == "" {
					broker = n.broker
				} else {
					testkit.Eventually(t, "the gateway is subscribed", n.subscribed)
				}
				seed := rand.Uint64() >> 1
				t.Logf("seed %d", seed)
				d := newRecorder(t, p.dir, broker)
				out := d.run("--virtual", seconds, "--sense", "5000", "--link-period", "300", "--link-seed", strconv.FormatUint(seed, 10), "--order", order, "--linger", "30000")
				t.Log(out)
				// weir_next_deadline is exact: after an idle poll it is never in the past.
				if spins, _ := strconv.Atoi(strings.TrimSpace(between(out, "spins=", "\n"))); spins > 100 {
					t.Errorf("the core asked %d times to be called at once, and had nothing to do", spins)
				}
				all, durable := d.recorded()
				if len(all) < 1000 || len(durable) != len(all) {
					t.Fatalf("%d readings were recorded, %d are durable", len(all), len(durable))
				}
				if got := p.stored(); !maps.Equal(got, all) {
					t.Fatalf("%d readings were recorded, the gateway has %d", len(all), len(got))
				}
			})
		}
	}
}

// TestARecorderAndItsGatewayAreKilledAgainAndAgain: both at any moment. What the
// device called durable is with the gateway in the end, once.
func TestARecorderAndItsGatewayAreKilledAgainAndAgain(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	rounds := 6
	if os.Getenv("WEIR_SOAK") != "" {
		rounds = 200
	}
	p := newPlace(t, map[string]string{"env.yaml": deviceSchema})
	m := testkit.StartMosquitto(t)
	p.write("weir.yaml", uplinkConfig+fmt.Sprintf("broker: {enabled: false}\nsources:\n  - mqtt: {url: \"mqtt://127.0.0.1:%d\"}\n", m.Port))
	d := newRecorder(t, p.dir, fmt.Sprintf("127.0.0.1:%d", m.Port))
	for range rounds {
		n := p.serve("--config", "weir.yaml")
		d.base += 3_600_000
		cmd := d.command("--sense", "2", "--linger", "20", "--flush", "10")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// At any moment, once it got somewhere: how far it gets depends on the machine.
		_, before := d.recorded()
		testkit.Eventually(t, "more is durable", func() bool {
			_, durable := d.recorded()
			return len(durable) >= len(before)+60
		})
		time.Sleep(time.Duration(random.IntN(900)) * time.Millisecond)
		if random.IntN(2) == 0 {
			n.kill()
			time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		n.kill()
	}
	n := p.serve("--config", "weir.yaml")
	testkit.Eventually(t, "the gateway is subscribed", n.subscribed)
	d.base += 3_600_000
	t.Log(d.run("--virtual", "60", "--sense", "1000"))
	all, durable := d.recorded()
	got := p.stored()
	if len(durable) < 60*rounds {
		t.Fatalf("only %d durable readings: the test says little", len(durable))
	}
	missing := 0
	for ts := range durable {
		if got[ts] != all[ts] {
			missing++
		}
	}
	for ts := range got {
		if _, ok := all[ts]; !ok && len(d.log) == 0 {
			t.Errorf("a reading of %s was never recorded", ts)
		}
	}
	t.Logf("%d recorded, %d durable on the device, %d stored", len(all), len(durable), len(got))
	if missing > 0 {
		t.Fatalf("%d of %d durable readings are not with the gateway", missing, len(durable))
	}
}
