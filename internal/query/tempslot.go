package query

import (
	"context"
	"fmt"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// SQLite keeps sorts and temporary tables in memory (temp_store=MEMORY)
// without any bound: its heap limits are for the whole process, the store's
// databases included, and the binding is compiled without them. So here it
// keeps them in "files", of a file system that is memory and has a size: what
// is over it fails that one statement, and nothing is written to a disk.
//
// A file system cannot tell which connection opens a file, so there is a fixed
// number of them, each lent to one statement at a time.

// tempSlots is how many statements run in SQLite at a time; others wait.
const tempSlots = 4

// tempSlot is one file system of temporary files.
type tempSlot struct {
	name  string
	limit int64
	used  int64
	over  bool
	files map[uintptr]*tempFile
	last  uintptr
}

// tempFile is one temporary file. SQLite uses it from one goroutine at a time.
type tempFile struct {
	slot   *tempSlot
	blocks [][]byte
	size   int64
}

const tempBlock = 64 << 10

var temp struct {
	once  sync.Once
	err   error
	free  chan *tempSlot
	slots map[uintptr]*tempSlot // by sqlite3_vfs; complete before the first use
}

// acquireTemp lends a file system of at most limit bytes, waiting for one.
func acquireTemp(ctx context.Context, limit int64) (*tempSlot, error) {
	temp.once.Do(registerTemp)
	if temp.err != nil {
		return nil, temp.err
	}
	select {
	case s := <-temp.free:
		s.limit, s.used, s.over, s.files = limit, 0, false, map[uintptr]*tempFile{}
		return s, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *tempSlot) release() {
	s.files = nil
	temp.free <- s
}

// full reports whether the limit was reached.
func (s *tempSlot) full() bool { return s.over }

// dsn names a database in memory whose temporary files are in the slot.
func (s *tempSlot) dsn() string {
	return "file::memory:?vfs=" + s.name + "&_dqs=0&_pragma=temp_store(1)&_pragma=cache_size(-1024)"
}

// cFile is what SQLite knows of an open file: struct sqlite3_file and our id.
type cFile struct {
	methods uintptr
	id      uintptr
	vfs     uintptr
}

// at reads a C pointer as a Go one. The memory is not the collector's.
func at[T any](p uintptr) *T { return *(**T)(unsafe.Pointer(&p)) }

// funcPointer returns a declared function, not a closure, as SQLite's
// translated code calls it.
func funcPointer[T any](f T) uintptr {
	type fp struct{ f T }
	return *(*uintptr)(unsafe.Pointer(&fp{f}))
}

// tempMethods are the functions of the files, in C memory.
var tempMethods uintptr

// registerTemp makes the file systems known to SQLite, for good.
func registerTemp() {
	tls := libc.NewTLS()
	defer tls.Close()
	fail := func() {
		temp.err = telemetry.Errorf(telemetry.CodeInternal, "query", "SQLite's file systems cannot be registered")
	}
	if rc := sqlite3.Xsqlite3_initialize(tls); rc != sqlite3.SQLITE_OK {
		fail()
		return
	}
	standard := sqlite3.Xsqlite3_vfs_find(tls, 0)
	tempMethods = libc.Xcalloc(tls, 1, libc.Tsize_t(unsafe.Sizeof(sqlite3.Tsqlite3_io_methods{})))
	if standard == 0 || tempMethods == 0 {
		fail()
		return
	}
	*at[sqlite3.Tsqlite3_io_methods](tempMethods) = sqlite3.Tsqlite3_io_methods{
		FiVersion:               1,
		FxClose:                 funcPointer(tempClose),
		FxRead:                  funcPointer(tempRead),
		FxWrite:                 funcPointer(tempWrite),
		FxTruncate:              funcPointer(tempTruncate),
		FxSync:                  funcPointer(tempNothing),
		FxFileSize:              funcPointer(tempFileSize),
		FxLock:                  funcPointer(tempNothing),
		FxUnlock:                funcPointer(tempNothing),
		FxCheckReservedLock:     funcPointer(tempReserved),
		FxFileControl:           funcPointer(tempControl),
		FxSectorSize:            funcPointer(tempSector),
		FxDeviceCharacteristics: funcPointer(tempTraits),
	}
	temp.free = make(chan *tempSlot, tempSlots)
	temp.slots = map[uintptr]*tempSlot{}
	for i := range tempSlots {
		s := &tempSlot{name: fmt.Sprintf("weir-temp-%d", i)}
		vfs := libc.Xcalloc(tls, 1, libc.Tsize_t(unsafe.Sizeof(sqlite3.Tsqlite3_vfs{})))
		name, err := libc.CString(s.name)
		if vfs == 0 || err != nil {
			fail()
			return
		}
		// Clock, randomness and sleep are the standard ones.
		v := at[sqlite3.Tsqlite3_vfs](vfs)
		*v = *at[sqlite3.Tsqlite3_vfs](standard)
		v.FiVersion, v.FpNext, v.FpAppData, v.FzName = 2, 0, 0, name
		v.FszOsFile = int32(unsafe.Sizeof(cFile{}))
		v.FxOpen = funcPointer(tempOpen)
		v.FxDelete = funcPointer(tempDelete)
		v.FxAccess = funcPointer(tempAccess)
		v.FxFullPathname = funcPointer(tempFullPathname)
		temp.slots[vfs] = s
		if rc := sqlite3.Xsqlite3_vfs_register(tls, vfs, 0); rc != sqlite3.SQLITE_OK {
			fail()
			return
		}
		temp.free <- s
	}
}

// tempOpen opens temporary files only: a file with a name would be on a disk.
func tempOpen(_ *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32 {
	f := at[cFile](file)
	f.methods = 0
	if name != 0 {
		return sqlite3.SQLITE_CANTOPEN
	}
	s := temp.slots[vfs]
	s.last++
	s.files[s.last] = &tempFile{slot: s}
	f.methods, f.id, f.vfs = tempMethods, s.last, vfs
	if outFlags != 0 {
		*at[int32](outFlags) = flags
	}
	return sqlite3.SQLITE_OK
}

func tempFullPathname(_ *libc.TLS, _, name uintptr, size int32, out uintptr) int32 {
	dst := unsafe.Slice(at[byte](out), size)
	s := libc.GoString(name)
	if len(s) >= len(dst) {
		return sqlite3.SQLITE_CANTOPEN
	}
	dst[copy(dst, s)] = 0
	return sqlite3.SQLITE_OK
}

func openTemp(file uintptr) *tempFile {
	f := at[cFile](file)
	return temp.slots[f.vfs].files[f.id]
}

func tempClose(_ *libc.TLS, file uintptr) int32 {
	f := at[cFile](file)
	s := temp.slots[f.vfs]
	if t := s.files[f.id]; t != nil {
		s.used -= int64(len(t.blocks)) * tempBlock
		delete(s.files, f.id)
	}
	return sqlite3.SQLITE_OK
}

func tempRead(_ *libc.TLS, file, buf uintptr, n int32, off int64) int32 {
	t := openTemp(file)
	dst := unsafe.Slice(at[byte](buf), n)
	have := min(max(t.size-off, 0), int64(n))
	for done := int64(0); done < have; {
		pos := off + done
		done += int64(copy(dst[done:have], t.blocks[pos/tempBlock][pos%tempBlock:]))
	}
	if have < int64(n) {
		clear(dst[have:])
		return sqlite3.SQLITE_IOERR_SHORT_READ
	}
	return sqlite3.SQLITE_OK
}

func tempWrite(_ *libc.TLS, file, buf uintptr, n int32, off int64) int32 {
	t := openTemp(file)
	src := unsafe.Slice(at[byte](buf), n)
	end := off + int64(n)
	for int64(len(t.blocks))*tempBlock < end {
		if t.slot.used+tempBlock > t.slot.limit {
			t.slot.over = true
			return sqlite3.SQLITE_FULL
		}
		t.slot.used += tempBlock
		t.blocks = append(t.blocks, make([]byte, tempBlock))
	}
	for done := int64(0); done < int64(n); {
		pos := off + done
		done += int64(copy(t.blocks[pos/tempBlock][pos%tempBlock:], src[done:]))
	}
	t.size = max(t.size, end)
	return sqlite3.SQLITE_OK
}

func tempTruncate(_ *libc.TLS, file uintptr, size int64) int32 {
	t := openTemp(file)
	keep := int((size + tempBlock - 1) / tempBlock)
	if keep < len(t.blocks) {
		t.slot.used -= int64(len(t.blocks)-keep) * tempBlock
		clear(t.blocks[keep:])
		t.blocks = t.blocks[:keep]
	}
	t.size = min(t.size, size)
	return sqlite3.SQLITE_OK
}

func tempFileSize(_ *libc.TLS, file, out uintptr) int32 {
	*at[int64](out) = openTemp(file).size
	return sqlite3.SQLITE_OK
}

// What follows needs to do nothing: files are not locked, synced, shared or
// found again.

func tempNothing(*libc.TLS, uintptr, int32) int32          { return sqlite3.SQLITE_OK }
func tempDelete(*libc.TLS, uintptr, uintptr, int32) int32  { return sqlite3.SQLITE_OK }
func tempControl(*libc.TLS, uintptr, int32, uintptr) int32 { return sqlite3.SQLITE_NOTFOUND }
func tempSector(*libc.TLS, uintptr) int32                  { return 4096 }
func tempTraits(*libc.TLS, uintptr) int32                  { return 0 }

func tempReserved(_ *libc.TLS, _, out uintptr) int32 {
	*at[int32](out) = 0
	return sqlite3.SQLITE_OK
}

func tempAccess(_ *libc.TLS, _, _ uintptr, _ int32, out uintptr) int32 {
	*at[int32](out) = 0
	return sqlite3.SQLITE_OK
}
