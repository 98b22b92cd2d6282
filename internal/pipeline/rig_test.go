package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/storetest"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The documents that the tests check by.
const (
	// envDoc has its time in the payload: the store knows a redelivery.
	envDoc = `
name: env
version: 1
topic: env/{device}
format: json
time: {at: /ts, as: unix_ms}
payload:
  type: object
  required: [ts, temperature]
  properties:
    ts: {type: integer}
    temperature: {type: number, minimum: -40, maximum: 125}
    status: {type: string}
`
	// envLooseDoc is envDoc with higher bounds.
	envLooseDoc = `
name: env
version: 2
topic: env/{device}
format: json
time: {at: /ts, as: unix_ms}
payload:
  type: object
  required: [ts, temperature]
  properties:
    ts: {type: integer}
    temperature: {type: number, minimum: -400, maximum: 1250}
    status: {type: string}
`
	// pulseDoc has no time: only the ledger knows a redelivery.
	pulseDoc = `
name: pulse
version: 1
topic: pulse/{meter}
format: value
payload: {type: number}
`
	// manyDoc gives several readings a message.
	manyDoc = `
name: many
version: 1
topic: many/{gateway}
format: json
rows: /readings/*
time: {at: /readings/*/ts, as: unix_ms}
payload:
  type: object
  required: [readings]
  properties:
    readings:
      type: array
      items:
        type: object
        required: [ts, v]
        properties:
          ts: {type: integer}
          v: {type: number}
`
	// taggedDoc has a tag in the payload.
	taggedDoc = `
name: tagged
version: 1
topic: tagged/{gateway}
format: json
time: {at: /ts, as: unix_ms}
tags: {sensor: /sensor}
payload:
  type: object
  required: [ts, v]
  properties:
    ts: {type: integer}
    v: {type: number}
    sensor: {type: string}
`
	neverDoc = `
name: cmd
version: 1
topic: cmd/{device}
format: value
retained: never
on_invalid: drop
payload: {type: number}
`
	latestDoc = `
name: state
version: 1
topic: state/{device}
format: value
expect_every: 60s
payload: {type: number}
`
)

func plansOf(t testing.TB, docs ...string) *schema.Set {
	t.Helper()
	var plans []*schema.Plan
	for i, d := range docs {
		p, problems := schema.Compile(fmt.Sprintf("doc%d.yaml", i), []byte(d))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		plans = append(plans, p)
	}
	set, problems := schema.NewSet(plans)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

// tap is a store whose Stage and Commit a test may watch and break.
type tap struct {
	*storetest.Memory
	mu      sync.Mutex
	stage   func(c *telemetry.Commit) error
	commit  func(c *seen) error
	commits []*seen // that became durable
	staging int
	damage  error // what a listing of the quarantine ends with
}

// seen is what a test remembers of a commit.
type seen struct {
	start      time.Time
	rows       int
	values     []float64 // the first float column
	quarantine []telemetry.Quarantined
	ledger     []telemetry.LedgerOp
	resolved   []int64
}

func newTap() *tap { return &tap{Memory: storetest.NewMemory()} }

type tapped struct {
	store.Staged
	t *tap
	s *seen
}

func (s *tap) Stage(ctx context.Context, c *telemetry.Commit) (store.Staged, error) {
	s.mu.Lock()
	hook := s.stage
	s.staging++
	s.mu.Unlock()
	if hook != nil {
		if err := hook(c); err != nil {
			return nil, err
		}
	}
	staged, err := s.Memory.Stage(ctx, c)
	if err != nil {
		return nil, err
	}
	return &tapped{staged, s, look(c)}, nil
}

func look(c *telemetry.Commit) *seen {
	out := &seen{start: time.Now(), ledger: slices.Clone(c.Ledger)}
	for _, b := range c.Batches {
		out.quarantine = append(out.quarantine, b.Quarantine...)
		out.resolved = append(out.resolved, b.Resolved...)
		for _, s := range b.Sections {
			out.rows += s.Rows()
			for i := range s.Columns {
				if s.Columns[i].Type == telemetry.Float {
					for _, v := range s.Columns[i].Bits {
						out.values = append(out.values, math.Float64frombits(v))
					}
					break
				}
			}
		}
	}
	return out
}

func (s *tapped) Commit(ctx context.Context) error {
	s.t.mu.Lock()
	hook := s.t.commit
	s.t.mu.Unlock()
	if hook != nil {
		if err := hook(s.s); err != nil {
			return err
		}
	}
	if err := s.Staged.Commit(ctx); err != nil {
		return err
	}
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.t.commits = append(s.t.commits, s.s)
	return nil
}

func (s *tap) durable() []*seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commits)
}

func (s *tap) onCommit(f func(*seen) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commit = f
}

func (s *tap) onStage(f func(*telemetry.Commit) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stage = f
}

// rig is a running pipeline.
type rig struct {
	*Pipeline
	t    testing.TB
	st   *tap
	ran  chan error
	over bool
}

func start(t testing.TB, st *tap, cfg Config, docs ...string) *rig {
	t.Helper()
	if cfg.Lanes == 0 {
		cfg.Lanes = 2
	}
	log := slog.New(slog.DiscardHandler)
	r := &rig{Pipeline: New(cfg, st, log), t: t, st: st, ran: make(chan error, 1)}
	r.use(docs...)
	go func() { r.ran <- r.Run(context.Background()) }()
	t.Cleanup(r.drain)
	return r
}

// use sets the schemas.
func (r *rig) use(docs ...string) {
	r.t.Helper()
	set := plansOf(r.t, docs...)
	for _, p := range set.Plans() {
		if err := r.st.PutTable(context.Background(), telemetry.DefaultTenant, p.Table(), p.Document()); err != nil {
			r.t.Fatal(err)
		}
	}
	r.SetSchemas(set)
}

