package broker

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

func inDir(dir string) func(*Config) { return func(c *Config) { c.Dir = dir } }

func TestSessionsSubscriptionsAndRetainedMessagesSurviveARestart(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		dir := t.TempDir()
		sink := newFakeSink(t)
		b := start(t, sink, inDir(dir))
		sub := dial(t, b, v, "subscriber", keepSession)
		sub.subscribe(wire.Subscription{Filter: "a/#", QoS: 2}, wire.Subscription{Filter: "no", QoS: 1}, wire.Subscription{Filter: "$share/g/s", QoS: 1})
		sub.write(wire.AppendUnsubscribe(nil, v, &wire.Unsubscribe{PacketID: 5, Filters: []string{"no"}}))
		sub.next()
		c := dial(t, b, v, "device", keepSession)
		retained := wire.Publish{Topic: []byte("r"), Payload: []byte("kept"), QoS: 1, PacketID: 1, Retain: true}
		retained.Properties.Users = []wire.User{{Key: []byte("k"), Value: []byte("v")}}
		c.publish(retained)
		c.ack(wire.PUBACK, 1, wire.Success)
		_ = sub.Close()
		sub.awaitGone(b, "subscriber")
		for i, qos := range []uint8{1, 2, 1} {
			c.publish(wire.Publish{Topic: []byte("a/b"), Payload: fmt.Append(nil, i), QoS: qos, PacketID: uint16(i + 2)})
		}
		sink.awaitCount(4)
		dial(t, b, v, "clean").subscribe(wire.Subscription{Filter: "#"})
		stop(t, b)

		b = start(t, newFakeSink(t), inDir(dir))
		if s := b.Stats(); s.Sessions != 2 || s.Retained != 1 {
			t.Errorf("%d sessions and %d retained messages came back", s.Sessions, s.Retained)
		}
		sub = dial(t, b, v, "subscriber", keepSession)
		if !sub.connack.SessionPresent {
			t.Fatal("the session did not come back")
		}
		for i, qos := range []uint8{1, 2, 1} {
			p := sub.message()
			if string(p.Payload) != fmt.Sprint(i) || p.QoS != qos {
				t.Errorf("message %d came as %+v", i, p)
			}
			if qos == 1 {
				sub.sendAck(wire.PUBACK, p.PacketID)
			}
		}
		c = dial(t, b, v, "other")
		for _, topic := range []string{"no", "a/live", "s"} {
			c.publish(wire.Publish{Topic: []byte(topic), QoS: 1, PacketID: 1})
		}
		if p := sub.message(); string(p.Topic) != "a/live" {
			t.Errorf("got %q", p.Topic)
		}
		if p := sub.message(); string(p.Topic) != "s" {
			t.Errorf("got %q", p.Topic)
		}
		late := dial(t, b, v, "late")
		late.subscribe(wire.Subscription{Filter: "r", QoS: 1})
		p := late.message()
		if string(p.Payload) != "kept" || !p.Retain || v >= wire.V5 && len(p.Properties.Users) != 1 {
			t.Errorf("the retained message came back as %+v", p)
		}
	})
}

func TestTheSinkIsToldOfACleanStartAcrossARestart(t *testing.T) {
	dir := t.TempDir()
	b := start(t, newFakeSink(t), inDir(dir))
	c := dial(t, b, wire.V5, "d", keepSession)
	c.ping()
	stop(t, b) // no message came: the sink has not been told
	sink := newFakeSink(t)
	b = start(t, sink, inDir(dir))
	for range 2 {
		c = dial(t, b, wire.V5, "d", keepSession)
		if !c.connack.SessionPresent {
			t.Fatal("the session is gone")
		}
		c.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1})
		c.ack(wire.PUBACK, 1, wire.Success)
	}
	sink.set(func() {
		if got := strings.Join(sink.events, "|"); strings.Count(got, "reset") != 1 {
			t.Errorf("events %s; want one reset", got)
		}
	})
}

