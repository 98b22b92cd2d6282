package card

import (
	"fmt"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Sector is the size of a sector and of a block.
const Sector = 512

const (
	unit             = 8192 // sectors in 4 MiB
	leastUnits       = 16
	mostSegments     = 64
	mostSegmentUnits = 1023 // a FAT32 file ends below 4 GiB
	goodClusters     = 98304
	leastReserved    = 32
	rootBytes        = 4096
)

// Smallest is the smallest card, in bytes.
const Smallest = leastUnits * unit * Sector

// Layout says where everything lies on a formatted card, in sectors and clusters.
type Layout struct {
	VolumeSectors   uint32
	ClusterSectors  uint32
	Reserved        uint32
	FATSectors      uint32
	Data            uint32 // of cluster 2, from the volume's start
	Clusters        uint32
	RootClusters    uint32
	Segments        uint32
	SegmentClusters uint32
	FirstSegment    uint32 // cluster
}

// Plan lays out a card of that many bytes. budget bounds what segments take; 0
// gives them all of it.
func Plan(size, budget int64) (Layout, error) {
	units := size / (unit * Sector)
	if units < leastUnits {
		return Layout{}, telemetry.Errorf(telemetry.CodeInvalid, "format card", "%d bytes are too few", size).
			WithHint("FAT32 needs at least 64 MiB")
	}
	if units > (1<<32-1)/unit {
		units = (1<<32 - 1) / unit // what sector numbers of 32 bits reach
	}
	l := Layout{VolumeSectors: uint32(units-1) * unit, ClusterSectors: 64}
	for l.ClusterSectors > 1 && l.VolumeSectors/l.ClusterSectors < goodClusters {
		l.ClusterSectors /= 2
	}
	l.FATSectors = (l.VolumeSectors/l.ClusterSectors + 2 + 127) / 128
	l.Data = (leastReserved + 2*l.FATSectors + unit - 1) / unit * unit
	l.Reserved = l.Data - 2*l.FATSectors
	l.Clusters = (l.VolumeSectors - l.Data) / l.ClusterSectors
	l.RootClusters = max(rootBytes/Sector/l.ClusterSectors, 1)
	left := (l.VolumeSectors-l.Data)/unit - 1
	if b := budget / (unit * Sector); budget > 0 && b < int64(left) {
		left = uint32(b)
	}
	if left < 2 {
		return Layout{}, telemetry.Errorf(telemetry.CodeInvalid, "format card", "a budget of %d bytes holds no two segments", budget).
			WithHint("a segment has at least 4 MiB, and a recorder needs two")
	}
	l.Segments = min(left, mostSegments)
	each := min(left/l.Segments, mostSegmentUnits)
	l.SegmentClusters = each * (unit / l.ClusterSectors)
	l.FirstSegment = 2 + unit/l.ClusterSectors
	return l, nil
}

// SegmentBytes is the size of a segment file.
func (l Layout) SegmentBytes() int64 {
	return int64(l.SegmentClusters) * int64(l.ClusterSectors) * Sector
}

func (l Layout) String() string {
	return fmt.Sprintf("%d segments of %d MiB, clusters of %d bytes", l.Segments, l.SegmentBytes()>>20, l.ClusterSectors*Sector)
}
