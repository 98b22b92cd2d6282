package transfer

import (
	"io"
	"math"
	"unicode/utf8"

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
				e.buf = appendJSONText(e.buf, []byte(t.Value))
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
		e.buf = appendJSONText(e.buf, []byte(s.Topic))
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
	key := func(name string) []byte { return append(appendJSONText(nil, []byte(name)), ':') }
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
		for _, c := range v.Text(row) {
			if c == '\n' || c == '\r' { // between tokens; a line is one row
				c = ' '
			}
			e.buf = append(e.buf, c)
		}
	case telemetry.String:
		e.buf = appendJSONText(e.buf, v.Text(row))
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

func appendJSONText(dst, s []byte) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRune(s[i:])
			dst = utf8.AppendRune(dst, r) // U+FFFD for what is no UTF-8
			i += n
			continue
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}
