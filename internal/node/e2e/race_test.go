//go:build race

package e2e

// raceEnabled says that the binary under test is built with the race detector.
const raceEnabled = true
