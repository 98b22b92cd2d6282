package query_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/store/storetest"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// rollupRig drives an embedded store and the model of a store through the same
// schedule. The model keeps all readings.
type rollupRig struct {
	t       *rapid.T
	ctx     context.Context
	dir     string
	s       *embedded.Store
	model   *storetest.Memory
	tables  []*telemetry.Table // versions of m
	policy  store.Policy
	elapsed time.Duration // since rollupStart, of the clock
	sent    []sentReading // may be sent again
	used    int           // answers in which rollups had a part
	asked   int
}

type sentReading struct {
	version *telemetry.Table
	series  int
	time    int64
	vals    []telemetry.Value
}

func newRollupRig(t *rapid.T, identity telemetry.Identity, policy store.Policy) *rollupRig {
	dir, err := os.MkdirTemp("", "weir-rollup-")
	if err != nil {
		t.Fatal(err)
	}
	r := &rollupRig{t: t, ctx: context.Background(), dir: dir, model: storetest.NewMemory(), policy: policy}
	for _, v := range []*telemetry.Table{diffV1, diffV2} {
		c := *v
		c.Identity, c.TimeInPayload = identity, true
		r.tables = append(r.tables, &c)
	}
	r.open()
	return r
}

func (r *rollupRig) check(err error) {
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rollupRig) now() int64 { return rollupStart + int64(r.elapsed) }

func (r *rollupRig) open() {
	var err error
	r.s, err = embedded.Open(r.ctx, embedded.Options{
		Dir: r.dir, ManualCompaction: true, CarryRows: 4, MergeFanIn: 3, RollupRows: 1, RollupFactor: 1,
		Now:   func() time.Time { return time.Unix(0, r.now()) },
		Clock: func() (time.Time, time.Duration) { return time.Unix(0, r.now()), r.elapsed },
	})
	r.check(err)
	for _, v := range r.tables {
		r.check(r.s.PutTable(r.ctx, telemetry.DefaultTenant, v, nil))
		r.check(r.model.PutTable(r.ctx, telemetry.DefaultTenant, v, nil))
	}
	r.check(r.s.SetPolicy(telemetry.DefaultTenant, "m", r.policy))
}

func (r *rollupRig) close() {
	r.check(r.s.Close())
	r.check(os.RemoveAll(r.dir))
}

// commit sends readings to both stores. Those that are too late are left out, as
// the pipeline does.
func (r *rollupRig) commit(readings []sentReading) {
	var secs, same []*telemetry.Section
	for _, v := range r.tables {
		a, b := &telemetry.Section{}, &telemetry.Section{}
		a.Reset(v)
		b.Reset(v)
		for _, m := range readings {
			if m.version != v || r.policy.Retention > 0 && m.time < r.s.RetentionTime()-int64(r.policy.Retention) {
				continue
			}
			topic, tags := []byte(fmt.Sprint("t/", m.series)), [][]byte{[]byte(fmt.Sprint("d", m.series%3)), nil}
			ref, err := r.s.Series(telemetry.DefaultTenant, v, topic, tags)
			r.check(err)
			other, err := r.model.Series(telemetry.DefaultTenant, v, topic, tags)
			r.check(err)
			a.AppendRow(ref, m.time, r.now(), m.vals)
			b.AppendRow(other, m.time, r.now(), m.vals)
		}
		secs, same = append(secs, a), append(same, b)
	}
	for st, part := range map[store.Store][]*telemetry.Section{r.s: secs, r.model: same} {
		staged, err := st.Stage(r.ctx, &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: part}}})
		r.check(err)
		r.check(staged.Commit(r.ctx))
	}
}

