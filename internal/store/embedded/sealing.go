package embedded

import (
	"bytes"
	"crypto/rand"
	"database/sql/driver"
	"encoding/binary"
	"os"
	"path/filepath"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// CheckSealing finds out, without writing anything, whether the directory and the
// keys go together. Open does it too.
func CheckSealing(o Options) error {
	if seal.Exists(o.Dir) {
		if o.Sealing == nil {
			return sealedStore(o.Dir)
		}
		return seal.Probe(o.Dir, o.Sealing)
	}
	version, exists := storedVersion(filepath.Join(o.Dir, catalogFile))
	switch {
	case version&sealedFormat != 0:
		return missingRing(o.Dir)
	case o.Sealing != nil && exists:
		return plainStore(o.Dir)
	}
	return nil
}

func sealedStore(dir string) error {
	return sealingError("the data in %s is sealed, and encryption is off", dir).
		WithHint("set encryption.enabled to true and name the key; to have the data in clear, export it and import it into a new data_dir")
}

func plainStore(dir string) error {
	return sealingError("the data in %s is in clear, and encryption is on", dir).
		WithHint("export it and import it into a new data_dir that has encryption from the start, or set encryption.enabled to false")
}

func missingRing(dir string) error {
	return sealingError("the data in %s is sealed, as its catalog.db says, and its key ring is missing", dir).
		WithHint("put back the file " + seal.RingFile + " from a backup made with its keys; without it nothing can be read")
}

// storedVersion reads user_version from the header of a database that may be in
// use or in need of recovery, without touching it.
func storedVersion(path string) (version int64, exists bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer func() { _ = f.Close() }()
	var b [64]byte // the header of a database ("Database File Format" of SQLite, 1.3)
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return 0, fileSize(path+"-wal") > 0
	}
	if !bytes.HasPrefix(b[:], []byte("SQLite format 3\x00")) {
		return 0, true // what it says means nothing; opening it tells what it is
	}
	return int64(binary.BigEndian.Uint32(b[60:])), true
}

// openRing opens the key ring, when the directory is locked.
func (s *Store) openRing() (err error) {
	if s.opt.Sealing == nil {
		return nil
	}
	s.ring, err = seal.OpenRing(s.opt.Dir, s.opt.Sealing, seal.RingOptions{ReadOnly: s.opt.ReadOnly, Logger: s.opt.Logger, Now: s.opt.Now})
	return err
}

// checkCatalogSealing compares what the catalog says with what was asked for.
func (s *Store) checkCatalogSealing() error {
	version, sealed, err := catalogState(s.w)
	switch {
	case err != nil:
		return err
	case version == 0 || sealed == (s.ring != nil):
		return nil
	case sealed:
		return missingRing(s.opt.Dir)
	}
	return plainStore(s.opt.Dir)
}

// Ring is the store's key ring, nil where nothing is sealed. What else the node
// keeps is sealed with it too.
func (s *Store) Ring() *seal.Ring { return s.ring }

// sealer returns what seals a tenant's chunks now, nil where nothing is sealed.
func (s *Store) sealer(tn *tenant) (chunk.Sealer, error) {
	if s.ring == nil {
		return nil, nil
	}
	return s.ring.Current(ownerOf(tn))
}

// chunkKeys finds the sealer of a chunk; it is nil where nothing is sealed.
func (s *Store) chunkKeys() func(id uint32) chunk.Sealer {
	if s.ring == nil {
		return nil
	}
	return func(id uint32) chunk.Sealer {
		if k := s.ring.Key(id); k != nil {
			return k
		}
		return nil
	}
}

const tagBytes = 16

// newTag draws the tag that ties a frame's data or a segment's file to its row: an
// older one of the same id does not open in its place.
func (s *Store) newTag() []byte {
	if s.ring == nil {
		return nil
	}
	tag := make([]byte, tagBytes)
	_, _ = rand.Read(tag) // never fails: crypto/rand ends the process instead
	return tag
}

func (s *Store) frameOptions(tn *tenant, f *frame) (o chunk.FrameOptions, err error) {
	o.Identity = f.tag
	o.Sealer, err = s.sealer(tn)
	return o, err
}

func quarantinePlace(tn *tenant, id int64) []byte {
	return rowPlace("quarantine data", []driver.Value{id, tn.id})
}

// sealQuarantine returns the data of a quarantine row as it is stored.
func (s *Store) sealQuarantine(tn *tenant, id int64, data []byte) ([]byte, error) {
	if s.ring == nil {
		return data, nil
	}
	return s.ring.AppendBox(make([]byte, 0, len(data)+seal.BoxOverhead), ownerOf(tn), data, quarantinePlace(tn, id))
}

func (s *Store) openQuarantine(tn *tenant, id int64, data []byte) ([]byte, error) {
	if s.ring == nil {
		return data, nil
	}
	plain, err := s.ring.OpenBox(nil, data, quarantinePlace(tn, id))
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeDamaged, "read quarantine", "row %d of table quarantine in %s: %v", id, catalogFile, err)
	}
	return plain, nil
}
