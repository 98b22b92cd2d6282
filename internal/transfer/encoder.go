package transfer

import (
	"io"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Rows are readings in the order in which a file has them.
type Rows struct {
	Section *telemetry.Section
	Order   []int32  // rows of Section
	Version []int32  // by row of Section
	Names   []Series // by row of Section's series, through Of
	Of      map[telemetry.SeriesRef]int
}

// Series is a series in words.
type Series = store.SeriesInfo

func (r *Rows) series(row int32) *Series { return &r.Names[r.Of[r.Section.Series[row]]] }

// Encoder writes rows as one kind of file.
type Encoder interface {
	Write(r *Rows) error
	Close() error
}

// Header says what a file holds.
type Header struct {
	Table   string
	Tags    []string
	Columns []telemetry.Column
	// First is false for a part that others stand before, in the same file.
	First bool
}

// NewEncoder returns the encoder of a format.
func NewEncoder(format string, w io.Writer, h Header) (Encoder, error) {
	switch format {
	case CSV:
		return newCSVEncoder(w, h)
	case NDJSON:
		return &ndjsonEncoder{w: w, h: h}, nil
	case Parquet:
		return newParquetEncoder(w, h), nil
	}
	return nil, telemetry.Errorf(telemetry.CodeInvalid, "export", "unknown format %q", format).WithHint("csv, ndjson or parquet")
}

// flushBytes is how much is gathered before it is written.
const flushBytes = 64 << 10

// csvEncoder writes RFC 4180 with a header. Null is nothing, an empty text is "".
type csvEncoder struct {
	w   io.Writer
	h   Header
	buf []byte
}

func newCSVEncoder(w io.Writer, h Header) (*csvEncoder, error) {
	e := &csvEncoder{w: w, h: h}
	if !h.First {
		return e, nil
	}
	e.text(timeColumn)
	for _, t := range h.Tags {
		e.comma()
		e.text(t)
	}
	for _, c := range h.Columns {
		e.comma()
		e.text(c.Name)
	}
	for _, name := range []string{receivedColumn, topicColumn, versionColumn} {
		e.comma()
		e.text(name)
	}
	e.buf = append(e.buf, '\r', '\n')
	return e, nil
}

func (e *csvEncoder) comma() { e.buf = append(e.buf, ',') }

// text quotes what must be quoted.
func (e *csvEncoder) text(s string) { e.buf = appendCSVText(e.buf, []byte(s)) }

func appendCSVText(dst, s []byte) []byte {
	plain := len(s) > 0
	for _, c := range s {
		if c == '"' || c == ',' || c == '\n' || c == '\r' {
			plain = false
			break
		}
	}
	if plain {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	for _, c := range s {
		if c == '"' {
			dst = append(dst, '"')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

func (e *csvEncoder) Write(r *Rows) error {
	sec := r.Section
	for _, row := range r.Order {
		s := r.series(row)
		e.buf = appendTime(e.buf, sec.Time[row])
		for _, t := range s.Tags {
			e.comma()
			if !t.Null {
				e.text(t.Value)
			}
		}
		for i := range sec.Columns {
			e.comma()
			v := &sec.Columns[i]
			switch {
			case v.Nulls.Get(int(row)):
			case v.Type.Textual():
				e.buf = appendCSVText(e.buf, v.Text(int(row)))
			default:
				e.buf = appendNumber(e.buf, v.Type, v.Bits[row])
			}
		}
		e.comma()
		e.buf = appendTime(e.buf, sec.Received[row])
		e.comma()
		e.text(s.Topic)
		e.comma()
		e.buf = appendNumber(e.buf, telemetry.Int, uint64(r.Version[row]))
		e.buf = append(e.buf, '\r', '\n')
		if err := e.flush(flushBytes); err != nil {
			return err
		}
	}
	return nil
}

func (e *csvEncoder) flush(over int) error {
	if len(e.buf) <= over {
		return nil
	}
	_, err := e.w.Write(e.buf)
	e.buf = e.buf[:0]
	return err
}

func (e *csvEncoder) Close() error { return e.flush(0) }
