package uplink

import "slices"

// spans is a set of sequences: disjoint, not adjacent, ascending.
type spans []span

// has reports whether the set holds a sequence.
func (s spans) has(n uint64) bool {
	i := s.after(n)
	return i > 0 && n < s[i-1].end
}

// after is the index of the first span that begins above n.
func (s spans) after(n uint64) int {
	i, _ := slices.BinarySearchFunc(s, n, func(a span, n uint64) int {
		if a.first > n {
			return 1
		}
		return -1
	})
	return i
}

// add returns the set with the span.
func (s spans) add(n span) spans {
	if n.first >= n.end {
		return s
	}
	from := s.after(n.first)
	if from > 0 && s[from-1].end >= n.first {
		from--
		n.first = s[from].first
	}
	to := from
	for to < len(s) && s[to].first <= n.end {
		n.end = max(n.end, s[to].end)
		to++
	}
	return slices.Replace(s, from, to, n)
}

// contiguous is the end of what the set holds from 1 on without a hole.
func (s spans) contiguous() uint64 {
	if len(s) > 0 && s[0].first <= 1 {
		return s[0].end
	}
	return 1
}

// holes returns at most limit stretches below end that the set lacks, the newest
// first if newest.
func (s spans) holes(end uint64, newest bool, limit int) []span {
	var out []span
	at := uint64(1)
	for _, x := range s {
		if x.first >= end {
			break
		}
		if x.first > at {
			out = append(out, span{at, x.first})
		}
		at = max(at, x.end)
	}
	if at < end {
		out = append(out, span{at, end})
	}
	if newest {
		slices.Reverse(out)
	}
	return out[:min(len(out), limit)]
}

// union returns what either set holds.
func (s spans) union(o spans) spans {
	out := slices.Clone(s)
	for _, x := range o {
		out = out.add(x)
	}
	return out
}

// count is how many sequences the set holds.
func (s spans) count() uint64 {
	n := uint64(0)
	for _, x := range s {
		n += x.end - x.first
	}
	return n
}
