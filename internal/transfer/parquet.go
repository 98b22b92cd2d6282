package transfer

import (
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Parquet's columns: time and received_at are INT64 TIMESTAMP(NANOS, UTC), tags
// and texts BYTE_ARRAY STRING, JSON BYTE_ARRAY JSON, and int, float and bool
// INT64, DOUBLE and BOOLEAN. What may be null is optional.

// parquetRows is how many rows a row group has at most.
const parquetRows = 500_000

// orderedGroup is a group whose columns stand as the file has them; the
// library's own sorts them by name.
type orderedGroup struct {
	parquet.Group
	names []string
}

// Fields implements parquet.Node.
func (g orderedGroup) Fields() []parquet.Field {
	byName := map[string]parquet.Field{}
	for _, f := range g.Group.Fields() {
		byName[f.Name()] = f
	}
	fields := make([]parquet.Field, 0, len(g.names))
	for _, n := range g.names {
		fields = append(fields, byName[n])
	}
	return fields
}

func (g *orderedGroup) add(name string, n parquet.Node) {
	g.Group[name] = n
	g.names = append(g.names, name)
}

// parquetSchema is the schema of a table's files.
func parquetSchema(h *Header) *parquet.Schema {
	g := orderedGroup{Group: parquet.Group{}}
	dict := func(n parquet.Node) parquet.Node { return parquet.Encoded(n, &parquet.RLEDictionary) }
	delta := func(n parquet.Node) parquet.Node {
		var e encoding.Encoding = &parquet.DeltaBinaryPacked
		return parquet.Encoded(n, e)
	}
	g.add(timeColumn, delta(parquet.Timestamp(parquet.Nanosecond)))
	for _, t := range h.Tags {
		g.add(t, parquet.Optional(dict(parquet.String())))
	}
	for _, c := range h.Columns {
		g.add(c.Name, parquet.Optional(parquetNode(c.Type)))
	}
	g.add(receivedColumn, delta(parquet.Timestamp(parquet.Nanosecond)))
	g.add(topicColumn, dict(parquet.String()))
	g.add(versionColumn, parquet.Leaf(parquet.Int64Type))
	return parquet.NewSchema(h.Table, g)
}

func parquetNode(t telemetry.ColumnType) parquet.Node {
	switch t {
	case telemetry.Int:
		return parquet.Leaf(parquet.Int64Type)
	case telemetry.Bool:
		return parquet.Leaf(parquet.BooleanType)
	case telemetry.String:
		return parquet.String()
	case telemetry.JSON:
		return parquet.JSON()
	}
	return parquet.Leaf(parquet.DoubleType)
}

// parquetEncoder writes a whole file of the rows that it is given.
type parquetEncoder struct {
	h      Header
	w      *parquet.GenericWriter[any]
	rows   []parquet.Row
	values []parquet.Value
	group  int
}

func newParquetEncoder(w io.Writer, h Header) *parquetEncoder {
	return &parquetEncoder{h: h, w: parquet.NewGenericWriter[any](w, parquetSchema(&h),
		parquet.Compression(&zstd.Codec{}), parquet.CreatedBy("weir", "1", ""), parquet.DataPageStatistics(true))}
}

// Write implements Encoder.
func (e *parquetEncoder) Write(r *Rows) error {
	const batch = 1024
	width := 4 + len(e.h.Tags) + len(e.h.Columns)
	for at := 0; at < len(r.Order); at += batch {
		order := r.Order[at:min(at+batch, len(r.Order))]
		if e.group > 0 && e.group+len(order) > parquetRows {
			if err := e.w.Flush(); err != nil {
				return err
			}
			e.group = 0
		}
		e.rows, e.values = e.rows[:0], e.values[:0]
		for _, row := range order {
			e.row(r, row)
		}
		for i := range order {
			e.rows = append(e.rows, e.values[i*width:(i+1)*width])
		}
		if _, err := e.w.WriteRows(e.rows); err != nil {
			return err
		}
		e.group += len(order)
	}
	return nil
}

// row appends the values of one row.
func (e *parquetEncoder) row(r *Rows, row int32) {
	col := 0
	required := func(v parquet.Value) {
		e.values = append(e.values, v.Level(0, 0, col))
		col++
	}
	optional := func(v parquet.Value, null bool) {
		level := 1
		if null {
			v, level = parquet.NullValue(), 0
		}
		e.values = append(e.values, v.Level(0, level, col))
		col++
	}
	sec, s := r.Section, r.series(row)
	required(parquet.Int64Value(sec.Time[row]))
	for _, t := range s.Tags {
		optional(parquet.ByteArrayValue([]byte(t.Value)), t.Null)
	}
	for i := range sec.Columns {
		v := &sec.Columns[i]
		null := v.Nulls.Get(int(row))
		switch {
		case null:
			optional(parquet.Value{}, true)
		case v.Type.Textual():
			optional(parquet.ByteArrayValue(v.Text(int(row))), false)
		case v.Type == telemetry.Int:
			optional(parquet.Int64Value(int64(v.Bits[row])), false)
		case v.Type == telemetry.Bool:
			optional(parquet.BooleanValue(v.Bits[row] != 0), false)
		default:
			optional(parquet.DoubleValue(v.Float(int(row))), false)
		}
	}
	required(parquet.Int64Value(sec.Received[row]))
	required(parquet.ByteArrayValue([]byte(s.Topic)))
	required(parquet.Int64Value(int64(r.Version[row])))
}

// Close implements Encoder.
func (e *parquetEncoder) Close() error { return e.w.Close() }
