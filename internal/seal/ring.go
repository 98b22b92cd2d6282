package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// NodeOwner owns the keys of what belongs to no tenant.
const NodeOwner = ""

// A data key is replaced after this time or this many seals. NIST SP 800-38D
// (8.3) allows 2^32 seals with random nonces of 96 bits.
const (
	period      = 30 * 24 * time.Hour
	retireAfter = 1 << 31
	hardLimit   = 1<<32 - headroom
	// reserveStep is how many seals are entered in the ring at once, before they
	// are made: after a crash, as many are taken for made.
	reserveStep = 1 << 24
	// headroom is how many seals a caller makes at most before it asks for the
	// current key again: the pages of the largest segment are half of that.
	headroom = 1 << 22
)

// RingOptions say how a ring is opened.
type RingOptions struct {
	ReadOnly bool
	Logger   *slog.Logger     // nil: silent
	Now      func() time.Time // nil: time.Now
}

// Ring is the key ring of a data directory. One process writes it, which holds
// the directory's lock; it is safe for concurrent use.
type Ring struct {
	dir  string
	opt  RingOptions
	keys atomic.Pointer[map[uint32]*Key]
	now  atomic.Pointer[map[string]*Key] // by owner: the key that seals now

	mu         sync.Mutex
	master     *Master
	source     Source
	id         []byte
	generation uint64
	next       uint32
	destroyed  []*entry
	failing    bool
	resumed    bool
}

// Probe checks, without writing anything, that the ring of a directory can be
// opened. A directory without a ring is fine.
func Probe(dir string, c *Credentials) error {
	image, _, err := readImage(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = c.open(dir, image)
	return err
}

// open finds the master key that the ring is wrapped by.
func (c *Credentials) open(dir string, image *ringImage) (*Master, error) {
	for _, m := range c.masters {
		if image.opens(m) {
			return m, nil
		}
	}
	where := c.masters[0].where
	if where == "" {
		where = "the one given"
	}
	return nil, telemetry.Errorf(telemetry.CodeInvalid, "open key ring", "the master key (%s) is not the one that the data in %s was sealed with", where, dir).
		WithHint("nothing was changed; give the key that weir key init or the last weir key rotate made, or another data_dir")
}

// OpenRing opens the ring of a directory, or makes one where there is none and
// the ring is not opened for reading only.
func OpenRing(dir string, c *Credentials, o RingOptions) (*Ring, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Ring{dir: dir, opt: o, next: 1, source: c.source}
	r.publish(nil)
	image, fromCopy, err := readImage(dir)
	if errors.Is(err, fs.ErrNotExist) && !o.ReadOnly {
		return r, r.create(c)
	}
	if err != nil {
		return nil, err
	}
	if r.master, err = c.open(dir, image); err != nil {
		return nil, err
	}
	if err := r.load(image); err != nil {
		return nil, err
	}
	if fromCopy {
		o.Logger.Error("the key ring is damaged or missing; its copy was read", "file", filepath.Join(dir, RingFile))
	}
	if o.ReadOnly {
		return r, nil
	}
	return r, r.mend(image, fromCopy)
}

// create makes a ring without keys.
func (r *Ring) create(c *Credentials) error {
	r.master = c.masters[0]
	r.id = make([]byte, idBytes)
	_, _ = rand.Read(r.id)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.save(r.master, nil)
}

func (r *Ring) load(image *ringImage) error {
	r.id, r.generation = bytes.Clone(image.id), image.generation
	entries, err := image.entries(filepath.Join(r.dir, RingFile), r.master)
	if err != nil {
		return err
	}
	var keys []*Key
	for _, e := range entries {
		r.next = max(r.next, e.id+1)
		if e.kind == kindDestroyed {
			r.destroyed = append(r.destroyed, e)
			continue
		}
		k := newKey(e)
		keys = append(keys, k)
	}
	r.publish(keys)
	return nil
}

// mend finishes what a crash interrupted: a rotation whose ring is written, and
// the second of the two files.
func (r *Ring) mend(image *ringImage, fromCopy bool) error {
	first, second := filepath.Join(r.dir, RingFile), filepath.Join(r.dir, CopyFile)
	if fromCopy {
		if err := replaceFile(first, image.data); err != nil {
			return ringError(err)
		}
	}
	if data, err := os.ReadFile(second); err != nil || !bytes.Equal(data, image.data) {
		if err := replaceFile(second, image.data); err != nil {
			return ringError(err)
		}
	}
	if r.master.pending == "" {
		return nil
	}
	if err := finishSwap(r.source.File); err != nil {
		r.opt.Logger.Warn("a rotation of the master key was interrupted; the ring opens with the new key, whose file could not be renamed",
			"file", r.master.pending, "to", r.source.File, "error", err)
		return nil
	}
	r.opt.Logger.Info("a rotation of the master key was interrupted and is now complete", "file", r.source.File)
	r.master.where, r.master.pending = r.source.File, ""
	r.resumed = true
	return nil
}

// Resumed reports whether opening the ring completed a rotation that had been
// interrupted.
func (r *Ring) Resumed() bool { return r.resumed }

// Credentials are those that open the ring as it is now.
func (r *Ring) Credentials() *Credentials {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &Credentials{source: r.source, masters: []*Master{r.master}}
}

func newKey(e *entry) *Key {
	k := &Key{id: e.id, owner: e.owner, key: e.key, aead: newAEAD(e.key.bytes()), created: e.created, retired: e.retired}
	k.used.Store(e.reserved)
	k.reserved.Store(e.reserved)
	return k
}

// publish shows the keys to Key and Current.
func (r *Ring) publish(keys []*Key) {
	all, now := map[uint32]*Key{}, map[string]*Key{}
	for _, k := range keys {
		all[k.id] = k
		if !k.retired && (now[k.owner] == nil || now[k.owner].id < k.id) {
			now[k.owner] = k
		}
	}
	r.keys.Store(&all)
	r.now.Store(&now)
}

// sorted returns all keys, ascending by id.
func (r *Ring) sorted() []*Key {
	var keys []*Key
	for _, k := range *r.keys.Load() {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b *Key) int { return int(int64(a.id) - int64(b.id)) })
	return keys
}

