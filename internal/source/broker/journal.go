package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// journal is the file broker.journal: what the broker keeps across restarts. Its
// format, and what a reader does with damage, is docs/format/broker-journal.md.
//
// A nil journal keeps nothing.
type journal struct {
	b    *Broker
	dir  string
	file *os.File
	size int64 // bytes of the file that are good

	mu      sync.Mutex
	buf     []byte // frames that are not in the file
	seq     uint64 // records appended, ever
	overrun bool   // frames were given up: the file must be written anew
	// anew is true while a new file is written, and tail then holds what was
	// appended meanwhile and went to the old one: it must follow in the new one.
	anew    bool
	tail    []byte
	waiters map[*conn]struct{}
	// settling is closed when synced grows; nil while nobody awaits it.
	settling chan struct{}

	synced    atomic.Uint64 // records that are durable
	compactAt int64
	fsync     func(*os.File) error
	wake      chan struct{}
	quit      chan struct{}
	ended     chan struct{}
}

const (
	journalName   = "broker.journal"
	journalMagic  = "WEIRBRK1"
	sealedMagic   = "WEIRBRS1"
	journalPlace  = "broker journal" // of its sealed records
	journalFrame  = 8
	journalBuffer = 32 << 20 // frames that wait while the disk takes none
	journalMin    = 4 << 20  // a file is not written anew below this size
	syncInterval  = time.Second
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame appends a record with its length and checksum.
func appendFrame(dst, record []byte) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(record)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(record, castagnoli))
	return append(dst, record...)
}

// magic is what the journal begins with.
func (b *Broker) magic() string {
	if b.cfg.Box != nil {
		return sealedMagic
	}
	return journalMagic
}

// frame appends a record, sealed where the node seals.
func (b *Broker) frame(dst, record []byte) ([]byte, error) {
	if b.cfg.Box != nil {
		var err error
		if record, err = b.cfg.Box.Seal(nil, record, journalPlace); err != nil {
			return dst, fmt.Errorf("seal journal: %w", err)
		}
	}
	return appendFrame(dst, record), nil
}

// applyFrame is apply for what a frame holds.
func (b *Broker) applyFrame(record []byte) error {
	if b.cfg.Box != nil {
		var err error
		if record, err = b.cfg.Box.Open(nil, record, journalPlace); err != nil {
			return err
		}
	}
	return b.apply(record)
}

// readJournal calls use for what every good frame holds, and returns how many were
// damaged. A record that use refuses counts as damaged.
func readJournal(data []byte, magic string, use func(record []byte) error) (damaged int, err error) {
	if len(data) < len(magic) || string(data[:len(magic)]) != magic {
		return 0, errors.New("it does not begin with " + magic)
	}
	data = data[len(magic):]
	for len(data) >= journalFrame {
		n := binary.LittleEndian.Uint32(data)
		sum := binary.LittleEndian.Uint32(data[4:])
		if uint64(n) > uint64(len(data)-journalFrame) {
			break
		}
		record := data[journalFrame : journalFrame+int(n)]
		data = data[journalFrame+int(n):]
		if crc32.Checksum(record, castagnoli) != sum || use(record) != nil {
			damaged++
		}
	}
	return damaged, nil
}

// restore reads the journal into the broker, which is not yet started.
func (b *Broker) restore() error {
	if b.cfg.Dir == "" {
		return nil
	}
	if err := durable.MakeDir(b.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("%s: %w", opStart, err)
	}
	path := filepath.Join(b.cfg.Dir, journalName)
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: %w", opStart, err)
	}
	if len(data) > 0 {
		damaged, err := readJournal(data, b.magic(), b.applyFrame)
		if err == nil && damaged > 0 {
			err = fmt.Errorf("%d records are damaged and left out", damaged)
		}
		if err != nil {
			aside := fmt.Sprintf("%s.damaged-%d", path, time.Now().Unix())
			if writeErr := os.WriteFile(aside, data, 0o600); writeErr != nil {
				return fmt.Errorf("%s: set damaged journal aside: %w", opStart, writeErr)
			}
			b.log.Error("the broker's journal is damaged; what is whole was read",
				"error", telemetry.Errorf(telemetry.CodeDamaged, "read "+path, "%v", err), "copy", aside)
		}
	}
	b.settle()
	b.journal = &journal{
		b: b, dir: b.cfg.Dir,
		waiters: map[*conn]struct{}{},
		fsync:   (*os.File).Sync,
		wake:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		ended:   make(chan struct{}),
	}
	return nil
}

// open writes the file anew and starts the goroutine that syncs it.
func (j *journal) open() error {
	if err := j.rewrite(); err != nil {
		if j.file != nil {
			_ = j.file.Close() // it was written, but its name is not safe
		}
		close(j.ended)
		return fmt.Errorf("%s: %w", opStart, err)
	}
	go j.run()
	return nil
}

// append adds a record and returns its position. Records on which an acknowledgement
// depends go out at once, others within a second.
func (j *journal) append(record []byte) uint64 {
	if j == nil {
		return 0
	}
	urgent := record[0] == recRetained || record[0] == recRetainedGone
	j.mu.Lock()
	j.seq++
	seq := j.seq
	var err error
	if !j.overrun {
		j.buf, err = j.b.frame(j.buf, record)
	}
	if j.overrun || err != nil || len(j.buf) > journalBuffer {
		j.overrun, j.buf = true, nil
	}
	j.mu.Unlock()
	if urgent {
		j.signal()
	}
	return seq
}

