package pipeline

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// ReplayResult says what a replay did.
type ReplayResult struct {
	Seen       int // quarantine records that the filter selects
	Stored     int // of those: valid now, stored, and gone from the quarantine
	Readings   int // that were stored
	Duplicates int // readings that the store had already
	Stay       int // records that are not valid yet, or that the store refuses
}

// Each commit of a replay takes so much at most.
const (
	replayRecords = 500
	replayBytes   = 4 << 20
)

// replayJob is one commit of a replay on its way through the commit loop.
type replayJob struct {
	p     *Pipeline
	batch *batch
	stay  int // records that the store refused
	err   error
	done  chan struct{}
	state atomic.Int32 // 0, or jobDone, or jobOrphan
}

const (
	jobDone   = 1
	jobOrphan = 2 // nobody waits; finish ends the replay
)

// Replay takes the quarantine records that the filter selects, and stores those
// that are valid under the current schemas. The readings and the removal of the
// record are one commit, so each record is stored exactly once, however often
// and wherever replays are interrupted. One replay runs at a time.
//
// A record whose payload was truncated stays. Its time of receipt is that of the
// record. Filter.Limit bounds the records that are looked at.
func (p *Pipeline) Replay(ctx context.Context, f store.QuarantineFilter) (ReplayResult, error) {
	var out ReplayResult
	if isClosed(p.stopped) {
		return out, errStopped
	}
	select {
	case p.replaying <- struct{}{}:
	case <-ctx.Done():
		return out, ctx.Err()
	case <-p.stopped:
		return out, errStopped
	}
	orphan := false
	defer func() {
		if !orphan {
			<-p.replaying
		}
	}()
	state := p.schemas.Load()
	if state == nil {
		return out, errNoSchemas
	}
	r := &replayer{p: p, state: state, checker: schema.NewChecker(), routes: map[*schema.Route]*route{}}
	left := f.Limit
	var damage error
	for {
		f.Limit = replayRecords
		if left > 0 {
			f.Limit = min(left, replayRecords)
		}
		page, err := p.page(ctx, f)
		if telemetry.CodeOf(err) == telemetry.CodeDamaged {
			// What can be read is tried all the same, and the damage told at the end.
			damage, err = err, nil
		}
		if err != nil {
			return out, err
		}
		if len(page) == 0 {
			return out, damage
		}
		f.BeforeID = page[len(page)-1].ID
		job := r.job(page)
		if len(job.batch.resolved) > 0 {
			if orphan, err = p.submit(ctx, job); err != nil {
				return out, err
			}
			for _, bu := range job.batch.active {
				dups := len(bu.section.Duplicates)
				out.Duplicates += dups
				out.Readings += bu.section.Rows() - dups - len(bu.refused)
			}
		}
		stored := len(job.batch.resolved) - job.stay
		out.Seen += len(page)
		out.Stored += stored
		out.Stay += len(page) - stored
		p.commits.replay(stored)
		if left > 0 {
			if left -= len(page); left <= 0 {
				return out, damage
			}
		}
	}
}

// page reads the next records, newest first, and copies them.
func (p *Pipeline) page(ctx context.Context, f store.QuarantineFilter) ([]telemetry.Quarantined, error) {
	var page []telemetry.Quarantined
	size := 0
	err := p.store.Quarantined(ctx, p.cfg.Tenant, f, func(q *telemetry.Quarantined) bool {
		c := *q
		c.Payload, c.Topic, c.Source = bytes.Clone(q.Payload), strings.Clone(q.Topic), strings.Clone(q.Source)
		page = append(page, c)
		size += len(c.Payload) + quarantineBytes
		return size < replayBytes
	})
	return page, err
}

// submit passes a job through the commit loop. orphan says that the job goes on
// without the caller.
func (p *Pipeline) submit(ctx context.Context, job *replayJob) (orphan bool, err error) {
	select {
	case p.jobs <- job:
	case <-ctx.Done():
		return false, ctx.Err()
	case <-p.stopped:
		return false, errStopped
	}
	select {
	case <-job.done:
		return false, job.err
	case <-ctx.Done():
		if job.state.CompareAndSwap(0, jobOrphan) {
			return true, ctx.Err()
		}
		<-job.done
		return false, job.err
	}
}

