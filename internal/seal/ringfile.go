package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The files of the ring. The copy is for the case that the first is damaged: a
// ring that cannot be read is all data lost.
const (
	RingFile = "keyring"
	CopyFile = "keyring.copy"
)

const (
	ringMagic   = "WEIRRING"
	ringVersion = 1
	ringHeader  = 56
	ringTrailer = sha256.Size + 4
	idBytes     = 16
	maxRing     = 64 << 20

	kindKey       = 1
	kindDestroyed = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ringImage is the ring as its file holds it; the boxes are not opened.
type ringImage struct {
	data       []byte
	id         []byte
	generation uint64
	check      []byte
	boxes      []ringBox
}

type ringBox struct {
	key uint32
	box []byte
}

func damagedRing(path, format string, args ...any) *telemetry.Error {
	return telemetry.Errorf(telemetry.CodeDamaged, "read key ring", "%s: %s", path, fmt.Sprintf(format, args...)).
		WithHint("put back the file " + RingFile + " from a backup made with its keys; without the ring nothing can be read")
}

// parseRing takes a file apart as far as that needs no key.
func parseRing(path string, data []byte) (*ringImage, error) {
	if len(data) < ringHeader+ringTrailer || string(data[:8]) != ringMagic {
		return nil, damagedRing(path, "it does not begin with %s or is cut off", ringMagic)
	}
	body, sum := data[:len(data)-4], binary.LittleEndian.Uint32(data[len(data)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, damagedRing(path, "it fails its checksum")
	}
	if data[8] != ringVersion {
		return nil, damagedRing(path, "it has version %d, this program reads %d", data[8], ringVersion).WithHint("use a newer weir")
	}
	r := &ringImage{
		data: data, id: data[16:32], generation: binary.LittleEndian.Uint64(data[32:]), check: data[40:56],
	}
	rest := data[ringHeader : len(data)-ringTrailer]
	for range binary.LittleEndian.Uint32(data[12:]) {
		if len(rest) < 8 || uint64(binary.LittleEndian.Uint32(rest)) > uint64(len(rest)-8) {
			return nil, damagedRing(path, "an entry is cut off")
		}
		n := int(binary.LittleEndian.Uint32(rest))
		r.boxes = append(r.boxes, ringBox{key: binary.LittleEndian.Uint32(rest[4:]), box: rest[8 : 8+n]})
		rest = rest[8+n:]
	}
	if len(rest) != 0 {
		return nil, damagedRing(path, "%d bytes follow the last entry", len(rest))
	}
	return r, nil
}

// readImage reads the ring of a directory: the first file, or its copy when the
// first is damaged or missing. Neither being there is fs.ErrNotExist.
func readImage(dir string) (image *ringImage, fromCopy bool, err error) {
	var first error
	for i, name := range []string{RingFile, CopyFile} {
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(path)
		if err == nil && len(data) > maxRing {
			err = damagedRing(path, "it has %d bytes", len(data))
		}
		if err == nil {
			image, err = parseRing(path, data)
		}
		if err == nil {
			return image, i > 0, nil
		}
		if i == 0 || errors.Is(first, fs.ErrNotExist) && !errors.Is(err, fs.ErrNotExist) {
			first = err
		}
	}
	return nil, false, first
}

// Exists reports whether a directory has a key ring.
func Exists(dir string) bool {
	for _, name := range []string{RingFile, CopyFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// opens reports whether the ring is wrapped by a master key.
func (r *ringImage) opens(m *Master) bool {
	return hmac.Equal(m.derive(r.id, infoCheck, len(r.check)), r.check)
}

func ringMAC(m *Master, id, body []byte) []byte {
	h := hmac.New(sha256.New, m.derive(id, infoMAC, KeyBytes))
	h.Write(body)
	return h.Sum(nil)
}

func entryPlace(ring []byte, key uint32) []byte {
	return binary.LittleEndian.AppendUint32(append([]byte("weir ring entry"), ring...), key)
}

// entry is what a box of the ring holds.
type entry struct {
	kind     byte
	id       uint32
	owner    string
	created  int64
	reserved uint64
	retired  bool
	key      *secret // of a kindKey
}

func (e *entry) plain() []byte {
	b := append(make([]byte, 0, 64+len(e.owner)), e.kind)
	if e.kind == kindKey {
		b = append(b, e.key.bytes()...)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(e.created))
	b = binary.LittleEndian.AppendUint64(b, e.reserved)
	flags := byte(0)
	if e.retired {
		flags = 1
	}
	return append(append(b, flags), e.owner...)
}

func readEntry(id uint32, b []byte) (*entry, error) {
	if len(b) == 0 || b[0] != kindKey && b[0] != kindDestroyed {
		return nil, errors.New("an entry is of an unknown kind")
	}
	e := &entry{kind: b[0], id: id}
	b = b[1:]
	if e.kind == kindKey {
		if len(b) < KeyBytes {
			return nil, errors.New("an entry is cut off")
		}
		e.key = newSecret()
		copy(e.key.bytes(), b)
		clear(b[:KeyBytes])
		b = b[KeyBytes:]
	}
	if len(b) < 17 {
		return nil, errors.New("an entry is cut off")
	}
	e.created, e.reserved = int64(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint64(b[8:])
	e.retired, e.owner = b[16]&1 != 0, string(b[17:])
	return e, nil
}

// entries checks the ring against its master and opens the boxes.
func (r *ringImage) entries(path string, m *Master) ([]*entry, error) {
	end := len(r.data) - ringTrailer
	if !hmac.Equal(ringMAC(m, r.id, r.data[:end]), r.data[end:end+sha256.Size]) {
		return nil, damagedRing(path, "it was changed by somebody who does not have the master key")
	}
	wrap := newAEAD(m.derive(r.id, infoWrap, KeyBytes))
	var all []*entry
	for _, b := range r.boxes {
		plain, err := openWith(wrap, nil, b.box, entryPlace(r.id, b.key))
		if err != nil {
			return nil, damagedRing(path, "entry %d: %v", b.key, err)
		}
		e, err := readEntry(b.key, plain)
		if err != nil {
			return nil, damagedRing(path, "%v", err)
		}
		all = append(all, e)
	}
	return all, nil
}

// encodeRing makes the bytes of the file.
func encodeRing(m *Master, id []byte, generation uint64, entries []*entry) []byte {
	b := append(make([]byte, 0, 4096), ringMagic...)
	b = append(b, ringVersion, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(entries)))
	b = append(b, id...)
	b = binary.LittleEndian.AppendUint64(b, generation)
	b = append(b, m.derive(id, infoCheck, 16)...)
	wrap := newAEAD(m.derive(id, infoWrap, KeyBytes))
	for _, e := range entries {
		plain := e.plain()
		at := len(b)
		b = append(b, 0, 0, 0, 0)
		b = binary.LittleEndian.AppendUint32(b, e.id)
		b = sealWith(wrap, b, plain, entryPlace(id, e.id))
		binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-8))
		clear(plain)
	}
	b = append(b, ringMAC(m, id, b)...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// replaceFile puts a file in the place of another in one step, durably.
func replaceFile(path string, data []byte) error { return durable.WriteFile(path, path+".tmp", data) }
