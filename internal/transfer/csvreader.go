package transfer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// csvField is one field: RFC 4180 with a difference that encoding/csv does not
// tell, between nothing (null) and a quoted nothing (an empty text).
type csvField struct {
	text   string
	quoted bool
}

// maxRecord bounds one row of a text file, in bytes.
const maxRecord = 64 << 20

// csvReader reads records and says where each begins.
type csvReader struct {
	r      *bufio.Reader
	offset int64 // of the next byte
	line   int64 // of the next byte, from 1
	buf    []byte
	comma  byte
}

func newCSVReader(r io.Reader, comma byte) *csvReader {
	return &csvReader{r: bufio.NewReaderSize(r, 256<<10), line: 1, comma: comma}
}

var errQuote = errors.New("a quote is not closed, or text follows a closing quote")

func (c *csvReader) byte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.offset++
		if b == '\n' {
			c.line++
		}
	}
	return b, err
}

func (c *csvReader) peek(want byte) bool {
	b, err := c.r.Peek(1)
	return err == nil && b[0] == want
}

// read returns the next record and the line where it begins. Empty lines are
// passed over. After a malformed record, which err says, reading goes on with the
// next line.
func (c *csvReader) read() (fields []csvField, line int64, err error) {
	for {
		line = c.line
		if fields, err = c.record(); err != nil || len(fields) != 1 || fields[0] != (csvField{}) {
			return fields, line, err
		}
	}
}

func (c *csvReader) record() ([]csvField, error) {
	if _, err := c.r.Peek(1); err != nil {
		return nil, err
	}
	var fields []csvField
	for {
		f, last, err := c.field()
		if err != nil {
			return nil, err
		}
		fields = append(fields, f)
		if last {
			return fields, nil
		}
	}
}

// field reads up to a comma, or, which last says, to the end of the line.
func (c *csvReader) field() (f csvField, last bool, err error) {
	c.buf = c.buf[:0]
	if c.peek('"') {
		f.quoted = true
		if _, err := c.byte(); err != nil {
			return f, false, err
		}
		if err := c.quoted(); err != nil {
			return f, false, err
		}
	}
	for {
		b, err := c.byte()
		switch {
		case errors.Is(err, io.EOF):
			return c.end(f), true, nil
		case err != nil:
			return f, false, err
		case b == c.comma:
			return c.end(f), false, nil
		case b == '\n':
			return c.end(f), true, nil
		case b == '\r' && c.peek('\n'):
		case f.quoted:
			return f, false, c.skipLine(errQuote)
		default:
			c.buf = append(c.buf, b)
		}
		if len(c.buf) > maxRecord {
			return f, false, c.skipLine(fmt.Errorf("the row has more than %d bytes", maxRecord))
		}
	}
}

func (c *csvReader) end(f csvField) csvField {
	f.text = string(c.buf)
	return f
}

// quoted reads up to the closing quote.
func (c *csvReader) quoted() error {
	for {
		b, err := c.byte()
		switch {
		case errors.Is(err, io.EOF):
			return &badRecord{errQuote}
		case err != nil:
			return err
		case b != '"':
			c.buf = append(c.buf, b)
		case c.peek('"'):
			if _, err := c.byte(); err != nil {
				return err
			}
			c.buf = append(c.buf, '"')
		default:
			return nil
		}
		if len(c.buf) > maxRecord {
			return c.skipLine(fmt.Errorf("the row has more than %d bytes", maxRecord))
		}
	}
}

// badRecord is a record that cannot be read; the next one can.
type badRecord struct{ error }

func (c *csvReader) skipLine(why error) error {
	for {
		b, err := c.byte()
		if errors.Is(err, io.EOF) || err == nil && b == '\n' {
			return &badRecord{why}
		}
		if err != nil {
			return err
		}
	}
}
