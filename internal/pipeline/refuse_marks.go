package pipeline

import (
	"slices"
	"strconv"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// marked is what sources with marks have in one batch. A mark says of many rows at
// once that they are stored, and only its source knows of which: so all of it is
// one transaction.
type marked struct {
	batch     *batch
	fragments []fragment
	ledger    []telemetry.LedgerOp
}

// split divides the fragments of a batch into those of sources with marks, and the
// others.
func (b *batch) split(all []fragment) (m marked, others []fragment) {
	m.batch = b
	if len(b.marks) == 0 {
		return m, all
	}
	for _, op := range b.marks {
		m.ledger = append(m.ledger, b.ledger[op])
	}
	for _, f := range all {
		if slices.ContainsFunc(b.markers, func(c *sourceCounters) bool { return c == f.source() }) {
			m.fragments = append(m.fragments, f)
		} else {
			others = append(others, f)
		}
	}
	return m, others
}

// source is who a fragment came from.
func (f fragment) source() *sourceCounters {
	if f.builder != nil {
		return f.builder.source(f.first)
	}
	return f.batch.lane.sources[f.batch.quarantine[f.first].Source]
}

// solveMarked stores rows and marks in one transaction. Which rows the store refuses
// is found by staging parts that are given up again. A store that refuses only at
// the commit names nobody: then all the rows are quarantined, and a replay brings
// back those that were good.
func (s *surgery) solveMarked(m marked) error {
	good, bad, err := s.probe(m.fragments, nil, nil)
	if err != nil {
		return err
	}
	err = s.storeMarked(m, good, bad)
	if !isHard(err) && err != nil {
		all := slices.Clone(bad)
		for _, f := range good {
			all = append(all, suspect{f, err.Error()})
		}
		err = s.storeMarked(m, nil, all)
	}
	return err
}

// suspect is a row or a record that the store refused, and why.
type suspect struct {
	fragment
	why string
}

// probe stages fragments, and halves what is refused. Nothing becomes durable.
func (s *surgery) probe(f, good []fragment, bad []suspect) ([]fragment, []suspect, error) {
	if len(f) == 0 {
		return good, bad, nil
	}
	whole, _ := s.part(f)
	err := s.try(whole)
	switch {
	case isHard(err):
		return good, bad, err
	case err == nil:
		return append(good, f...), bad, nil
	case len(f) == 1 && f[0].n > 1:
		f = f[0].rows()
	case len(f) == 1:
		return good, append(bad, suspect{f[0], err.Error()}), nil
	}
	if good, bad, err = s.probe(f[:len(f)/2], good, bad); err != nil {
		return good, bad, err
	}
	return s.probe(f[len(f)/2:], good, bad)
}

// try stages a commit and gives it up.
func (s *surgery) try(c *telemetry.Commit) error {
	p, ctx := s.l.p, s.l.ctx
	return p.persist(ctx, "try a part", func() error {
		staged, err := p.store.Stage(ctx, c)
		if err == nil {
			staged.Abort()
		}
		return err
	})
}

// storeMarked makes durable, in one transaction: good rows, records of the bad ones,
// and the marks.
func (s *surgery) storeMarked(m marked, good []fragment, bad []suspect) error {
	var culprits []fragment
	for _, x := range bad {
		culprits = append(culprits, x.fragment)
	}
	names := s.l.p.nameSeries(culprits)
	whole, origins := s.part(good)
	whole.Ledger = append(whole.Ledger, m.ledger...)
	tenant := whole.Batches[0]
	var lost []fragment
	for _, x := range bad {
		q, err := s.recordOf(x, names)
		if err != nil {
			return err
		}
		if q == nil {
			lost = append(lost, x.fragment)
			continue
		}
		tenant.Quarantine = append(tenant.Quarantine, *q)
	}
	if err := s.store(whole); err != nil {
		return err
	}
	duplicates(whole, origins)
	for _, f := range culprits {
		if f.builder != nil {
			f.builder.refused = append(f.builder.refused, f.first)
			slices.Sort(f.builder.refused)
		}
	}
	for _, f := range lost {
		q := f.record(names, "")
		m.batch.lose(f, &q)
		s.l.p.log.Error("the store refused a quarantine record; the message is dropped", "topic", q.Topic, "reason", q.Reason)
	}
	if len(bad) > 0 {
		s.l.p.log.Warn("the store refused readings; they are quarantined", "count", len(bad), "first", bad[0].why)
	}
	return nil
}

// recordOf is the record of a suspect that the store takes: whole, else without what
// the message brought, else none.
func (s *surgery) recordOf(x suspect, names map[*builder]map[telemetry.SeriesRef]seriesName) (*telemetry.Quarantined, error) {
	q := x.record(names, x.why)
	bare := q
	bare.Payload, bare.Pointer, bare.Topic = nil, "", strconv.QuoteToASCII(q.Topic)
	bare.Detail = "the store refused the record of this message as well"
	for _, q := range []*telemetry.Quarantined{&q, &bare} {
		err := s.try(&telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: s.l.p.cfg.Tenant, Quarantine: []telemetry.Quarantined{*q}}}})
		if err == nil || isHard(err) {
			return q, err
		}
	}
	return nil, nil //nolint:nilnil // no record is an answer
}
