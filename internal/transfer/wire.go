package transfer

import (
	"encoding/binary"
	"errors"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The form of batches on the control socket: integers are varints as those of
// Protocol Buffers, texts have their length before them.

// AppendBatch appends a batch.
func AppendBatch(dst []byte, b *Batch) []byte {
	dst = appendText(dst, []byte(b.Table))
	dst = binary.AppendUvarint(dst, uint64(b.Version))
	dst = binary.AppendUvarint(dst, uint64(len(b.Tags)))
	for _, t := range b.Tags {
		dst = appendText(dst, []byte(t))
	}
	dst = binary.AppendUvarint(dst, uint64(len(b.Columns)))
	for _, c := range b.Columns {
		dst = append(appendText(dst, []byte(c.Name)), byte(c.Type))
	}
	dst = binary.AppendUvarint(dst, uint64(len(b.Rows)))
	for i := range b.Rows {
		dst = appendRow(dst, b, &b.Rows[i])
	}
	return dst
}

func appendText(dst, s []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendRow(dst []byte, b *Batch, r *Row) []byte {
	dst = appendText(dst, []byte(r.Topic))
	for _, t := range r.Tags {
		if t.Null {
			dst = append(dst, 0)
			continue
		}
		dst = append(binary.AppendUvarint(dst, uint64(len(t.Value))+1), t.Value...)
	}
	dst = binary.AppendVarint(dst, r.Time)
	dst = binary.AppendVarint(dst, r.Received)
	dst = binary.AppendVarint(dst, r.Line)
	for i := range r.Values {
		v := &r.Values[i]
		switch {
		case v.Null:
			dst = append(dst, 0)
		case b.Columns[i].Type.Textual():
			dst = appendText(append(dst, 1), v.Text)
		default:
			dst = binary.LittleEndian.AppendUint64(append(dst, 1), v.Bits)
		}
	}
	return dst
}

var errWire = errors.New("the batch ends too early")

// wire reads what AppendBatch wrote.
type wire struct {
	b   []byte
	bad bool
}

func (w *wire) uvarint() uint64 {
	v, n := binary.Uvarint(w.b)
	if n <= 0 {
		w.bad, w.b = true, nil
		return 0
	}
	w.b = w.b[n:]
	return v
}

func (w *wire) varint() int64 {
	v, n := binary.Varint(w.b)
	if n <= 0 {
		w.bad, w.b = true, nil
		return 0
	}
	w.b = w.b[n:]
	return v
}

func (w *wire) take(n uint64) []byte {
	if n > uint64(len(w.b)) {
		w.bad, w.b = true, nil
		return nil
	}
	out := w.b[:n]
	w.b = w.b[n:]
	return out
}

func (w *wire) text() []byte { return w.take(w.uvarint()) }

func (w *wire) byte() byte {
	if b := w.take(1); b != nil {
		return b[0]
	}
	return 0
}

// count reads a number of things of at least size bytes each.
func (w *wire) count(size int) int {
	n := w.uvarint()
	if n > uint64(len(w.b)/max(size, 1)) {
		w.bad = true
		return 0
	}
	return int(n)
}

// DecodeBatch reads one batch and returns what follows it. Texts point into data.
func DecodeBatch(data []byte) (*Batch, []byte, error) {
	w := &wire{b: data}
	b := &Batch{}
	b.Table = string(w.text())
	b.Version = int(w.uvarint())
	for range w.count(1) {
		b.Tags = append(b.Tags, string(w.text()))
	}
	for range w.count(2) {
		c := telemetry.Column{Name: string(w.text()), Type: telemetry.ColumnType(w.byte())}
		w.bad = w.bad || c.Type < telemetry.Float || c.Type > telemetry.JSON
		b.Columns = append(b.Columns, c)
	}
	rows := w.count(4 + len(b.Tags) + len(b.Columns))
	b.Rows = make([]Row, 0, rows)
	for range rows {
		if w.bad {
			break
		}
		b.Rows = append(b.Rows, w.row(b))
	}
	if w.bad {
		return nil, nil, errWire
	}
	return b, w.b, nil
}

func (w *wire) row(b *Batch) Row {
	r := Row{Topic: string(w.text()), Values: make([]telemetry.Value, len(b.Columns))}
	for range b.Tags {
		n := w.uvarint()
		if n == 0 {
			r.Tags = append(r.Tags, store.Tag{Null: true})
			continue
		}
		r.Tags = append(r.Tags, store.Tag{Value: string(w.take(n - 1))})
	}
	r.Time, r.Received, r.Line = w.varint(), w.varint(), w.varint()
	for i := range r.Values {
		v := &r.Values[i]
		switch w.byte() {
		case 0:
			v.Null = true
			continue
		case 1:
		default:
			w.bad = true
		}
		if b.Columns[i].Type.Textual() {
			v.Text = w.text()
		} else if raw := w.take(8); raw != nil {
			v.Bits = binary.LittleEndian.Uint64(raw)
		}
	}
	return r
}
