package embedded

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"slices"
	"sort"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Quarantine records stand in the catalog in chunks, one or more for each
// commit: a row each would cost 10 microseconds, and a flood of bad messages
// must not slow the good ones.
const (
	quarantineChunkRecords = 256
	quarantineChunkBytes   = 256 << 10
	quarantineVersion      = 1
)

// quarantine is what the store knows in memory of a tenant's quarantine.
type quarantine struct {
	mu      sync.Mutex
	chunks  []quarantineChunk // ascending by first id
	records int
	bytes   int64
	dropped int64 // records that went because the budget was spent
}

type quarantineChunk struct {
	first, last int64 // ids; first is the catalog's row id
	count       int
	size        int64
}

// row is the chunk as the catalog holds it.
func (c *quarantineChunk) row(tn *tenant) []driver.Value {
	return []driver.Value{c.first, tn.id, c.last, int64(c.count), c.size}
}

func quarantineSize(q *telemetry.Quarantined) int64 {
	return int64(64 + len(q.Payload) + len(q.Topic) + len(q.Source) + len(q.Detail) + len(q.Pointer) + len(q.Schema))
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendQuarantined encodes a record; ids are relative to the chunk's first,
// which is known when the chunk is committed.
func appendQuarantined(dst []byte, q *telemetry.Quarantined, first int64) []byte {
	dst = binary.AppendUvarint(dst, uint64(q.ID-first))
	dst = binary.AppendVarint(dst, q.Received)
	dst = binary.AppendUvarint(dst, uint64(max(q.Size, 0)))
	dst = binary.AppendVarint(dst, int64(q.Offset))
	dst = binary.AppendVarint(dst, int64(q.Version))
	for _, s := range []string{q.Source, q.Topic, string(q.Reason), q.Detail, q.Pointer, q.Schema} {
		dst = appendText(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(q.Payload)))
	return append(dst, q.Payload...)
}

// quarantineReader takes a chunk apart.
type quarantineReader struct {
	data []byte
	bad  bool
}

func (r *quarantineReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.bad, r.data = true, nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *quarantineReader) varint() int64 {
	v, n := binary.Varint(r.data)
	if n <= 0 {
		r.bad, r.data = true, nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *quarantineReader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.data)) {
		r.bad, r.data = true, nil
		return nil
	}
	b := r.data[:n:n]
	r.data = r.data[n:]
	return b
}

func (r *quarantineReader) text() string { return string(r.bytes()) }

func (r *quarantineReader) next(q *telemetry.Quarantined) bool {
	if len(r.data) == 0 {
		return false
	}
	q.ID = int64(r.uvarint())
	q.Received = r.varint()
	q.Size = int(r.uvarint())
	q.Offset = int(r.varint())
	q.Version = int(r.varint())
	q.Source, q.Topic, q.Reason = r.text(), r.text(), telemetry.Reason(r.text())
	q.Detail, q.Pointer, q.Schema = r.text(), r.text(), r.text()
	q.Payload = r.bytes()
	return !r.bad
}

// encodeQuarantine compresses records into one chunk's data.
func (s *Store) encodeQuarantine(records []telemetry.Quarantined, first int64) []byte {
	var plain []byte
	for i := range records {
		plain = appendQuarantined(plain, &records[i], first)
	}
	return appendSum(s.zenc.EncodeAll(plain, []byte{quarantineVersion}))
}

func (s *Store) decodeQuarantine(data []byte, first int64) ([]telemetry.Quarantined, error) {
	blob, ok := cutSum(data)
	if !ok || len(blob) == 0 || blob[0] != quarantineVersion {
		return nil, telemetry.Errorf(telemetry.CodeDamaged, "read quarantine", "row %d of table quarantine in %s fails its checksum", first, catalogFile)
	}
	plain, err := s.zdec.DecodeAll(blob[1:], nil)
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeDamaged, "read quarantine", "row %d of table quarantine in %s: %v", first, catalogFile, err)
	}
	r := quarantineReader{data: plain}
	var out []telemetry.Quarantined
	for {
		var q telemetry.Quarantined
		if !r.next(&q) {
			break
		}
		q.ID += first
		out = append(out, q)
	}
	if r.bad {
		return out, telemetry.Errorf(telemetry.CodeDamaged, "read quarantine", "row %d of table quarantine in %s is cut off after %d records", first, catalogFile, len(out))
	}
	return out, nil
}