func TestPubrelAfterARestartAsksTheLedger(t *testing.T) {
	dir := t.TempDir()
	b := start(t, newFakeSink(t), inDir(dir))
	c := dial(t, b, wire.V5, "d", keepSession)
	c.publish(wire.Publish{Topic: []byte("a"), QoS: 2, PacketID: 9})
	c.ack(wire.PUBREC, 9, wire.Success)
	stop(t, b)
	sink := newFakeSink(t)
	b = start(t, sink, inDir(dir))
	c = dial(t, b, wire.V5, "d", keepSession)
	c.sendAck(wire.PUBREL, 9)
	c.ack(wire.PUBCOMP, 9, wire.Success)
	sink.awaitEvent("release broker:d 9")
}

// TestVictim is the process that TestARetainedMessageThatWasAcknowledgedSurvivesKill kills.
func TestVictim(t *testing.T) {
	dir := os.Getenv("BROKER_VICTIM")
	if dir == "" {
		return
	}
	b := start(t, newFakeSink(t), inDir(dir))
	if err := os.WriteFile(filepath.Join(dir, "address.new"), []byte(b.address("tcp")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "address.new"), filepath.Join(dir, "address")); err != nil {
		t.Fatal(err)
	}
	select {}
}

func TestARetainedMessageThatWasAcknowledgedSurvivesKill(t *testing.T) {
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	for round := range rounds {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run", "TestVictim")
		cmd.Env = append(os.Environ(), "BROKER_VICTIM="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var address []byte
		for deadline := time.Now().Add(patience); len(address) == 0; time.Sleep(5 * time.Millisecond) {
			address, _ = os.ReadFile(filepath.Join(dir, "address"))
			if time.Now().After(deadline) {
				t.Fatal("the victim does not start")
			}
		}
		victim := &Broker{listeners: []*listener{{transport: "tcp", Listener: fixedAddress(address)}}}
		c := dial(t, victim, wire.V5, "device")
		acked := 0
		for i := 1; i <= 50+round*37; i++ {
			c.publish(wire.Publish{Topic: fmt.Appendf(nil, "r/%d", i), Payload: fmt.Append(nil, i), QoS: 1, PacketID: uint16(i), Retain: true})
			c.ack(wire.PUBACK, uint16(i), wire.Success)
			acked = i
		}
		sub := dial(t, victim, wire.V5, "subscriber", keepSession)
		sub.subscribe(wire.Subscription{Filter: "a", QoS: 1})
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		b := start(t, newFakeSink(t), inDir(dir))
		if n := b.Stats().Retained; n != acked {
			t.Errorf("%d of %d acknowledged retained messages survived", n, acked)
		}
		sub = dial(t, b, wire.V5, "subscriber", keepSession)
		if !sub.connack.SessionPresent {
			t.Error("the session did not survive")
		}
		c = dial(t, b, wire.V5, "device")
		c.publish(wire.Publish{Topic: []byte("a"), QoS: 1, PacketID: 1})
		sub.message()
	}
}

func TestARetainedMessageIsAcknowledgedAfterItsSync(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink, inDir(t.TempDir()))
	c := dial(t, b, wire.V5, "device")
	c.ping()
	real := b.journal.file
	broken, err := os.Open(os.DevNull) // cannot be written
	if err != nil {
		t.Fatal(err)
	}
	b.journal.mu.Lock()
	b.journal.file = broken
	b.journal.mu.Unlock()
	c.publish(wire.Publish{Topic: []byte("r"), Payload: []byte("x"), QoS: 1, PacketID: 1, Retain: true})
	c.publish(wire.Publish{Topic: []byte("r"), QoS: 1, PacketID: 2})
	sink.awaitCount(2)
	c.ping() // both wait: acknowledgements keep their order
	b.journal.mu.Lock()
	b.journal.file = real
	b.journal.mu.Unlock()
	_ = broken.Close()
	c.ack(wire.PUBACK, 1, wire.Success)
	c.ack(wire.PUBACK, 2, wire.Success)
}

