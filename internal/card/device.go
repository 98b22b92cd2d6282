package card

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Target is what a card is formatted on: an image file or a device.
type Target struct {
	Path   string
	Device bool
	Size   int64 // of the device or the existing file; 0: there is no file yet
	// Doubts say why formatting may destroy what somebody needs; each is a sentence.
	Doubts []string
}

// Examine looks at what stands under a path, without changing it.
func Examine(path string) (*Target, error) {
	t := &Target{Path: path}
	info, err := os.Stat(path)
	if os.IsNotExist(err) && !strings.HasPrefix(path, "/dev/") {
		return t, nil
	}
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeNotFound, "format card", "%v", err)
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
	case mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0:
		t.Device = true
	default:
		return nil, telemetry.Errorf(telemetry.CodeInvalid, "format card", "%s is neither a device nor a file", path).
			WithHint("a mounted card is named by its device, as /dev/sdb, not by its directory")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeUnavailable, "format card", "%v", err)
	}
	defer f.Close()
	if t.Size, err = f.Seek(0, io.SeekEnd); err != nil {
		return nil, fmt.Errorf("size of %s: %w", path, err)
	}
	if !t.Device {
		if used(f) {
			t.Doubts = append(t.Doubts, path+" exists and is not empty.")
		}
		return t, nil
	}
	doubts, err := deviceDoubts(path)
	t.Doubts = append(t.Doubts, doubts...)
	return t, err
}

// used reports whether a file's beginning holds anything.
func used(f *os.File) bool {
	b := make([]byte, Sector)
	n, _ := f.ReadAt(b, 0) // an empty file is unused
	for _, c := range b[:n] {
		if c != 0 {
			return true
		}
	}
	return false
}

// Format formats the target. size is that of a new image, or bounds a device; 0 is
// all of what is there.
func (t *Target) Format(size int64, o FormatOptions) (Layout, error) {
	switch {
	case t.Device && size > t.Size:
		return Layout{}, telemetry.Errorf(telemetry.CodeInvalid, "format card", "%s has %d MiB", t.Path, t.Size>>20).
			WithHint("leave --size away to use all of it")
	case size == 0:
		size = t.Size
	}
	if size == 0 {
		return Layout{}, telemetry.Errorf(telemetry.CodeInvalid, "format card", "%s is new: how large shall it be?", t.Path).
			WithHint("say it with --size, as 64M, 1G or 32G")
	}
	if _, err := Plan(size, o.Budget); err != nil {
		return Layout{}, err
	}
	flags := os.O_RDWR
	if !t.Device {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(t.Path, flags, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return Layout{}, telemetry.Errorf(telemetry.CodeNotFound, "format card", "there is no directory %s for %s", filepath.Dir(t.Path), filepath.Base(t.Path)).
			WithHint("make it, or name an image in a directory that is there")
	}
	if err != nil {
		return Layout{}, telemetry.Errorf(telemetry.CodeUnavailable, "format card", "%v", err)
	}
	if !t.Device && t.Size != size {
		err = f.Truncate(size)
	}
	var l Layout
	if err == nil {
		l, err = Format(f, size, o)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return l, telemetry.Errorf(telemetry.CodeUnavailable, "format card", "%s: %v", t.Path, err).
			WithHint("the card has no file system now: format it again")
	}
	return l, nil
}
