package transfer

import (
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Shape says what the rows of a batch are: readings of one table version.
type Shape struct {
	Table   string
	Version int // 0: the newest
	Tags    []string
	Columns []telemetry.Column
}

// Row is one reading.
type Row struct {
	Topic    string
	Tags     []store.Tag // parallel to Shape.Tags
	Time     int64
	Received int64             // 0: not known
	Values   []telemetry.Value // parallel to Shape.Columns
	// Line is where the reading stands, as the Locate of its Reader understands it.
	Line int64
}

// Batch is rows of one shape.
type Batch struct {
	Shape
	Rows []Row
}

// bytes is about how much memory a row takes.
func (r *Row) bytes() int {
	n := 80 + len(r.Topic) + 40*len(r.Values) + 24*len(r.Tags)
	for i := range r.Values {
		n += len(r.Values[i].Text)
	}
	for i := range r.Tags {
		n += len(r.Tags[i].Value)
	}
	return n
}

// Fault is a row that cannot be imported.
type Fault struct {
	File string
	Line int64
	Why  string
}

// Group is what a Reader gives at a time, and is stored in one step.
type Group struct {
	Batches []*Batch
	Faults  []Fault
	// Mark says where the source goes on behind this group. It ascends.
	Mark uint64
}

// Rows counts the rows of the group.
func (g *Group) Rows() int {
	n := 0
	for _, b := range g.Batches {
		n += len(b.Rows)
	}
	return n
}

// Reader gives the readings of one source.
type Reader interface {
	// Next returns the next group, or io.EOF. Its memory belongs to the caller.
	Next() (*Group, error)
	// Skip goes to a mark that an earlier run reached. It is called before Next.
	Skip(mark uint64) error
	// Progress says how far reading is and of how much, in bytes of the source or in
	// another measure; 0 where that is not known.
	Progress() (done, total int64)
	// Locate says which file a Row's Line is in, and where: a line, or a row of a
	// file without lines, counted from 1.
	Locate(line int64) (file string, at int64)
	Close() error
}

// places are the files of a Reader. A row keeps its file and line as one number.
type places []string

func (p places) number(file int, line int64) int64 { return line*int64(len(p)) + int64(file) }

// Locate implements Reader.
func (p places) Locate(line int64) (string, int64) {
	n := int64(len(p))
	return p[line%n], line / n
}

// How much a group holds at most: one commit each.
const (
	groupRows  = 20_000
	groupBytes = 8 << 20
)

// grouper puts rows into batches by table and version.
type grouper struct {
	group *Group
	rows  int
	bytes int
}

func (g *grouper) add(shape *Shape, version int, row Row) {
	if g.group == nil {
		g.group = &Group{}
	}
	var into *Batch
	for _, b := range g.group.Batches {
		if b.Table == shape.Table && b.Version == version {
			into = b
			break
		}
	}
	if into == nil {
		into = &Batch{Shape: *shape}
		into.Version = version
		g.group.Batches = append(g.group.Batches, into)
	}
	into.Rows = append(into.Rows, row)
	g.rows++
	g.bytes += row.bytes()
}

func (g *grouper) fault(f Fault) {
	if g.group == nil {
		g.group = &Group{}
	}
	g.group.Faults = append(g.group.Faults, f)
	g.bytes += 100 + len(f.Why)
}

func (g *grouper) full() bool { return g.rows >= groupRows || g.bytes >= groupBytes }

// take returns what was gathered, nil for nothing.
func (g *grouper) take(mark uint64) *Group {
	out := g.group
	if out != nil {
		out.Mark = mark
	}
	*g = grouper{}
	return out
}
