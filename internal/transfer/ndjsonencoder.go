package transfer

import (
	"io"
	"math"

	"github.com/weir-telemetry/weir/internal/jsontext"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// ndjsonEncoder writes one JSON object in a line. Null columns are left out, so
// that a JSON column that holds null differs from one that is null; NaN and the
// infinities are the texts "NaN", "Infinity" and "-Infinity".
type ndjsonEncoder struct {
	w    io.Writer
	h    Header
	keys struct {
		time, received, topic, version []byte
		tags, columns                  [][]byte
	}
	buf []byte
}

func (e *ndjsonEncoder) Write(r *Rows) error {
	if e.keys.time == nil {
		e.prepare()
	}
	sec := r.Section
	for _, row := range r.Order {
		s := r.series(row)
		e.buf = append(append(e.buf, '{'), e.keys.time...)
		e.time(sec.Time[row])
		for i, t := range s.Tags {
			if !t.Null {
				e.buf = append(append(e.buf, ','), e.keys.tags[i]...)
				e.buf = jsontext.AppendString(e.buf, []byte(t.Value))
			}
		}
		for i := range sec.Columns {
			if v := &sec.Columns[i]; !v.Nulls.Get(int(row)) {
				e.buf = append(append(e.buf, ','), e.keys.columns[i]...)
				e.value(v, int(row))
			}
		}
		e.buf = append(append(e.buf, ','), e.keys.received...)
		e.time(sec.Received[row])
		e.buf = append(append(e.buf, ','), e.keys.topic...)
		e.buf = jsontext.AppendString(e.buf, []byte(s.Topic))
		e.buf = append(append(e.buf, ','), e.keys.version...)
		e.buf = appendNumber(e.buf, telemetry.Int, uint64(r.Version[row]))
		e.buf = append(e.buf, '}', '\n')
		if len(e.buf) > flushBytes {
			if err := e.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *ndjsonEncoder) prepare() {
	key := func(name string) []byte { return append(jsontext.AppendString(nil, []byte(name)), ':') }
	e.keys.time, e.keys.received, e.keys.topic, e.keys.version = key(timeColumn), key(receivedColumn), key(topicColumn), key(versionColumn)
	for _, t := range e.h.Tags {
		e.keys.tags = append(e.keys.tags, key(t))
	}
	for _, c := range e.h.Columns {
		e.keys.columns = append(e.keys.columns, key(c.Name))
	}
}

func (e *ndjsonEncoder) time(ns int64) {
	e.buf = append(e.buf, '"')
	e.buf = append(appendTime(e.buf, ns), '"')
}

func (e *ndjsonEncoder) value(v *telemetry.Vector, row int) {
	switch v.Type {
	case telemetry.JSON:
		e.buf = jsontext.AppendLine(e.buf, v.Text(row))
	case telemetry.String:
		e.buf = jsontext.AppendString(e.buf, v.Text(row))
	case telemetry.Float:
		if f := v.Float(row); math.IsNaN(f) || math.IsInf(f, 0) {
			e.buf = append(e.buf, '"')
			e.buf = append(appendNumber(e.buf, v.Type, v.Bits[row]), '"')
			return
		}
		e.buf = appendNumber(e.buf, v.Type, v.Bits[row])
	default:
		e.buf = appendNumber(e.buf, v.Type, v.Bits[row])
	}
}

func (e *ndjsonEncoder) Close() error {
	if len(e.buf) == 0 {
		return nil
	}
	_, err := e.w.Write(e.buf)
	e.buf = e.buf[:0]
	return err
}