// newCodecs makes the compressor of small catalog blobs. One goroutine and a
// small window keep it under a megabyte.
func newCodecs() (*zstd.Encoder, *zstd.Decoder, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(128<<10), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(256<<20))
	return enc, dec, err
}

// stagedQuarantine is the quarantine part of a staged batch.
type stagedQuarantine struct {
	ids      int64             // how many ids the commit issues
	chunks   []quarantineChunk // with ids from 0
	data     [][]byte          // parallel to chunks
	resolved []int64
	dropped  int64
}

// stageQuarantine encodes; the records' ids are issued by the commit. Of a commit over the whole budget only
// the newest records are kept.
func (s *Store) stageQuarantine(b *telemetry.Batch) *stagedQuarantine {
	st := &stagedQuarantine{resolved: slices.Clone(b.Resolved)}
	slices.Sort(st.resolved)
	records := slices.Clone(b.Quarantine)
	for i := range records {
		records[i].ID = int64(i)
	}
	st.ids = int64(len(records))
	if over := len(records) - s.opt.QuarantineRecords; over > 0 {
		records, st.dropped = records[over:], int64(over)
	}
	for len(records) > 0 {
		n, size := 0, int64(0)
		for n < len(records) && n < quarantineChunkRecords && (n == 0 || size < quarantineChunkBytes) {
			size += quarantineSize(&records[n])
			n++
		}
		st.chunks = append(st.chunks, quarantineChunk{first: records[0].ID, last: records[n-1].ID, count: n, size: size})
		st.data = append(st.data, s.encodeQuarantine(records[:n], records[0].ID))
		records = records[n:]
	}
	return st
}

// saveQuarantine writes a batch's records, deletes the resolved ones and keeps
// the budget, in the commit's transaction. done is called once that is durable.
func (s *Store) saveQuarantine(tn *tenant, st *stagedQuarantine, sealed *sealedContents) (done func(), err error) {
	q := &tn.quarantine
	q.mu.Lock()
	chunks := slices.Clone(q.chunks)
	q.mu.Unlock()

	if chunks, err = s.resolve(tn, chunks, st.resolved, sealed); err != nil {
		return nil, err
	}
	base := s.nextQuarantine
	for i, c := range st.chunks {
		c.first, c.last = c.first+base, c.last+base
		data, err := s.sealQuarantine(tn, c.first, st.data[i])
		if err == nil {
			err = s.insertRow(quarantineTable, tn, c.row(tn), data)
		}
		if err != nil {
			return nil, err
		}
		sealed.quarantine.add(sealed.quarantined(c.first))
		chunks = append(chunks, c)
	}
	if st.ids > 0 {
		if err := s.insertRow(countersTable, nil, []driver.Value{"quarantine", base + st.ids}); err != nil {
			return nil, err
		}
	}
	records, size := 0, int64(0)
	for _, c := range chunks {
		records += c.count
		size += c.size
	}
	dropped := st.dropped
	for len(chunks) > 1 && (records > s.opt.QuarantineRecords || size > s.opt.QuarantineBytes) {
		c := chunks[0]
		if err := s.w.exec("DELETE FROM quarantine WHERE id = ?", c.first); err != nil {
			return nil, err
		}
		sealed.quarantine.remove(sealed.quarantined(c.first))
		records -= c.count
		size -= c.size
		dropped += int64(c.count)
		chunks = chunks[1:]
	}
	s.nextQuarantine += st.ids // a failed commit leaves a gap
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.chunks, q.records, q.bytes = chunks, records, size
		q.dropped += dropped
	}, nil
}

