package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/weir-telemetry/weir/internal/jsontext"
	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// A reading that the store refused is quarantined in these words, because the
// payload that it came from is gone by then:
//
//	{"weir":"refused reading","table":"env","version":1,
//	 "time":"2026-01-02T03:04:05.123456789Z",
//	 "tags":{"plant":"p03","line":"l2","device":"d00123"},
//	 "values":{"temperature":21.53,"status":"ok","_rest":{"x":1}}}
//
// They hold all of it: null tags and values are null, the record has topic and time
// of receipt. Replay reads them back into the table that they name.
type refusedReading struct {
	Weir    string          `json:"weir"`
	Table   string          `json:"table"`
	Version int             `json:"version"`
	Time    time.Time       `json:"time"`
	Tags    json.RawMessage `json:"tags"`
	Values  json.RawMessage `json:"values"`
}

// refusedMark stands at the head of the payload of such a record.
const refusedMark = "refused reading"

var refusedPrefix = []byte(`{"weir":"` + refusedMark + `"`)

// seriesName is a series in words.
type seriesName struct {
	topic string
	tags  [][]byte
}

// record makes the quarantine record of a culprit.
func (f fragment) record(names map[*builder]map[telemetry.SeriesRef]seriesName, why string) telemetry.Quarantined {
	if f.builder == nil {
		return f.batch.quarantine[f.first]
	}
	s := &f.builder.section
	row := int(f.first)
	name := names[f.builder][s.Series[row]]
	payload := appendRefused(nil, s, row, name.tags)
	return telemetry.Quarantined{
		Received: s.Received[row],
		Source:   f.builder.source(f.first).name,
		Topic:    name.topic,
		Payload:  payload,
		Size:     len(payload),
		Reason:   telemetry.ReasonRefused,
		Detail:   why,
		Offset:   -1,
		Schema:   f.builder.plan.Name(),
		Version:  f.builder.plan.Version(),
	}
}

// lose notes that not even the record of a message could be stored.
func (b *batch) lose(f fragment, q *telemetry.Quarantined) {
	c := b.lane.sources[q.Source]
	if f.builder != nil && f.builder.inSpan(f.first) {
		return // the message counts as quarantined for its other rows
	}
	b.lost = append(b.lost, lostRecord{c, q.Reason})
}

func appendRefused(dst []byte, s *telemetry.Section, row int, tags [][]byte) []byte {
	t := s.Table
	dst = append(dst, refusedPrefix...)
	dst = append(dst, `,"table":`...)
	dst = jsontext.AppendString(dst, []byte(t.Name))
	dst = fmt.Appendf(dst, `,"version":%d,"time":%q,"tags":{`, t.Version,
		time.Unix(0, s.Time[row]).UTC().Format(time.RFC3339Nano))
	for i, name := range t.Tags {
		dst = appendName(dst, name, i == 0)
		if i >= len(tags) || tags[i] == nil {
			dst = append(dst, "null"...)
		} else {
			dst = jsontext.AppendString(dst, tags[i])
		}
	}
	dst = append(dst, `},"values":{`...)
	for i := range t.Columns {
		dst = appendName(dst, t.Columns[i].Name, i == 0)
		dst = appendValue(dst, &s.Columns[i], row)
	}
	return append(dst, "}}"...)
}

func appendName(dst []byte, name string, first bool) []byte {
	if !first {
		dst = append(dst, ',')
	}
	return append(jsontext.AppendString(dst, []byte(name)), ':')
}

func appendValue(dst []byte, v *telemetry.Vector, row int) []byte {
	if v.Nulls.Get(row) {
		return append(dst, "null"...)
	}
	switch v.Type {
	case telemetry.Float:
		return strconv.AppendFloat(dst, v.Float(row), 'g', -1, 64)
	case telemetry.Int:
		return strconv.AppendInt(dst, int64(v.Bits[row]), 10)
	case telemetry.Bool:
		return strconv.AppendBool(dst, v.Bits[row] != 0)
	case telemetry.JSON:
		return append(dst, v.Text(row)...)
	default:
		return jsontext.AppendString(dst, v.Text(row))
	}
}

// readRefused reads a refused reading back, into the table of a plan of its name
// that has all its columns.
func readRefused(payload []byte, plans []*plan) (*plan, schema.Row, [][]byte, error) {
	var r refusedReading
	if err := json.Unmarshal(payload, &r); err != nil {
		return nil, schema.Row{}, nil, fmt.Errorf("read a refused reading: %w", err)
	}
	values, err := readObject(r.Values)
	if err != nil {
		return nil, schema.Row{}, nil, err
	}
	tags, err := readObject(r.Tags)
	if err != nil {
		return nil, schema.Row{}, nil, err
	}
	var best *plan
	for _, p := range plans {
		if p.table.Name == r.Table && covers(p.table, values, tags) && (best == nil || p.table.Version == r.Version) {
			best = p
		}
	}
	if best == nil {
		return nil, schema.Row{}, nil, fmt.Errorf("no active schema has table %q with all columns of the reading", r.Table)
	}
	row := schema.Row{Time: r.Time.UnixNano(), HasTime: true}
	for i := range best.table.Columns {
		v, err := readValue(best.table.Columns[i].Type, values[best.table.Columns[i].Name])
		if err != nil {
			return nil, schema.Row{}, nil, fmt.Errorf("column %q: %w", best.table.Columns[i].Name, err)
		}
		row.Values = append(row.Values, v)
	}
	var all [][]byte
	for _, name := range best.table.Tags {
		v, err := readValue(telemetry.String, tags[name])
		if err != nil {
			return nil, schema.Row{}, nil, fmt.Errorf("tag %q: %w", name, err)
		}
		text := v.Text
		if !v.Null && text == nil {
			text = []byte{}
		}
		all = append(all, text)
	}
	return best, row, all, nil
}

