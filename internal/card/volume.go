package card

import (
	"errors"
	"fmt"
	"io"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Segment is a segment file on a volume.
type Segment struct {
	Number int
	Start  int64 // bytes from the beginning of the medium
	Blocks uint32
	Skip   string // why a recorder does not use it; "" where it does
}

// Volume is a FAT32 volume with segments.
type Volume struct {
	ID       uint32
	Segments []Segment
}

// errFAT says that a medium has no usable FAT32 volume.
var errFAT = errors.New("no FAT32 volume")

// refuse names the file systems that a recorder cannot use.
func refuse(boot []byte) error {
	switch string(boot[3:11]) {
	case "EXFAT   ", "NTFS    ":
		return telemetry.Errorf(telemetry.CodeRefused, "read card", "the card has an %s volume, which a recorder cannot use", string(boot[3:8])).
			WithHint("copy what you need from it, then: weir card format DEVICE --size …, which makes FAT32")
	}
	return nil
}

type volumeReader struct {
	r        io.ReaderAt
	start    int64 // of the volume
	fat      int64
	data     int64
	spc      uint32
	clusters uint32
	root     uint32
	id       uint32
	cached   int64
	sector   [Sector]byte
}

func (v *volumeReader) read(at int64) ([]byte, error) {
	if v.cached == at {
		return v.sector[:], nil
	}
	v.cached = -1
	if _, err := v.r.ReadAt(v.sector[:], at); err != nil {
		return nil, fmt.Errorf("read at %d: %w", at, err)
	}
	v.cached = at
	return v.sector[:], nil
}

// ReadVolume finds the FAT32 volume of a medium and its segments, as a recorder
// does when it mounts the card.
func ReadVolume(r io.ReaderAt, size int64) (*Volume, error) {
	v := &volumeReader{r: r, cached: -1}
	b, err := v.read(0)
	if err != nil {
		return nil, err
	}
	if b[510] != 0x55 || b[511] != 0xAA {
		return nil, errFAT
	}
	if err := refuse(b); err != nil {
		return nil, err
	}
	if b[0] != 0xEB && b[0] != 0xE9 {
		if v.start, err = partition(b, size); err != nil {
			return nil, err
		}
	}
	if b, err = v.read(v.start); err != nil {
		return nil, err
	}
	if err := refuse(b); err != nil {
		return nil, err
	}
	if err := v.boot(b, size); err != nil {
		return nil, err
	}
	out := &Volume{ID: v.id}
	out.Segments, err = v.segments()
	return out, err
}

func partition(b []byte, size int64) (int64, error) {
	foreign := false
	for i := range 4 {
		p := b[446+16*i:]
		first := int64(le.Uint32(p[8:])) * Sector
		if (p[4] == 0x0B || p[4] == 0x0C) && first > 0 && first < size {
			return first, nil
		}
		foreign = foreign || p[4] == 0x07
	}
	if foreign {
		fake := make([]byte, Sector)
		copy(fake[3:], "EXFAT   ")
		return 0, refuse(fake)
	}
	return 0, errFAT
}

func (v *volumeReader) boot(b []byte, size int64) error {
	reserved, fats, fatSectors, total := uint32(le.Uint16(b[14:])), uint32(b[16]), le.Uint32(b[36:]), le.Uint32(b[32:])
	v.spc = uint32(b[13])
	if b[510] != 0x55 || b[511] != 0xAA || le.Uint16(b[11:]) != Sector || v.spc == 0 || v.spc&(v.spc-1) != 0 ||
		le.Uint16(b[17:]) != 0 || le.Uint16(b[19:]) != 0 || le.Uint16(b[22:]) != 0 || reserved == 0 || fats == 0 || fats > 2 {
		return errFAT
	}
	data := uint64(reserved) + uint64(fats)*uint64(fatSectors)
	if data >= uint64(total) || int64(total)*Sector > size-v.start {
		return errFAT
	}
	v.clusters = (total - uint32(data)) / v.spc
	v.root, v.id = le.Uint32(b[44:]), le.Uint32(b[67:])
	active := uint32(0)
	if b[40]&0x80 != 0 {
		active = uint32(b[40] & 0x0F)
	}
	if active >= fats || v.clusters < 65525 || fatSectors < (v.clusters+129)/128 || v.root < 2 || v.root > v.clusters+1 {
		return errFAT
	}
	v.fat = v.start + int64(reserved+active*fatSectors)*Sector
	v.data = v.start + int64(data)*Sector
	return nil
}

func (v *volumeReader) at(cluster uint32) int64 {
	return v.data + int64(cluster-2)*int64(v.spc)*Sector
}

func (v *volumeReader) next(cluster uint32) (uint32, error) {
	b, err := v.read(v.fat + int64(cluster/128)*Sector)
	if err != nil {
		return 0, err
	}
	return le.Uint32(b[cluster%128*4:]) & 0x0FFFFFFF, nil
}

// file is a directory entry of a segment.
type file struct {
	number     int
	cluster    uint32
	size       uint32
	attributes byte
}

func (v *volumeReader) segments() ([]Segment, error) {
	files, err := v.directory()
	if err != nil {
		return nil, err
	}
	out := make([]Segment, 0, len(files))
	for _, f := range files {
		s := Segment{Number: f.number, Blocks: f.size / Sector}
		cluster := v.spc * Sector
		n := f.size / cluster
		switch {
		case f.attributes&0x17 != 0:
			s.Skip = "it is read-only, hidden, a system file or a directory"
		case f.size%cluster != 0 || s.Blocks < 64:
			s.Skip = "its size is not that of a segment"
		case f.cluster < 2 || f.cluster > v.clusters+1 || n > v.clusters+2-f.cluster:
			s.Skip = "it lies outside the volume"
		default:
			s.Start = v.at(f.cluster)
			if s.Skip, err = v.contiguous(f.cluster, n); err != nil {
				return nil, err
			}
		}
		out = append(out, s)
	}
	for i := range out {
		for j := range i {
			a, b := &out[i], &out[j]
			if a.Start > 0 && b.Start > 0 && a.Start < b.Start+int64(b.Blocks)*Sector && b.Start < a.Start+int64(a.Blocks)*Sector {
				a.Skip, b.Skip = "it shares clusters with another file", "it shares clusters with another file"
			}
		}
	}
	return out, nil
}

// contiguous walks a chain of n clusters to its end.
func (v *volumeReader) contiguous(first, n uint32) (skip string, err error) {
	for i := range n {
		next, err := v.next(first + i)
		if err != nil {
			return "", err
		}
		if last := i == n-1; last && next < 0x0FFFFFF8 || !last && next != first+i+1 {
			return "it is fragmented: a computer copied it back in pieces", nil
		}
	}
	return "", nil
}

// directory lists the segment files of the root directory.
func (v *volumeReader) directory() ([]file, error) {
	var out []file
	const most = 4096 // sectors: 65,536 entries
	cluster := v.root
	for n := 0; n < most && cluster >= 2 && cluster <= v.clusters+1; {
		for s := range int64(v.spc) {
			b, err := v.read(v.at(cluster) + s*Sector)
			if err != nil {
				return nil, err
			}
			n++
			for e := 0; e < Sector; e += 32 {
				if b[e] == 0 {
					return out, nil
				}
				if f, ok := segmentEntry(b[e : e+32]); ok {
					out = append(out, f)
				}
			}
		}
		var err error
		if cluster, err = v.next(cluster); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func segmentEntry(e []byte) (file, bool) {
	if e[0] == 0xE5 || e[11]&0x08 != 0 || string(e[:4]) != "WEIR" || string(e[8:11]) != "SEG" {
		return file{}, false
	}
	number := 0
	for _, c := range e[4:8] {
		if c < '0' || c > '9' {
			return file{}, false
		}
		number = number*10 + int(c-'0')
	}
	return file{number, uint32(le.Uint16(e[20:]))<<16 | uint32(le.Uint16(e[26:])), le.Uint32(e[28:]), e[11]}, true
}
