package powercut

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/source/broker"
	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/testkit"
)

// The recorded program is the weir binary with its own broker, and a scripted
// client of MQTT 5 that keeps its session. Message n carries n and has packet id
// n+1; of six in turn the even ones have a time, two are QoS 1, two QoS 2, and two
// are retained, one of each quality.

const (
	deviceMessages = 900
	deviceWindow   = 20
	deviceFirst    = 120
	deviceID       = "powercut"
)

// deviceMessage is message n of the client.
func deviceMessage(n int) wire.Publish {
	p := wire.Publish{QoS: 1, PacketID: uint16(n + 1)}
	if k := n % 6; k == 2 || k == 3 || k == 5 {
		p.QoS = 2
	}
	name := "d" + strconv.Itoa(n%10)
	// Several of each topic: the last counts. None is among the first, so that what
	// syncs them does not hide a session that is not synced itself.
	if n%6 >= 4 && n >= deviceFirst {
		p.Retain, name = true, "k"+strconv.Itoa(n/6%25)
	}
	if n%2 == 0 {
		p.Topic, p.Payload = []byte("timed/"+name), fmt.Appendf(nil, `{"ts":%d,"n":%d}`, 1_750_000_000_000+n, n)
	} else {
		p.Topic, p.Payload = []byte("bare/"+name), []byte(strconv.Itoa(n))
	}
	return p
}

// device connects as the client that keeps its session.
func device(address string, limit time.Duration) (net.Conn, *wire.Reader, wire.Connack, error) {
	var ack wire.Connack
	deadline := time.Now().Add(limit)
	conn, err := net.Dial("tcp", address)
	for ; err != nil; conn, err = net.Dial("tcp", address) {
		if time.Now().After(deadline) {
			return nil, nil, ack, err
		}
		time.Sleep(20 * time.Millisecond) // the node starts
	}
	_ = conn.SetDeadline(deadline)
	hello := wire.Connect{Version: wire.V5, ClientID: deviceID}
	hello.Properties.SetUint(wire.SessionExpiry, 3600)
	r := wire.NewReader(conn, 1<<20)
	_, err = conn.Write(wire.AppendConnect(nil, &hello))
	if err == nil {
		var first byte
		var body []byte
		if first, body, err = r.Next(); err == nil {
			err = wire.ParseConnack(&ack, wire.V5, first, body)
		}
	}
	if err == nil && ack.Reason.Failed() {
		err = errors.New(ack.Reason.String())
	}
	if err != nil {
		return nil, nil, ack, errors.Join(err, conn.Close())
	}
	return conn, r, ack, nil
}

// feedBroker publishes until everything is acknowledged.
func feedBroker(address string) error {
	conn, r, _, err := device(address, 5*time.Minute)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	sent, done := 0, 0
	send := func(n int) error {
		var out []byte
		for ; n > 0 && sent < deviceMessages; n-- {
			p := deviceMessage(sent)
			out = wire.AppendPublish(out, wire.V5, &p)
			sent++
		}
		_, err := conn.Write(out)
		return err
	}
	for err = send(deviceWindow); err == nil && done < deviceMessages; {
		var a wire.Ack
		first, body, readErr := r.Next()
		if readErr != nil {
			return fmt.Errorf("after %d messages: %w", done, readErr)
		}
		if err := wire.ParseAck(&a, wire.V5, first, body); err != nil || a.Reason.Failed() {
			return fmt.Errorf("message %d: %v %v, %w", a.PacketID-1, wire.PacketType(first>>4), a.Reason, err)
		}
		switch a.Type {
		case wire.PUBREC:
			_, err = conn.Write(wire.AppendAck(nil, wire.PUBREL, a.PacketID))
		case wire.PUBACK, wire.PUBCOMP:
			done++
			err = send(1)
		}
	}
	return err
}

// answers is what left the node for the client, by packet id.
type answers struct{ taken, completed map[uint16]bool }

