package chunk

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/bits"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The forms of a page body; docs/format/page.md says what each holds.
const (
	formInts     = 1
	formScaled   = 2
	formDecimal  = 3
	formShifted  = 4
	formDict     = 5
	formPlain    = 6
	formLag      = 7
	formArrivals = 8
	formSplit    = 9
	formXOR      = 10
	formDistinct = 11
	formTemplate = 12

	formNulls = 0x80
	formMask  = 0x0f

	nullsAll    = 0
	nullsBitmap = 1
	nullsRuns   = 2

	pageZstd = 1 // flag of a page entry
)

// maxRatio bounds how far a compressed page may grow, so that a few bytes never
// ask for much memory.
const maxRatio = 1024

// minZstdBytes is the size below which zstd is not tried: its own frame takes
// some 12 bytes and its start-up a microsecond.
const minZstdBytes = 256

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// entry is a page as its holder lists it.
type entry struct {
	stored int
	raw    int // 0: not compressed
	sum    uint32
}

func (e entry) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(e.stored))
	if e.raw > 0 {
		dst = append(dst, pageZstd)
		dst = binary.AppendUvarint(dst, uint64(e.raw))
	} else {
		dst = append(dst, 0)
	}
	return binary.LittleEndian.AppendUint32(dst, e.sum)
}

func (e *entry) read(r *reader) {
	*e = entry{stored: r.size(MaxPageBytes)}
	switch r.byte() {
	case 0:
	case pageZstd:
		e.raw = r.size(MaxPageBytes)
		if e.raw == 0 || e.raw/maxRatio > e.stored {
			r.fail(errLimit)
		}
	default:
		r.fail(errKind)
	}
	e.sum = r.uint32()
}

// reader takes fields off the front of bytes; after its first error it returns
// zeros, so that the caller checks once.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 { return unzigzag(r.uvarint()) }

// size reads a uvarint of at most limit.
func (r *reader) size(limit int) int {
	v := r.uvarint()
	if v > uint64(limit) {
		r.fail(errLimit)
		return 0
	}
	return int(v)
}

// number32 reads a uvarint of 32 bits.
func (r *reader) number32() uint32 {
	v := r.uvarint()
	if v > math.MaxUint32 {
		r.fail(errLimit)
		return 0
	}
	return uint32(v)
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.fail(errShort)
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) string() string { return string(r.bytes(r.size(len(r.b)))) }

// stream reads a stream of len(dst) values.
func (r *reader) stream(dst []uint64) {
	if r.err != nil {
		return
	}
	rest, err := decodeStream(dst, r.b, transform{kind: formInts})
	if err != nil {
		r.fail(err)
		return
	}
	r.b = rest
}

// ints reads numbers with their form in front, as a page body has it.
func (r *reader) ints(dst []uint64) {
	t := transform{kind: r.byte()}
	switch t.kind {
	case formInts:
	case formScaled:
		exp := int(r.byte())
		if exp == 0 || exp > maxExponent {
			r.fail(errRange)
		}
		t.mul = uint64(pow10[min(exp, maxExponent)])
	default:
		r.fail(errForm)
	}
	if r.err != nil {
		return
	}
	rest, err := decodeStream(dst, r.b, t)
	if err != nil {
		r.fail(err)
		return
	}
	r.b = rest
}

// end fails where bytes are left.
func (r *reader) end() error {
	if r.err == nil && len(r.b) != 0 {
		r.fail(errTrailing)
	}
	return r.err
}

// Coders are shared: EncodeAll and DecodeAll are safe for concurrent use, and
// their tables are worth keeping.
var (
	zstdFast = sync.OnceValue(func() *zstd.Encoder { return newZstd(zstd.SpeedFastest) })
	zstdGood = sync.OnceValue(func() *zstd.Encoder {
		// Texts of digits and hexadecimal digits repeat nothing, and shrink to half
		// by an entropy code.
		return newZstd(zstd.SpeedDefault, zstd.WithAllLitEntropyCompression(true))
	})
	unzstd = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(MaxPageBytes),
			zstd.WithDecoderLowmem(true))
		if err != nil {
			panic(err) // only options of ours can fail
		}
		return d
	})
)

// newZstd makes an encoder for one page at a time: commits use one, compaction the
// other, so that more would be memory without use.
func newZstd(level zstd.EncoderLevel, more ...zstd.EOption) *zstd.Encoder {
	e, err := zstd.NewWriter(nil, append(more, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(256<<10))...)
	if err != nil {
		panic(err) // only options of ours can fail
	}
	return e
}

// place ties a page to where it stands; it is the additional data of sealing.
type place struct {
	sealer   Sealer
	identity []byte
	kind     byte // 'S' segment
	part     uint32
	page     uint32
}

// additional appends the additional data to an empty dst, whose memory it uses.
func (p place) additional(dst []byte) []byte {
	dst = append(append(dst, p.identity...), p.kind)
	dst = binary.LittleEndian.AppendUint32(dst, p.part)
	return binary.LittleEndian.AppendUint32(dst, p.page)
}

