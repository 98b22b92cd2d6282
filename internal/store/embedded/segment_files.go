package embedded

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// segmentFiles holds the open files of segments. There is a segment for each
// table and day, so a node that kept all of them open would run out of
// descriptors after some months: at most limit stay open, the least recently
// used goes first, and one that is needed again is opened again. Files that are
// being read are never closed, so more than limit may be open for as long as
// more than limit goroutines read.
type segmentFiles struct {
	mu     sync.Mutex
	limit  int
	opener func(path string) (*os.File, error) // os.Open, but for tests
	recent list.List                           // of *segmentFile that are open, most recently used first
	closed bool
}

// segmentFile reads the file of one segment through segmentFiles.
type segmentFile struct {
	files *segmentFiles
	path  string

	// Guarded by files.mu.
	file  *os.File // nil: not open
	at    *list.Element
	users int // reads under way
}

// missingFile says that a file went while the segment was in use. The bytes are
// lost, not late, which package chunk knows by io.ErrUnexpectedEOF.
type missingFile struct{ err error }

func (e *missingFile) Error() string        { return e.err.Error() }
func (e *missingFile) Is(target error) bool { return target == io.ErrUnexpectedEOF }

// ReadAt implements io.ReaderAt.
func (f *segmentFile) ReadAt(b []byte, off int64) (int, error) {
	file, err := f.acquire()
	if errors.Is(err, os.ErrNotExist) {
		return 0, &missingFile{err}
	}
	if err != nil {
		return 0, err
	}
	defer f.release()
	return file.ReadAt(b, off)
}

// acquire returns the open file, which stays open until release.
func (f *segmentFile) acquire() (*os.File, error) {
	c := f.files
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("open %s: %w", f.path, os.ErrClosed)
	}
	if f.file != nil {
		c.recent.MoveToFront(f.at)
		f.users++
		return f.file, nil
	}
	if err := c.makeRoom(); err != nil {
		return nil, err
	}
	file, err := c.opener(f.path)
	if err != nil {
		return nil, err
	}
	f.file, f.at = file, c.recent.PushFront(f)
	f.users++
	return file, nil
}

func (f *segmentFile) release() {
	f.files.mu.Lock()
	defer f.files.mu.Unlock()
	f.users--
}

// makeRoom closes files that nobody reads until one more may be opened; mu is held.
func (c *segmentFiles) makeRoom() error {
	for e := c.recent.Back(); e != nil && c.recent.Len() >= c.limit; {
		f, before := e.Value.(*segmentFile), e.Prev()
		if f.users == 0 {
			if err := c.drop(f); err != nil {
				return err
			}
		}
		e = before
	}
	return nil
}

// drop closes a file; mu is held.
func (c *segmentFiles) drop(f *segmentFile) error {
	c.recent.Remove(f.at)
	err := f.file.Close()
	f.file, f.at = nil, nil
	return err
}

// close closes the file if it is open.
func (f *segmentFile) close() error {
	f.files.mu.Lock()
	defer f.files.mu.Unlock()
	if f.file == nil {
		return nil
	}
	return f.files.drop(f)
}

// close closes all files; reads fail from now on.
func (c *segmentFiles) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	var errs []error
	for c.recent.Len() > 0 {
		errs = append(errs, c.drop(c.recent.Front().Value.(*segmentFile)))
	}
	return errors.Join(errs...)
}