// answered reads the acknowledgements in what was sent before a cut.
func answered(events []Event, sends []int, at int) answers {
	a := answers{map[uint16]bool{}, map[uint16]bool{}}
	for _, i := range sends {
		if events[i].Start >= at {
			break
		}
		data := events[i].Data
		for len(data) > 0 {
			h, n, err := wire.ReadHeader(data)
			if err != nil || n == 0 || len(data) < n+h.Remaining {
				break
			}
			var ack wire.Ack
			if wire.ParseAck(&ack, wire.V5, h.First, data[n:n+h.Remaining]) == nil {
				switch ack.Type {
				case wire.PUBACK, wire.PUBREC:
					a.taken[ack.PacketID] = true
				case wire.PUBCOMP:
					a.completed[ack.PacketID] = true
				}
			}
			data = data[n+h.Remaining:]
		}
	}
	return a
}

// brokerStoreHolds opens the store on a disk and says which promise about readings
// and the ledger it breaks.
func brokerStoreHolds(dir string, a answers) string {
	ctx := context.Background()
	s, err := embedded.Open(ctx, embedded.Options{Dir: dir, ManualCompaction: true})
	if err != nil {
		return "open: " + err.Error()
	}
	defer s.Close()
	count, problem := stored(ctx, s, deviceMessages)
	if problem != "" {
		return problem
	}
	_, entries, err := s.OpenSession(ctx, "broker:"+deviceID)
	if err != nil {
		return "ledger: " + err.Error()
	}
	ledger := map[uint16]bool{}
	for _, e := range entries {
		ledger[e.PacketID] = true
	}
	for n, c := range count {
		p := deviceMessage(n)
		id := p.PacketID
		switch {
		case c == 0 && a.taken[id]:
			return fmt.Sprintf("message %d, acknowledged at QoS %d, is missing", n, p.QoS)
		case p.QoS == 2 && c == 1 && !a.taken[id] && !ledger[id]:
			return fmt.Sprintf("message %d is stored, and not in the ledger although its PUBREC did not leave: it would be stored again", n)
		case p.QoS == 1 && n%2 == 1 && c == 1 && !ledger[id]:
			return fmt.Sprintf("message %d of QoS 1, without a time, is stored and not in the ledger: it would be stored again", n)
		case a.completed[id] && ledger[id]:
			return fmt.Sprintf("message %d is in the ledger although its PUBCOMP left: the next with its id would be lost", n)
		}
	}
	return ""
}

// cutSink acknowledges everything and notes that it was told to forget a session.
type cutSink struct{ reset atomic.Bool }

type cutSession struct {
	*cutSink
	acker telemetry.Acker
	token uint64
}

func (s *cutSink) OpenSession(_ context.Context, _, _ string, acker telemetry.Acker) (telemetry.Session, error) {
	return &cutSession{cutSink: s, acker: acker}, nil
}

func (s *cutSession) Begin(context.Context) error    { return nil }
func (s *cutSession) Add(m *telemetry.Message) bool  { s.token = m.Token; return true }
func (s *cutSession) Release(_ uint16, token uint64) { s.token = token }
func (s *cutSession) End()                           { s.acker.Ack(s.token) }
func (s *cutSession) Confirm(uint64)                 {}
func (s *cutSession) Reset()                         { s.reset.Store(true) }
func (s *cutSession) Close()                         {}

