package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/weir-telemetry/weir/internal/chunk"
	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Store is an open data directory.
type Store struct {
	opt  Options
	lock *os.File
	ring *seal.Ring // nil: nothing is sealed

	tenants atomic.Pointer[map[telemetry.Tenant]*tenant]
	// lastTenant is the tenant that Series was last asked for.
	lastTenant atomic.Pointer[tenant]
	ledger     *ledger

	// wmu guards the write connection and what the catalog's next ids are.
	wmu            sync.Mutex
	w              *conn
	nextTable      uint32
	nextQuarantine int64
	doomed         []*frame // replaced by segments, not yet deleted

	readers chan *conn // idle read connections

	// versions holds every recorded table version by id, which is what frames
	// and segments name; guarded by mu.
	versions map[uint32]*tableVersion

	// What damage of the catalog has lost; nothing changes it after the start.
	lostTables map[uint32]*lostTable
	lostSeries []error // one for each damaged row
	goneSeries []error // those of them whose row is missing

	// contents is what a sealed store knows of quarantine and sessions; guarded by wmu.
	contents      sealedContents
	foundContents foundContents
	recounted     *sealedContents // of a start, until it is saved

	losses   []*Loss // rows of table losses; guarded by mu
	nextLoss int64   // guarded by wmu

	// mu guards what readers see (tenant.frames, tenant.segs) and staged.
	mu      sync.Mutex
	staged  []*staged // in the order of staging
	closed  bool
	failure error
	// published is closed, and replaced, when a compaction has shortened level 0.
	published chan struct{}

	// stageMu is held by Stage, which owns the watermarks and next ids below.
	stageMu   sync.Mutex
	nextFrame int64
	encodeBuf []byte
	// filterFrames is how many more frames get Bloom filters when they are staged.
	filterFrames int

	recent frameCache
	heads  headCache
	files  segmentFiles
	// footers is how much of the footers of segments is kept.
	footers   footerCache
	zenc      *zstd.Encoder
	zdec      *zstd.Decoder
	stats     counters
	holds     holds
	trusted   *trustedClock
	timeSaved time.Time // owned by the compaction

	// compactMu is held by the one compaction or merge that runs.
	compactMu sync.Mutex
	// deletionBytes is the memory of the deletions of segments.
	deletionBytes atomic.Int64
	// nextSegment is not under wmu, where a compaction would wait for a commit's
	// sync for each segment that it begins.
	nextSegment atomic.Int64
	pool        rowPool
	merger      *chunk.Merger
	// quietCommits is how many commits there were when the compaction loop last
	// asked whether none come.
	quietCommits int64

	ckMu     sync.Mutex
	ck       *conn        // of checkpoints
	walBytes atomic.Int64 // about what the log holds since it last started

	stop           context.CancelFunc
	wakeCompact    chan struct{}
	wakeCheckpoint chan struct{}
	worker         sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// Open opens the data directory, creating what is missing. Damage that concerns
// one file or one row of the catalog is logged and met again when what it names
// is read; Open fails when the catalog cannot be read as a database or a tenant's
// row is damaged, and when another process holds the directory.
func Open(ctx context.Context, opt Options) (*Store, error) {
	opt = opt.withDefaults()
	if opt.Dir == "" {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, "open store", "no data directory is given")
	}
	s := &Store{
		opt: opt, ledger: newLedger(), nextTable: 1, versions: map[uint32]*tableVersion{}, lostTables: map[uint32]*lostTable{}, nextFrame: frameStep, nextQuarantine: 1, nextLoss: 1,
		readers: make(chan *conn, maxReaders), published: make(chan struct{}), wakeCompact: make(chan struct{}, 1), wakeCheckpoint: make(chan struct{}, 1),
		recent: frameCache{limit: opt.CacheBytes}, heads: headCache{limit: opt.HeadBytes}, footers: footerCache{limit: opt.CacheBytes},
		files: segmentFiles{limit: opt.OpenFiles, opener: os.Open},
	}
	s.nextSegment.Store(1)
	s.trusted = newTrustedClock(opt.Clock, opt.Logger)
	s.tenants.Store(&map[telemetry.Tenant]*tenant{})
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	dir := s.opt.Dir
	if err := CheckSealing(s.opt); err != nil {
		return err
	}
	if fileSize(filepath.Join(dir, catalogFile)) == 0 && !hasLog(filepath.Join(dir, catalogFile)) {
		if err := lostCatalog(dir); err != nil {
			return err
		}
	}
	if !s.opt.ReadOnly {
		if err := durable.MakeDir(filepath.Join(dir, segmentDir), 0o700); err != nil {
			return fmt.Errorf("create data directory: %w", err)
		}
	} else if _, err := os.Stat(filepath.Join(dir, catalogFile)); err != nil {
		return noStore(dir, err)
	}
	if s.lock, err = lockDir(dir, !s.opt.ReadOnly); err != nil {
		return err
	}
	if s.zenc, s.zdec, err = newCodecs(); err != nil {
		return fmt.Errorf("make compressor: %w", err)
	}
	if err := s.openRing(); err != nil {
		return err
	}
	if s.opt.ReadOnly {
		s.w, err = s.openReader()
	} else {
		if err := catalogWritable(s.catalogPath()); err != nil {
			return err
		}
		s.w, err = openConn(s.catalogPath(), false, writePragmas(s.opt)...)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", s.catalogPath(), err)
	}
	if s.opt.ReadOnly {
		var v int64
		if v, err = catalogVersion(s.w); err == nil {
			err = errors.Join(s.checkCatalogSealing(), readableAsItIs(v))
		}
	} else if err = s.checkCatalogSealing(); err == nil {
		if err = prepareCatalog(ctx, s.w, s.opt, s.ring != nil); err == nil {
			err = errors.Join(durable.SyncDir(dir), durable.SyncDir(filepath.Dir(dir)))
		}
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", s.catalogPath(), err)
	}
	if err := s.load(ctx); err != nil {
		return fmt.Errorf("open %s: %w", s.catalogPath(), err)
	}
	if s.opt.ReadOnly {
		return nil
	}
	return s.start()
}

