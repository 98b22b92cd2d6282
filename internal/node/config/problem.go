package config

import (
	"fmt"
	"sort"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Origin says where a value was given.
type Origin struct {
	File         string // empty: not from a file
	Line, Column int
	Name         string // an environment variable or a flag, where File is empty
}

func (o Origin) String() string {
	if o.File != "" {
		return fmt.Sprintf("%s:%d:%d", o.File, o.Line, o.Column)
	}
	return o.Name
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Origin  Origin
	Key     string // as in "broker.listen"; may be empty
	Message string
	Hint    string
}

func (p Problem) Error() string {
	return telemetry.Phrase(p.Hint, p.Origin.String(), p.Key, p.Message)
}

// Problems are all that is wrong, in the order of the file.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

func (ps Problems) sort() {
	sort.SliceStable(ps, func(i, j int) bool {
		a, b := ps[i].Origin, ps[j].Origin
		if (a.File == "") != (b.File == "") {
			return a.File != ""
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
}

// Suggest returns the candidate that is nearest to what was written, or "" where
// none is near enough to be meant.
func Suggest(written string, candidates []string) string {
	written = strings.ToLower(written)
	best, bestDistance := "", len(written)/3+2
	for _, c := range candidates {
		if d := distance(written, strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the optimal string alignment distance: insertions, deletions,
// substitutions and swaps of neighbours, which are what fingers get wrong.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