func readObject(data json.RawMessage) (map[string]json.RawMessage, error) {
	var out map[string]json.RawMessage
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("read a refused reading: %w", err)
	}
	return out, nil
}

// covers reports whether a table has all the named columns and tags.
func covers(t *telemetry.Table, values, tags map[string]json.RawMessage) bool {
	for name := range values {
		if t.ColumnIndex(name) < 0 {
			return false
		}
	}
	known := map[string]bool{}
	for _, name := range t.Tags {
		known[name] = true
	}
	for name := range tags {
		if !known[name] {
			return false
		}
	}
	return true
}

func readValue(t telemetry.ColumnType, data json.RawMessage) (telemetry.Value, error) {
	if len(data) == 0 || string(data) == "null" {
		return telemetry.Value{Null: true}, nil
	}
	switch t {
	case telemetry.Float:
		f, err := strconv.ParseFloat(string(data), 64)
		return telemetry.Value{Bits: math.Float64bits(f)}, err
	case telemetry.Int:
		n, err := strconv.ParseInt(string(data), 10, 64)
		return telemetry.Value{Bits: uint64(n)}, err
	case telemetry.Bool:
		b, err := strconv.ParseBool(string(data))
		if b {
			return telemetry.Value{Bits: 1}, err
		}
		return telemetry.Value{}, err
	case telemetry.JSON:
		return telemetry.Value{Text: data}, nil
	default:
		var s string
		err := json.Unmarshal(data, &s)
		return telemetry.Value{Text: []byte(s)}, err
	}
}

// nameSeries finds topic and tags of the culprits' series: in the lanes' caches,
// else in the store. It is for rare use: it walks the caches.
func (p *Pipeline) nameSeries(culprits []fragment) map[*builder]map[telemetry.SeriesRef]seriesName {
	out := map[*builder]map[telemetry.SeriesRef]seriesName{}
	missing := map[string]map[telemetry.SeriesRef][]*builder{} // by table
	for _, f := range culprits {
		if f.builder == nil {
			continue
		}
		if out[f.builder] == nil {
			out[f.builder] = map[telemetry.SeriesRef]seriesName{}
		}
		ref := f.builder.section.Series[f.first]
		out[f.builder][ref] = seriesName{}
		table := f.builder.section.Table.Name
		if missing[table] == nil {
			missing[table] = map[telemetry.SeriesRef][]*builder{}
		}
		missing[table][ref] = append(missing[table][ref], f.builder)
	}
	for table, refs := range missing {
		for ref, name := range p.findSeries(table, refs) {
			for _, bu := range refs[ref] {
				out[bu][ref] = name
			}
		}
	}
	return out
}

// findSeries names series of one table.
func (p *Pipeline) findSeries(table string, refs map[telemetry.SeriesRef][]*builder) map[telemetry.SeriesRef]seriesName {
	out := map[telemetry.SeriesRef]seriesName{}
	for _, l := range p.lanes {
		l.mu.Lock()
		l.topics.each(func(at uint32, e entry, kind int) {
			if bus, ok := refs[e.series()]; ok {
				topic, tags := l.topics.key(at), [][]byte(nil)
				if kind == kindTags {
					topic, tags = l.openTagKey(topic)
				}
				captures, _ := bus[0].plan.Captures(topic, nil)
				var all [][]byte
				for _, t := range append(captures, tags...) {
					all = append(all, bytes.Clone(t))
				}
				out[e.series()] = seriesName{string(topic), all}
			}
		})
		l.mu.Unlock()
	}
	if len(out) == len(refs) {
		return out
	}
	scan, err := p.store.Scan(context.Background(), store.ScanRequest{
		Tenant: p.cfg.Tenant, Table: table, From: math.MinInt64, To: math.MinInt64 + 1,
	})
	if err != nil {
		p.log.Error("a refused reading is quarantined without its topic", "table", table, "error", err)
		return out
	}
	defer scan.Close()
	for ref := range refs {
		if _, ok := out[ref]; ok || ref >= scan.MaxSeries() {
			continue
		}
		info := scan.Series(ref)
		var tags [][]byte
		for _, t := range info.Tags {
			if t.Null {
				tags = append(tags, nil)
			} else {
				tags = append(tags, []byte(t.Value))
			}
		}
		out[ref] = seriesName{info.Topic, tags}
	}
	return out
}

// openTagKey reads a key of appendTagKey back. The lane is locked.
func (l *lane) openTagKey(key []byte) (topic []byte, tags [][]byte) {
	topic = l.topics.key(uint32(key[0]) | uint32(key[1])<<8 | uint32(key[2])<<16 | uint32(key[3])<<24)
	for key = key[6:]; len(key) > 0; {
		n, shift, i := 0, 0, 0
		for ; key[i] >= 0x80; i++ {
			n |= int(key[i]&0x7f) << shift
			shift += 7
		}
		n |= int(key[i]) << shift
		key = key[i+1:]
		if n == 0 {
			tags = append(tags, nil)
			continue
		}
		tags = append(tags, key[:n-1:n-1])
		key = key[n-1:]
	}
	return topic, tags
}