// drain ends the pipeline softly.
func (r *rig) drain() {
	if r.over {
		return
	}
	r.over = true
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		r.t.Error(err)
	}
	if err := <-r.ran; err != nil {
		r.t.Error(err)
	}
	r.balanced()
}

// crash ends the pipeline as a power cut does: what is not durable is gone.
func (r *rig) crash() {
	r.over = true
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = r.Close(ctx)
	<-r.ran
	r.st.Reopen()
}

// balanced checks that every message is in exactly one counter.
func (r *rig) balanced() {
	r.t.Helper()
	for _, s := range r.Stats().Sources {
		if s.Balance() != 0 || s.ReadingsBalance() != 0 {
			r.t.Errorf("the counters do not add up: %+v", s)
		}
	}
}

// source returns the counters of a source.
func (r *rig) source(name string) SourceStats {
	for _, s := range r.Stats().Sources {
		if s.Source == name {
			return s
		}
	}
	return SourceStats{}
}

// peer is a session with a memory of its acknowledgements.
type peer struct {
	telemetry.Session
	r     *rig
	token uint64
	acked *acks
}

// acks receives acknowledgements.
type acks struct {
	mu   sync.Mutex
	all  []uint64
	news chan struct{} // capacity 1
}

func (a *acks) Ack(upTo uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, upTo)
	signal(a.news)
}

func (a *acks) upTo() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.all) == 0 {
		return 0
	}
	return a.all[len(a.all)-1]
}

func (r *rig) open(key string) *peer {
	r.t.Helper()
	a := &acks{news: make(chan struct{}, 1)}
	s, err := r.OpenSession(context.Background(), "src", key, a)
	if err != nil {
		r.t.Fatal(err)
	}
	return &peer{Session: s, r: r, acked: a}
}

// begin opens a burst.
func (p *peer) begin() {
	p.r.t.Helper()
	if err := p.Begin(context.Background()); err != nil {
		p.r.t.Fatal(err)
	}
}

// send adds messages in one burst; it fills in token, id and time of receipt.
func (p *peer) send(ms ...telemetry.Message) uint64 {
	p.r.t.Helper()
	p.begin()
	for _, m := range ms {
		p.add(m)
	}
	p.End()
	return p.token
}

func (p *peer) add(m telemetry.Message) {
	if m.QoS > 0 {
		p.token++
		m.Token = p.token
		if m.PacketID == 0 {
			m.PacketID = uint16((p.token-1)%65535 + 1)
		}
	}
	if m.Received == 0 {
		m.Received = time.Now().UnixNano()
	}
	if m.Size == 0 {
		m.Size = len(m.Payload)
	}
	if !p.Add(&m) {
		p.End()
		p.begin()
	}
}

// wait returns once everything sent is acknowledged.
func (p *peer) wait() {
	p.r.t.Helper()
	for p.acked.upTo() < p.token {
		select {
		case <-p.acked.news:
		case <-time.After(time.Minute):
			p.r.t.Fatalf("acknowledged up to %d of %d: %v", p.acked.upTo(), p.token, p.r.Health())
		}
	}
}

func msg(topic, payload string) telemetry.Message {
	return telemetry.Message{Topic: []byte(topic), Payload: []byte(payload), QoS: 1}
}

// env is a message of envDoc.
func env(device, ms int, temperature float64) telemetry.Message {
	return msg(fmt.Sprintf("env/d%d", device), fmt.Sprintf(`{"ts":%d,"temperature":%g,"status":"ok"}`, ms, temperature))
}

func pulse(meter int, v float64) telemetry.Message {
	return msg(fmt.Sprintf("pulse/m%d", meter), fmt.Sprint(v))
}

// readings lists what a table holds, as "topic time values" in order.
func (s *tap) readings(t testing.TB, table string) []string {
	t.Helper()
	scan, err := s.Scan(context.Background(), store.ScanRequest{
		Tenant: telemetry.DefaultTenant, Table: table, From: math.MinInt64, To: math.MaxInt64,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer scan.Close()
	var names []string
	for _, c := range scan.Columns() {
		names = append(names, c.Name)
	}
	var out []string
	for _, u := range scan.Units() {
		var sec telemetry.Section
		if _, err := u.Read(&sec, names, true); err != nil {
			t.Fatal(err)
		}
		for i := range sec.Series {
			info := scan.Series(sec.Series[i])
			var b strings.Builder
			fmt.Fprintf(&b, "%s", info.Topic)
			for _, tag := range info.Tags {
				fmt.Fprintf(&b, " %s", tag.Value)
			}
			fmt.Fprintf(&b, " %d", sec.Time[i]/1e6)
			for c := range sec.Columns {
				v := &sec.Columns[c]
				switch {
				case v.Nulls.Get(i):
					b.WriteString(" null")
				case v.Type.Textual():
					fmt.Fprintf(&b, " %s", v.Text(i))
				case v.Type == telemetry.Float:
					fmt.Fprintf(&b, " %g", v.Float(i))
				default:
					fmt.Fprintf(&b, " %d", int64(v.Bits[i]))
				}
			}
			out = append(out, b.String())
		}
	}
	slices.Sort(out)
	return out
}

// quarantined lists the records, newest first.
func (s *tap) quarantined(t testing.TB) []telemetry.Quarantined {
	t.Helper()
	var out []telemetry.Quarantined
	err := s.Quarantined(context.Background(), telemetry.DefaultTenant, store.QuarantineFilter{}, func(q *telemetry.Quarantined) bool {
		out = append(out, *q)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
