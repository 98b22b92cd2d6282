package wire

import (
	"io"
	"slices"
)

// Reader cuts a stream into packets. It is for peers that handle one packet at
// a time: tests, the load generator, hand-shakes. The hot paths walk their own
// buffers.
type Reader struct {
	r          io.Reader
	buf        []byte
	start, end int
	max        int
}

// NewReader returns a Reader that refuses packets of more than max bytes.
func NewReader(r io.Reader, max int) *Reader {
	return &Reader{r: r, buf: make([]byte, 4096), max: max}
}

// Next returns the next packet's first byte and body; the body is valid until
// the next call. It returns io.EOF at the end of the stream between packets and
// io.ErrUnexpectedEOF within one.
func (r *Reader) Next() (first byte, body []byte, err error) {
	for {
		h, n, err := ReadHeader(r.buf[r.start:r.end])
		if err != nil {
			return 0, nil, err
		}
		need := 2
		if n > 0 {
			need = n + h.Remaining
			if need > r.max {
				return 0, nil, ErrPacketTooLarge
			}
			if r.end-r.start >= need {
				body = r.buf[r.start+n : r.start+need]
				r.start += need
				return h.First, body, nil
			}
		}
		if err := r.fill(max(need, r.end-r.start+1)); err != nil {
			return 0, nil, err
		}
	}
}

// Buffered returns the bytes that were read and not yet returned.
func (r *Reader) Buffered() []byte { return r.buf[r.start:r.end] }

// fill reads once, after making room for need bytes from start.
func (r *Reader) fill(need int) error {
	if r.start > 0 {
		copy(r.buf, r.buf[r.start:r.end])
		r.end -= r.start
		r.start = 0
	}
	if need > len(r.buf) {
		r.buf = slices.Grow(r.buf[:r.end], need-r.end)
		r.buf = r.buf[:cap(r.buf)]
	}
	n, err := r.r.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		return nil
	}
	if err == io.EOF && r.end > 0 {
		return io.ErrUnexpectedEOF
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}