// send makes new readings, most of them of the last day, and repeats old ones.
func (r *rollupRig) send() {
	t := r.t
	var out []sentReading
	for range rapid.IntRange(1, 25).Draw(t, "readings") {
		if len(r.sent) > 0 && rapid.IntRange(0, 4).Draw(t, "again") == 0 {
			m := rapid.SampledFrom(r.sent).Draw(t, "sent")
			if rapid.Bool().Draw(t, "other values") {
				m.vals = drawReading(t, m.version)
			}
			out = append(out, m)
			continue
		}
		m := sentReading{version: rapid.SampledFrom(r.tables).Draw(t, "version"), series: rapid.IntRange(0, 3).Draw(t, "series")}
		back := rapid.IntRange(0, 24*60).Draw(t, "minutes")
		if rapid.IntRange(0, 5).Draw(t, "late") == 0 {
			back = rapid.IntRange(0, 8*24*60).Draw(t, "late minutes")
		}
		m.time = r.now() - int64(back)*int64(time.Minute) + int64(rapid.IntRange(0, 2).Draw(t, "seconds"))*int64(time.Second)
		m.vals = drawReading(t, m.version)
		out = append(out, m)
	}
	r.sent = append(r.sent, out...)
	r.commit(out)
}

// delete deletes the readings of one device and some hours from both stores. They
// are not sent again: after an hour they would be new.
func (r *rollupRig) delete() {
	t := r.t
	device := fmt.Sprint("d", rapid.IntRange(0, 2).Draw(t, "device"))
	from := r.now() - int64(rapid.IntRange(0, 9*24).Draw(t, "from"))*int64(time.Hour)
	to := from + int64(rapid.IntRange(1, 24).Draw(t, "hours"))*int64(time.Hour)
	text := func(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339) }
	where := fmt.Sprintf("dev = '%s' and time >= '%s' and time < '%s'", device, text(from), text(to))
	_, err := query.New(r.s, query.Options{}).Delete(r.ctx, telemetry.DefaultTenant, "m", where)
	r.check(err)
	r.model.DeleteWhere(telemetry.DefaultTenant, "m", func(info store.SeriesInfo, at int64) bool {
		return info.Tags[0].Value == device && at >= from && at < to
	})
	r.sent = slices.DeleteFunc(r.sent, func(m sentReading) bool {
		return fmt.Sprint("d", m.series%3) == device && m.time >= from && m.time < to
	})
}

func (r *rollupRig) step() {
	t := r.t
	switch rapid.IntRange(0, 10).Draw(t, "step") {
	case 10:
		if r.policy.Retention == 0 { // what is final is not deleted
			r.delete()
		}
	case 0, 1, 2:
		r.check(r.s.Compact(r.ctx))
	case 3:
		r.check(r.s.Close())
		r.open()
	case 4, 5:
		r.elapsed += time.Duration(rapid.IntRange(1, 60).Draw(t, "hours")) * time.Hour
	default:
		r.send()
	}
}

// agree compares an answer with that of the model's readings.
func (r *rollupRig) agree(sql string) {
	ask := func(st store.Store, o query.Options) ([][]query.Value, query.Stats) {
		rows, err := query.New(st, o).Query(r.ctx, telemetry.DefaultTenant, sql)
		r.check(err)
		all, err := rows.All()
		r.check(err)
		return all, rows.Stats()
	}
	got, stats := ask(r.s, query.Options{})
	want, _ := ask(r.model, query.Options{RawOnly: true})
	if d := difference(numbersAlike(got), numbersAlike(want), false); d != "" {
		r.t.Fatalf("%s\n%s\nstore  %v (rollups: %q)\nmodel  %v", sql, d, got, stats.Rollups, want)
	}
	if r.asked++; stats.Rollups != "" {
		r.used++
	}
}

func drawIdentity(t *rapid.T) telemetry.Identity {
	return rapid.SampledFrom([]telemetry.Identity{telemetry.IdentityTimeValues, telemetry.IdentityTime, telemetry.IdentityNone}).Draw(t, "identity")
}

var someRollups = []store.Rollup{{Every: time.Minute}, {Every: time.Hour}, {Every: 24 * time.Hour}}