// A system may report the loss of written pages once, at the fsync, and take them for
// clean from then on (as Linux does): the next fsync of the file proves nothing.
func TestAfterAFailedSyncTheJournalIsWrittenAnew(t *testing.T) {
	dir := t.TempDir()
	b := start(t, newFakeSink(t), inDir(dir))
	c := dial(t, b, wire.V5, "device")
	c.ping()
	b.journal.mu.Lock()
	good := b.journal.size
	failed := make(chan struct{})
	b.journal.fsync = func(f *os.File) error {
		select {
		case <-failed:
			return f.Sync()
		default:
		}
		defer close(failed)
		info, err := f.Stat()
		if err != nil || info.Size() <= good {
			t.Errorf("the journal has %d bytes, no more than before: %v", info.Size(), err)
		}
		_, err = f.WriteAt(make([]byte, info.Size()-good), good)
		return errors.Join(errors.New("input/output error"), err)
	}
	b.journal.mu.Unlock()
	c.publish(wire.Publish{Topic: []byte("r"), Payload: []byte("x"), QoS: 1, PacketID: 1, Retain: true})
	<-failed
	c.ack(wire.PUBACK, 1, wire.Success)
	onDisk, err := os.ReadFile(filepath.Join(dir, journalName)) // as kill -9 would leave it
	if err != nil {
		t.Fatal(err)
	}
	if m := loaded(t, onDisk).keep.messages["r"]; m == nil || string(m.payload) != "x" {
		t.Error("the message was acknowledged and is not in the journal")
	}
}

func TestWhatIsFlushedWhileTheJournalIsWrittenAnewIsInTheNewFile(t *testing.T) {
	dir := t.TempDir()
	b := start(t, newFakeSink(t), inDir(dir))
	j := b.journal
	b.keep.mu.Lock() // the new file waits for what is retained
	done := make(chan error, 1)
	close(j.quit)
	<-j.ended // nobody else syncs
	go func() { done <- j.rewrite() }()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		j.mu.Lock()
		begun := j.anew
		j.mu.Unlock()
		if begun {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the journal is not written anew")
		}
	}
	j.append(retainedRecord(&message{topic: "meanwhile", payload: []byte("x")}))
	j.flush()
	b.keep.mu.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	if loaded(t, data).keep.messages["meanwhile"] == nil {
		t.Error("a record went to the old file only")
	}
	j.quit, j.ended = make(chan struct{}), make(chan struct{})
	go j.run()
}

