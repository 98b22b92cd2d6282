package powercut

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The recorded program is the weir binary, fed by a scripted broker. Message n
// carries n: the even ones in a payload with a time, the odd ones as a bare
// value without. What the node acknowledged before a cut must be on the disk.

const nodeMessages = 1200

const timedSchema = `name: timed
version: 1
topic: timed/{device}
format: json
time: {at: /ts, as: unix_ms}
payload: {type: object, required: [ts, n], properties: {ts: {type: integer}, n: {type: integer}}}
`

const bareSchema = `name: bare
version: 1
topic: bare/{device}
format: value
payload: {type: integer}
`

func buildWeir(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "weir")
	cmd := exec.Command("go", "build", "-o", bin, "../../cmd/weir")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build weir: %v\n%s", err, out)
	}
	return bin
}

// recordNode runs a node under strace and returns what it wrote, to files and to
// the broker.
func recordNode(t *testing.T) ([]Event, string) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("strace is missing, and CI may not skip: run scripts/install-test-deps")
		}
		t.Skip("SKIPPED: strace is not installed, so power cuts are not tested; run scripts/install-test-deps")
	}
	bin := buildWeir(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "data")
	for name, text := range map[string]string{"schemas/timed.yaml": timedSchema, "schemas/bare.yaml": bareSchema} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	config := fmt.Sprintf("data_dir: %q\nschemas: %q\nhttp: {listen: \"127.0.0.1:0\"}\nbroker: {enabled: false}\nsources:\n  - mqtt: {url: \"mqtt://%s\", version: 3.1.1}\n",
		root, filepath.Join(dir, "schemas"), l.Addr())
	if err := os.WriteFile(filepath.Join(dir, "weir.yaml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(dir, "trace")
	var output bytes.Buffer
	cmd := exec.Command(strace, append(StraceArgs(trace), bin, "serve", "--config", filepath.Join(dir, "weir.yaml"))...)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	feedErr := make(chan error, 1)
	go func() { feedErr <- feedNode(l) }()
	select {
	case err = <-feedErr:
	case err = <-ended:
		err = fmt.Errorf("weir ended early: %w", err)
		ended <- nil
	}
	// The power goes: nobody says goodbye.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-ended
	if err != nil {
		t.Fatalf("%v\n%s", err, output.Bytes())
	}
	events, err := ParseFile(trace, root)
	if err != nil {
		t.Fatal(err)
	}
	return events, root
}

// feedNode plays the broker until everything is acknowledged.
func feedNode(l net.Listener) error {
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(30 * time.Second))
	conn, err := l.Accept()
	if err != nil {
		return fmt.Errorf("wait for the node: %w", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	r := wire.NewReader(conn, 64<<10)
	acked, sent := 0, 0
	send := func(n int) error {
		var out []byte
		for ; n > 0 && sent < nodeMessages; n-- {
			p := wire.Publish{Topic: []byte("bare/d1"), Payload: []byte(strconv.Itoa(sent)), QoS: 1, PacketID: uint16(sent + 1)}
			if sent%2 == 0 {
				p.Topic = []byte("timed/d" + strconv.Itoa(sent%10))
				p.Payload = fmt.Appendf(nil, `{"ts":%d,"n":%d}`, 1_750_000_000_000+sent, sent)
			}
			out = wire.AppendPublish(out, wire.V311, &p)
			sent++
		}
		_, err := conn.Write(out)
		return err
	}
	for acked < nodeMessages {
		first, body, err := r.Next()
		if err != nil {
			return fmt.Errorf("after %d acknowledgements: %w", acked, err)
		}
		switch wire.PacketType(first >> 4) {
		case wire.CONNECT:
			_, err = conn.Write(wire.AppendConnack(nil, wire.V311, &wire.Connack{}))
		case wire.SUBSCRIBE:
			var s wire.Subscribe
			if err := wire.ParseSubscribe(&s, wire.V311, first, body); err != nil {
				return err
			}
			ack := wire.Suback{PacketID: s.PacketID}
			for range s.Subscriptions {
				ack.Reasons = append(ack.Reasons, wire.GrantedQoS1)
			}
			if _, err = conn.Write(wire.AppendSuback(nil, wire.V311, &ack)); err == nil && sent == 0 {
				err = send(20)
			}
		case wire.PINGREQ:
			_, err = conn.Write(wire.AppendPingresp(nil))
		case wire.PUBACK:
			acked++
			err = send(1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// acknowledged returns how many PUBACKs a send holds.
func acknowledged(data []byte) (n int) {
	for len(data) >= 2 && len(data) >= 2+int(data[1]) {
		if data[0] == byte(wire.PUBACK)<<4 {
			n++
		}
		data = data[2+int(data[1]):]
	}
	return n
}

// nodeDiskHolds opens the store on a disk and says which promise it breaks.
func nodeDiskHolds(dir string, acked int) string {
	ctx := context.Background()
	s, err := embedded.Open(ctx, embedded.Options{Dir: dir, ManualCompaction: true})
	if err != nil {
		return "open: " + err.Error()
	}
	defer s.Close()
	count := make([]int, nodeMessages)
	for table, parity := range map[string]int{"timed": 0, "bare": 1} {
		scan, err := s.Scan(ctx, store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: table, From: math.MinInt64, To: math.MaxInt64})
		if telemetry.CodeOf(err) == telemetry.CodeNotFound && acked <= parity {
			continue
		}
		if err != nil {
			return "scan " + table + ": " + err.Error()
		}
		column := map[string]string{"timed": "n", "bare": "value"}[table]
		var sec telemetry.Section
		for _, u := range scan.Units() {
			if _, err := u.Read(&sec, []string{column}, false); err != nil {
				scan.Close()
				return "read " + table + ": " + err.Error()
			}
			for i := range sec.Series {
				n := int(sec.Columns[0].Bits[i])
				if n < 0 || n >= nodeMessages || n%2 != parity {
					scan.Close()
					return fmt.Sprintf("%s holds %d, which was never sent to it", table, n)
				}
				count[n]++
			}
		}
		scan.Close()
	}
	for n, c := range count {
		if c > 1 {
			return fmt.Sprintf("message %d is stored %d times", n, c)
		}
		if c == 0 && n < acked {
			return fmt.Sprintf("message %d of %d acknowledged ones is missing", n, acked)
		}
	}
	return ""
}

func TestWhatANodeAcknowledgedIsOnTheDiskAfterAPowerCut(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short; the long form runs in make test")
	}
	events, root := recordNode(t)
	var sends []int // events that acknowledge
	total := 0
	for i := range events {
		if events[i].Kind == Send && acknowledged(events[i].Data) > 0 {
			sends = append(sends, i)
			total += acknowledged(events[i].Data)
		}
	}
	if total < nodeMessages-20 {
		t.Fatalf("the recording holds %d acknowledgements of %d", total, nodeMessages)
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("WEIR_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	random := rand.New(rand.NewPCG(seed, 0))
	disks := 90
	if os.Getenv("WEIR_SOAK") != "" {
		disks = 6 * len(events)
	}
	t.Logf("seed %d; %d events, %d acknowledgements in %d sends, %d disks", seed, len(events), total, len(sends), disks)
	for d := range disks {
		// Half of the cuts come right after an acknowledgement left.
		i := random.IntN(len(events))
		if d%2 == 0 {
			i = sends[random.IntN(len(sends))]
		}
		at := events[i].Start + 1
		acked := 0
		for _, s := range sends {
			if events[s].Start < at {
				acked += acknowledged(events[s].Data)
			}
		}
		cut := Cut(random.IntN(3))
		dir, err := os.MkdirTemp("", "weir-cut-*")
		if err != nil {
			t.Fatal(err)
		}
		if err := Disk(events, root, dir, at, cut, random); err != nil {
			t.Fatal(err)
		}
		problem := nodeDiskHolds(dir, acked)
		_ = os.RemoveAll(dir)
		if problem != "" {
			t.Fatalf("cut %v before line %d (%s), %d acknowledged: %s", cut, at, summary(&events[i]), acked, problem)
		}
	}
}