const (
	catalogFile = "catalog.db"
	segmentDir  = "segments"
	maxReaders  = 4
)

func (s *Store) catalogPath() string { return filepath.Join(s.opt.Dir, catalogFile) }

func (s *Store) openReader() (*conn, error) {
	pragmas := []string{"busy_timeout=10000", "query_only=1", "cache_size=-256", "temp_store=MEMORY"}
	path := s.catalogPath()
	c, err := openConn(path, false, pragmas...)
	if err == nil || !s.opt.ReadOnly || telemetry.CodeOf(err) != telemetry.CodeUnavailable {
		return c, err
	}
	// A medium that is only read, or somebody else's directory. SQLite shares the
	// log through a file of its own, which it cannot make here; without a log, and
	// with the lock of the directory, nothing is shared.
	if hasLog(path) {
		return nil, telemetry.Errorf(telemetry.CodeUnavailable, "open store", "%s cannot be written, and a crash left its log in %s: %w", s.opt.Dir, catalogFile+"-wal", err).
			WithHint("copy the directory to where it can be written, and read the copy")
	}
	return openConn(path, true, pragmas...)
}

// catalogWritable finds out before a connection is open whether the catalog, its log
// and their directory can be written; SQLite would open one that cannot for reading, and
// fail at the first commit.
func catalogWritable(path string) error {
	probe := filepath.Join(filepath.Dir(path), "writable.tmp")
	f, err := os.OpenFile(probe, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(probe))
	}
	for _, file := range []string{path, path + "-wal", path + "-shm"} {
		if err != nil {
			break
		}
		if f, err = os.OpenFile(file, os.O_RDWR, 0); err == nil {
			err = f.Close()
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return telemetry.Errorf(telemetry.CodeUnavailable, "open store", "it cannot be written: %w", err)
	}
	return nil
}

// read runs f on a read connection. f must be short: a reader that stays keeps
// the write-ahead log from starting again.
func (s *Store) read(f func(c *conn) error) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return errClosed("read")
	}
	var c *conn
	select {
	case c = <-s.readers:
	default:
		var err error
		if c, err = s.openReader(); err != nil {
			return err
		}
	}
	err := f(c)
	select {
	case s.readers <- c:
	default:
		err = errors.Join(err, c.close())
	}
	return err
}

// writable returns why nothing can be written, or nil.
func (s *Store) writable(op string) error {
	if s.opt.ReadOnly {
		return telemetry.Errorf(telemetry.CodeInvalid, op, "the store is open for reading only")
	}
	return nil
}

// failed keeps the error of a write for Health and returns it with its code.
func (s *Store) failed(op string, err error) error {
	code := telemetry.CodeOf(err)
	if code == telemetry.CodeInternal || code == telemetry.CodeDamaged {
		// Whatever it was, the data is not refused: the caller keeps it and
		// tries again, and Health shows why.
		code = telemetry.CodeUnavailable
	}
	err = &telemetry.Error{Code: code, Op: op, Message: err.Error(), Err: err}
	if code != telemetry.CodeRefused {
		s.mu.Lock()
		s.failure = err
		s.mu.Unlock()
	}
	return err
}

// version returns the table version of an id in a frame or segment, or nil.
func (s *Store) version(id uint32) *tableVersion {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.versions[id]
}

// damaged logs damage that was met, and counts it.
func (s *Store) damaged(err error) {
	s.stats.damaged.Add(1)
	s.opt.Logger.Error("damaged data", "error", err)
}

// Health implements store.Store.
func (s *Store) Health() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed("health")
	}
	return s.failure
}

func errClosed(op string) error {
	return telemetry.Errorf(telemetry.CodeUnavailable, op, "the store is closed")
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	return s.release()
}

// release ends the background work and closes what is open.
func (s *Store) release() error {
	if s.stop != nil {
		s.stop()
		s.worker.Wait()
	}
	s.wmu.Lock()
	defer s.wmu.Unlock()
	var errs []error
	for {
		select {
		case c := <-s.readers:
			errs = append(errs, c.close())
			continue
		default:
		}
		break
	}
	if s.ck != nil {
		errs = append(errs, s.ck.close())
		s.ck = nil
	}
	if s.w != nil {
		errs = append(errs, s.w.close())
		s.w = nil
	}
	errs = append(errs, s.files.close())
	if s.zdec != nil {
		s.zdec.Close()
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