// resolve deletes records by id, and returns the chunks as they are then.
func (s *Store) resolve(tn *tenant, chunks []quarantineChunk, ids []int64, sealed *sealedContents) ([]quarantineChunk, error) {
	var out []quarantineChunk
	for i, c := range chunks {
		from := sort.Search(len(ids), func(i int) bool { return ids[i] >= c.first })
		to := sort.Search(len(ids), func(i int) bool { return ids[i] > c.last })
		if from == to {
			if out != nil {
				out = append(out, c)
			}
			continue
		}
		if out == nil {
			out = append(make([]quarantineChunk, 0, len(chunks)+1), chunks[:i]...)
		}
		records, err := s.quarantineChunk(s.w, tn, c)
		if telemetry.CodeOf(err) == telemetry.CodeDamaged {
			s.damaged(err) // its records are not listed any more; a commit must not fail for them
			out = append(out, c)
			continue
		}
		if err != nil {
			return nil, err
		}
		records = slices.DeleteFunc(records, func(q telemetry.Quarantined) bool {
			_, found := slices.BinarySearch(ids[from:to], q.ID)
			return found
		})
		if len(records) == 0 {
			if err := s.w.exec("DELETE FROM quarantine WHERE id = ?", c.first); err != nil {
				return nil, err
			}
			sealed.quarantine.remove(sealed.quarantined(c.first))
			continue
		}
		c.count, c.size = len(records), 0
		for i := range records {
			c.size += quarantineSize(&records[i])
		}
		data, err := s.sealQuarantine(tn, c.first, s.encodeQuarantine(records, c.first))
		if err == nil {
			err = s.updateRow(quarantineTable, tn, c.row(tn), data)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if out == nil {
		out = chunks
	}
	return out, nil
}

// quarantineChunk reads the records of a chunk.
func (s *Store) quarantineChunk(c *conn, tn *tenant, ch quarantineChunk) ([]telemetry.Quarantined, error) {
	var data []byte
	err := c.query("SELECT data FROM quarantine WHERE id = ?", func(row []driver.Value) error {
		data = asBytes(row[0])
		return nil
	}, ch.first)
	if err != nil || data == nil {
		return nil, err // deleted meanwhile
	}
	if data, err = s.openQuarantine(tn, ch.first, data); err != nil {
		return nil, err
	}
	return s.decodeQuarantine(data, ch.first)
}

// Quarantined implements store.Store. Damaged chunks are left out, and named by
// the error that it returns at the end.
func (s *Store) Quarantined(ctx context.Context, name telemetry.Tenant, f store.QuarantineFilter, yield func(*telemetry.Quarantined) bool) error {
	tn := s.tenant(name)
	if tn == nil {
		return nil
	}
	q := &tn.quarantine
	q.mu.Lock()
	chunks := slices.Clone(q.chunks)
	q.mu.Unlock()
	given := 0
	var lost []error
	for i := len(chunks) - 1; i >= 0; i-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		if f.BeforeID != 0 && chunks[i].first >= f.BeforeID {
			continue
		}
		var records []telemetry.Quarantined
		err := s.read(func(c *conn) (err error) {
			records, err = s.quarantineChunk(c, tn, chunks[i])
			return err
		})
		if telemetry.CodeOf(err) == telemetry.CodeDamaged {
			// What it held is reported at the end; the chunks before it are there.
			s.damaged(err)
			lost = append(lost, err)
		} else if err != nil {
			return err
		}
		for j := len(records) - 1; j >= 0; j-- {
			r := &records[j]
			if f.Schema != "" && r.Schema != f.Schema || f.Reason != "" && r.Reason != f.Reason ||
				f.BeforeID != 0 && r.ID >= f.BeforeID || r.Received < f.Since ||
				f.Topic != "" && !telemetry.TopicMatches(f.Topic, r.Topic) {
				continue
			}
			if f.Limit > 0 && given >= f.Limit {
				return errors.Join(lost...)
			}
			given++
			if !yield(r) {
				return errors.Join(lost...)
			}
		}
	}
	s.mu.Lock()
	for _, l := range s.losses {
		if l.Kind == LossQuarantine && l.Accepted == 0 {
			lost = append(lost, l.err()) // whose they were nobody knows
		}
	}
	s.mu.Unlock()
	return errors.Join(lost...)
}
