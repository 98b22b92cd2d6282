//go:build !race

package chunk

// RaceEnabled says that the race detector watches, under which pools forget on
// purpose and everything is ten times slower.
const RaceEnabled = false
