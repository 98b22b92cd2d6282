package transfer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// A Parquet file ends with a footer that names all its row groups, so one that
// was cut off cannot be continued. Stitch makes one of many: the row groups of
// each part are appended as they are, and their descriptions, which stand in the
// part's own footer, are kept until the last.

const parquetMagic = "PAR1"

// Stitch is a Parquet file that is made of parts.
type Stitch struct {
	w      io.Writer
	offset int64
	meta   *format.FileMetaData
	groups int
}

// NewStitch continues a file of offset bytes that holds the described row groups,
// as Group gave them; 0 and none for a new one.
func NewStitch(w io.Writer, offset int64, described [][]byte) (*Stitch, error) {
	s := &Stitch{w: w, offset: offset}
	for _, d := range described {
		var m format.FileMetaData
		if err := thrift.Unmarshal(new(thrift.CompactProtocol), d, &m); err != nil {
			return nil, telemetry.Errorf(telemetry.CodeDamaged, "export", "what was kept of the interrupted export: %v", err)
		}
		s.groups += len(m.RowGroups)
		s.take(&m)
	}
	if offset > 0 {
		return s, nil
	}
	n, err := io.WriteString(w, parquetMagic)
	s.offset = int64(n)
	return s, err
}

func (s *Stitch) take(m *format.FileMetaData) {
	if s.meta == nil {
		s.meta = m
		return
	}
	s.meta.RowGroups = append(s.meta.RowGroups, m.RowGroups...)
	s.meta.NumRows += m.NumRows
}

// Offset is how long the file is without its footer.
func (s *Stitch) Offset() int64 { return s.offset }

// Append appends the row groups of a part, which is a whole file, and returns
// their description.
func (s *Stitch) Append(part *os.File) ([]byte, error) {
	info, err := part.Stat()
	if err != nil {
		return nil, err
	}
	f, err := parquet.OpenFile(part, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("read a part of the export: %w", err)
	}
	meta := *f.Metadata()
	end := int64(len(parquetMagic))
	shift := s.offset - end
	for i := range meta.RowGroups {
		g := &meta.RowGroups[i]
		g.FileOffset += shift
		g.Ordinal = int16(s.groups % (1 << 15))
		s.groups++
		for c := range g.Columns {
			end = max(end, chunkEnd(&g.Columns[c]))
			moveChunk(&g.Columns[c], shift)
		}
	}
	n, err := io.Copy(s.w, io.NewSectionReader(part, int64(len(parquetMagic)), end-int64(len(parquetMagic))))
	s.offset += n
	if err != nil {
		return nil, err
	}
	described, err := thrift.Marshal(new(thrift.CompactProtocol), &meta)
	if err != nil {
		return nil, err
	}
	s.take(&meta)
	return described, nil
}

func chunkStart(c *format.ColumnChunk) int64 {
	start := c.MetaData.DataPageOffset
	if d := c.MetaData.DictionaryPageOffset; d > 0 && d < start {
		start = d
	}
	return start
}

func chunkEnd(c *format.ColumnChunk) int64 { return chunkStart(c) + c.MetaData.TotalCompressedSize }

// moveChunk corrects the offsets of a column. The page indexes stand behind the
// row groups of the part and are left behind.
func moveChunk(c *format.ColumnChunk, by int64) {
	move := func(at *int64) {
		if *at > 0 {
			*at += by
		}
	}
	move(&c.FileOffset)
	move(&c.MetaData.DataPageOffset)
	move(&c.MetaData.DictionaryPageOffset)
	move(&c.MetaData.IndexPageOffset)
	c.OffsetIndexOffset, c.OffsetIndexLength, c.ColumnIndexOffset, c.ColumnIndexLength = 0, 0, 0, 0
	c.MetaData.BloomFilterOffset, c.MetaData.BloomFilterLength = 0, 0
}

// Close writes the footer, with the key and value that a reader of weir looks for.
func (s *Stitch) Close(key, value string) error {
	if s.meta == nil {
		return errors.New("a Parquet file has at least one part")
	}
	s.meta.KeyValueMetadata = append(s.meta.KeyValueMetadata, format.KeyValue{Key: key, Value: value})
	footer, err := thrift.Marshal(new(thrift.CompactProtocol), s.meta)
	if err != nil {
		return err
	}
	footer = binary.LittleEndian.AppendUint32(footer, uint32(len(footer)))
	n, err := s.w.Write(append(footer, parquetMagic...))
	s.offset += int64(n)
	return err
}
