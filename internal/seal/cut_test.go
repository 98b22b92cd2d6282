package seal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/powercut"
)

// cutRotations is how often the recorded program rotates.
const cutRotations = 12

// rotateRecorded makes a ring and rotates, and reports after each a box that it
// sealed then.
func rotateRecorded(dir string) error {
	conn, err := net.Dial("tcp", os.Getenv(powercut.Address))
	if err != nil {
		return err
	}
	data, source := filepath.Join(dir, "data"), Source{File: filepath.Join(dir, "master.key")}
	if err := errors.Join(os.Mkdir(data, 0o700), durable.SyncDir(dir), Init(source.File)); err != nil {
		return err
	}
	c, err := source.Load(context.Background())
	if err != nil {
		return err
	}
	r, err := OpenRing(data, c, RingOptions{})
	if err != nil {
		return err
	}
	for i := range cutRotations + 1 {
		if i%3 == 2 { // a rotation was killed when the new key had its file, and was not durable
			if err := os.WriteFile(source.File+PendingSuffix, NewMaster().text(), 0o600); err != nil {
				return err
			}
		}
		if i > 0 {
			if err := r.Rotate(""); err != nil {
				return err
			}
		}
		box, err := r.AppendBox(nil, "plant", fmt.Append(nil, i), nil)
		if err == nil {
			_, err = conn.Write(box)
		}
		if err != nil {
			return err
		}
	}
	return conn.Close()
}

// The power is cut while the master key is rotated: one of the keys in the key file
// and beside it opens the ring, which opens everything that was sealed, and a start
// completes the rotation.
func TestARotationSurvivesAPowerCutAtAnyPoint(t *testing.T) {
	events, root := powercut.Record(t, rotatesRecorded)
	sends := powercut.Sends(events)
	if len(sends) != cutRotations+1 {
		t.Fatalf("%d reports were recorded", len(sends))
	}
	first := sends[0]
	powercut.CutDisks(t, events, root, sends, 400, func(dir string, at int) string {
		if at <= events[first].Start {
			return "" // nothing was sealed yet
		}
		data, source := filepath.Join(dir, "data"), Source{File: filepath.Join(dir, "master.key")}
		for _, key := range []string{source.File, source.File + PendingSuffix} {
			if err := os.Chmod(key, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err.Error()
			}
		}
		for _, when := range []string{"opened", "opened a second time"} {
			c, err := source.Load(t.Context())
			if err != nil {
				return when + ": " + err.Error()
			}
			r, err := OpenRing(data, c, RingOptions{})
			if err != nil {
				return when + ": " + err.Error()
			}
			for n, i := range sends {
				if events[i].Start >= at {
					break
				}
				if plain, err := r.OpenBox(nil, events[i].Data, nil); err != nil || string(plain) != fmt.Sprint(n) {
					return fmt.Sprintf("%s: box %d opens as %q, %v", when, n, plain, err)
				}
			}
			if c, err = source.Load(t.Context()); err != nil {
				return err.Error()
			}
			if err := Probe(data, &Credentials{masters: c.masters[:1]}); err != nil {
				return when + ": the key file does not open the ring after a start: " + err.Error()
			}
			if when == "opened" {
				if err := r.Rotate(""); err != nil {
					return "rotate after the cut: " + err.Error()
				}
			}
		}
		return ""
	})
}