func TestTheJournalIsWrittenAnewWhenItHasGrown(t *testing.T) {
	dir := t.TempDir()
	b := start(t, newFakeSink(t), inDir(dir))
	c := dial(t, b, wire.V5, "device")
	payload := make([]byte, 100_000)
	for i := 1; i <= 150; i++ {
		payload[0] = byte(i)
		c.publish(wire.Publish{Topic: []byte("r"), Payload: payload, QoS: 1, PacketID: uint16(i), Retain: true})
		c.ack(wire.PUBACK, uint16(i), wire.Success)
	}
	info, err := os.Stat(filepath.Join(dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > journalMin+1<<20 {
		t.Errorf("the journal of one message has %d bytes", info.Size())
	}
	stop(t, b)
	b = start(t, newFakeSink(t), inDir(dir))
	if m := b.keep.messages["r"]; m == nil || m.payload[0] != 150 {
		t.Error("the last message did not come back")
	}
}

// sample returns a journal with some of everything, and where its records end.
func sample(t testing.TB) (data []byte, ends []int) {
	b := &Broker{cfg: DefaultConfig()}
	b.keep = newRetained(b)
	m := &message{topic: "r", payload: []byte("x"), qos: 1, retain: true, props: &wire.Properties{}}
	m.props.Users = []wire.User{{Key: []byte("k"), Value: []byte("v")}}
	data = []byte(journalMagic)
	for _, r := range [][]byte{
		b.sessionRecord(&session{id: "one", version: 5, expiry: 3600, resetPending: true}),
		subscriptionRecord("one", packetsSubscription("a/#")),
		subscriptionRecord("one", packetsSubscription("b")),
		subscriptionGone("one", "b"),
		queuedRecord("one", &delivery{m: m, qos: 1, packetID: 7, ids: []uint32{1, 2}}),
		queuedRecord("one", &delivery{m: m, qos: 2}),
		retainedRecord(m),
		retainedRecord(&message{topic: "s", payload: []byte("y")}),
		retainedGone("s"),
		b.sessionRecord(&session{id: "two", version: 4, expiry: 3600}),
		sessionGone("two"),
	} {
		data = appendFrame(data, r)
		ends = append(ends, len(data))
	}
	return data, ends
}

func loaded(t testing.TB, data []byte) *Broker {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, journalName), data, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Listen, cfg.Dir = "127.0.0.1:0", dir
	b, err := New(cfg, newFakeSink(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.restore(); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAJournalCutAnywhereIsReadUpToThere(t *testing.T) {
	data, ends := sample(t)
	for cut := range len(data) + 1 {
		whole := 0
		for _, e := range ends {
			if e <= cut {
				whole++
			}
		}
		used := 0
		_, err := readJournal(data[:cut], journalMagic, func([]byte) error { used++; return nil })
		if err == nil && used != whole {
			t.Errorf("cut at %d: %d records were read, want %d", cut, used, whole)
		}
	}
	b := loaded(t, data)
	s := b.sessions["one"]
	if len(b.sessions) != 1 || s == nil || len(s.restored) != 1 || !s.resetPending || len(s.queue) != 1 || len(s.order) != 1 || len(b.keep.messages) != 1 {
		t.Errorf("the whole journal gives %+v", b.sessions)
	}
	if got := b.keep.messages["r"]; got == nil || string(got.props.Users[0].Key) != "k" {
		t.Errorf("the retained message is %+v", got)
	}
}

func TestADamagedJournalIsSetAsideAndTheRestIsRead(t *testing.T) {
	data, _ := sample(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 200 {
		bad := bytes.Clone(data)
		bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		b := loaded(t, bad) // never a panic, never a refusal to start
		if aside, _ := filepath.Glob(filepath.Join(b.cfg.Dir, journalName+".damaged-*")); len(aside) == 1 {
			copied, err := os.ReadFile(aside[0])
			if err != nil || !bytes.Equal(copied, bad) {
				t.Errorf("the copy differs: %v", err)
			}
		}
	}
	flipped := bytes.Clone(data)
	flipped[len(journalMagic)+journalFrame+3] ^= 1 // in the first record
	damaged, err := readJournal(flipped, journalMagic, func([]byte) error { return nil })
	if damaged != 1 || err != nil {
		t.Errorf("%d records are damaged, %v; want 1", damaged, err)
	}
}

func FuzzJournal(f *testing.F) {
	data, _ := sample(f)
	f.Add(data)
	f.Add([]byte(journalMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := &Broker{cfg: DefaultConfig(), sessions: map[string]*session{}}
		b.fan, b.keep = newFanout(b), newRetained(b)
		_, _ = readJournal(data, journalMagic, b.apply)
		// Checksums keep most mutations out: the records are tried without, too.
		for len(data) > 1 {
			n := min(int(data[0]), len(data)-1)
			_ = b.apply(data[1 : 1+n])
			data = data[1+n:]
		}
		b.settle()
		for _, m := range b.keep.messages {
			if err := b.apply(retainedRecord(m)); err != nil {
				t.Errorf("what was read cannot be written: %v", err)
			}
		}
		for _, s := range b.sessions {
			if err := b.apply(b.sessionRecord(s)); err != nil {
				t.Errorf("what was read cannot be written: %v", err)
			}
		}
	})
}

func packetsSubscription(filter string) packets.Subscription {
	return packets.Subscription{Filter: filter, Qos: 1, NoLocal: true, Identifier: 3}
}

// fixedAddress is where the broker of another process listens.
type fixedAddress string

func (a fixedAddress) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (a fixedAddress) Close() error              { return nil }
func (a fixedAddress) Addr() net.Addr            { return a }
func (a fixedAddress) Network() string           { return "tcp" }
func (a fixedAddress) String() string            { return string(a) }
