package chunk

import (
	"sync"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// scratch is the memory that coding a page needs; pooled, so that steady work
// allocates nothing.
type scratch struct {
	planner   planner
	ints      []uint64 // the numbers of the column at work
	kept      []uint64 // the column without its nulls
	keptEnds  []int32
	except    []int32 // rows that the decimal form cannot give
	exponent  int     // of the last float column where ints are all of it, else -1
	codes     []uint64
	entries   []uint64 // of packed statistics
	dict      dictionary
	distinct  distinctSet
	templates templates
	squeezed  []byte
	sealed    []byte
	place     []byte // additional data of the page at work
	head      []byte
	read      []byte
	part      []byte
	series    []uint64
	heads     headScratch
	dir       []byte
	pages     []byte
	fresh     telemetry.Section // without duplicates
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func getScratch() *scratch  { return scratches.Get().(*scratch) }
func putScratch(s *scratch) { scratches.Put(s) }

// grow returns v with length n; what it holds is undefined.
func grow[T any](v []T, n int) []T {
	if cap(v) < n {
		return make([]T, n, n+n/8)
	}
	return v[:n]
}