// journalHolds starts a broker on the journal of a disk, lets the client come back,
// and says which promise about its session and retained messages is broken.
func journalHolds(dir string, a answers) (problem string) {
	if len(a.taken) == 0 {
		return ""
	}
	cfg := broker.DefaultConfig()
	cfg.Listen, cfg.Dir = "127.0.0.1:0", filepath.Join(dir, "broker")
	sink := &cutSink{}
	b, err := broker.New(cfg, sink, nil)
	if err != nil {
		return err.Error()
	}
	if err := b.Start(context.Background()); err != nil {
		return err.Error()
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := b.Stop(ctx); err != nil && problem == "" {
			problem = "stop: " + err.Error()
		}
	}()
	kept := b.Stats().Retained
	conn, r, ack, err := device(b.Addrs()[0].String(), 2*time.Minute)
	if err != nil {
		return "connect: " + err.Error()
	}
	defer conn.Close()
	if !ack.SessionPresent {
		return "the session is gone although its messages were acknowledged"
	}
	out := wire.AppendSubscribe(nil, wire.V5, &wire.Subscribe{PacketID: 1, Subscriptions: []wire.Subscription{{Filter: "timed/#"}, {Filter: "bare/#"}}})
	if _, err := conn.Write(out); err != nil {
		return "subscribe: " + err.Error()
	}
	values := map[string]int{}
	for len(values) < int(kept) {
		first, body, err := r.Next()
		if err != nil {
			return fmt.Sprintf("%d of %d retained messages came: %v", len(values), kept, err)
		}
		if wire.PacketType(first>>4) != wire.PUBLISH {
			continue
		}
		var p wire.Publish
		if err := wire.ParsePublish(&p, wire.V5, first, body); err != nil {
			return "a retained message: " + err.Error()
		}
		text := strings.TrimSuffix(string(p.Payload[strings.LastIndexByte(string(p.Payload), ':')+1:]), "}")
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n >= deviceMessages || string(p.Payload) != string(deviceMessage(n).Payload) || string(p.Topic) != string(deviceMessage(n).Topic) {
			return fmt.Sprintf("%s retains %q, which was never sent to it", p.Topic, p.Payload)
		}
		values[string(p.Topic)] = n
	}
	for n := range deviceMessages {
		p := deviceMessage(n)
		if have, ok := values[string(p.Topic)]; p.Retain && a.taken[p.PacketID] && (!ok || have < n) {
			return fmt.Sprintf("%s retains message %d (or none: %v), and %d was acknowledged after it", p.Topic, have, !ok, n)
		}
	}
	// The sink hears of the session, and must not be told that it began anew.
	p := wire.Publish{Topic: []byte("timed/d0"), QoS: 1, PacketID: deviceMessages + 1}
	if _, err := conn.Write(wire.AppendPublish(nil, wire.V5, &p)); err != nil {
		return "publish: " + err.Error()
	}
	for {
		first, _, err := r.Next()
		if err != nil {
			return "publish: " + err.Error()
		}
		if wire.PacketType(first>>4) == wire.PUBACK {
			break
		}
	}
	if sink.reset.Load() {
		return "the ledger would be dropped although the session went on"
	}
	return ""
}

func TestWhatTheEmbeddedBrokerAcknowledgedIsOnTheDiskAfterAPowerCut(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: -short; the long form runs in make test")
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(testkit.FreePort(t)))
	events, root := recordWeir(t, fmt.Sprintf("broker: {listen: %q}\n", address), func() error { return feedBroker(address) })
	var sends []int // events that acknowledge
	for i := range events {
		if events[i].Kind == Send && len(answered(events, []int{i}, events[i].Start+1).taken) > 0 {
			sends = append(sends, i)
		}
	}
	// PUBCOMPs may leave alone, so every send is read for them.
	var all []int
	for i := range events {
		if events[i].Kind == Send {
			all = append(all, i)
		}
	}
	// strace dies with the node, and may not have written the last of them.
	if whole := answered(events, all, 1<<40); len(whole.taken) < deviceMessages-deviceWindow || len(whole.completed) < deviceMessages/2-deviceWindow {
		t.Fatalf("the recording holds %d PUBACKs and PUBRECs and %d PUBCOMPs of %d messages", len(whole.taken), len(whole.completed), deviceMessages)
	}
	if _, err := os.Stat(filepath.Join(root, "broker")); err != nil {
		t.Fatal(err)
	}
	CutDisks(t, events, root, sends, 90, func(dir string, at int) string {
		a := answered(events, all, at)
		if problem := brokerStoreHolds(dir, a); problem != "" {
			return problem
		}
		return journalHolds(dir, a)
	})
}
