package pipeline

import (
	"context"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// loadJob is one commit of readings that are columns already.
type loadJob struct {
	commit telemetry.Commit
	trial  bool // it is staged and given up
	err    error
	done   chan struct{}
}

// Load stores readings that need no schema, as an import has them, with ledger
// operations in the same step, and fills Section.Duplicates. It returns when they
// are durable. A refusal is returned: the caller finds what is refused with Try.
// The memory belongs to the pipeline until Load returns nil or a refusal.
func (p *Pipeline) Load(ctx context.Context, sections []*telemetry.Section, ledger []telemetry.LedgerOp) error {
	return p.load(ctx, &loadJob{}, sections, ledger)
}

// Try says whether the store would take the sections. Nothing becomes durable.
func (p *Pipeline) Try(ctx context.Context, sections []*telemetry.Section) error {
	return p.load(ctx, &loadJob{trial: true}, sections, nil)
}

func (p *Pipeline) load(ctx context.Context, j *loadJob, sections []*telemetry.Section, ledger []telemetry.LedgerOp) error {
	j.done = make(chan struct{})
	j.commit.Batches = []*telemetry.Batch{{Tenant: p.cfg.Tenant, Sections: sections}}
	j.commit.Ledger = ledger
	select {
	case p.loads <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.stopped:
		return errStopped
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start wraps the job for the commit loop.
func (j *loadJob) start(p *Pipeline) *commit {
	c := &commit{load: j, since: p.now()}
	c.tenant = *j.commit.Batches[0]
	c.whole.Ledger = j.commit.Ledger
	for _, s := range c.tenant.Sections {
		c.rows += s.Rows()
		c.bytes += int64(s.SizeBytes())
	}
	return c
}

func (j *loadJob) finish(err error) {
	j.err = err
	close(j.done)
}

// again stores a load alone, after its commit or the one before it failed: then
// it is known whether the store refuses it. The error is that of a hard end.
func (s *surgery) again(j *loadJob) error {
	store := s.store
	if j.trial {
		store = s.try
	}
	err := store(&s.c.whole)
	if isHard(err) {
		return err
	}
	s.c.staged = nil
	j.finish(err)
	return nil
}