// storePage turns the body at dst[from:] into its stored form in place and
// returns its entry. squeeze tries zstd.
func (s *scratch) storePage(dst []byte, from int, squeeze *zstd.Encoder, at place) ([]byte, entry) {
	body := dst[from:]
	e := entry{stored: len(body)}
	if squeeze != nil && len(body) >= minZstdBytes {
		s.squeezed = squeeze.EncodeAll(body, s.squeezed[:0])
		// At least a sixteenth, or it costs readers more than it saves.
		if n := len(s.squeezed); n < len(body)-len(body)/16 && len(body)/maxRatio <= n {
			e.raw = len(body)
			dst = append(dst[:from], s.squeezed...)
		}
	}
	if at.sealer != nil {
		s.sealed = append(s.sealed[:0], dst[from:]...)
		s.place = at.additional(s.place[:0])
		dst = at.sealer.Seal(dst[:from], s.sealed, s.place)
	}
	e.stored = len(dst) - from
	e.sum = checksum(dst[from:])
	return dst, e
}

// openPage checks stored bytes and returns the body, which is valid until the
// scratch is used again.
func (s *scratch) openPage(stored []byte, e entry, at place) ([]byte, error) {
	if checksum(stored) != e.sum {
		return nil, errChecksum
	}
	if at.sealer != nil {
		s.place = at.additional(s.place[:0])
		plain, err := at.sealer.Open(s.sealed[:0], stored, s.place)
		if err != nil {
			return nil, err
		}
		s.sealed, stored = plain, plain
	}
	if e.raw == 0 {
		return stored, nil
	}
	// The frame says its size, and the decoder holds it to that: a page that
	// promises little cannot grow while it is read.
	var h zstd.Header
	if err := h.Decode(stored); err != nil {
		return nil, err
	}
	if !h.HasFCS || h.FrameContentSize != uint64(e.raw) {
		return nil, errLimit
	}
	if cap(s.squeezed) < e.raw {
		s.squeezed = make([]byte, 0, e.raw)
	}
	var err error
	if s.squeezed, err = unzstd().DecodeAll(stored, s.squeezed[:0]); err != nil {
		return nil, err
	}
	if len(s.squeezed) != e.raw {
		return nil, errRows
	}
	return s.squeezed, nil
}

// appendNulls appends the null field for rows, of which at least one is null,
// and reports whether any row is not.
func appendNulls(dst []byte, nulls telemetry.Bitmap, rows int) ([]byte, bool) {
	count := 0
	for w := 0; w < len(nulls) && w*64 < rows; w++ {
		count += bits.OnesCount64(nullWord(nulls, w, rows))
	}
	if count == rows {
		return append(dst, nullsAll), false
	}
	// Runs, as long as they stay below the bitmap.
	from := len(dst)
	limit := (rows + 7) / 8
	dst = append(dst, nullsRuns)
	runs, at, null := 0, 0, false
	for at < rows && len(dst)-from <= limit {
		end := at
		for end < rows && nulls.Get(end) == null {
			end++
		}
		dst = binary.AppendUvarint(dst, uint64(end-at))
		runs++
		at, null = end, !null
	}
	if at == rows {
		var n [binary.MaxVarintLen64]byte
		head := binary.AppendUvarint(n[:0], uint64(runs))
		if len(dst)-from+len(head) <= limit {
			dst = append(dst, head...) // grow, then move the runs behind their count
			copy(dst[from+1+len(head):], dst[from+1:len(dst)-len(head)])
			copy(dst[from+1:], head)
			return dst, true
		}
	}
	dst = append(dst[:from], nullsBitmap)
	for i := 0; i < limit; i++ {
		dst = append(dst, byte(nullWord(nulls, i/8, rows)>>(i%8*8)))
	}
	return dst, true
}

// nullWord returns word w of nulls without the bits beyond rows.
func nullWord(nulls telemetry.Bitmap, w, rows int) uint64 {
	if w >= len(nulls) {
		return 0
	}
	word := nulls[w]
	if left := rows - w*64; left < 64 {
		word &= 1<<left - 1
	}
	return word
}

// readNulls reads the null field into dst and reports whether all rows are null.
func readNulls(r *reader, dst telemetry.Bitmap, rows int) (nulls telemetry.Bitmap, all bool) {
	words := (rows + 63) / 64
	if cap(dst) < words {
		dst = make(telemetry.Bitmap, words)
	}
	dst = dst[:words]
	clear(dst)
	switch r.byte() {
	case nullsAll:
		setRange(dst, 0, rows)
		return dst, r.err == nil
	case nullsBitmap:
		for i, b := range r.bytes((rows + 7) / 8) {
			dst[i/8] |= uint64(b) << (i % 8 * 8)
		}
		if words > 0 && dst[words-1] != nullWord(dst, words-1, rows) {
			r.fail(errRange)
		}
	case nullsRuns:
		at, null := 0, false
		for n := r.size(rows + 1); n > 0; n-- {
			end := at + r.size(rows-at)
			if null {
				setRange(dst, at, end)
			}
			at, null = end, !null
		}
		if at != rows {
			r.fail(errRows)
		}
	default:
		r.fail(errKind)
	}
	return dst, false
}

func setRange(b telemetry.Bitmap, from, to int) {
	for i := from; i < to; i++ {
		b[i>>6] |= 1 << (uint(i) & 63)
	}
}
