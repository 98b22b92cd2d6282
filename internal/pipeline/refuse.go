package pipeline

import (
	"slices"
	"strconv"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// fragment is the least part of a commit that is stored apart from the rest: the
// rows of one message with its entry in the ledger, or a quarantine record with
// its own.
type fragment struct {
	batch    *batch
	builder  *builder // nil: a quarantine record
	first, n int32    // rows; or first is an index in batch.quarantine
	put      int32    // index in batch.ledger, -1 for none
	resolved int64    // of a replay: the record that the rows take the place of
}

// surgery takes one refused commit apart.
type surgery struct {
	l       *loop
	c       *commit
	culprit []fragment
	why     []string // parallel to culprit
}

// takeApart stores what the store takes of a commit that it refused, quarantines
// the rest, and acknowledges all of it. Nothing is staged when it is called. The
// error is that of a hard end.
//
// Every part is stored together with its own ledger entries, so that a crash in
// the middle leaves messages that are stored and known, or not stored and not
// known. What a source with marks has in a batch is one part. Ends of ledger entries go first: forgetting early is always safe.
func (l *loop) takeApart(c *commit) error {
	if l.ctx.Err() != nil {
		return l.ctx.Err()
	}
	l.p.commits.takenApart()
	for _, s := range c.tenant.Sections {
		s.Duplicates = s.Duplicates[:0]
	}
	s := &surgery{l: l, c: c}
	if c.load != nil {
		return s.again(c.load)
	}
	var fragments []fragment
	var marked []marked
	var head telemetry.Commit
	tenant := &telemetry.Batch{Tenant: l.p.cfg.Tenant}
	for _, b := range c.batches {
		all, ends := b.fragments(nil)
		m, others := b.split(all)
		fragments = append(fragments, others...)
		if len(m.ledger) > 0 {
			marked = append(marked, m)
		}
		head.Ledger = append(head.Ledger, ends...)
		for _, r := range b.resolved {
			if r.builder == nil {
				tenant.Resolved = append(tenant.Resolved, r.id)
			}
		}
	}
	head.Batches = []*telemetry.Batch{tenant}
	if len(head.Ledger)+len(tenant.Resolved) > 0 {
		if err := s.store(&head); isHard(err) {
			return err
		} else if err != nil {
			l.p.log.Error("the store refused ends of ledger entries", "error", err)
		}
	}
	if err := s.solve(fragments); err != nil {
		return err
	}
	if err := s.quarantine(); err != nil {
		return err
	}
	for _, m := range marked {
		if err := s.solveMarked(m); err != nil {
			return err
		}
	}
	c.staged = nil
	l.p.finish(c)
	l.recycle(c)
	return nil
}

// isHard reports whether an error is other than a refusal.
func isHard(err error) bool {
	return err != nil && telemetry.CodeOf(err) != telemetry.CodeRefused
}

// fragments appends the parts of a batch, and returns the ledger operations that
// belong to none of them.
func (b *batch) fragments(dst []fragment) ([]fragment, []telemetry.LedgerOp) {
	type place struct {
		builder *builder
		first   int32
	}
	puts := map[place]int32{}
	isPut := map[int32]bool{}
	for _, p := range b.puts {
		isPut[p.op] = true
		puts[place{p.builder, p.first}] = p.op
	}
	superseded := b.superseded()
	put := func(p place) int32 {
		if op, ok := puts[p]; ok && !superseded[op] {
			return op
		}
		return -1
	}
	resolved := map[place]int64{}
	for _, r := range b.resolved {
		resolved[place{r.builder, r.first}] = r.id
	}
	for i := range b.quarantine {
		dst = append(dst, fragment{batch: b, first: int32(i), put: put(place{nil, int32(i)})})
	}
	for _, bu := range b.active {
		spans := bu.spans
		for row := int32(0); row < int32(bu.section.Rows()); {
			f := fragment{batch: b, builder: bu, first: row, n: 1}
			if len(spans) > 0 && spans[0].first == row {
				f.n = spans[0].n
				spans = spans[1:]
			}
			f.put, f.resolved = put(place{bu, row}), resolved[place{bu, row}]
			dst = append(dst, f)
			row += f.n
		}
	}
	var ends []telemetry.LedgerOp
	for i, op := range b.ledger {
		if _, mark := slices.BinarySearch(b.marks, int32(i)); !mark && !isPut[int32(i)] {
			ends = append(ends, op)
		}
	}
	return dst, ends
}

// superseded finds the puts that a later operation of the batch ends: in parts
// they must not come after it.
func (b *batch) superseded() map[int32]bool {
	type entry struct {
		session telemetry.SessionID
		id      uint16
	}
	out := map[int32]bool{}
	later := map[entry]bool{}
	reset := map[telemetry.SessionID]bool{}
	for i := len(b.ledger) - 1; i >= 0; i-- {
		op := b.ledger[i]
		e := entry{op.Session, op.PacketID}
		if op.Kind == telemetry.LedgerReset {
			reset[op.Session] = true
			continue
		}
		if op.Kind == telemetry.LedgerPut && (later[e] || reset[op.Session]) {
			out[int32(i)] = true
		}
		later[e] = true
	}
	return out
}

// solve stores the fragments; where the store refuses, it halves them until the
// culprits are alone.
func (s *surgery) solve(f []fragment) error {
	if len(f) == 0 {
		return nil
	}
	err := s.storeFragments(f)
	if err == nil || isHard(err) {
		return err
	}
	if len(f) > 1 {
		if err := s.solve(f[:len(f)/2]); err != nil {
			return err
		}
		return s.solve(f[len(f)/2:])
	}
	one := f[0]
	switch {
	case one.resolved != 0:
		s.c.replay.refused(one, err) // the record stays where it is
		return nil
	case one.n > 1:
		return s.solve(one.rows())
	}
	s.culprit = append(s.culprit, one)
	s.why = append(s.why, err.Error())
	if len(s.culprit) >= 256 {
		return s.quarantine()
	}
	return nil
}

// rows splits a message of several rows; the last carries the ledger entry.
func (f fragment) rows() []fragment {
	var out []fragment
	for i := range f.n {
		out = append(out, fragment{batch: f.batch, builder: f.builder, first: f.first + i, n: 1, put: -1})
	}
	out[len(out)-1].put = f.put
	return out
}

// origin is where a row of a part came from.
type origin struct {
	section *telemetry.Section
	row     int32
}

// storeFragments makes the fragments durable in one commit of their own.
func (s *surgery) storeFragments(f []fragment) error {
	whole, origins := s.part(f)
	if err := s.store(whole); err != nil {
		return err
	}
	duplicates(whole, origins)
	return nil
}

// part makes a commit of fragments; origins are parallel to its sections.
func (s *surgery) part(f []fragment) (whole *telemetry.Commit, origins [][]origin) {
	tenant := &telemetry.Batch{Tenant: s.l.p.cfg.Tenant}
	whole = &telemetry.Commit{Batches: []*telemetry.Batch{tenant}}
	var part *telemetry.Section
	var from *builder
	for _, one := range f {
		if one.put >= 0 {
			whole.Ledger = append(whole.Ledger, one.batch.ledger[one.put])
		}
		if one.builder == nil {
			tenant.Quarantine = append(tenant.Quarantine, one.batch.quarantine[one.first])
			continue
		}
		if one.resolved != 0 {
			tenant.Resolved = append(tenant.Resolved, one.resolved)
		}
		if one.builder != from {
			from, part = one.builder, &telemetry.Section{}
			part.Reset(from.section.Table)
			tenant.Sections = append(tenant.Sections, part)
			origins = append(origins, nil)
		}
		for row := one.first; row < one.first+one.n; row++ {
			copyRow(part, &from.section, int(row))
			origins[len(origins)-1] = append(origins[len(origins)-1], origin{&from.section, row})
		}
	}
	return whole, origins
}

// duplicates tells the sections of the batch which rows the store had.
func duplicates(whole *telemetry.Commit, origins [][]origin) {
	for i, part := range whole.Batches[0].Sections {
		for _, row := range part.Duplicates {
			o := origins[i][row]
			o.section.Duplicates = append(o.section.Duplicates, o.row)
		}
	}
}

// copyRow appends one row of another section of the same table.
func copyRow(dst, src *telemetry.Section, row int) {
	values := make([]telemetry.Value, len(src.Columns))
	for i := range src.Columns {
		v := &src.Columns[i]
		values[i].Null = v.Nulls.Get(row)
		if v.Type.Textual() {
			values[i].Text = v.Text(row)
		} else {
			values[i].Bits = v.Bits[row]
		}
	}
	if _, ok := slices.BinarySearch(src.OnlyIfChanged, int32(row)); ok {
		dst.OnlyIfChanged = append(dst.OnlyIfChanged, int32(dst.Rows()))
	}
	dst.AppendRow(src.Series[row], src.Time[row], src.Received[row], values)
}

// store makes one commit durable, alone. It returns a refusal or a hard end.
func (s *surgery) store(c *telemetry.Commit) error {
	p, ctx := s.l.p, s.l.ctx
	return p.persist(ctx, "commit a part", func() error {
		staged, err := p.store.Stage(ctx, c)
		if err != nil {
			return err
		}
		if err := staged.Commit(ctx); err != nil {
			staged.Abort() // and stage again: a part is small
			return err
		}
		return nil
	})
}

// quarantine stores records of the culprits.
func (s *surgery) quarantine() error {
	if len(s.culprit) == 0 {
		return nil
	}
	names := s.l.p.nameSeries(s.culprit)
	tenant := &telemetry.Batch{Tenant: s.l.p.cfg.Tenant}
	whole := &telemetry.Commit{Batches: []*telemetry.Batch{tenant}}
	for i, f := range s.culprit {
		tenant.Quarantine = append(tenant.Quarantine, f.record(names, s.why[i]))
		if f.put >= 0 {
			whole.Ledger = append(whole.Ledger, f.batch.ledger[f.put])
		}
	}
	err := s.store(whole)
	if err == nil {
		for _, f := range s.culprit {
			if f.builder != nil {
				f.builder.refused = append(f.builder.refused, f.first)
			}
		}
	} else if isHard(err) {
		return err
	} else if err := s.quarantineEach(tenant.Quarantine); err != nil {
		return err
	}
	s.l.p.log.Warn("the store refused readings; they are quarantined",
		"count", len(s.culprit), "first", s.why[0], "topic", tenant.Quarantine[0].Topic)
	s.culprit, s.why = nil, nil
	return nil
}

// quarantineEach stores records one by one: as they are, else without what the
// message brought, else not at all, which is logged and counted.
func (s *surgery) quarantineEach(records []telemetry.Quarantined) error {
	for i, f := range s.culprit {
		q := records[i]
		bare := q
		bare.Payload, bare.Pointer, bare.Topic = nil, "", strconv.QuoteToASCII(q.Topic)
		bare.Detail = "the store refused the record of this message as well"
		var ledger []telemetry.LedgerOp
		if f.put >= 0 {
			ledger = []telemetry.LedgerOp{f.batch.ledger[f.put]}
		}
		var err error
		for _, q := range []telemetry.Quarantined{q, bare} {
			err = s.store(&telemetry.Commit{
				Batches: []*telemetry.Batch{{Tenant: s.l.p.cfg.Tenant, Quarantine: []telemetry.Quarantined{q}}},
				Ledger:  ledger,
			})
			if err == nil || isHard(err) {
				break
			}
		}
		if isHard(err) {
			return err
		}
		if f.builder != nil {
			f.builder.refused = append(f.builder.refused, f.first)
		}
		if err != nil {
			f.batch.lose(f, &q)
			s.l.p.log.Error("the store refused a quarantine record; the message is dropped",
				"topic", q.Topic, "reason", q.Reason, "error", err)
		}
	}
	return nil
}
