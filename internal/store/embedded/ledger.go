package embedded

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// ledger is the session ledger in memory, and what of it is durable: a log of
// operations in the catalog, started again with a snapshot when it has grown.
type ledger struct {
	mu       sync.Mutex
	ids      map[string]telemetry.SessionID
	sessions map[telemetry.SessionID]*ledgerSession
	nextID   telemetry.SessionID
	unsaved  []string // keys of sessions that no transaction has entered yet
	entries  int

	// recent and before hold the sessions that were used lately; forgotten are
	// those whose rows the next transaction deletes.
	recent, before map[telemetry.SessionID]bool
	forgotten      []forgottenSession

	logRows, logBytes, snapshotBytes int64 // guarded by Store.wmu
	nextRow                          int64 // guarded by Store.wmu

	gaps []ledgerGap // that the start found in the log
}

type forgottenSession struct {
	id  telemetry.SessionID
	key string
}

// ledgerGap is rows that are missing, inclusive.
type ledgerGap struct{ from, to int64 }

func (l *ledger) forgetAll() {
	clear(l.sessions)
	l.entries = 0
}

// ledgerSession holds the entries of one session in pages of 64 packet ids,
// because a session's ids are mostly consecutive.
type ledgerSession struct {
	pages   map[uint16]*ledgerPage
	last    *ledgerPage
	lastKey uint16
}

type ledgerPage struct {
	used uint64 // one bit for each id
	qos  [64]uint8
	hash [64]uint64
}

func newLedger() *ledger {
	return &ledger{
		ids: map[string]telemetry.SessionID{}, sessions: map[telemetry.SessionID]*ledgerSession{},
		nextID: 1, nextRow: 1, recent: map[telemetry.SessionID]bool{},
	}
}

// recentSessions is how many sessions are used before those without entries that
// are not among them are forgotten.
const recentSessions = 10_000

// use notes that a session is in use. Clients that come with ever new identifiers
// would add sessions without end, so those that have no entries and were not
// used for long are forgotten. Nothing refers to them; one that is idle for so
// long on a connection that stays loses only the recognition of a redelivery
// after a restart. l.mu is held.
func (l *ledger) use(id telemetry.SessionID) {
	l.recent[id] = true
	if len(l.recent) < recentSessions {
		return
	}
	idle := func(id telemetry.SessionID) bool { return l.sessions[id] == nil && !l.recent[id] && !l.before[id] }
	unsaved := make(map[string]bool, len(l.unsaved))
	for _, key := range l.unsaved {
		unsaved[key] = true
	}
	l.unsaved = slices.DeleteFunc(slices.Clone(l.unsaved), func(key string) bool { return idle(l.ids[key]) })
	for key, id := range l.ids {
		if idle(id) {
			delete(l.ids, key)
			if !unsaved[key] {
				l.forgotten = append(l.forgotten, forgottenSession{id, key})
			}
		}
	}
	l.before, l.recent = l.recent, map[telemetry.SessionID]bool{}
}

func (x *ledgerSession) page(id uint16, create bool) *ledgerPage {
	key := id >> 6
	if x.last != nil && x.lastKey == key {
		return x.last
	}
	p := x.pages[key]
	if p == nil && create {
		p = &ledgerPage{}
		x.pages[key] = p
	}
	if p != nil {
		x.last, x.lastKey = p, key
	}
	return p
}

func (l *ledger) put(id telemetry.SessionID, packet uint16, qos uint8, hash uint64) {
	x := l.sessions[id]
	if x == nil {
		x = &ledgerSession{pages: map[uint16]*ledgerPage{}}
		l.sessions[id] = x
		l.nextID = max(l.nextID, id+1)
	}
	p, bit := x.page(packet, true), packet&63
	if p.used&(1<<bit) == 0 {
		p.used |= 1 << bit
		l.entries++
	}
	p.qos[bit], p.hash[bit] = qos, hash
}

