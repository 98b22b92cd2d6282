package query

import "github.com/weir-telemetry/weir/internal/telemetry"

// bySeries holds a value for each series that a statement meets, zero at first.
// Series are numbered for all tables of a tenant, and a statement meets few of a
// million: so they stand in pages.
type bySeries[T any] struct {
	pages []*[seriesPage]T
	used  int // pages that are there
}

const seriesPage = 512

// at returns the place of a series, which stays where it is.
func (b *bySeries[T]) at(ref telemetry.SeriesRef) *T {
	page := int(ref / seriesPage)
	if page >= len(b.pages) {
		b.pages = append(b.pages, make([]*[seriesPage]T, page+1-len(b.pages))...)
	}
	p := b.pages[page]
	if p == nil {
		p = new([seriesPage]T)
		b.pages[page] = p
		b.used++
	}
	return &p[ref%seriesPage]
}
