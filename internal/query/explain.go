package query

import (
	"fmt"
	"strings"
	"time"
)

// explain runs the statement and tells what it did instead of what it found.
func (q *queryRun) explain() (*Rows, error) {
	rows, err := q.run()
	if err != nil {
		return nil, err
	}
	n := 0
	for rows.Next() {
		n += rows.Batch().Len()
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	s := rows.Stats()
	lines := [][2]string{{"path", s.Path}}
	if s.Why != "" {
		lines = append(lines, [2]string{"why", s.Why})
	}
	if p, err := q.plan(); err == nil {
		lines = append(lines, p.describe()...)
	}
	if g := s.Segments; g.All > 0 {
		lines = append(lines, [2]string{"segments", fmt.Sprintf("%d: %d skipped, %d answered by their totals, %d read",
			g.All-g.RolledUp, g.Skipped, g.Answered, g.All-g.Skipped-g.Answered-g.RolledUp)})
	}
	if s.Rollups != "" {
		lines = append(lines, [2]string{"rollups", fmt.Sprintf("%s, in place of %d segments", s.Rollups, s.Segments.RolledUp)})
	}
	lines = append(lines,
		[2]string{"units", fmt.Sprintf("%d: %d skipped, %d answered by statistics, %d decoded", s.Units, s.Skipped, s.Answered, s.Decoded)},
		[2]string{"rows", fmt.Sprintf("%d read, %d of them by statistics, %d returned", s.Rows, s.RowsByStats, n)},
		[2]string{"bytes decoded", fmt.Sprint(s.Bytes)},
		[2]string{"elapsed", s.Elapsed.Round(time.Microsecond).String()},
	)
	var out [][]Value
	for _, l := range lines {
		out = append(out, []Value{TextValue(l[0]), TextValue(l[1])})
	}
	return resultRows([]Column{{"what", TypeText}, {"plan", TypeText}}, out, rows.Stats), nil
}

// describe tells what a plan does.
func (p *plan) describe() [][2]string {
	lines := [][2]string{{"table", p.rel.name}}
	var when []string
	if p.from > minTime {
		when = append(when, "from "+string(appendTime(nil, p.from)))
	}
	if p.to < maxTime {
		when = append(when, "to "+string(appendTime(nil, p.to)))
	}
	if len(when) > 0 {
		lines = append(lines, [2]string{"time", strings.Join(when, " ")})
	}
	if p.never {
		lines = append(lines, [2]string{"condition", "never true"})
	}
	if n := len(p.seriesIf); n > 0 {
		lines = append(lines, [2]string{"series", fmt.Sprintf("%d conditions, checked once for each series", n)})
	}
	if n := len(p.rowIf); n > 0 {
		lines = append(lines, [2]string{"rows", fmt.Sprintf("%d conditions, checked for each row; %d narrow the units", n, len(p.ranges))})
	}
	x := newExecution(p, 0)
	lines = append(lines, [2]string{"columns", strings.Join(append([]string{"time", "series"}, x.columns...), ", ")})
	if p.grouped {
		lines = append(lines, [2]string{"groups", fmt.Sprintf("%d keys, %d aggregates, statistics may answer: %v", len(p.keys), len(p.aggs), x.statable)})
	}
	return lines
}