func (l *ledger) drop(id telemetry.SessionID, packet uint16) {
	x := l.sessions[id]
	if x == nil {
		return
	}
	p, bit := x.page(packet, false), packet&63
	if p == nil || p.used&(1<<bit) == 0 {
		return
	}
	p.used &^= 1 << bit
	l.entries--
	if p.used == 0 {
		delete(x.pages, packet>>6)
		x.last = nil
		if len(x.pages) == 0 {
			delete(l.sessions, id)
		}
	}
}

func (l *ledger) reset(id telemetry.SessionID) {
	if x := l.sessions[id]; x != nil {
		for _, p := range x.pages {
			l.entries -= bits.OnesCount64(p.used)
		}
		delete(l.sessions, id)
	}
}

// OpenSession implements store.Store.
func (s *Store) OpenSession(_ context.Context, key string) (telemetry.SessionID, []telemetry.LedgerEntry, error) {
	if err := s.writable("open session"); err != nil {
		return 0, nil, err
	}
	l := s.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	id, ok := l.ids[key]
	if !ok {
		// It becomes durable with the next transaction; until then it has no
		// entries, so a crash loses nothing.
		id = l.nextID
		l.nextID++
		l.ids[key] = id
		l.unsaved = append(l.unsaved, key)
		l.use(id)
		return id, nil, nil
	}
	l.use(id)
	x := l.sessions[id]
	if x == nil {
		return id, nil, nil
	}
	var out []telemetry.LedgerEntry
	for key := range 1 << 10 {
		p := x.pages[uint16(key)]
		if p == nil {
			continue
		}
		for bit := range 64 {
			if p.used&(1<<bit) != 0 {
				out = append(out, telemetry.LedgerEntry{PacketID: uint16(key<<6 | bit), QoS: p.qos[bit], Hash: p.hash[bit]})
			}
		}
	}
	return id, out, nil
}

// The kinds of ledger blobs.
const (
	ledgerOps      = 1 // operations that follow those of the rows before
	ledgerSnapshot = 2 // all entries; what the rows before hold is void
)

// appendLedgerOps encodes operations as groups of one session, kind, QoS and
// consecutive packet ids, which is what bursts and confirmations are made of.
func appendLedgerOps(dst []byte, ops []telemetry.LedgerOp) []byte {
	for i := 0; i < len(ops); {
		first := &ops[i]
		n := 1
		for i+n < len(ops) && first.Kind != telemetry.LedgerReset {
			o := &ops[i+n]
			if o.Session != first.Session || o.Kind != first.Kind || o.QoS != first.QoS || o.PacketID != first.PacketID+uint16(n) || n == 1<<16-1 {
				break
			}
			n++
		}
		dst = append(dst, byte(first.Kind)<<4|first.QoS&3)
		dst = binary.AppendUvarint(dst, uint64(first.Session))
		dst = binary.LittleEndian.AppendUint16(dst, first.PacketID)
		dst = binary.AppendUvarint(dst, uint64(n))
		if first.Kind == telemetry.LedgerPut {
			for j := range n {
				dst = binary.LittleEndian.AppendUint64(dst, ops[i+j].Hash)
			}
		}
		i += n
	}
	return dst
}

// apply replays a blob of the log; l.mu is held.
func (l *ledger) apply(data []byte) error {
	bad := telemetry.Errorf(telemetry.CodeDamaged, "load ledger", "a block of %d bytes is damaged", len(data))
	if len(data) == 0 {
		return bad
	}
	switch data[0] {
	case ledgerSnapshot:
		clear(l.sessions)
		l.entries = 0
	case ledgerOps:
	default:
		return bad
	}
	data = data[1:]
	for len(data) > 0 {
		kind, qos := telemetry.LedgerOpKind(data[0]>>4), data[0]&3
		data = data[1:]
		session, w := binary.Uvarint(data)
		if w <= 0 || session > 1<<32-1 || len(data) < w+2 {
			return bad
		}
		data = data[w:]
		id := binary.LittleEndian.Uint16(data)
		data = data[2:]
		n, w := binary.Uvarint(data)
		if w <= 0 || n > 1<<16 || kind == telemetry.LedgerPut && n*8 > uint64(len(data)-w) {
			return bad
		}
		data = data[w:]
		sid := telemetry.SessionID(session)
		l.recent[sid] = true
		switch kind {
		case telemetry.LedgerPut:
			for range n {
				l.put(sid, id, qos, binary.LittleEndian.Uint64(data))
				data = data[8:]
				id++
			}
		case telemetry.LedgerDrop:
			for range n {
				l.drop(sid, id)
				id++
			}
		case telemetry.LedgerReset:
			l.reset(sid)
		default:
			return bad
		}
	}
	return nil
}

