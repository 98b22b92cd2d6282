package schema

import (
	"fmt"
	"slices"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Break is one way in which a new version does not fit the stored readings.
type Break struct {
	Path string // the column or tag
	What string
}

func (b Break) String() string { return b.Path + ": " + b.What }

// Compare says what storing the new plan's readings in the old one's table would
// break; an empty list is compatible.
//
// Compatible are: columns added, removed (they are null from then on), or widened
// from int to float; any change of constraints, topic levels without captures,
// retention and rollups.
func Compare(old, new *Plan) []Break {
	var breaks []Break
	if !slices.Equal(old.table.Tags, new.table.Tags) {
		breaks = append(breaks, tagBreaks(old.table.Tags, new.table.Tags)...)
	}
	for _, was := range old.table.Columns {
		i := new.table.ColumnIndex(was.Name)
		if i < 0 {
			continue
		}
		is := new.table.Columns[i]
		if is.Type != was.Type && !(was.Type == telemetry.Int && is.Type == telemetry.Float) {
			breaks = append(breaks, Break{was.Name, fmt.Sprintf("the type changed from %s to %s", was.Type, is.Type)})
		}
		if is.Unit != was.Unit && was.Unit != "" && is.Unit != "" {
			breaks = append(breaks, Break{was.Name, fmt.Sprintf("the unit changed from %s to %s", was.Unit, is.Unit)})
		}
	}
	for _, tag := range new.table.Tags {
		if old.table.ColumnIndex(tag) >= 0 {
			breaks = append(breaks, Break{tag, "a column became a tag"})
		}
	}
	for _, tag := range old.table.Tags {
		if new.table.ColumnIndex(tag) >= 0 {
			breaks = append(breaks, Break{tag, "a tag became a column"})
		}
	}
	return breaks
}

// tagBreaks tells how two lists of tags differ: they name a series.
func tagBreaks(old, new []string) []Break {
	var breaks []Break
	for _, t := range old {
		if !slices.Contains(new, t) {
			breaks = append(breaks, Break{t, "the tag is gone, so that series would run together"})
		}
	}
	for _, t := range new {
		if !slices.Contains(old, t) {
			breaks = append(breaks, Break{t, "the tag is new, so that series would not go on"})
		}
	}
	if len(breaks) == 0 {
		breaks = append(breaks, Break{new[0], "the tags stand in another order"})
	}
	return breaks
}
