package node

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/transfer"
)

var _ control.Transfer = (*Node)(nil)

// Tables implements control.Transfer.
func (n *Node) Tables(ctx context.Context) ([]transfer.Definition, error) {
	return definitions(ctx, n.store)
}

// definitions are all recorded versions.
func definitions(ctx context.Context, st store.Store) ([]transfer.Definition, error) {
	records, err := st.Tables(ctx, telemetry.DefaultTenant)
	if err != nil {
		return nil, err
	}
	out := make([]transfer.Definition, 0, len(records))
	for _, r := range records {
		out = append(out, transfer.Define(r.Table, r.Document))
	}
	return out, nil
}

// RecordTables implements control.Transfer.
func (n *Node) RecordTables(ctx context.Context, tables []transfer.Definition) error {
	defer n.tablesRecorded()
	n.gate.mu.Lock()
	defer n.gate.mu.Unlock()
	for _, d := range tables {
		t, err := d.TableVersion()
		if err != nil {
			return telemetry.Errorf(telemetry.CodeInvalid, "record table", "%v", err)
		}
		if err := n.store.PutTable(ctx, telemetry.DefaultTenant, t, []byte(d.Document)); err != nil {
			return err
		}
	}
	return nil
}

// An import is a session of the ledger with one entry: its packet id is always
// the same, and its hash is the mark. So the mark becomes durable in the step
// that stores the rows before it, and no file beside the store can disagree.
const (
	importPrefix = "import:"
	importPacket = 1
)

// ImportMark implements control.Transfer.
func (n *Node) ImportMark(ctx context.Context, key string) (uint64, bool, error) {
	n.importing.Lock() // a part that is being stored counts
	defer n.importing.Unlock()
	return n.importMark(ctx, key)
}

func (n *Node) importMark(ctx context.Context, key string) (uint64, bool, error) {
	_, entries, err := n.store.OpenSession(ctx, importPrefix+key)
	if err != nil || len(entries) == 0 {
		return 0, false, err
	}
	return entries[0].Hash, true, nil
}

// ImportBatches implements control.Transfer.
func (n *Node) ImportBatches(ctx context.Context, key string, from, mark uint64, batches []*transfer.Batch) (*control.Imported, error) {
	// Whoever asked may be gone while the rows become durable, and ask again: the
	// part is stored to its end before the next one is looked at.
	ctx = context.WithoutCancel(ctx)
	n.importing.Lock()
	defer n.importing.Unlock()
	at, _, err := n.importMark(ctx, key)
	if err != nil {
		return nil, err
	}
	if at != from {
		return nil, telemetry.Errorf(telemetry.CodeConflict, "import", "another run of the same import went on meanwhile").
			WithHint("start it again when the other has ended: it goes on from there")
	}
	session, _, err := n.store.OpenSession(ctx, importPrefix+key)
	if err != nil {
		return nil, err
	}
	im := &importer{n: n, out: &control.Imported{}}
	if im.tables, err = n.tableVersions(ctx); err != nil {
		return nil, err
	}
	var parts []*importPart
	for _, b := range batches {
		part, err := im.part(b)
		if err != nil {
			return nil, err
		}
		if part.section.Rows() > 0 {
			parts = append(parts, part)
		}
	}
	op := telemetry.LedgerOp{Session: session, PacketID: importPacket, QoS: 1, Kind: telemetry.LedgerPut, Hash: mark}
	return im.out, im.store(ctx, parts, []telemetry.LedgerOp{op})
}

func (n *Node) tableVersions(ctx context.Context) (*transfer.Tables, error) {
	records, err := n.store.Tables(ctx, telemetry.DefaultTenant)
	if err != nil {
		return nil, err
	}
	var all []*telemetry.Table
	for _, r := range records {
		all = append(all, r.Table)
	}
	return transfer.NewTables(all), nil
}

// retentionCut returns before which time the readings of a table are deleted: an
// import of them would be undone at once.
func (n *Node) retentionCut(table string) (int64, time.Duration) {
	n.following.Lock()
	age := n.policies[table].Retention
	n.following.Unlock()
	if now := n.store.RetentionTime(); now != 0 && age > 0 {
		return now - int64(age), age
	}
	return math.MinInt64, 0
}

// importer turns batches into sections of the store.
type importer struct {
	n      *Node
	tables *transfer.Tables
	out    *control.Imported
}

// importPart is the rows of one table version.
type importPart struct {
	section *telemetry.Section
	lines   []int64 // by row
}

