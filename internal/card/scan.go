package card

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Part is a stretch of a medium, or a file, in which blocks may stand.
type Part struct {
	Name  string
	From  io.ReaderAt
	Start int64
	Size  int64
}

// Report says what was found and what was left out.
type Report struct {
	Blocks   int      // that are whole
	Damaged  int      // sectors that began as blocks and are torn or damaged
	Payloads int      // blocks whose records do not decode to their end
	Sealed   int      // blocks that no key opens
	Notes    []string // what was skipped, and why
}

func (r *Report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Run is one epoch of one device as a card has it: what one start of the program
// recorded.
type Run struct {
	Device string
	Epoch  uint64
	Info   Epoch    // zero where the epoch record is not there
	Plans  [][]byte // bodies of plan records
	Times  [][]byte // bodies of time records, by uptime
	Lost   []Lost   // ranges that the card declares lost
	Count  int      // sequenced records, one that stands twice counted twice

	serial uint64 // of its first block, for the order
	spans  []Lost // sequences that are there, merged
	// What epoch records say of the run: its first sequence on this card, and one past its last. 0: nothing.
	from, end uint64
}

// Missing returns the ranges that the card held and that are neither there nor
// declared lost: between two records of the run, before its first and after its last.
func (r *Run) Missing() (out []Lost) {
	have := r.accounted()
	if len(have) == 0 {
		if r.end > 0 {
			out = append(out, Lost{r.Epoch, max(r.from, 1), r.end})
		}
		return out
	}
	if r.from > 0 && r.from < have[0].First {
		out = append(out, Lost{r.Epoch, r.from, have[0].First})
	}
	for i := 1; i < len(have); i++ {
		out = append(out, Lost{r.Epoch, have[i-1].Next, have[i].First})
	}
	if last := have[len(have)-1].Next; r.end > last {
		out = append(out, Lost{r.Epoch, last, r.end})
	}
	return out
}

// Unaccounted is the first sequence that the card accounts for, if it does not tell
// what came before it: that was overwritten a while ago, or its blocks are damaged.
func (r *Run) Unaccounted() (first uint64, ok bool) {
	have := r.accounted()
	if r.from > 0 || len(have) == 0 || have[0].First <= 1 {
		return 0, false
	}
	return have[0].First, true
}

func (r *Run) accounted() []Lost { return merge(append(append([]Lost{}, r.spans...), r.Lost...)) }

// merge joins ranges that touch.
func merge(in []Lost) []Lost {
	sort.Slice(in, func(i, j int) bool { return in[i].First < in[j].First })
	out := in[:0]
	for _, s := range in {
		if n := len(out); n > 0 && s.First <= out[n-1].Next {
			out[n-1].Next = max(out[n-1].Next, s.Next)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// saw notes that a sequence is there.
func (r *Run) saw(sequence uint64) {
	r.Count++
	if n := len(r.spans); n > 0 && r.spans[n-1].Next == sequence {
		r.spans[n-1].Next++
		return
	}
	if len(r.spans) > 4096 {
		r.spans = merge(r.spans)
	}
	r.spans = append(r.spans, Lost{r.Epoch, sequence, sequence + 1})
}

// Key opens sealed blocks of one device.
type Key [32]byte

// Scan reads every block of some parts, twice: Survey learns what there is, and
// what is needed to understand it (plans, times); Records gives the records. Order,
// copies and damage do not matter: a block says itself what it holds.
type Scan struct {
	Parts    []Part
	Keys     []Key
	Progress func(done, total int64)
	Report   Report

	runs  map[uint64]*Run   // by epoch: one may stand on several cards
	names map[uint32]string // of devices, by card
	cards map[uint64]uint32 // of epochs
	first []uint64          // of each part: the lowest serial
}

const chunkSectors = 2048

// Survey returns the runs, oldest first.
func (s *Scan) Survey() []*Run {
	s.runs, s.names, s.cards = map[uint64]*Run{}, map[uint32]string{}, map[uint64]uint32{}
	s.first = make([]uint64, len(s.Parts))
	for i := range s.Parts {
		s.first[i] = ^uint64(0)
	}
	s.each(func(part int, b *Block) {
		s.Report.Blocks++
		s.first[part] = min(s.first[part], uint64(b.Serial))
		s.survey(b)
	}, func() { s.Report.Damaged++ })
	// From here on the parts are read in the order of their writing.
	order := make([]int, len(s.Parts))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(i, j int) bool { return s.first[order[i]] < s.first[order[j]] })
	parts := make([]Part, len(order))
	for i, j := range order {
		parts[i] = s.Parts[j]
	}
	s.Parts = parts
	return s.finish()
}

// Records calls yield for each block's sequenced records, which it may keep, after Survey.
func (s *Scan) Records(yield func(*Run, []Record) error) error {
	var err error
	s.each(func(_ int, b *Block) {
		if err != nil || b.Header() || b.Sealed() && !s.open(b) {
			return
		}
		var records []Record
		_ = b.Records(func(rec Record) { // Survey has counted the fault
			if rec.Kind < unsequenced {
				records = append(records, rec)
			}
		})
		if len(records) > 0 {
			err = yield(s.runs[b.Epoch], records)
		}
	}, func() {})
	return err
}

func (s *Scan) each(block func(part int, b *Block), damaged func()) {
	var done, total int64
	for _, p := range s.Parts {
		total += p.Size
	}
	buf := make([]byte, chunkSectors*Sector)
	for i, p := range s.Parts {
		for at := int64(0); at+Sector <= p.Size; at += int64(len(buf)) {
			n := min(int64(len(buf)), (p.Size-at)/Sector*Sector)
			s.chunk(p, at, buf[:n], func(sector []byte) {
				if sector[0] != 0x57 || sector[1] != 0x62 {
					return
				}
				b, err := OpenBlock(sector)
				if err != nil {
					damaged()
					return
				}
				block(i, &b)
			})
			done += n
			if s.Progress != nil {
				s.Progress(done, total)
			}
		}
	}
}

// chunk looks at sectors; those that cannot be read are left out one by one.
func (s *Scan) chunk(p Part, at int64, buf []byte, sector func([]byte)) {
	_, err := p.From.ReadAt(buf, p.Start+at)
	whole := err == nil || errors.Is(err, io.EOF)
	bad := 0
	for i := 0; i+Sector <= len(buf); i += Sector {
		one := buf[i : i+Sector]
		if !whole {
			if _, err := p.From.ReadAt(one, p.Start+at+int64(i)); err != nil {
				bad++
				continue
			}
		}
		sector(one)
	}
	if bad > 0 {
		s.Report.note("%s: %d sectors from byte %d on cannot be read", p.Name, bad, at)
	}
}

func (s *Scan) run(card uint32, epoch uint64) *Run {
	r := s.runs[epoch]
	if r == nil {
		r = &Run{Epoch: epoch, serial: ^uint64(0)}
		s.runs[epoch] = r
		s.cards[epoch] = card
	}
	return r
}

func (s *Scan) survey(b *Block) {
	if b.Header() {
		h, err := b.ReadHeader()
		if err != nil {
			s.Report.Payloads++
			return
		}
		s.names[b.Card] = h.Device
		for _, l := range h.Lost {
			r := s.run(b.Card, l.Epoch)
			r.Lost = append(r.Lost, l)
		}
		return
	}
	if b.Sealed() && !s.open(b) {
		s.Report.Sealed++
		return
	}
	r := s.run(b.Card, b.Epoch)
	r.serial = min(r.serial, uint64(b.Serial)<<32|uint64(b.Index))
	if err := b.Records(r.survey); err != nil {
		s.Report.Payloads++
	}
}

func (r *Run) survey(rec Record) {
	switch rec.Kind {
	case KindEpoch:
		if e, ok := ReadEpoch(rec.Body); ok {
			r.Info = e
			if r.from == 0 || rec.Sequence < r.from {
				r.from = rec.Sequence
			}
		}
	case kindPlan:
		r.plan(rec.Body)
	case kindTime:
		r.time(rec.Body)
	}
	if rec.Kind < unsequenced {
		r.saw(rec.Sequence)
	}
}

// time keeps the earliest and the latest time record: the line between them places
// every other record.
func (r *Run) time(body []byte) {
	p, ok := ReadPoint(body)
	if !ok {
		return
	}
	uptime := func(i int) uint64 { q, _ := ReadPoint(r.Times[i]); return q.Uptime }
	switch n := len(r.Times); {
	case n == 0 || n == 1 && p.Uptime > uptime(0):
		r.Times = append(r.Times, body)
	case p.Uptime < uptime(0):
		r.Times = [][]byte{body, r.Times[n-1]}
	case n == 2 && p.Uptime > uptime(1):
		r.Times[1] = body
	}
}

func (r *Run) plan(body []byte) {
	for _, p := range r.Plans {
		if string(p) == string(body) {
			return
		}
	}
	r.Plans = append(r.Plans, body)
}

func (s *Scan) finish() []*Run {
	s.bound()
	var out []*Run
	for epoch, r := range s.runs {
		r.Device = s.names[s.cards[epoch]]
		r.spans = merge(r.spans)
		out = append(out, r)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].serial != out[j].serial {
			return out[i].serial < out[j].serial
		}
		return out[i].Epoch < out[j].Epoch
	})
	return out
}

// bound notes where runs ended: the epoch record of the next one says it. A run of
// which nothing is left is known by that alone; on a card that has rotated it was
// overwritten, so nothing is said of it there.
func (s *Scan) bound() {
	whole := s.Report.Sealed == 0 && len(s.first) > 0 && slices.Min(s.first) <= 1
	for _, r := range slices.Collect(maps.Values(s.runs)) {
		if r.Info.Before == 0 {
			continue
		}
		if s.runs[r.Info.Before] == nil && whole && r.Info.BeforeNext > 1 {
			s.run(s.cards[r.Epoch], r.Info.Before).serial = r.serial
		}
		if before := s.runs[r.Info.Before]; before != nil {
			before.end = max(before.end, r.Info.BeforeNext)
		}
	}
}

// errNothing says that a directory holds no segment.
func errNothing(what string) error {
	return telemetry.Errorf(telemetry.CodeInvalid, "import card", "%s holds no block that a recorder wrote", what).
		WithHint("an import takes a card, its image, a directory with WEIRnnnn.SEG files, or one of them")
}
