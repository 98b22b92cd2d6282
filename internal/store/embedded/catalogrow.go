package embedded

import (
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// catalogTable is one table of catalog.db, and how its rows are written and read.
// In a store that is sealed the secret columns do not exist: a blob takes their
// place that holds their values encrypted, tied to the table and the clear columns
// of the row. Whoever writes or reads rows uses insertRow, updateRow and eachRow,
// and need not know which of the two it is.
type catalogTable struct {
	name   string
	clear  []string // say which row it is, and whose
	secret []string // say something of what is stored
	// hidden are further values of a sealed row, which a plain one does not have:
	// they are lost on writing, and NULL on reading.
	hidden []string
	// data is a column that is written with the row and read apart from it, sealed
	// and checked on its own; "" for none.
	data string
	// verb of insertRow, where it is not INSERT.
	verb string

	plainSQL, sealedSQL string // columns of CREATE TABLE
	options             string
}

// The tables of catalog.db. Every row has a checksum. Blobs come last in a row, so
// that the columns before them are read without following overflow pages. What
// is unique is so in memory: an index would only be more to write and to damage.
var (
	tenantsTable = &catalogTable{
		name: "tenants", clear: []string{"id"}, secret: []string{"name", "floor"}, hidden: []string{"frames", "carried", "segments", "sum", "deletions", "struck", "losses", "tables", "series", "ledger", "contents"},
		plainSQL:  "id INTEGER PRIMARY KEY, name TEXT NOT NULL, floor INTEGER NOT NULL, crc INTEGER NOT NULL",
		sealedSQL: "id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, sealed BLOB NOT NULL",
	}
	tablesTable = &catalogTable{
		name: "tables", clear: []string{"id", "tenant"}, secret: []string{"name", "version", "series_group", "recorded", "definition", "document"},
		plainSQL: `id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
			series_group INTEGER NOT NULL, recorded INTEGER NOT NULL, crc INTEGER NOT NULL, definition BLOB NOT NULL, document BLOB NOT NULL`,
		sealedSQL: "id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, crc INTEGER NOT NULL, sealed BLOB NOT NULL",
	}
	seriesTable = &catalogTable{
		name: "series", clear: []string{"tenant", "first"}, secret: []string{"count", "size", "data"},
		plainSQL: `id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
			size INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL`,
		sealedSQL: "id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, first INTEGER NOT NULL, crc INTEGER NOT NULL, sealed BLOB NOT NULL",
	}
	framesTable = &catalogTable{
		name: "frames", clear: []string{"id", "tenant"}, secret: []string{"created", "rows", "min_time", "max_time", "replaced"},
		hidden: []string{"number", "tag", "series", "ledger", "contents"}, data: "data",
		plainSQL: `id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, created INTEGER NOT NULL, rows INTEGER NOT NULL,
			min_time INTEGER NOT NULL, max_time INTEGER NOT NULL, crc INTEGER NOT NULL, replaced BLOB, data BLOB NOT NULL`,
		sealedSQL: "id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, crc INTEGER NOT NULL, sealed BLOB NOT NULL, data BLOB NOT NULL",
	}
	segmentsTable = &catalogTable{
		name: "segments", clear: []string{"id", "tenant"},
		secret: []string{"table_id", "partition", "arrival", "created", "rows", "size", "min_time", "max_time", "pack", "start", "replaced"}, hidden: []string{"tag"},
		plainSQL: `id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, table_id INTEGER NOT NULL,
			partition INTEGER NOT NULL, arrival INTEGER NOT NULL, created INTEGER NOT NULL, rows INTEGER NOT NULL, size INTEGER NOT NULL,
			min_time INTEGER NOT NULL, max_time INTEGER NOT NULL, pack INTEGER NOT NULL, start INTEGER NOT NULL, crc INTEGER NOT NULL, replaced BLOB`,
		sealedSQL: "id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, crc INTEGER NOT NULL, sealed BLOB NOT NULL",
	}
	deletionsTable = &catalogTable{
		name: "deletions", clear: []string{"id", "tenant"}, secret: []string{"number", "created", "rows", "data"},
		plainSQL: `id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, number INTEGER NOT NULL, created INTEGER NOT NULL,
			rows INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL`,
		sealedSQL: "id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, crc INTEGER NOT NULL, sealed BLOB NOT NULL",
	}
	sessionsTable = &catalogTable{
		name: "sessions", clear: []string{"id"}, secret: []string{"key"},
		plainSQL:  "id INTEGER PRIMARY KEY, key TEXT NOT NULL, crc INTEGER NOT NULL",
		sealedSQL: "id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, sealed BLOB NOT NULL",
	}
	ledgerTable = &catalogTable{
		name: "ledger", clear: []string{"id"}, secret: []string{"data"},
		plainSQL:  "id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, data BLOB NOT NULL",
		sealedSQL: "id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, sealed BLOB NOT NULL",
	}
	countersTable = &catalogTable{
		name: "counters", clear: []string{"name"}, secret: []string{"value"}, hidden: []string{"state"}, verb: "INSERT OR REPLACE", options: ", WITHOUT ROWID",
		plainSQL:  "name TEXT PRIMARY KEY, value INTEGER NOT NULL, crc INTEGER NOT NULL",
		sealedSQL: "name TEXT PRIMARY KEY, crc INTEGER NOT NULL, sealed BLOB NOT NULL",
	}
	quarantineTable = &catalogTable{
		name: "quarantine", clear: []string{"id", "tenant"}, secret: []string{"last", "count", "size"}, data: "data",
		plainSQL: `id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL,
			size INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL`,
		sealedSQL: "id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, crc INTEGER NOT NULL, sealed BLOB NOT NULL, data BLOB NOT NULL",
	}
)

var catalogTables = []*catalogTable{
	tenantsTable, tablesTable, seriesTable, framesTable, segmentsTable, sessionsTable, ledgerTable, countersTable, quarantineTable, deletionsTable,
	rollupsTable, lossesTable,
}

// createSQL makes the table.
func (t *catalogTable) createSQL(sealed bool) string {
	columns := t.plainSQL
	if sealed {
		columns = t.sealedSQL
	}
	return "CREATE TABLE " + t.name + " (" + columns + ") STRICT" + t.options
}

// columns are those of a row as it is stored, without crc and data.
func (t *catalogTable) columns(sealed bool) []string {
	columns := append([]string(nil), t.clear...)
	if sealed {
		return append(columns, "sealed")
	}
	return append(columns, t.secret...)
}

func (t *catalogTable) insertSQL(sealed bool) string {
	columns := append(t.columns(sealed), "crc")
	if t.data != "" {
		columns = append(columns, t.data)
	}
	verb := t.verb
	if verb == "" {
		verb = "INSERT"
	}
	return verb + " INTO " + t.name + " (" + strings.Join(columns, ", ") + ") VALUES (?" + strings.Repeat(", ?", len(columns)-1) + ")"
}

// insertRow enters a row, in a transaction. values are those of the clear, secret
// and hidden columns; data is given where the table has it. tn is whose row it is,
// nil for the node's own.
func (s *Store) insertRow(t *catalogTable, tn *tenant, values []driver.Value, data ...driver.Value) error {
	stored, err := s.sealRow(t, tn, values)
	if err != nil {
		return err
	}
	stored = append(stored, int64(rowSum(stored)))
	return s.w.exec(s.sql(t).insert, append(stored, data...)...)
}

// updateRow changes the row with the values' clear columns; without data, that
// stays as it is.
func (s *Store) updateRow(t *catalogTable, tn *tenant, values []driver.Value, data ...driver.Value) error {
	stored, err := s.sealRow(t, tn, values)
	if err != nil {
		return err
	}
	sum := int64(rowSum(stored))
	n := len(t.clear)
	args := append(append([]driver.Value(nil), stored[n:]...), sum)
	args = append(args, data...)
	args = append(args, stored[:n]...)
	sql := s.sql(t)
	if len(data) > 0 {
		return s.w.exec(sql.updateData, args...)
	}
	return s.w.exec(sql.update, args...)
}

// catalogRow is a row that was read.
type catalogRow struct {
	// v are the values of the clear, secret and hidden columns. Where the row is
	// not intact, those of a plain row are as they stand, and those of a sealed one
	// are NULL but for the clear columns.
	v      []driver.Value
	extra  []driver.Value
	intact bool
	sealed []byte
}

// evidence is what is in a damaged row, for a person: a column of a plain row, or
// the sealed bytes.
func (r *catalogRow) evidence(column int) []byte {
	if r.sealed != nil {
		return r.sealed
	}
	return asBytes(r.v[column])
}

// eachRow calls each with every row; rest is what follows FROM, and extra are
// expressions to select besides. The row is reused.
func (s *Store) eachRow(c *conn, t *catalogTable, rest, extra string, each func(r *catalogRow) error, args ...driver.Value) error {
	sealed := s.ring != nil
	columns := append(t.columns(sealed), "crc")
	n := len(columns)
	if extra != "" {
		columns = append(columns, extra)
	}
	r := &catalogRow{v: make([]driver.Value, len(t.clear)+len(t.secret)+len(t.hidden))}
	return c.query("SELECT "+strings.Join(columns, ", ")+" FROM "+t.name+" "+rest, func(row []driver.Value) error {
		clear(r.v)
		r.extra, r.intact = row[n:], intact(row[:n])
		if !sealed {
			copy(r.v, row[:n-1])
			return each(r)
		}
		copy(r.v, row[:len(t.clear)])
		r.sealed = asBytes(row[n-2])
		r.intact = r.intact && s.openRow(t, r) == nil
		return each(r)
	}, args...)
}

// rowSQL is the statements of a table, made once.
type rowSQL struct{ insert, update, updateData string }

func makeRowSQL(sealed bool) map[*catalogTable]*rowSQL {
	all := map[*catalogTable]*rowSQL{}
	for _, t := range catalogTables {
		where := " WHERE " + strings.Join(t.clear, " = ? AND ") + " = ?"
		set := "UPDATE " + t.name + " SET " + strings.Join(t.columns(sealed)[len(t.clear):], " = ?, ") + " = ?, crc = ?"
		all[t] = &rowSQL{insert: t.insertSQL(sealed), update: set + where, updateData: set + ", " + t.data + " = ?" + where}
	}
	return all
}

var plainRowSQL, sealedRowSQL = makeRowSQL(false), makeRowSQL(true)

func (s *Store) sql(t *catalogTable) *rowSQL {
	if s.ring != nil {
		return sealedRowSQL[t]
	}
	return plainRowSQL[t]
}

// sealRow returns the values as they are stored, without the checksum.
func (s *Store) sealRow(t *catalogTable, tn *tenant, values []driver.Value) ([]driver.Value, error) {
	if s.ring == nil {
		n := len(t.clear) + len(t.secret)
		return append(make([]driver.Value, 0, n+2), values[:n]...), nil
	}
	n := len(t.clear)
	plain := appendValues(make([]byte, 0, 256), values[n:])
	box, err := s.ring.AppendBox(make([]byte, 0, len(plain)+seal.BoxOverhead), ownerOf(tn), plain, rowPlace(t.name, values[:n]))
	if err != nil {
		return nil, err
	}
	return append(append(make([]driver.Value, 0, n+3), values[:n]...), box), nil
}

// openRow fills in the secret and hidden values of a sealed row.
func (s *Store) openRow(t *catalogTable, r *catalogRow) error {
	n := len(t.clear)
	plain, err := s.ring.OpenBox(nil, r.sealed, rowPlace(t.name, r.v[:n]))
	if err != nil {
		return err
	}
	if err := readValues(r.v[n:], plain); err != nil {
		clear(r.v[n:])
		return err
	}
	return nil
}

// ownerOf names whose keys seal what is a tenant's, or the node's own.
func ownerOf(tn *tenant) string {
	if tn == nil {
		return seal.NodeOwner
	}
	return string(tn.name)
}

// rowPlace ties a sealed blob to the row that it stands in.
func rowPlace(what string, clear []driver.Value) []byte {
	b := append(append(make([]byte, 0, 64), "weir row "...), what...)
	b = append(b, 0)
	for _, v := range clear {
		if n, ok := v.(int64); ok {
			b = binary.LittleEndian.AppendUint64(append(b, 1), uint64(n))
			continue
		}
		data := asBytes(v)
		b = append(binary.LittleEndian.AppendUint64(append(b, 2), uint64(len(data))), data...)
	}
	return b
}

// The kinds of values in a sealed row.
const (
	valueNull  = 0
	valueInt   = 1
	valueBytes = 2
)

func appendValues(dst []byte, values []driver.Value) []byte {
	for _, v := range values {
		switch n, ok := v.(int64); {
		case ok:
			dst = binary.AppendVarint(append(dst, valueInt), n)
		case v == nil:
			dst = append(dst, valueNull)
		default:
			data := asBytes(v)
			dst = append(binary.AppendUvarint(append(dst, valueBytes), uint64(len(data))), data...)
		}
	}
	return dst
}

var errValues = errors.New("its values are malformed")

// readValues fills dst. What the row lacks, because an older program wrote it,
// stays NULL.
func readValues(dst []driver.Value, b []byte) error {
	for i := 0; len(b) > 0; i++ {
		kind := b[0]
		b = b[1:]
		var v driver.Value
		switch kind {
		case valueNull:
		case valueInt:
			n, w := binary.Varint(b)
			if w <= 0 {
				return errValues
			}
			v, b = n, b[w:]
		case valueBytes:
			n, w := binary.Uvarint(b)
			if w <= 0 || n > uint64(len(b)-w) {
				return errValues
			}
			v, b = b[w:w+int(n):w+int(n)], b[w+int(n):]
		default:
			return errValues
		}
		if i >= len(dst) {
			return errValues
		}
		dst[i] = v
	}
	return nil
}

// sealingError says how encryption and the store do not fit.
func sealingError(format string, args ...any) *telemetry.Error {
	return telemetry.Errorf(telemetry.CodeInvalid, "open store", format, args...)
}