// snapshot encodes all entries; l.mu is held.
func (l *ledger) snapshot() []byte {
	out := []byte{ledgerSnapshot}
	var ops []telemetry.LedgerOp
	for id, x := range l.sessions {
		ops = ops[:0]
		for key := range 1 << 10 {
			p := x.pages[uint16(key)]
			if p == nil {
				continue
			}
			for bit := range 64 {
				if p.used&(1<<bit) != 0 {
					ops = append(ops, telemetry.LedgerOp{
						Session: id, PacketID: uint16(key<<6 | bit), QoS: p.qos[bit], Kind: telemetry.LedgerPut, Hash: p.hash[bit],
					})
				}
			}
		}
		out = appendLedgerOps(out, ops)
	}
	return out
}

// The log is rewritten as a snapshot when it is longer than this and than twice
// the snapshot before.
const (
	ledgerLogBytes = 1 << 20
	ledgerLogRows  = 4096
)

// saveLedger writes sessions and operations in the commit's transaction. What
// it returns is called once that is durable.
func (s *Store) saveLedger(ops []byte, c *sealedContents) (done func(), err error) {
	l := s.ledger
	l.mu.Lock()
	unsaved, forgotten := slices.Clone(l.unsaved), l.forgotten
	ids := make([]telemetry.SessionID, len(unsaved))
	for i, key := range unsaved {
		ids[i] = l.ids[key]
	}
	l.mu.Unlock()
	for i, key := range unsaved {
		if err := s.insertRow(sessionsTable, nil, []driver.Value{int64(ids[i]), key}); err != nil {
			return nil, err
		}
		c.sessions.add(c.session(ids[i], key))
	}
	for _, f := range forgotten {
		if err := s.w.exec("DELETE FROM sessions WHERE id = ?", int64(f.id)); err != nil {
			return nil, err
		}
		c.sessions.remove(c.session(f.id, f.key))
	}
	if err := s.insertRow(ledgerTable, nil, []driver.Value{l.nextRow, ops}); err != nil {
		return nil, err
	}
	return func() {
		l.nextRow++
		l.logRows++
		l.logBytes += int64(len(ops))
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(unsaved) > 0 {
			saved := make(map[string]bool, len(unsaved))
			for _, key := range unsaved {
				saved[key] = true
			}
			l.unsaved = slices.DeleteFunc(l.unsaved, func(key string) bool { return saved[key] })
		}
		l.forgotten = l.forgotten[len(forgotten):]
		if err := l.apply(ops); err != nil {
			s.opt.Logger.Error("session ledger: own operations do not replay", "error", err)
		}
	}, nil
}

// trimLedger replaces a long log by a snapshot, in its own transaction; wmu is held.
func (s *Store) trimLedger() error {
	l := s.ledger
	if l.logRows < ledgerLogRows && l.logBytes < max(ledgerLogBytes, 2*l.snapshotBytes) {
		return nil
	}
	return s.snapshotLedger()
}

// snapshotLedger replaces the log by a snapshot; wmu is held.
func (s *Store) snapshotLedger() error {
	l := s.ledger
	l.mu.Lock()
	snap := l.snapshot()
	l.mu.Unlock()
	err := s.w.transaction(func() error {
		if err := s.w.exec("DELETE FROM ledger WHERE id < ?", l.nextRow); err != nil {
			return err
		}
		return s.insertRow(ledgerTable, nil, []driver.Value{l.nextRow, snap})
	})
	if err != nil {
		return err
	}
	l.nextRow++
	l.logRows, l.logBytes, l.snapshotBytes = 1, 0, int64(len(snap))
	return nil
}