// save writes the ring with these keys; mu is held.
func (r *Ring) save(m *Master, keys []*Key) error {
	if r.opt.ReadOnly {
		return telemetry.Errorf(telemetry.CodeInvalid, "write key ring", "it is open for reading only")
	}
	var entries []*entry
	for _, k := range keys {
		entries = append(entries, &entry{
			kind: kindKey, id: k.id, owner: k.owner, created: k.created, reserved: k.reserved.Load(), retired: k.retired, key: k.key,
		})
	}
	data := encodeRing(m, r.id, r.generation+1, append(entries, r.destroyed...))
	if err := replaceFile(filepath.Join(r.dir, RingFile), data); err != nil {
		return ringError(err)
	}
	// From here on the new ring counts; a copy that could not be written is
	// mended at the next start.
	r.generation++
	r.master = m
	r.publish(keys)
	if err := replaceFile(filepath.Join(r.dir, CopyFile), data); err != nil {
		r.opt.Logger.Warn("the copy of the key ring could not be written", "error", err)
	}
	return nil
}

func ringError(err error) error {
	return telemetry.Errorf(telemetry.CodeUnavailable, "write key ring", "%w", err)
}

// Key returns the data key of an id, or nil for one that the ring does not have.
func (r *Ring) Key(id uint32) *Key { return (*r.keys.Load())[id] }

