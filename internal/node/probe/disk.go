package probe

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Fsync is how long the disk takes to make small writes durable.
type Fsync struct {
	Writes        int
	P50, P99, Max time.Duration
}

// MeasureFsync appends pages to a file in the directory and syncs each, for at
// most the given time.
func MeasureFsync(dir string, atMost time.Duration) (f Fsync, err error) {
	file, err := os.CreateTemp(dir, ".weir-doctor-*")
	if err != nil {
		return f, fmt.Errorf("write in data_dir: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	page := make([]byte, 8192)
	var took []time.Duration
	for end := time.Now().Add(atMost); len(took) < 200 && (len(took) < 5 || time.Now().Before(end)); {
		start := time.Now()
		if _, err := file.Write(page); err != nil {
			return f, fmt.Errorf("write in data_dir: %w", err)
		}
		if err := file.Sync(); err != nil {
			return f, fmt.Errorf("sync a file in data_dir: %w", err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return Fsync{len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1]}, nil
}
