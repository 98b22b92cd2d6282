package powercut

import (
	"bytes"
	"context"
	"fmt"
	"math"
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

// recordWeir runs a node with this configuration under strace while feed talks to
// it, and returns what the node wrote, to files and to sockets. In the
// configuration {root} is the data directory.
func recordWeir(t *testing.T, config string, feed func() error) ([]Event, string) {
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
	config = fmt.Sprintf("data_dir: %q\nschemas: %q\nhttp: {listen: \"127.0.0.1:0\"}\n", root, filepath.Join(dir, "schemas")) + config
	for name, text := range map[string]string{"schemas/timed.yaml": timedSchema, "schemas/bare.yaml": bareSchema, "weir.yaml": config} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
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
	go func() { feedErr <- feed() }()
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

// recordNode records a node that takes its messages from a scripted broker.
func recordNode(t *testing.T, qos uint8) ([]Event, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	config := fmt.Sprintf("broker: {enabled: false}\nsources:\n  - mqtt: {url: \"mqtt://%s\", version: 3.1.1, qos: %d}\n", l.Addr(), qos)
	return recordWeir(t, config, func() error { return feedNode(l, qos) })
}

// feedNode plays the broker until everything is acknowledged.
func feedNode(l net.Listener, qos uint8) error {
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(3 * time.Minute))
	conn, err := l.Accept()
	if err != nil {
		return fmt.Errorf("wait for the node: %w", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
	r := wire.NewReader(conn, 64<<10)
	acked, sent := 0, 0
	send := func(n int) error {
		var out []byte
		for ; n > 0 && sent < nodeMessages; n-- {
			p := wire.Publish{Topic: []byte("bare/d1"), Payload: []byte(strconv.Itoa(sent)), QoS: qos, PacketID: uint16(sent + 1)}
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
				ack.Reasons = append(ack.Reasons, wire.ReasonCode(qos))
			}
			if _, err = conn.Write(wire.AppendSuback(nil, wire.V311, &ack)); err == nil && sent == 0 {
				err = send(20)
			}
		case wire.PINGREQ:
			_, err = conn.Write(wire.AppendPingresp(nil))
		case wire.PUBREC:
			var a wire.Ack
			if err = wire.ParseAck(&a, wire.V311, first, body); err == nil {
				_, err = conn.Write(wire.AppendAck(nil, wire.PUBREL, a.PacketID))
			}
		case wire.PUBACK, wire.PUBCOMP:
			acked++
			err = send(1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// acknowledged returns how many messages a send takes the responsibility for, by
// PUBACK or PUBREC.
func acknowledged(data []byte) (n int) {
	for len(data) >= 2 && len(data) >= 2+int(data[1]) {
		if kind := wire.PacketType(data[0] >> 4); kind == wire.PUBACK || kind == wire.PUBREC {
			n++
		}
		data = data[2+int(data[1]):]
	}
	return n
}

// stored counts the messages in a store.
func stored(ctx context.Context, s store.Store, messages int) (count []int, problem string) {
	count = make([]int, messages)
	for table, parity := range map[string]int{"timed": 0, "bare": 1} {
		if problem = countTable(ctx, s, table, parity, count); problem != "" {
			return nil, problem
		}
	}
	for n, c := range count {
		if c > 1 {
			return nil, fmt.Sprintf("message %d is stored %d times", n, c)
		}
	}
	return count, ""
}

func countTable(ctx context.Context, s store.Store, table string, parity int, count []int) string {
	scan, err := s.Scan(ctx, store.ScanRequest{Tenant: telemetry.DefaultTenant, Table: table, From: math.MinInt64, To: math.MaxInt64})
	if telemetry.CodeOf(err) == telemetry.CodeNotFound {
		return "" // nothing was sent to it yet, or else its messages will be missed
	}
	if err != nil {
		return "scan " + table + ": " + err.Error()
	}
	defer scan.Close()
	column := map[string]string{"timed": "n", "bare": "value"}[table]
	var sec telemetry.Section
	for _, u := range scan.Units() {
		if _, err := u.Read(&sec, []string{column}, false); err != nil {
			return "read " + table + ": " + err.Error()
		}
		for i := range sec.Series {
			n := int(sec.Columns[0].Bits[i])
			if n < 0 || n >= len(count) || n%2 != parity {
				return fmt.Sprintf("%s holds %d, which was never sent to it", table, n)
			}
			count[n]++
		}
	}
	return ""
}

// nodeDiskHolds opens the store on a disk and says which promise it breaks.
func nodeDiskHolds(dir string, acked int) string {
	ctx := context.Background()
	s, err := embedded.Open(ctx, embedded.Options{Dir: dir, ManualCompaction: true})
	if err != nil {
		return "open: " + err.Error()
	}
	defer s.Close()
	count, problem := stored(ctx, s, nodeMessages)
	if problem != "" {
		return problem
	}
	for n, c := range count[:acked] {
		if c == 0 {
			return fmt.Sprintf("message %d of %d acknowledged ones is missing", n, acked)
		}
	}
	return ""
}

func TestWhatANodeAcknowledgedIsOnTheDiskAfterAPowerCut(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short; the long form runs in make test")
	}
	for _, qos := range []uint8{1, 2} {
		t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) {
			events, root := recordNode(t, qos)
			var sends []int // events that acknowledge
			total := 0
			for i := range events {
				if n := acknowledged(events[i].Data); events[i].Kind == Send && n > 0 {
					sends = append(sends, i)
					total += n
				}
			}
			if total < nodeMessages-20 {
				t.Fatalf("the recording holds %d acknowledgements of %d", total, nodeMessages)
			}
			CutDisks(t, events, root, sends, 90, func(dir string, at int) string {
				acked := 0
				for _, s := range sends {
					if events[s].Start < at {
						acked += acknowledged(events[s].Data)
					}
				}
				return nodeDiskHolds(dir, acked)
			})
		})
	}
}