// finish ends the job: its commit is durable, or err says why not.
func (j *replayJob) finish(err error) {
	j.err = err
	if !j.state.CompareAndSwap(0, jobDone) {
		<-j.p.replaying // on behalf of who has gone
		return
	}
	close(j.done)
}

// refused notes that the store refuses the readings of a record, which stays.
func (j *replayJob) refused(f fragment, err error) {
	j.stay++
	for i := range f.n {
		f.builder.refused = append(f.builder.refused, f.first+i)
	}
	j.p.log.Warn("the store refuses a quarantined message; it stays", "id", f.resolved, "error", err)
}

// commit wraps the job for the commit loop.
func (j *replayJob) commit() *commit {
	return &commit{batches: []*batch{j.batch}, replay: j}
}

// replayer checks quarantined messages again.
type replayer struct {
	p       *Pipeline
	state   *schemas
	checker *schema.Checker
	routes  map[*schema.Route]*route
	tags    [][]byte
	ages    int64 // the time from which ages count
}

// job gathers what is valid of a page, oldest first.
func (r *replayer) job(page []telemetry.Quarantined) *replayJob {
	b := &batch{}
	b.adopt(r.state)
	b.since = r.p.now()
	r.ages = r.p.ages(r.state)
	for _, q := range slices.Backward(page) {
		r.add(b, &q)
	}
	return &replayJob{p: r.p, batch: b, done: make(chan struct{})}
}

// add appends the readings of one record, if it is valid.
func (r *replayer) add(b *batch, q *telemetry.Quarantined) {
	if q.Reason == telemetry.ReasonRefused && bytes.HasPrefix(q.Payload, refusedPrefix) {
		p, row, tags, err := readRefused(q.Payload, r.state.plans)
		if err != nil {
			return
		}
		ref, err := r.p.store.Series(r.p.cfg.Tenant, p.table, []byte(q.Topic), tags)
		if _, late := p.tooLate([]schema.Row{row}, r.ages); err != nil || late {
			return
		}
		r.append(b, q, p, []schema.Row{row}, []telemetry.SeriesRef{ref})
		return
	}
	if q.Size > len(q.Payload) || !validTopic([]byte(q.Topic)) {
		return
	}
	topic := []byte(q.Topic)
	sr := r.state.set.Route(topic)
	if sr == nil || len(sr.Plans) == 0 {
		return
	}
	if r.routes[sr] == nil {
		r.routes[sr] = r.state.newRoute(sr)
	}
	sp, rows, fail := r.checker.Check(sr, q.Payload)
	if fail != nil {
		return
	}
	p := r.routes[sr].plan(sp)
	if _, late := p.tooLate(rows, r.ages); late {
		return
	}
	var refs []telemetry.SeriesRef
	for i := range rows {
		r.tags, _ = p.Captures(topic, r.tags[:0])
		for t := range rows[i].Tags {
			r.tags = append(r.tags, tagBytes(&rows[i].Tags[t]))
		}
		ref, err := r.p.store.Series(r.p.cfg.Tenant, p.table, topic, r.tags)
		if err != nil {
			return
		}
		refs = append(refs, ref)
	}
	r.append(b, q, p, rows, refs)
}

func (r *replayer) append(b *batch, q *telemetry.Quarantined, p *plan, rows []schema.Row, refs []telemetry.SeriesRef) {
	if len(rows) == 0 {
		b.resolved = append(b.resolved, resolvedBy{id: q.ID})
		return
	}
	bu := b.builder(p)
	first := int32(bu.n)
	if len(rows) > 1 {
		bu.spans = append(bu.spans, span{first, int32(len(rows))})
	}
	for i := range rows {
		time := rows[i].Time
		if !rows[i].HasTime {
			time = q.Received
		}
		bu.add(refs[i], time, q.Received, rows[i].Values)
	}
	b.resolved = append(b.resolved, resolvedBy{q.ID, bu, first})
}
