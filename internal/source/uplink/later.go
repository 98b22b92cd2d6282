package uplink

import (
	"github.com/weir-telemetry/weir/internal/device/record"
)

// later is what a sweep put off: readings of an older epoch without a time of their
// own, before a time record of that epoch came. Once the sweep is through they are
// asked for again; what has no place in time even then is quarantined.
//
// It is not durable, and how far the sweep came is not made durable while there is
// some: a node that starts again sweeps again.
type later struct {
	spans           map[uint64]spans
	epoch, sequence uint64 // how far the sweep came, while spans holds something
}

func (l *later) add(epoch, sequence uint64) {
	if l.spans == nil {
		l.spans = map[uint64]spans{}
	}
	l.spans[epoch] = l.spans[epoch].add(span{sequence, sequence + 1})
}

// settle forgets what is stored, or declared lost.
func (l *later) settle(m *memory) {
	for id, s := range l.spans {
		taken := m.epoch(id).taken()
		var left spans
		for _, x := range s {
			for _, hole := range taken.holes(x.end, false, len(taken)+1) {
				if hole.end > x.first {
					left = left.add(span{max(hole.first, x.first), hole.end})
				}
			}
		}
		if l.spans[id] = left; len(left) == 0 {
			delete(l.spans, id)
		}
	}
}

func (l *later) count() uint64 {
	n := uint64(0)
	for _, s := range l.spans {
		n += s.count()
	}
	return n
}

// asks are ranges of what was put off.
func (l *later) asks() []ask {
	var out []ask
	for id, s := range l.spans {
		for _, x := range s[:min(len(s), maxRanges-len(out))] {
			out = append(out, ask{id, x})
		}
	}
	return out
}

// sweptTo notes how far a sweep came: durably, unless something before is put off.
func (d *device) sweptTo(epoch, sequence uint64) {
	if len(d.later.spans) > 0 {
		d.later.epoch, d.later.sequence = epoch, sequence
		return
	}
	d.later = later{}
	d.memory.swept(d.session, epoch, sequence)
}

// unplaced reports whether a record is a reading that has no place in time yet, and
// may get one: while a sweep is under way, and before the device said which epoch
// is the current one.
func (d *device) unplaced(b *batch, e *epoch, r *entry) bool {
	if r.kind != recordReading || len(e.points) > 0 || b.epoch == d.epoch || !b.sweep && d.epoch != 0 {
		return false
	}
	slot, err := record.Slot(r.body)
	if err != nil {
		return false
	}
	plan := d.g.cfg.Plan(e.binds[slot])
	return plan != nil && plan.Decode(r.body, &d.g.reading) == nil && !d.g.reading.HasTime
}