// Late, repeated, overwritten and out-of-order readings, compactions and starts in
// any order: what rollups answer is what the readings give.
func TestRollupsOfAStoreAnswerAsReadingsDo(t *testing.T) {
	used, asked := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r := newRollupRig(t, drawIdentity(t), store.Policy{Rollups: someRollups[rapid.IntRange(0, 2).Draw(t, "widths"):]})
		defer r.close()
		for range rapid.IntRange(3, 14).Draw(t, "steps") {
			r.step()
			r.agree(drawRollupStatement(t))
		}
		used, asked = used+r.used, asked+r.asked
	})
	t.Logf("rollups had a part in %d of %d answers", used, asked)
	if used*10 < asked {
		t.Errorf("rollups had a part in %d of %d answers only", used, asked)
	}
}

// With a retention the readings go, and what rollups answer stays what all
// readings gave.
func TestRollupsAnswerWhenTheReadingsAreGone(t *testing.T) {
	used, asked, gone := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r := newRollupRig(t, drawIdentity(t), store.Policy{Retention: time.Duration(rapid.IntRange(1, 5).Draw(t, "days")) * 24 * time.Hour, Rollups: someRollups})
		defer r.close()
		for range rapid.IntRange(6, 16).Draw(t, "steps") {
			r.step()
			r.agree(drawRollupStatementToTheMinute(t))
		}
		// In the end every reading is too old, whatever was drawn.
		r.elapsed += 8 * 24 * time.Hour
		for range 2 {
			r.check(r.s.Compact(r.ctx))
			r.agree(drawRollupStatementToTheMinute(t))
		}
		used, asked, gone = used+r.used, asked+r.asked, gone+int(r.s.Stats().RetiredRows)
	})
	t.Logf("rollups had a part in %d of %d answers; %d readings were deleted", used, asked, gone)
	if used*10 < asked || gone == 0 {
		t.Errorf("rollups had a part in %d of %d answers, %d readings were deleted", used, asked, gone)
	}
}

var notToTheMinute = regexp.MustCompile(`Berlin|:0[39]`)

// drawRollupStatementToTheMinute draws a select whose buckets and bounds are whole
// minutes, in UTC: rollups of a minute answer it without the readings.
func drawRollupStatementToTheMinute(t *rapid.T) string {
	for {
		sql := drawRollupStatement(t)
		if !notToTheMinute.MatchString(sql) {
			return sql
		}
	}
}

func TestExplainSaysWhatRollupsAnswer(t *testing.T) {
	s := loadW1(t, 10, 7200, 0).(*embedded.Store)
	policy := store.Policy{Rollups: []store.Rollup{{Every: time.Minute}, {Every: time.Hour}}}
	if err := s.SetPolicy(telemetry.DefaultTenant, "env", policy); err != nil {
		t.Fatal(err)
	}
	if err := s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	explain := func(sql string) string {
		t.Helper()
		rows, err := query.New(s, query.Options{}).Query(context.Background(), telemetry.DefaultTenant, "explain "+sql)
		if err != nil {
			t.Fatal(err)
		}
		all, err := rows.All()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			if r[0].Text() == "rollups" {
				return r[1].Text()
			}
		}
		return ""
	}
	for sql, want := range map[string]string{
		"select device, bucket('1h', time), avg(temperature) from env group by 1, 2":               `^1h: \d+ rows of 1 units, in place of 1 segments$`,
		"select device, median(temperature) from env group by device":                              `^1h: `,
		"select bucket('5m', time), last(status) from env group by 1":                              `^1m: `,
		"select device, avg(temperature) from env where time >= '2025-06-15T15:30:00Z' group by 1": `^1m: `,
		"select device, avg(temperature) from env where time >= '2025-06-15T15:30:01Z' group by 1": `^$`,
		"select bucket('30s', time), avg(temperature) from env group by 1":                         `^$`,
		"select bucket('1h', time, 'Europe/Berlin'), avg(temperature) from env group by 1":         `^$`,
		"select device, avg(temperature) from env where humidity > 0 group by device":              `^$`,
		"select device, stddev(temperature) from env group by device":                              `^$`,
		"select device, avg(temperature + 1) from env group by device":                             `^$`,
		"select count(distinct status) from env":                                                   `^$`,
	} {
		if got := explain(sql); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s: %q, want %s", sql, got, want)
		}
	}
}
