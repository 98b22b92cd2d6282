package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/transfer"
)

// rejects is the file of --rejects; nil where none is wanted.
type rejects struct {
	file  *os.File
	w     *bufio.Writer
	begun bool
}

func rejectsError(err error) error {
	if err == nil {
		return nil
	}
	return telemetry.Errorf(telemetry.CodeUnavailable, "write --rejects", "%v", err)
}

func openRejects(path string) (*rejects, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeUnavailable, "write --rejects", "%v", err).
			WithHint("nothing was imported; name a file that can be written, in a directory that is there")
	}
	return &rejects{file: file, w: bufio.NewWriter(file)}, nil
}

// begin empties the file, or keeps what an earlier run of the same import wrote:
// the rows before the place where this one goes on are not looked at again. The
// first call decides.
func (r *rejects) begin(goesOn bool) error {
	if r == nil || r.begun {
		return nil
	}
	r.begun = true
	if info, err := r.file.Stat(); goesOn || err != nil || !info.Mode().IsRegular() { // as /dev/stderr, or a pipe
		return rejectsError(err)
	}
	return rejectsError(r.file.Truncate(0))
}

func (r *rejects) flush() error {
	if r == nil {
		return nil
	}
	return rejectsError(r.w.Flush())
}

func (r *rejects) close() error {
	if r == nil {
		return nil
	}
	return rejectsError(errors.Join(r.w.Flush(), r.file.Close()))
}

// shownRejects is how many rows that cannot be imported are named on the terminal.
const shownRejects = 20

func (r *importRun) reject(f transfer.Fault) {
	r.rejected++
	text := fmt.Sprintf("%s:%d: %s\n", f.File, f.Line, f.Why)
	if r.rejects != nil {
		_, _ = r.rejects.w.WriteString(text) // the flush tells
	}
	if r.rejected <= shownRejects {
		_, _ = io.WriteString(r.e.Err, text) // so does the end of the command, in number
	}
}
