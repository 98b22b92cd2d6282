package pipeline

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// Promise 5 of the design: bounded memory; when it is spent the socket is not read.
func TestBackPressure(t *testing.T) {
	t.Run("BuffersStayWithinTheirBytes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			gate := make(chan struct{})
			st.onCommit(func(*seen) error { <-gate; return nil })
			const limit = 20_000
			r := start(t, st, Config{BufferBytes: limit}, envDoc)
			sent := make(chan int)
			ctx, cancel := context.WithCancel(context.Background())
			for k := range 4 {
				p := r.open(fmt.Sprint(k))
				go func() {
					n := 0
					for n < 1000 && p.Begin(ctx) == nil {
						for range 10 {
							m := env(k, n+1, 20)
							m.Token, m.PacketID, m.Size = uint64(n+1), uint16(n+1), len(m.Payload)
							n++
							if !p.Add(&m) {
								break
							}
						}
						p.End()
					}
					sent <- n
				}()
			}
			time.Sleep(time.Minute)
			held := r.Stats().BufferedBytes
			if held > limit+int64(4*200) || held < limit/2 {
				t.Errorf("%d bytes are held, the bound is %d", held, limit)
			}
			if r.Stats().Blocked != 4 {
				t.Errorf("%d sources are blocked, want 4", r.Stats().Blocked)
			}
			cancel()
			total := 0
			for range 4 {
				total += <-sent
			}
			close(gate)
			r.drain()
			if got := len(st.readings(t, "env")); got == 0 || r.source("src").Stored != uint64(total) {
				t.Errorf("%d were sent, %d are stored", total, got)
			}
			if r.budget.used.Load() != 0 {
				t.Errorf("%d bytes are never given back", r.budget.used.Load())
			}
		})
	})
	t.Run("ABeginThatWaitsHearsItsContext", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := start(t, newTap(), Config{BufferBytes: 1000}, envDoc)
			r.budget.force(1000)
			defer r.budget.give(1000)
			p := r.open("a")
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if err := p.Begin(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("begin returned %v", err)
			}
		})
	})
	t.Run("AQuietSourceIsNotStarvedByALoudOne", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newTap()
			st.onCommit(func(*seen) error { time.Sleep(10 * time.Millisecond); return nil })
			r := start(t, st, Config{BufferBytes: 4000, Lanes: 2}, pulseDoc, envDoc)
			loud, quiet := r.open("loud"), r.open("quiet")
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() {
				defer close(done)
				var token uint64
				for loud.Begin(ctx) == nil {
					for {
						token++
						m := pulse(int(token%3), 1)
						m.Token, m.PacketID = token, uint16(token)
						m.QoS = 0
						if !loud.Add(&m) {
							break
						}
					}
					loud.End()
				}
			}()
			for i := range 20 {
				began := time.Now()
				quiet.send(env(1, i+1, 20))
				quiet.wait()
				if d := time.Since(began); d > 200*time.Millisecond {
					t.Errorf("the quiet source waited %v of commits of 10 ms", d)
				}
			}
			cancel()
			<-done
		})
	})
}
