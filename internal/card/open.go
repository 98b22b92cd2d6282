package card

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Source is an opened card: a device, an image, a directory or a segment file.
type Source struct {
	Parts []Part
	Notes []string // what a recorder would not use, and what was done about it
	close []io.Closer
}

var segmentName = regexp.MustCompile(`(?i)^WEIR[0-9]{4}\.SEG$`)

// IsSegmentName reports whether a file is named as segments are.
func IsSegmentName(name string) bool { return segmentName.MatchString(filepath.Base(name)) }

// Open finds the blocks of a card. What has no readable file system is searched
// sector by sector.
func Open(path string) (*Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeNotFound, "import card", "%v", err)
	}
	s := &Source{}
	if info.IsDir() {
		err = s.directory(path)
	} else {
		err = s.medium(path)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close closes what was opened.
func (s *Source) Close() (err error) {
	for _, c := range s.close {
		err = errors.Join(err, c.Close())
	}
	return err
}

func (s *Source) open(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, telemetry.Errorf(telemetry.CodeUnavailable, "import card", "%v", err)
	}
	s.close = append(s.close, f)
	size, err := f.Seek(0, io.SeekEnd) // of a device too
	if err != nil {
		return nil, 0, fmt.Errorf("size of %s: %w", path, err)
	}
	return f, size, nil
}

func (s *Source) directory(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "import card", "%v", err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !IsSegmentName(e.Name()) {
			continue
		}
		f, size, err := s.open(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		s.Parts = append(s.Parts, Part{Name: e.Name(), From: f, Size: size})
	}
	if len(s.Parts) == 0 {
		return errNothing(dir)
	}
	return nil
}

func (s *Source) medium(path string) error {
	f, size, err := s.open(path)
	if err != nil {
		return err
	}
	whole := []Part{{Name: filepath.Base(path), From: f, Size: size}}
	if IsSegmentName(path) {
		s.Parts = whole
		return nil
	}
	v, err := ReadVolume(f, size)
	if telemetry.CodeOf(err) == telemetry.CodeRefused {
		return err
	}
	if err != nil {
		s.Notes = append(s.Notes, fmt.Sprintf("%s: %v: every sector is searched", path, err))
		s.Parts = whole
		return nil
	}
	for _, g := range v.Segments {
		if g.Skip != "" {
			s.Notes = append(s.Notes, fmt.Sprintf("WEIR%04d.SEG is no segment that a recorder uses: %s; the whole card is searched for its blocks", g.Number, g.Skip))
			s.Parts = whole
			return nil
		}
		s.Parts = append(s.Parts, Part{Name: fmt.Sprintf("WEIR%04d.SEG", g.Number), From: f, Start: g.Start, Size: int64(g.Blocks) * Sector})
	}
	if len(s.Parts) == 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%s: there is no segment file: every sector is searched", path))
		s.Parts = whole
	}
	return nil
}
