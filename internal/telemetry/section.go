package telemetry

import "math"

// Bitmap holds one bit a row. A nil Bitmap has no bit set.
type Bitmap []uint64

// Get reports whether bit i is set; bits beyond the end are not.
func (b Bitmap) Get(i int) bool {
	w := i >> 6
	return w < len(b) && b[w]&(1<<(uint(i)&63)) != 0
}

// Set returns the bitmap with bit i set, grown as needed.
func (b Bitmap) Set(i int) Bitmap {
	for w := i >> 6; w >= len(b); {
		b = append(b, 0)
	}
	b[i>>6] |= 1 << (uint(i) & 63)
	return b
}

// Vector is one column of a Section.
//
// Float, Int and Bool values stand in Bits (math.Float64bits, two's complement,
// 0 or 1). Textual values stand in one of two forms: plain (Dict is nil: row i
// is Bytes[Ends[i-1]:Ends[i]], with Ends[-1] = 0) or by dictionary (row i is
// Dict[Bits[i]]). A null row has its bit set in Nulls, and zero or no bytes in
// its place, so that every row has a slot.
type Vector struct {
	Type  ColumnType
	Bits  []uint64
	Ends  []uint32
	Bytes []byte
	Dict  []string
	Nulls Bitmap
}

// Text returns the bytes of a textual row; they are valid until the vector changes.
func (v *Vector) Text(i int) []byte {
	if v.Dict != nil {
		return []byte(v.Dict[v.Bits[i]])
	}
	start := uint32(0)
	if i > 0 {
		start = v.Ends[i-1]
	}
	return v.Bytes[start:v.Ends[i]]
}

// Float returns row i of a Float vector.
func (v *Vector) Float(i int) float64 { return math.Float64frombits(v.Bits[i]) }

// Reset empties the vector and keeps its memory.
func (v *Vector) Reset(t ColumnType) {
	v.Type = t
	v.Bits = v.Bits[:0]
	v.Ends = v.Ends[:0]
	v.Bytes = v.Bytes[:0]
	v.Dict = nil
	v.Nulls = v.Nulls[:0]
}

// Section is a run of readings of one table version, in columns. It is the form
// that the pipeline fills, chunks encode, stores commit and scans give back.
type Section struct {
	Table    *Table
	Series   []SeriesRef
	Time     []int64
	Received []int64
	Columns  []Vector // parallel to Table.Columns when ingested; to the requested columns when scanned

	// OnlyIfChanged lists, ascending, rows that came as retained values at
	// subscribe: they are stored only where they differ from the latest reading
	// of their series.
	OnlyIfChanged []int32

	// Duplicates is filled by Store.Stage: the rows, ascending, that are not
	// stored because the store has them (or, retained, has them unchanged).
	Duplicates []int32
}

// Rows returns the number of readings.
func (s *Section) Rows() int { return len(s.Series) }

// Reset empties the section for the table and keeps its memory.
func (s *Section) Reset(t *Table) {
	s.Table = t
	s.Series = s.Series[:0]
	s.Time = s.Time[:0]
	s.Received = s.Received[:0]
	s.OnlyIfChanged = s.OnlyIfChanged[:0]
	s.Duplicates = s.Duplicates[:0]
	if cap(s.Columns) < len(t.Columns) {
		s.Columns = make([]Vector, len(t.Columns))
	}
	s.Columns = s.Columns[:len(t.Columns)]
	for i := range s.Columns {
		s.Columns[i].Reset(t.Columns[i].Type)
	}
}

// Value is one field of one row on its way into a Section. Text points into the
// payload and is valid as long as that is.
type Value struct {
	Null bool
	Bits uint64
	Text []byte
}

// AppendRow appends one reading; values are parallel to Table.Columns.
func (s *Section) AppendRow(ref SeriesRef, time, received int64, values []Value) {
	row := len(s.Series)
	s.Series = append(s.Series, ref)
	s.Time = append(s.Time, time)
	s.Received = append(s.Received, received)
	for i := range s.Columns {
		c, v := &s.Columns[i], &values[i]
		if c.Type.Textual() {
			c.Bytes = append(c.Bytes, v.Text...)
			c.Ends = append(c.Ends, uint32(len(c.Bytes)))
		} else {
			c.Bits = append(c.Bits, v.Bits)
		}
		if v.Null {
			c.Nulls = c.Nulls.Set(row)
		}
	}
}

// SizeBytes returns about how much memory the section's rows hold.
func (s *Section) SizeBytes() int {
	n := len(s.Series)*20 + 256
	for i := range s.Columns {
		c := &s.Columns[i]
		n += len(c.Bits)*8 + len(c.Ends)*4 + len(c.Bytes) + len(c.Nulls)*8
	}
	return n
}