// Current returns the key that seals an owner's data now, drawing one if there
// is none or its time or count has come to an end. The caller makes at most a few
// million seals with it before it asks again.
func (r *Ring) Current(owner string) (*Key, error) {
	k := (*r.now.Load())[owner]
	if k != nil && k.used.Load()+headroom < k.reserved.Load() && !r.old(k) {
		return k, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := (*r.now.Load())[owner]; k != nil && !r.old(k) && k.used.Load() < retireAfter {
		return r.reserve(k)
	}
	fresh, err := r.draw(owner)
	if err == nil {
		r.failing = false
		return fresh, nil
	}
	if k != nil && k.used.Load() < hardLimit && !r.opt.ReadOnly {
		r.complain(err)
		return k, nil
	}
	return nil, err
}

func (r *Ring) old(k *Key) bool {
	return r.opt.Now().Unix()-k.created >= int64(period/time.Second)
}

// reserve enters more seals of a key in the ring, if they are used up; mu is held.
func (r *Ring) reserve(k *Key) (*Key, error) {
	before := k.reserved.Load()
	if k.used.Load()+headroom < before {
		return k, nil
	}
	k.reserved.Store(before + reserveStep)
	if err := r.save(r.master, r.sorted()); err != nil {
		k.reserved.Store(before)
		if r.opt.ReadOnly {
			return nil, err
		}
		r.complain(err) // the count is far below the bound, so sealing goes on
	} else {
		r.failing = false
	}
	return k, nil
}

func (r *Ring) complain(err error) {
	if !r.failing {
		r.opt.Logger.Warn("the key ring cannot be written; the keys at hand are used on", "error", err)
	}
	r.failing = true
}

// draw makes a fresh key for an owner and retires the others; mu is held.
func (r *Ring) draw(owner string) (*Key, error) {
	e := &entry{kind: kindKey, id: r.next, owner: owner, created: r.opt.Now().Unix(), reserved: reserveStep, key: newSecret()}
	_, _ = rand.Read(e.key.bytes())
	keys := r.sorted()
	var retired []*Key
	for _, k := range keys {
		if k.owner == owner && !k.retired {
			k.retired = true
			retired = append(retired, k)
		}
	}
	k := newKey(e)
	k.used.Store(0)
	if err := r.save(r.master, append(keys, k)); err != nil {
		for _, k := range retired {
			k.retired = false
		}
		return nil, err
	}
	r.next++
	return k, nil
}

// A box is sealed bytes that name their key: 4 bytes of key id, and what Seal makes.
const boxHeader = 4

// BoxOverhead is how many bytes a box has more than what is in it.
const BoxOverhead = boxHeader + Overhead

// AppendBox seals with the owner's current key.
func (r *Ring) AppendBox(dst []byte, owner string, plain, additional []byte) ([]byte, error) {
	k, err := r.Current(owner)
	if err != nil {
		return dst, err
	}
	return k.Seal(binary.LittleEndian.AppendUint32(dst, k.id), plain, additional), nil
}

// OpenBox appends what is in a box to dst.
func (r *Ring) OpenBox(dst, box, additional []byte) ([]byte, error) {
	if len(box) < BoxOverhead {
		return nil, errShort
	}
	id := binary.LittleEndian.Uint32(box)
	k := r.Key(id)
	if k == nil {
		return nil, fmt.Errorf("it is sealed with key %d, which is not in the key ring", id)
	}
	return k.Open(dst, box[boxHeader:], additional)
}

// KeyInfo describes a key without showing it.
type KeyInfo struct {
	ID      uint32
	Owner   string
	Created time.Time
	Retired bool   // it only opens
	Seals   uint64 // at most so many were made
}

// List describes the keys, ascending by id.
func (r *Ring) List() []KeyInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []KeyInfo
	for _, k := range r.sorted() {
		all = append(all, KeyInfo{ID: k.id, Owner: k.owner, Created: time.Unix(k.created, 0).UTC(), Retired: k.retired, Seals: k.used.Load()})
	}
	return all
}

// ID names the ring; what two stores have sealed cannot be exchanged.
func (r *Ring) ID() []byte { return r.id }

// String implements fmt.Stringer.
func (r *Ring) String() string { return "key ring of " + r.dir }

// Format implements fmt.Formatter.
func (r *Ring) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(r.String())) }

// LogValue implements slog.LogValuer.
func (r *Ring) LogValue() slog.Value { return slog.StringValue(r.String()) }
