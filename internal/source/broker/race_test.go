//go:build race

package broker

// raceEnabled says that memory is not what it is without the race detector.
const raceEnabled = true