func (j *journal) signal() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// flush hands what was appended to the operating system: it survives the process.
func (j *journal) flush() {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	_ = j.write() // sync tries again and reports
}

// await waits until the record at the position is durable, or until ctx ends. Who
// waits at the same time shares one sync.
func (j *journal) await(ctx context.Context, seq uint64) {
	if j == nil {
		return
	}
	for j.synced.Load() < seq {
		j.mu.Lock()
		if j.settling == nil {
			j.settling = make(chan struct{})
		}
		settling := j.settling
		j.mu.Unlock()
		if j.synced.Load() >= seq {
			return
		}
		j.signal()
		select {
		case <-settling:
		case <-ctx.Done():
			return
		}
	}
}

// durable reports whether the record at the position is, and else kicks c once it is.
func (j *journal) durable(seq uint64, c *conn) bool {
	if j == nil || j.synced.Load() >= seq {
		return true
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.synced.Load() >= seq {
		return true
	}
	j.waiters[c] = struct{}{}
	return false
}

// write writes the buffer behind the good part of the file. mu is held.
func (j *journal) write() error {
	if len(j.buf) == 0 || j.overrun {
		return nil
	}
	if _, err := j.file.WriteAt(j.buf, j.size); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	j.size += int64(len(j.buf))
	switch {
	case !j.anew:
	case len(j.tail)+len(j.buf) > journalBuffer:
		j.overrun, j.tail = true, nil
	default:
		j.tail = append(j.tail, j.buf...)
	}
	if cap(j.buf) > 1<<20 {
		j.buf = nil
	}
	j.buf = j.buf[:0]
	return nil
}

// run syncs: at once for what somebody waits for, else once a second.
func (j *journal) run() {
	defer close(j.ended)
	tick := time.NewTicker(syncInterval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-j.wake:
		case <-tick.C:
		case <-j.quit:
			return
		}
		err := j.sync()
		switch {
		case err != nil && !failing:
			j.b.log.Error("the broker's journal cannot be written; retained messages are not acknowledged until it can", "error", err)
		case err == nil && failing:
			j.b.log.Info("the broker's journal can be written again")
		}
		failing = err != nil
	}
}

// sync makes everything durable that was appended before.
func (j *journal) sync() error {
	j.mu.Lock()
	seq, overrun := j.seq, j.overrun
	if seq == j.synced.Load() {
		j.mu.Unlock()
		return nil
	}
	if overrun || j.size > j.compactAt {
		j.mu.Unlock()
		return j.rewrite()
	}
	err := j.write()
	file := j.file
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if err := j.fsync(file); err != nil {
		// The system may have thrown the pages away and forget that it did: the
		// next sync of this file would succeed without them.
		j.mu.Lock()
		j.overrun, j.buf = true, nil
		j.mu.Unlock()
		return fmt.Errorf("sync journal: %w", err)
	}
	j.settled(seq)
	return nil
}

// settled notes what is durable and wakes who waits for it.
func (j *journal) settled(seq uint64) {
	j.mu.Lock()
	if seq > j.synced.Load() {
		j.synced.Store(seq)
	}
	waiters := j.waiters
	j.waiters = map[*conn]struct{}{}
	if j.settling != nil {
		close(j.settling)
		j.settling = nil
	}
	j.mu.Unlock()
	for c := range waiters {
		c.kick()
	}
}

// rewrite writes a new file with all that is in memory. Changes that come meanwhile
// follow it: to repeat one does no harm.
func (j *journal) rewrite() error {
	j.mu.Lock()
	seq := j.seq
	j.buf, j.overrun = j.buf[:0], false
	j.anew, j.tail = true, nil
	j.mu.Unlock()
	fail := func(err error) error {
		j.mu.Lock()
		j.overrun, j.buf = true, nil // the new file was to hold what was taken from the buffer
		j.anew, j.tail = false, nil
		j.mu.Unlock()
		return fmt.Errorf("write journal anew: %w", err)
	}
	data := []byte(j.b.magic())
	var sealing error
	j.b.snapshot(func(record []byte) {
		var err error
		if data, err = j.b.frame(data, record); err != nil {
			sealing = err
		}
	})
	if sealing != nil {
		return fail(sealing)
	}
	path := filepath.Join(j.dir, journalName)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fail(err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = j.fsync(f)
	}
	if err == nil {
		err = j.replace(f, path, int64(len(data)))
	}
	if err != nil {
		return fail(errors.Join(err, f.Close()))
	}
	if err := durable.SyncDir(j.dir); err != nil {
		return fail(err)
	}
	j.settled(seq)
	return nil
}

// replace puts the new file in the old one's place, with what was appended since it
// was begun. Nobody is told in between that a record has reached a file.
func (j *journal) replace(f *os.File, path string, size int64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	if j.file != nil {
		_ = j.file.Close() // it is replaced
	}
	j.file, j.size = f, size
	j.compactAt = max(journalMin, 2*j.size)
	j.buf = append(j.tail, j.buf...)
	j.anew, j.tail = false, nil
	_ = j.write() // sync tries again and reports
	return nil
}

// close makes everything durable and ends.
func (j *journal) close() error {
	close(j.quit)
	<-j.ended
	if j.file == nil {
		return nil
	}
	err := j.sync()
	return errors.Join(err, j.file.Close())
}
