package uplink

import (
	"fmt"
	"time"

	"github.com/weir-telemetry/weir/internal/device/record"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// reading stores one record. taken is false where its schema is not there.
func (d *device) reading(b *batch, e *epoch, r *entry, received int64) (taken, more bool) {
	if r.kind != recordReading {
		return true, true
	}
	slot, err := record.Slot(r.body)
	if err != nil {
		return true, d.refuse(r, received, telemetry.ReasonMalformed, err.Error())
	}
	id, ok := e.binds[slot]
	if !ok {
		return true, d.refuse(r, received, telemetry.ReasonMalformed, fmt.Sprintf("no plan is known for slot %d of epoch %016x", slot, b.epoch))
	}
	plan := d.g.cfg.Plan(id)
	if plan == nil {
		d.unknown(fmt.Sprintf("plan %x", id))
		return false, true
	}
	row := &d.g.row
	if err := plan.Decode(r.body, &d.g.reading); err != nil {
		return true, d.refuse(r, received, telemetry.ReasonMalformed, err.Error())
	}
	at, known := d.timeOf(b, e, r, received)
	switch {
	case d.g.reading.HasTime:
		row.Time = d.g.reading.Time
	case !known:
		return true, d.refuse(r, received, telemetry.ReasonTime, "the device never learnt the time in this epoch")
	default:
		row.Time = at
	}
	row.Received = received
	row.Schema, row.Version = plan.Name, plan.Version
	row.Topic = plan.Topic(row.Topic[:0], d.g.reading.Captures)
	row.Values = d.g.reading.Values
	row.Tags = row.Tags[:0]
	for _, t := range d.g.reading.Tags {
		row.Tags = append(row.Tags, telemetry.Tag{Text: t.Text, Null: t.Null})
	}
	if taken, more = d.session.AddRow(row); !taken {
		d.unknown(fmt.Sprintf("version %d of the schema %s", plan.Version, plan.Name))
	}
	return taken, more
}

// timeOf is when a record was made, in ns. What the current epoch sends before the
// time was learnt is placed by the age that the device gives it.
func (d *device) timeOf(b *batch, e *epoch, r *entry, received int64) (int64, bool) {
	if unix, ok := e.timeOf(int64(r.uptime) * 1000); ok {
		return unix * 1000, true
	}
	if b.epoch != d.epoch || r.uptime > b.uptime {
		return 0, false
	}
	return received - int64(b.uptime-r.uptime)*int64(time.Millisecond), true
}

// refuse quarantines a record that cannot be read; its sequence counts as received.
func (d *device) refuse(r *entry, received int64, reason telemetry.Reason, detail string) bool {
	d.stats.Refused++
	return d.session.Refuse(&telemetry.Message{Topic: []byte(upPrefix + d.name), Payload: r.body, Received: received}, reason, detail)
}

// unknown says, once for each, what a device recorded with and this node does not have.
func (d *device) unknown(what string) {
	d.stats.Waiting++
	if !d.g.warned[what] {
		d.g.warned[what] = true
		d.g.log.Error("a device has records that no active schema is for; they stay on the device", "device", d.name, "needs", what)
	}
}
