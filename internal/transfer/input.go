package transfer

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// input is a text file, plain or compressed with gzip or zstd, as its first bytes
// say.
type input struct {
	file *os.File
	read atomic.Int64 // bytes of the file
	size int64
	r    io.Reader
	end  func()
}

// Stdin is the path that means standard input.
const Stdin = "-"

func openInput(path string) (*input, error) {
	in := &input{file: os.Stdin, end: func() {}}
	if path != Stdin {
		f, err := os.Open(path)
		if err != nil {
			return nil, telemetry.Errorf(telemetry.CodeNotFound, "import", "%v", err)
		}
		in.file = f
		info, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		in.size = info.Size()
	}
	buffered := bufio.NewReaderSize(counted{in}, 256<<10)
	head, _ := buffered.Peek(4) // a short file has no magic
	in.r = buffered
	switch {
	case len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b: // RFC 1952, 2.3.1
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, errors.Join(in.failed(path, err), in.Close())
		}
		in.r = z
	case len(head) == 4 && string(head) == "\x28\xb5\x2f\xfd": // RFC 8878, 3.1.1
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, errors.Join(in.failed(path, err), in.Close())
		}
		in.r, in.end = z, z.Close
	}
	return in, nil
}

type counted struct{ in *input }

func (c counted) Read(p []byte) (int, error) {
	n, err := c.in.file.Read(p)
	c.in.read.Add(int64(n))
	return n, err
}

func (in *input) Read(p []byte) (int, error) { return in.r.Read(p) }

func (in *input) progress() (int64, int64) { return in.read.Load(), in.size }

func (in *input) failed(name string, err error) error {
	if errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return telemetry.Errorf(telemetry.CodeDamaged, "import", "%s is damaged or cut off: %v", name, err)
	}
	return fmt.Errorf("read %s: %w", name, err)
}

func (in *input) Close() error {
	in.end()
	if in.file == os.Stdin {
		return nil
	}
	return in.file.Close()
}
