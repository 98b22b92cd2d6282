package pipeline

import (
	"math"
	"math/bits"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// ledger is what one session's commits hold, by packet id: the memory of the
// entries that the store keeps, and of those on their way there.
//
// An entry says: a message under this id, with this hash of topic and payload, is
// stored or will be by a commit that comes before any acknowledgement of it. What
// comes again under the id is then a redelivery, if the broker says so (DUP) and
// the content is the same; at QoS 2 the id alone decides, because it is not used
// again before its PUBREL.
//
// An entry ends
//
//   - when its id comes with DUP=0, or with other content: the broker has used the
//     id again, so it has received the acknowledgement;
//   - when the acknowledgement is known to have arrived (Session.Confirm);
//   - when the broker has lost the session (Session.Reset);
//   - at QoS 2, when the id is released.
//
// An entry of an earlier connection or run has a token that means nothing now. The
// broker sends again, in order and before anything new, what it holds
// (MQTT 3.1.1 and 5, 4.4 and 4.6), so such an entry ends once the peer has
// confirmed a message that was new on this connection: what was not sent again by
// then had been acknowledged.
//
// What no ledger can know: an id that was used again with equal content, and whose
// first delivery under its new meaning never came (or was lost in a crash), looks
// like a redelivery of the old message until Confirm has ended the old entry. Sources
// confirm often, and brokers count ids up, so an id comes back after 65,535 others;
// with a time in the payload the question does not arise.
//
// The table is open addressing, 24 bytes an entry, and nothing at all for a session
// without entries. Brokers count ids up, so the hash spreads neighbours: in one long
// cluster every removal would walk to its end. A large table has a slot for each id.
type ledger struct {
	slots []ledgerEntry
	n     int
	shift uint8 // 32 less the bits of an index
}

// home is where the search for an id begins (Knuth's multiplicative hashing).
func (l *ledger) home(id uint16) int {
	return int(uint32(id) * 2654435769 >> l.shift)
}

type ledgerEntry struct {
	hash  uint64
	token uint64 // carried: of an earlier connection
	id    uint16
	qos   uint8 // 0: the slot is empty
}

// carried is the token of an entry that this connection has not delivered.
const carried = math.MaxUint64

const (
	ledgerMin  = 8       // the least size of a table
	ledgerHash = 4096    // the largest that is searched
	ledgerAll  = 1 << 16 // a slot for each id
)

func (l *ledger) find(id uint16) *ledgerEntry {
	if l.n == 0 {
		return nil
	}
	if len(l.slots) == ledgerAll {
		if e := &l.slots[id]; e.qos != 0 {
			return e
		}
		return nil
	}
	mask := len(l.slots) - 1
	for i := l.home(id); ; i = (i + 1) & mask {
		e := &l.slots[i]
		if e.qos == 0 {
			return nil
		}
		if e.id == id {
			return e
		}
	}
}

// put enters or replaces the entry of the id.
func (l *ledger) put(e ledgerEntry) {
	if old := l.find(e.id); old != nil {
		*old = e
		return
	}
	if size := len(l.slots); size != ledgerAll && (l.n+1)*4 > size*3 {
		if size = max(ledgerMin, 2*size); size > ledgerHash {
			size = ledgerAll
		}
		l.resize(size)
	}
	l.insert(e)
}

func (l *ledger) insert(e ledgerEntry) {
	l.n++
	if len(l.slots) == ledgerAll {
		l.slots[e.id] = e
		return
	}
	mask := len(l.slots) - 1
	i := l.home(e.id)
	for l.slots[i].qos != 0 {
		i = (i + 1) & mask
	}
	l.slots[i] = e
}

func (l *ledger) resize(size int) {
	old := l.slots
	l.slots, l.n = make([]ledgerEntry, size), 0
	l.shift = uint8(33 - bits.Len(uint(size)))
	for _, e := range old {
		if e.qos != 0 {
			l.insert(e)
		}
	}
}

// drop removes the entry of the id and reports whether there was one.
func (l *ledger) drop(id uint16) bool {
	e := l.find(id)
	if e == nil {
		return false
	}
	if len(l.slots) == ledgerAll {
		*e = ledgerEntry{}
		l.n--
		l.shrink()
		return true
	}
	mask := len(l.slots) - 1
	i := l.home(id)
	for &l.slots[i] != e {
		i = (i + 1) & mask
	}
	// Close the gap: move back every follower that may stand there.
	for j := i; ; {
		l.slots[i] = ledgerEntry{}
		for {
			j = (j + 1) & mask
			if l.slots[j].qos == 0 {
				l.n--
				l.shrink()
				return true
			}
			home := l.home(l.slots[j].id)
			if (j-home)&mask >= (j-i)&mask {
				break
			}
		}
		l.slots[i] = l.slots[j]
		i = j
	}
}

// shrink gives memory back when few entries are left.
func (l *ledger) shrink() {
	switch {
	case l.n == 0 && len(l.slots) > ledgerMin:
		l.slots = nil
	case len(l.slots) == ledgerAll && l.n < ledgerHash/8:
		l.resize(ledgerHash / 2)
	case len(l.slots) > 16*ledgerMin && len(l.slots) != ledgerAll && l.n*16 < len(l.slots):
		l.resize(len(l.slots) / 4)
	}
}

// reset forgets everything and reports whether there was anything.
func (l *ledger) reset() bool {
	had := l.n > 0
	l.slots, l.n = nil, 0
	return had
}

// carry marks all entries as of an earlier connection.
func (l *ledger) carry() {
	for i := range l.slots {
		l.slots[i].token = carried
	}
}

// load fills an empty ledger with what the store holds.
func (l *ledger) load(entries []telemetry.LedgerEntry) {
	for _, e := range entries {
		l.put(ledgerEntry{hash: e.Hash, token: carried, id: e.PacketID, qos: max(1, e.QoS)})
	}
}

// confirmed appends the ids of the QoS 1 entries that end when everything up to
// the token is known to have been acknowledged. fresh is the token of the first
// message that was new on this connection, 0 if none was.
func (l *ledger) confirmed(dst []uint16, upTo, fresh uint64) []uint16 {
	if l.n == 0 {
		return dst
	}
	endCarried := fresh != 0 && fresh <= upTo
	for i := range l.slots {
		e := &l.slots[i]
		if e.qos != 1 {
			continue
		}
		if e.token == carried {
			if !endCarried {
				continue
			}
		} else if e.token > upTo {
			continue
		}
		dst = append(dst, e.id)
	}
	return dst
}
