package transfer

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// extSort puts records in the order of their keys with bounded memory: sorted runs
// in temporary files, which are merged. Equal keys keep the order in which they
// were added.
type extSort struct {
	limit  int // bytes in memory
	dir    string
	keys   []extRecord
	bytes  int
	runs   []*os.File
	sorted bool
}

type extRecord struct{ key, value []byte }

const extSortBytes = 64 << 20

func (s *extSort) add(key, value []byte) error {
	s.keys = append(s.keys, extRecord{bytes.Clone(key), bytes.Clone(value)})
	s.bytes += len(key) + len(value) + 64
	if s.bytes < s.limit {
		return nil
	}
	return s.spill()
}

// spill writes what is in memory as a run.
func (s *extSort) spill() error {
	s.order()
	f, err := os.CreateTemp(s.dir, "weir-import-*")
	if err != nil {
		return fmt.Errorf("sort: %w", err)
	}
	_ = os.Remove(f.Name()) // where a system takes no open file away, Close does
	s.runs = append(s.runs, f)
	w := bufio.NewWriterSize(f, 256<<10)
	var head []byte
	for _, r := range s.keys {
		head = binary.AppendUvarint(head[:0], uint64(len(r.key)))
		head = binary.AppendUvarint(head, uint64(len(r.value)))
		for _, part := range [][]byte{head, r.key, r.value} {
			if _, err := w.Write(part); err != nil {
				return fmt.Errorf("sort: %w", err)
			}
		}
	}
	s.keys, s.bytes = s.keys[:0], 0
	if err := w.Flush(); err != nil {
		return fmt.Errorf("sort: %w", err)
	}
	return nil
}

func (s *extSort) order() {
	slices.SortStableFunc(s.keys, func(a, b extRecord) int { return bytes.Compare(a.key, b.key) })
}

// merge returns all records in order. It may be called again.
func (s *extSort) merge() (*extMerge, error) {
	if !s.sorted {
		s.order()
		s.sorted = true
	}
	m := &extMerge{}
	for i, f := range s.runs {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("sort: %w", err)
		}
		src := &extSource{run: i, r: bufio.NewReaderSize(f, 64<<10)}
		if err := m.push(src); err != nil {
			return nil, err
		}
	}
	return m, m.push(&extSource{run: len(s.runs), memory: s.keys})
}

func (s *extSort) close() error {
	var errs []error
	for _, f := range s.runs {
		errs = append(errs, f.Close())
		if err := os.Remove(f.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	s.runs = nil
	return errors.Join(errs...)
}

// extSource is one run that is being merged.
type extSource struct {
	run    int
	r      *bufio.Reader
	memory []extRecord
	head   extRecord
}

// next reads the run's next record; io.EOF at its end.
func (s *extSource) next() error {
	if s.r == nil {
		if len(s.memory) == 0 {
			return io.EOF
		}
		s.head, s.memory = s.memory[0], s.memory[1:]
		return nil
	}
	k, err := binary.ReadUvarint(s.r)
	if err != nil {
		return err
	}
	v, err := binary.ReadUvarint(s.r)
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	s.head = extRecord{make([]byte, k), make([]byte, v)}
	if _, err := io.ReadFull(s.r, s.head.key); err != nil {
		return io.ErrUnexpectedEOF
	}
	if _, err := io.ReadFull(s.r, s.head.value); err != nil {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// extMerge is a heap of runs.
type extMerge struct{ sources []*extSource }

func (m *extMerge) push(s *extSource) error {
	err := s.next()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sort: %w", err)
	}
	heap.Push(m, s)
	return nil
}

// pop returns the least record, or io.EOF.
func (m *extMerge) pop() (extRecord, error) {
	if len(m.sources) == 0 {
		return extRecord{}, io.EOF
	}
	s := m.sources[0]
	out := s.head
	switch err := s.next(); {
	case errors.Is(err, io.EOF):
		heap.Pop(m)
	case err != nil:
		return out, fmt.Errorf("sort: %w", err)
	default:
		heap.Fix(m, 0)
	}
	return out, nil
}

func (m *extMerge) peek() []byte {
	if len(m.sources) == 0 {
		return nil
	}
	return m.sources[0].head.key
}

func (m *extMerge) Len() int { return len(m.sources) }
func (m *extMerge) Less(i, j int) bool {
	a, b := m.sources[i], m.sources[j]
	if c := bytes.Compare(a.head.key, b.head.key); c != 0 {
		return c < 0
	}
	return a.run < b.run
}
func (m *extMerge) Swap(i, j int) { m.sources[i], m.sources[j] = m.sources[j], m.sources[i] }
func (m *extMerge) Push(x any)    { m.sources = append(m.sources, x.(*extSource)) }
func (m *extMerge) Pop() any {
	last := m.sources[len(m.sources)-1]
	m.sources = m.sources[:len(m.sources)-1]
	return last
}
