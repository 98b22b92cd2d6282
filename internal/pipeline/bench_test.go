package pipeline

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// sink is a store that keeps nothing.
type sink struct {
	store.Store
	series atomic.Uint32
	rows   atomic.Int64
}

func (s *sink) Series(telemetry.Tenant, *telemetry.Table, []byte, [][]byte) (telemetry.SeriesRef, error) {
	return telemetry.SeriesRef(s.series.Add(1) - 1), nil
}

func (s *sink) OpenSession(context.Context, string) (telemetry.SessionID, []telemetry.LedgerEntry, error) {
	return 1, nil, nil
}

func (s *sink) Stage(_ context.Context, c *telemetry.Commit) (store.Staged, error) {
	for _, b := range c.Batches {
		for _, sec := range b.Sections {
			s.rows.Add(int64(sec.Rows()))
		}
	}
	return sunk{}, nil
}

func (s *sink) Health() error { return nil }

type sunk struct{}

func (sunk) Commit(context.Context) error { return nil }
func (sunk) Abort()                       {}

type noAcks struct{}

func (noAcks) Ack(uint64) {}

// w1Doc is the schema of the workload W1.
const w1Doc = `name: env
version: 1
topic: plants/{plant}/lines/{line}/devices/{device}/env
format: json
time: {at: /ts, as: unix_ms}
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

var w1Payload = []byte(`{"ts":1750000000123,"temperature":21.53,"humidity":48.21,"pressure":1013.25,"battery":3.71,"status":"ok"}`)

// setDevice writes the digits of a device into a topic of deviceTopic.
func setDevice(topic []byte, i int) {
	for d := len(topic) - len("/env") - 1; d >= len(topic)-len("000000/env"); d-- {
		topic[d] = byte('0' + i%10)
		i /= 10
	}
}

func benchPipeline(b *testing.B, lanes int) *Pipeline {
	b.Helper()
	p := New(Config{Lanes: lanes}, &sink{}, nil)
	p.SetSchemas(plansOf(b, w1Doc, pulseDoc))
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(context.Background()) }()
	b.Cleanup(func() { _ = p.Close(context.Background()); <-done })
	return p
}

// feed adds n messages, in bursts of 300 as a socket of 64 KB gives them.
func feed(b *testing.B, s telemetry.Session, n int, next func() int) {
	m := telemetry.Message{Topic: deviceTopic(nil, 0), Payload: w1Payload, Size: len(w1Payload), QoS: 1, Received: 1}
	for n > 0 {
		if err := s.Begin(context.Background()); err != nil {
			b.Fatal(err)
		}
		for range min(n, 300) {
			setDevice(m.Topic, next())
			m.Token++
			m.PacketID = uint16(m.Token)
			n--
			if !s.Add(&m) {
				break
			}
		}
		s.End()
	}
}

// BenchmarkAdd is the whole cost of a message of W1 up to the store, with the
// check of its payload; BenchmarkCheck is that part.
func BenchmarkAdd(b *testing.B) {
	for _, order := range []string{"inturn", "random"} {
		for _, topics := range []int{1000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/topics=%d", order, topics), func(b *testing.B) {
				p := benchPipeline(b, 1)
				s, err := p.OpenSession(context.Background(), "bench", "a", noAcks{})
				if err != nil {
					b.Fatal(err)
				}
				i := 0
				next := func() int {
					if i++; i >= topics {
						i = 0
					}
					return i
				}
				feed(b, s, topics, next)
				if order == "random" {
					r := rand.New(rand.NewPCG(1, 2))
					next = func() int { return r.IntN(topics) }
				}
				b.ReportAllocs()
				b.ResetTimer()
				defer cpuTimer(b)()
				feed(b, s, b.N, next)
				b.ReportMetric(float64(p.Stats().TopicCacheBytes)/float64(topics), "cacheB/topic")
			})
		}
	}
}

// BenchmarkPath is BenchmarkAdd without the check: all that the pipeline itself does.
func BenchmarkPath(b *testing.B) {
	for _, order := range []string{"inturn", "random"} {
		for _, topics := range []int{1000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/topics=%d", order, topics), func(b *testing.B) {
				p := benchPipeline(b, 1)
				sess, err := p.OpenSession(context.Background(), "bench", "a", noAcks{})
				if err != nil {
					b.Fatal(err)
				}
				s := sess.(*session)
				i := 0
				next := func() int {
					if i++; i >= topics {
						i = 0
					}
					return i
				}
				feed(b, s, topics, next)
				if order == "random" {
					r := rand.New(rand.NewPCG(1, 2))
					next = func() int { return r.IntN(topics) }
				}
				l := s.lane
				_, rows, fail := schema.NewChecker().Check(l.routes[0].Route, w1Payload)
				if fail != nil {
					b.Fatal(fail.Detail())
				}
				m := telemetry.Message{Topic: deviceTopic(nil, 0), Payload: w1Payload, Size: len(w1Payload), QoS: 1, Received: 1}
				b.ReportAllocs()
				b.ResetTimer()
				defer cpuTimer(b)()
				for n := b.N; n > 0; {
					if err := s.Begin(context.Background()); err != nil {
						b.Fatal(err)
					}
					for range min(n, 300) {
						setDevice(m.Topic, next())
						n--
						m.Token++
						m.PacketID = uint16(m.Token)
						s.addChecked(&m, rows)
						if l.room <= 0 {
							break
						}
					}
					s.End()
				}
			})
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	r := plansOf(b, w1Doc).Route(deviceTopic(nil, 1))
	c := schema.NewChecker()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, fail := c.Check(r, w1Payload); fail != nil {
			b.Fatal(fail.Detail())
		}
	}
}

// BenchmarkLanes adds from several sessions at once.
func BenchmarkLanes(b *testing.B) {
	for _, lanes := range []int{1, 2} {
		b.Run(fmt.Sprintf("lanes=%d", lanes), func(b *testing.B) {
			p := benchPipeline(b, lanes)
			var n atomic.Int64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				k := int(n.Add(1))
				s, err := p.OpenSession(context.Background(), "bench", fmt.Sprint(k), noAcks{})
				if err != nil {
					b.Error(err)
					return
				}
				i := 0
				for more := true; more; {
					count := 0
					for more = pb.Next(); more && count < 300; more = pb.Next() {
						count++
					}
					feed(b, s, count+1, func() int { i = (i + 1) % 1000; return k*1000 + i })
				}
			})
		})
	}
}

// BenchmarkLedger adds messages that only the ledger can tell apart.
func BenchmarkLedger(b *testing.B) {
	p := benchPipeline(b, 1)
	s, err := p.OpenSession(context.Background(), "bench", "a", noAcks{})
	if err != nil {
		b.Fatal(err)
	}
	m := telemetry.Message{Topic: []byte("pulse/m1"), Payload: []byte("21.53"), Size: 5, QoS: 1, Received: 1}
	b.ReportAllocs()
	b.ResetTimer()
	defer cpuTimer(b)()
	for n := b.N; n > 0; {
		if err := s.Begin(context.Background()); err != nil {
			b.Fatal(err)
		}
		for range min(n, 300) {
			m.Token++
			m.PacketID = uint16(m.Token)
			n--
			if !s.Add(&m) {
				break
			}
		}
		s.End()
		if m.Token%30_000 < 300 {
			s.Confirm(m.Token - 1000)
		}
	}
}

// addChecked is Add for a message whose payload was checked before.
func (s *session) addChecked(m *telemetry.Message, rows []schema.Row) {
	l := s.lane
	l.added++
	s.sum.received++
	s.token, s.hasToken = m.Token, true
	at, e, ok := l.topics.find(&s.cursor, m.Topic, 0)
	if !ok {
		at, e = l.resolve(&s.cursor, m.Topic)
	}
	r := l.routes[e.route()-firstRoute]
	ref, err := l.series(s, r, r.plans[0], at, e.series(), m.Topic, &rows[0])
	if err != nil {
		panic(err)
	}
	l.refs = append(l.refs[:0], ref)
	s.append(m, r.plans[0], rows)
}

// TestAddDoesNotAllocate holds the promise of the package comment, with every
// memory in use already grown.
func TestAddDoesNotAllocate(t *testing.T) {
	p := New(Config{Lanes: 1, BufferBytes: 1 << 30, CommitInterval: time.Hour}, &sink{}, nil)
	p.SetSchemas(plansOf(t, w1Doc, pulseDoc))
	s, err := p.OpenSession(context.Background(), "bench", "a", noAcks{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Begin(context.Background()); err != nil {
		t.Fatal(err)
	}
	m := telemetry.Message{Topic: deviceTopic(nil, 0), Payload: w1Payload, Size: len(w1Payload), QoS: 1, Received: 1}
	add := func() {
		for i := range 1000 {
			setDevice(m.Topic, i)
			m.Token++
			m.PacketID = uint16(m.Token)
			s.Add(&m)
		}
	}
	add()
	// Only the columns grow, and they by doubling: well under one allocation in
	// a thousand messages.
	if n := testing.AllocsPerRun(100, add); n > 20 {
		t.Errorf("%v allocations for 1000 messages", n)
	}
	s.End()
}
