package powercut

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Cut says which of the writes that no sync covers are on the disk.
type Cut int

// The kinds of cuts.
const (
	Lost  Cut = iota // none of them
	Kept             // all of them
	Mixed            // any subset, and one of them torn by sectors
)

func (c Cut) String() string { return [...]string{"lost", "kept", "mixed"}[c] }

const sector = 512

// file is a file while a disk is built; renamed files keep their identity.
type file struct{ data []byte }

// Disk builds in dir what the disk holds when the power is cut just before the
// recording's position at. Events that had not started are not there.
func Disk(events []Event, root, dir string, at int, cut Cut, random *rand.Rand) error {
	covered := coverage(events, at)
	files := map[string]*file{}
	dirs := map[string]bool{root: true}
	order := make([]int, 0, len(events))
	for i := range events {
		if events[i].Start < at && events[i].Kind != Send && events[i].Kind != Sync {
			order = append(order, i)
		}
	}
	sort.SliceStable(order, func(a, b int) bool { return events[order[a]].Start < events[order[b]].Start })
	var uncovered []int
	for _, i := range order {
		if !covered[i] && events[i].Kind == Write {
			uncovered = append(uncovered, i)
		}
	}
	torn := -1
	if cut == Mixed && len(uncovered) > 0 {
		torn = uncovered[random.IntN(len(uncovered))]
	}
	for _, i := range order {
		e := &events[i]
		if !covered[i] {
			switch {
			case cut == Lost, cut == Mixed && i != torn && random.IntN(2) == 0:
				continue
			}
		}
		apply(files, dirs, e, i == torn, random)
	}
	for d := range dirs {
		if err := os.MkdirAll(filepath.Join(dir, strings.TrimPrefix(d, root)), 0o755); err != nil {
			return err
		}
	}
	for name, f := range files {
		to := filepath.Join(dir, strings.TrimPrefix(name, root))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, f.data, 0o644); err != nil {
			return fmt.Errorf("write the disk's %s: %w", name, err)
		}
	}
	return nil
}

func apply(files map[string]*file, dirs map[string]bool, e *Event, torn bool, random *rand.Rand) {
	get := func() *file {
		f := files[e.Path]
		if f == nil {
			f = &file{}
			files[e.Path] = f
		}
		return f
	}
	switch e.Kind {
	case Create:
		get()
	case Write:
		f := get()
		if need := int(e.Offset) + len(e.Data); need > len(f.data) {
			f.data = append(f.data, make([]byte, need-len(f.data))...)
		}
		if !torn {
			copy(f.data[e.Offset:], e.Data)
			return
		}
		for from := 0; from < len(e.Data); {
			to := min(len(e.Data), (int(e.Offset)+from)/sector*sector+sector-int(e.Offset))
			if random.IntN(2) == 0 {
				copy(f.data[int(e.Offset)+from:], e.Data[from:to])
			}
			from = to
		}
	case Truncate:
		f := get()
		if int(e.Size) <= len(f.data) {
			f.data = f.data[:e.Size]
		} else {
			f.data = append(f.data, make([]byte, int(e.Size)-len(f.data))...)
		}
	case Rename:
		if f, ok := files[e.Path]; ok {
			files[e.To] = f
			delete(files, e.Path)
		}
	case Unlink:
		delete(files, e.Path)
	case Mkdir:
		dirs[e.Path] = true
	}
}

// coverage says for each event whether a sync that ended before the cut covers
// it: the event had ended when the sync started.
func coverage(events []Event, at int) []bool {
	covered := make([]bool, len(events))
	var renames, syncs []*Event
	for i := range events {
		switch e := &events[i]; {
		case e.Kind == Rename && e.End < at:
			renames = append(renames, e)
		case e.Kind == Sync && e.End < at:
			syncs = append(syncs, e)
		}
	}
	// A file may be synced under the name that a rename gave it.
	same := func(path, synced string, from int) bool {
		for _, r := range renames {
			if r.Start >= from && r.Path == path {
				path = r.To
			}
		}
		return path == synced
	}
	for i := range events {
		e := &events[i]
		if e.Start >= at || e.Kind == Sync || e.Kind == Send {
			continue
		}
		for _, sync := range syncs {
			if sync.Start < e.End {
				continue
			}
			switch e.Kind {
			case Write, Truncate:
				covered[i] = sync.Path == e.Path || same(e.Path, sync.Path, e.End)
			case Create:
				covered[i] = sync.Path == e.Path || sync.Path == filepath.Dir(e.Path)
			case Rename:
				covered[i] = sync.Path == filepath.Dir(e.To)
			case Unlink, Mkdir:
				covered[i] = sync.Path == filepath.Dir(e.Path)
			}
			if covered[i] {
				break
			}
		}
	}
	return covered
}
