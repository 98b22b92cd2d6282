package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// readySchema is a table whose readings hardly shrink.
const readySchema = `name: notes
version: 1
topic: notes/{device}
format: json
time: {at: /ts, as: unix_ms}
payload:
  type: object
  required: [ts, text]
  properties:
    ts:   {type: integer}
    text: {type: string}
`

// readyText is the length of a reading's text: 6 bits of noise a byte.
const readyText = 1365

// Ready fills a data directory with readings of a kilobyte until it holds size
// bytes, starts a node on it, kills it with SIGKILL while it takes W1 messages, and
// measures how long it takes from the next start until /readyz says so.
func Ready(ctx context.Context, o Options, size int64, runs int) error {
	o.Workload, o.QoS = "w1", 1
	if err := o.defaults(); err != nil {
		return err
	}
	dir, remove, err := o.tempDir()
	if err != nil {
		return err
	}
	defer remove()
	w := NewW1(1000, o.Seed)
	n, err := o.newNode(dir, w)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "schemas", "notes.yaml"), []byte(readySchema), 0o644); err != nil {
		return err
	}
	began := time.Now()
	rows, err := fill(ctx, n.dir, size, o.Series, o.Seed)
	if err != nil {
		return fmt.Errorf("fill the store: %w", err)
	}
	fmt.Fprintf(o.Out, "%d readings of %d series, %.1f GB in data_dir, made in %s\n\n", rows, o.Series,
		float64(diskUse(n.dir))/1e9, time.Since(began).Round(time.Second))
	var times []time.Duration
	for range runs {
		if err := n.killed(ctx, &o, w); err != nil {
			return err
		}
		if err := n.start(&o, "", nil, "127.0.0.1:0"); err != nil {
			return err
		}
		took, err := n.untilReady(ctx)
		if err != nil {
			return err
		}
		times = append(times, took)
		u, err := n.proc.usage()
		if err = errors.Join(err, n.proc.stop()); err != nil {
			return err
		}
		fmt.Fprintf(o.Out, "ready after kill -9 in %s, with %.0f MB resident\n", took.Round(time.Millisecond), float64(u.peakResident)/1e6)
	}
	slices.Sort(times)
	fmt.Fprintf(o.Out, "\nmedian of %d: %s\n", runs, times[len(times)/2].Round(time.Millisecond))
	return nil
}

// fill writes readings of random text into a store, as quickly as it takes them.
func fill(ctx context.Context, dir string, size int64, series int, seed uint64) (rows int64, err error) {
	plan, problems := schema.Compile("notes.yaml", []byte(readySchema))
	if len(problems) > 0 {
		return 0, fmt.Errorf("compile the schema: %v", problems)
	}
	s, err := embedded.Open(ctx, embedded.Options{Dir: dir})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	table := plan.Table()
	if err := s.PutTable(ctx, telemetry.DefaultTenant, table, []byte(readySchema)); err != nil {
		return 0, err
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"
	rng := rand.New(rand.NewPCG(seed, 0))
	var sec telemetry.Section
	const batch = 16384
	text, values := make([]byte, readyText), make([]telemetry.Value, len(table.Columns))
	for i := range values {
		values[i].Null = true
	}
	values[table.ColumnIndex("text")] = telemetry.Value{Text: text}
	for at := int64(baseTime) * 1e6; ; {
		sec.Reset(table)
		for range batch {
			for i := 0; i < len(text); {
				for bits, n := rng.Uint64(), 0; n < 10 && i < len(text); n, i = n+1, i+1 {
					text[i] = letters[bits&63]
					bits >>= 6
				}
			}
			device := fmt.Appendf(nil, "n%07d", rows%int64(series))
			ref, err := s.Series(telemetry.DefaultTenant, table, append([]byte("notes/"), device...), [][]byte{device})
			if err != nil {
				return rows, err
			}
			at += 1e6
			sec.AppendRow(ref, at, at, values)
			rows++
		}
		st, err := s.Stage(ctx, &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{&sec}}}})
		if err != nil {
			return rows, err
		}
		if err := st.Commit(ctx); err != nil {
			return rows, err
		}
		if stats := s.Stats(); stats.SegmentSize+stats.Level0Bytes >= size {
			return rows, nil
		}
	}
}

// killed runs the node, feeds it for two seconds and kills it.
func (n *benchNode) killed(ctx context.Context, o *Options, w Workload) error {
	feed := *o
	feed.Series, feed.Duration, feed.Count = 1000, 2*time.Second, 0
	_, proc, err := feed.feed(ctx, "", n.dir, func(url string) (*process, error) {
		err := n.start(&feed, url, w.Filters(), "")
		return n.proc, err
	}, nil)
	if err != nil {
		return err
	}
	_ = proc.cmd.Process.Kill()
	<-proc.done
	return nil
}

// untilReady asks /readyz until it agrees.
func (n *benchNode) untilReady(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	client := &http.Client{Timeout: time.Second}
	for time.Since(began) < time.Minute {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.http+"/readyz", nil)
		if err != nil {
			return 0, err
		}
		if resp, err := client.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return time.Since(began), nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-n.proc.done:
			return 0, fmt.Errorf("the node ended: %s", n.proc.stderr.buf)
		case <-time.After(2 * time.Millisecond):
		}
	}
	return 0, errors.New("the node was not ready within a minute")
}
