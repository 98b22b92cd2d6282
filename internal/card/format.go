package card

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Medium is what a card is formatted on.
type Medium interface {
	io.WriterAt
	Sync() error
}

// FormatOptions choose what Format does.
type FormatOptions struct {
	ID       uint32 // random, not 0
	Budget   int64  // bytes for segments; 0: all
	Now      time.Time
	Progress func(done, total int64)
}

var le = binary.LittleEndian

// bootSectors are the sectors of the reserved area that hold something.
var bootSectors = []uint32{0, 1, 2, 6, 7, 8}

// Format makes a card of size bytes. Sector 0 is cleared first and written last:
// an interrupted format leaves no file system, never half of one.
func Format(m Medium, size int64, o FormatOptions) (Layout, error) {
	l, err := Plan(size, o.Budget)
	if err != nil {
		return l, err
	}
	w := &formatWriter{m: m, total: int64(2*l.FATSectors+l.RootClusters*l.ClusterSectors) * Sector, progress: o.Progress}
	w.write(0, make([]byte, Sector))
	w.sync()
	for _, s := range bootSectors {
		w.write(unit+s, l.bootSector(s, o.ID))
	}
	for copies := range uint32(2) {
		l.writeFAT(w, unit+l.Reserved+copies*l.FATSectors)
	}
	w.write(unit+l.Data, l.root(o.Now))
	w.sync()
	w.write(0, l.partitionTable(o.ID))
	w.sync()
	return l, w.err
}

// formatWriter writes until the first error.
type formatWriter struct {
	m           Medium
	err         error
	done, total int64
	progress    func(done, total int64)
}

func (w *formatWriter) write(sector uint32, data []byte) {
	if w.err != nil {
		return
	}
	if _, err := w.m.WriteAt(data, int64(sector)*Sector); err != nil {
		w.err = fmt.Errorf("write sector %d: %w", sector, err)
	}
	w.done += int64(len(data))
	if w.progress != nil {
		w.progress(min(w.done, w.total), w.total)
	}
}

func (w *formatWriter) sync() {
	if w.err == nil {
		w.err = w.m.Sync()
	}
}

func (l Layout) bootSector(s, id uint32) []byte {
	b := make([]byte, Sector)
	le.PutUint16(b[510:], 0xAA55)
	switch s % 6 {
	case 0:
		copy(b, "\xEB\x58\x90WEIR    ")
		le.PutUint16(b[11:], Sector)
		b[13] = byte(l.ClusterSectors)
		le.PutUint16(b[14:], uint16(l.Reserved))
		b[16] = 2
		b[21] = 0xF8
		le.PutUint16(b[24:], 63)
		le.PutUint16(b[26:], 255)
		le.PutUint32(b[28:], unit)
		le.PutUint32(b[32:], l.VolumeSectors)
		le.PutUint32(b[36:], l.FATSectors)
		le.PutUint32(b[44:], 2)
		le.PutUint16(b[48:], 1)
		le.PutUint16(b[50:], 6)
		b[64], b[66] = 0x80, 0x29
		le.PutUint32(b[67:], id)
		copy(b[71:], "WEIR       FAT32   ")
		b[90], b[91] = 0xCD, 0x18
	case 1:
		le.PutUint32(b, 0x41615252)
		le.PutUint32(b[484:], 0x61417272)
		le.PutUint32(b[488:], l.Clusters-l.RootClusters-l.Segments*l.SegmentClusters)
		le.PutUint32(b[492:], 2+l.RootClusters)
	}
	return b
}

// entry is what the FAT says of a cluster.
func (l Layout) entry(c uint32) uint32 {
	switch {
	case c == 0:
		return 0x0FFFFFF8
	case c == 1:
		return 0x0FFFFFFF
	}
	first, n := uint32(2), l.RootClusters
	if c >= l.FirstSegment {
		segment := (c - l.FirstSegment) / l.SegmentClusters
		if segment >= l.Segments {
			return 0
		}
		first, n = l.FirstSegment+segment*l.SegmentClusters, l.SegmentClusters
	}
	switch {
	case c >= first+n:
		return 0
	case c == first+n-1:
		return 0x0FFFFFFF
	}
	return c + 1
}

func (l Layout) writeFAT(w *formatWriter, at uint32) {
	const most = 128 // sectors at once
	for from := uint32(0); from < l.FATSectors; from += most {
		b := make([]byte, min(most, l.FATSectors-from)*Sector)
		for i := 0; i < len(b); i += 4 {
			le.PutUint32(b[i:], l.entry(from*128+uint32(i/4)))
		}
		w.write(at+from, b)
	}
}

func (l Layout) root(now time.Time) []byte {
	b := make([]byte, l.RootClusters*l.ClusterSectors*Sector)
	day, clock := uint16(1<<5|1), uint16(0) // 1980-01-01
	if y := now.Year(); y > 1980 && y < 2108 {
		day = uint16((y-1980)<<9 | int(now.Month())<<5 | now.Day())
		clock = uint16(now.Hour()<<11 | now.Minute()<<5 | now.Second()/2)
	}
	for n := range l.Segments + 1 {
		e := b[n*32:]
		le.PutUint16(e[22:], clock)
		le.PutUint16(e[24:], day)
		if n == 0 {
			copy(e, "WEIR       ")
			e[11] = 0x08
			continue
		}
		copy(e, fmt.Sprintf("WEIR%04dSEG", n-1))
		e[11] = 0x20
		cluster := l.FirstSegment + (n-1)*l.SegmentClusters
		le.PutUint16(e[14:], clock)
		le.PutUint16(e[16:], day)
		le.PutUint16(e[18:], day)
		le.PutUint16(e[20:], uint16(cluster>>16))
		le.PutUint16(e[26:], uint16(cluster))
		le.PutUint32(e[28:], uint32(l.SegmentBytes()))
	}
	return b
}

func (l Layout) partitionTable(id uint32) []byte {
	b := make([]byte, Sector)
	le.PutUint32(b[440:], id)
	p := b[446:]
	copy(p, "\x00\xFE\xFF\xFF\x0C\xFE\xFF\xFF")
	le.PutUint32(p[8:], unit)
	le.PutUint32(p[12:], l.VolumeSectors)
	le.PutUint16(b[510:], 0xAA55)
	return b
}