func (im *importer) part(b *transfer.Batch) (*importPart, error) {
	t := im.tables.Find(b.Table, b.Version)
	if t == nil {
		return nil, telemetry.Errorf(telemetry.CodeNotFound, "import", "version %d of the table %q is not recorded", b.Version, b.Table)
	}
	if !slices.Equal(b.Tags, t.Tags) {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, "import", "the tags of %s are %s, not %s", t.Name, strings.Join(t.Tags, ", "), strings.Join(b.Tags, ", "))
	}
	at := make([]int, len(t.Columns)) // place in the batch, -1 for none
	for i := range at {
		at[i] = -1
	}
	for i, c := range b.Columns {
		j := t.ColumnIndex(c.Name)
		if j < 0 || t.Columns[j].Type != c.Type {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, "import", "%s version %d has no column %q of type %s", t.Name, t.Version, c.Name, c.Type)
		}
		at[j] = i
	}
	p := &importPart{section: &telemetry.Section{}}
	p.section.Reset(t)
	now := im.n.pipeline.Clock().Now()
	cut, age := im.n.retentionCut(t.Name)
	values := make([]telemetry.Value, len(at))
	for i := range b.Rows {
		r := &b.Rows[i]
		if r.Time == math.MaxInt64 { // the end of a range is exclusive: no query would find it
			im.refuse(r.Line, errors.New("the time is the last that 64 bits of nanoseconds hold, 2262-04-11T23:47:16.854775807Z, which no reading can have"))
			continue
		}
		if r.Time < cut {
			im.out.Refused = append(im.out.Refused, control.Refused{Line: r.Line, Why: fmt.Sprintf("too late: it is older than the retention of %s, which is %s", t.Name, telemetry.Span(age))})
			continue
		}
		ref, err := im.series(t, r)
		if err != nil {
			if code := telemetry.CodeOf(err); code != telemetry.CodeRefused && code != telemetry.CodeCardinality && code != telemetry.CodeInvalid {
				return nil, err
			}
			im.refuse(r.Line, err)
			continue
		}
		for c, from := range at {
			values[c] = telemetry.Value{Null: true}
			if from >= 0 {
				values[c] = r.Values[from]
			}
		}
		received := r.Received
		if received == 0 {
			received = now
		}
		p.section.AppendRow(ref, r.Time, received, values)
		p.lines = append(p.lines, r.Line)
	}
	return p, nil
}

func (im *importer) series(t *telemetry.Table, r *transfer.Row) (telemetry.SeriesRef, error) {
	if r.Topic == "" || len(r.Topic) > 65_535 || strings.ContainsAny(r.Topic, "+#\x00") || !utf8.ValidString(r.Topic) { // MQTT 5, 4.7.3
		return 0, telemetry.Errorf(telemetry.CodeInvalid, "import", "%.80q is not a topic name", r.Topic)
	}
	tags := make([][]byte, len(r.Tags))
	for i := range r.Tags {
		if !r.Tags[i].Null {
			tags[i] = append([]byte{}, r.Tags[i].Value...)
		}
	}
	return im.n.store.Series(telemetry.DefaultTenant, t, []byte(r.Topic), tags)
}

func (im *importer) refuse(line int64, err error) {
	im.out.Refused = append(im.out.Refused, control.Refused{Line: line, Why: err.Error()})
}

// store makes the parts durable with the mark, in one transaction: rows without
// their mark would be stored again after a kill. What the store refuses is found
// before, and listed.
func (im *importer) store(ctx context.Context, parts []*importPart, mark []telemetry.LedgerOp) error {
	err := im.n.pipeline.Load(ctx, sectionsOf(parts), mark)
	if telemetry.CodeOf(err) == telemetry.CodeRefused {
		if parts, err = im.taken(ctx, parts, nil); err != nil {
			return err
		}
		err = im.n.pipeline.Load(ctx, sectionsOf(parts), mark)
	}
	if err != nil {
		return err
	}
	for _, p := range parts {
		d := len(p.section.Duplicates)
		im.out.Stored += p.section.Rows() - d
		im.out.Duplicate += d
	}
	return nil
}

func sectionsOf(parts []*importPart) []*telemetry.Section {
	out := make([]*telemetry.Section, 0, len(parts))
	for _, p := range parts {
		out = append(out, p.section)
	}
	return out
}

// taken appends what the store takes of the parts. It halves them until those
// that are refused are alone.
func (im *importer) taken(ctx context.Context, parts, good []*importPart) ([]*importPart, error) {
	rows := 0
	for _, p := range parts {
		rows += p.section.Rows()
	}
	if rows == 0 {
		return good, nil
	}
	err := im.n.pipeline.Try(ctx, sectionsOf(parts))
	switch {
	case err == nil:
		return append(good, parts...), nil
	case telemetry.CodeOf(err) != telemetry.CodeRefused:
		return nil, err
	case rows == 1:
		for _, p := range parts {
			if len(p.lines) > 0 {
				im.refuse(p.lines[0], err)
			}
		}
		return good, nil
	}
	first, second := halve(parts, rows/2)
	if good, err = im.taken(ctx, first, good); err != nil {
		return nil, err
	}
	return im.taken(ctx, second, good)
}

// halve cuts the parts behind a count of rows.
func halve(parts []*importPart, at int) (first, second []*importPart) {
	for _, p := range parts {
		n := p.section.Rows()
		switch {
		case at >= n:
			first = append(first, p)
		case at <= 0:
			second = append(second, p)
		default:
			first, second = append(first, p.cut(0, at)), append(second, p.cut(at, n))
		}
		at -= n
	}
	return first, second
}

func (p *importPart) cut(from, to int) *importPart {
	out := &importPart{section: &telemetry.Section{}, lines: p.lines[from:to]}
	out.section.Reset(p.section.Table)
	values := make([]telemetry.Value, len(p.section.Columns))
	for row := from; row < to; row++ {
		for i := range values {
			v := &p.section.Columns[i]
			values[i] = telemetry.Value{Null: v.Nulls.Get(row)}
			if v.Type.Textual() {
				values[i].Text = v.Text(row)
			} else {
				values[i].Bits = v.Bits[row]
			}
		}
		out.section.AppendRow(p.section.Series[row], p.section.Time[row], p.section.Received[row], values)
	}
	return out
}
