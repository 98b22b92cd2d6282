package query

import (
	"math"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// groupKey is a group in three parts: what its series has in common, its
// bucket of time, and what depends on the row besides.
type groupKey struct {
	series int32 // index into serVals
	rest   int32 // index into restVals
	bucket int64
}

// keyPart says where a key of the plan stands.
type keyPart uint8

const (
	partSeries keyPart = iota
	partBucket
	partRest
)

// timeBucket returns the bucketer of a bucket() of a time column and the
// column, or nil.
func (p *plan) timeBucket(e *expr) (*bucketer, *expr) {
	if e.op != opFunc || e.name != "bucket" || e.args[1].op != opColumn || !p.rel.columns[e.args[1].index].isTime() {
		return nil, nil
	}
	if e.args[0].op != opConst || e.args[0].val.IsNull() {
		return nil, nil
	}
	zone := ""
	if len(e.args) == 3 {
		if e.args[2].op != opConst || e.args[2].val.IsNull() {
			return nil, nil
		}
		zone = e.args[2].val.String()
	}
	b, err := newBucketer(e.args[0].val.String(), zone)
	if err != nil {
		return nil, nil
	}
	return b, e.args[1]
}

// groupTable numbers the groups that one worker meets.
type groupTable struct {
	parts  []keyPart // of each key of the plan
	place  []int     // of each key within its part
	bucket *bucketer // nil: no bucket of time is a key
	groups []groupKey
	index  map[groupKey]int32

	serOf    bySeries[int32] // index into serVals plus 1
	serPages int             // of serOf that bytes has
	serVals  [][]Value
	serIndex map[string]int32
	cache    []bucketCache // by index into serVals: the group met last

	restVals  [][]Value
	restIndex map[string]int32
	ids       []int32
	memo      []int32 // of a dictionary: index plus 1, NULL first
	memoOf    *string
	memoUnit  int
	lastRest  []byte
	lastID    int32

	key   []byte
	bytes int
}

type bucketCache struct {
	lo, hi int64
	rest   int32
	group  int32
}

func newGroupTable(p *plan) *groupTable {
	t := &groupTable{index: map[groupKey]int32{}, serIndex: map[string]int32{}, restIndex: map[string]int32{}, lastID: -1}
	counts := [3]int{}
	for _, k := range p.keys {
		part := partRest
		if k.walk(func(x *expr) bool { return x.op != opColumn || p.rel.columns[x.index].seriesOnly() }) {
			part = partSeries
		} else if b, col := p.timeBucket(k); b != nil && t.bucket == nil && p.rel.columns[col.index].source == fromTime {
			part, t.bucket = partBucket, b
		}
		t.parts = append(t.parts, part)
		t.place = append(t.place, counts[part])
		counts[part]++
	}
	return t
}

// hasRest reports whether some key depends on more than series and bucket.
func (t *groupTable) hasRest() bool {
	for _, p := range t.parts {
		if p == partRest {
			return true
		}
	}
	return false
}

// bounds returns the times around ts that fall into one bucket.
func (t *groupTable) bounds(ts int64) (lo, hi int64) {
	if t.bucket == nil {
		return math.MinInt64, math.MaxInt64
	}
	return t.bucket.bounds(ts)
}

// resolve returns the group of a row and the end of its bucket.
func (t *groupTable) resolve(w *worker, ref telemetry.SeriesRef, ts int64, rest int32) (group int32, until int64) {
	s := t.seriesID(w, ref)
	c := &t.cache[s]
	if ts >= c.lo && ts < c.hi && c.rest == rest {
		return c.group, c.hi
	}
	lo, hi := t.bounds(ts)
	k := groupKey{series: s, rest: rest, bucket: lo}
	g, ok := t.index[k]
	if !ok {
		g = int32(len(t.groups))
		t.groups = append(t.groups, k)
		t.index[k] = g
		t.bytes += 64
		for _, a := range w.accs {
			a.grow(len(t.groups))
		}
	}
	*c = bucketCache{lo, hi, rest, g}
	return g, hi
}

// seriesID returns the number of what the series contributes to its group.
func (t *groupTable) seriesID(w *worker, ref telemetry.SeriesRef) int32 {
	known := t.serOf.at(ref)
	if *known != 0 {
		return *known - 1
	}
	t.bytes += (t.serOf.used - t.serPages) * 4 * seriesPage
	t.serPages = t.serOf.used
	var vals []Value
	t.key = t.key[:0]
	for i, k := range w.plan.keys {
		if t.parts[i] != partSeries {
			continue
		}
		v, err := evalExpr(k, func(e *expr) Value { return w.seriesValue(e, ref) })
		if err != nil {
			w.fail(err)
		}
		vals = append(vals, v)
		t.key = appendKey(t.key, v)
	}
	id, ok := t.serIndex[string(t.key)]
	if !ok {
		id = t.addSeries(string(t.key), vals)
	}
	*known = id + 1
	return id
}

func (t *groupTable) addSeries(key string, vals []Value) int32 {
	id := int32(len(t.serVals))
	t.serVals = append(t.serVals, vals)
	t.serIndex[key] = id
	t.cache = append(t.cache, bucketCache{lo: math.MaxInt64, hi: math.MinInt64})
	t.bytes += len(key)*2 + 128
	return id
}

// restIDs returns the numbers of the values of the keys in partRest for the
// selected rows.
func (t *groupTable) restIDs(c *chunk, vecs []*vec, sel []int32) []int32 {
	t.ids = t.ids[:0]
	if v := vecs[0]; len(vecs) == 1 && v.kind == vecText && v.dict != nil && !v.con {
		if t.memoOf != &v.dict[0] || t.memoUnit != c.unit {
			t.memoOf, t.memoUnit, t.memo = &v.dict[0], c.unit, t.memo[:0]
		}
		t.memo = growTo(t.memo, len(v.dict)+1)
		for _, r := range sel {
			at := uint64(0) // of NULL
			if !v.nulls.Get(int(r)) {
				at = v.bits[r] + 1
			}
			id := t.memo[at]
			if id == 0 {
				id = t.restID(vecs, int(r)) + 1
				t.memo[at] = id
			}
			t.ids = append(t.ids, id-1)
		}
		return t.ids
	}
	for _, r := range sel {
		t.ids = append(t.ids, t.restID(vecs, int(r)))
	}
	return t.ids
}

// restID returns the number of the values of the keys in partRest at a row.
func (t *groupTable) restID(vecs []*vec, row int) int32 {
	t.key = t.key[:0]
	for _, v := range vecs {
		switch v.kind {
		case vecTime, vecBucket:
			// Both stand for their text, of which equal ones have equal times.
			t.key = append64(append(t.key, byte(v.kind)+16), v.bits[v.row(row)])
		default:
			t.key = appendKey(t.key, v.value(row))
		}
	}
	if t.lastID >= 0 && string(t.key) == string(t.lastRest) {
		return t.lastID
	}
	id, ok := t.restIndex[string(t.key)]
	if !ok {
		vals := make([]Value, len(vecs))
		for i, v := range vecs {
			vals[i] = v.value(row)
			vals[i].text = strings.Clone(vals[i].text)
		}
		id = t.addRest(string(t.key), vals)
	}
	t.lastRest, t.lastID = append(t.lastRest[:0], t.key...), id
	return id
}

func (t *groupTable) addRest(key string, vals []Value) int32 {
	id := int32(len(t.restVals))
	t.restVals = append(t.restVals, vals)
	t.restIndex[key] = id
	t.bytes += len(key)*2 + 128
	return id
}

// merge takes the groups of another worker and returns the number of each here.
func (t *groupTable) merge(o *groupTable, grow func(int)) []int32 {
	ser := make([]int32, len(o.serVals))
	for key, from := range o.serIndex {
		id, ok := t.serIndex[key]
		if !ok {
			id = t.addSeries(key, o.serVals[from])
		}
		ser[from] = id
	}
	rest := make([]int32, len(o.restVals)+1)
	for key, from := range o.restIndex {
		id, ok := t.restIndex[key]
		if !ok {
			id = t.addRest(key, o.restVals[from])
		}
		rest[from] = id
	}
	to := make([]int32, len(o.groups))
	for i, k := range o.groups {
		k.series = ser[k.series]
		if k.rest >= 0 {
			k.rest = rest[k.rest]
		}
		g, ok := t.index[k]
		if !ok {
			g = int32(len(t.groups))
			t.groups = append(t.groups, k)
			t.index[k] = g
			t.bytes += 64
		}
		to[i] = g
	}
	grow(len(t.groups))
	return to
}

// value returns key i of a group.
func (t *groupTable) value(g int32, i int) Value {
	k := &t.groups[g]
	switch t.parts[i] {
	case partSeries:
		return t.serVals[k.series][t.place[i]]
	case partRest:
		return t.restVals[k.rest][t.place[i]]
	}
	return TextValue(string(appendBucket(nil, k.bucket, t.bucket.w.wholeSeconds())))
}
