package broker

import (
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// session is what is known of an MQTT session besides its subscriptions, which
// mochi keeps. It lives as long as mochi's registry has the client.
type session struct {
	b  *Broker
	id string

	// The owning connection's reader has these to itself.
	incoming     map[uint16]uint64 // QoS 2 ids whose PUBREL has not come, and the connection they came on
	fresh        bool              // it began in this process: incoming is complete
	resetPending bool              // the sink has not yet been told that it began anew

	version byte   // under Broker.mu
	expiry  uint32 // seconds, under Broker.mu
	gone    int64  // unix seconds when its client went, 0: connected; under Broker.mu

	restored   []packets.Subscription // until mochi has asked for them
	subscribed bool                   // it has subscriptions, under Broker.mu

	mu sync.Mutex
	outbox
}

// establish gives an accepted connection its session.
func (b *Broker) establish(c *conn) error {
	b.wills.established(c.clientID, c.present)
	b.mu.Lock()
	s := b.sessions[c.clientID]
	if s != nil && !c.present {
		b.mu.Unlock()
		b.endSession(s)
		b.mu.Lock()
		s = nil
	}
	if s == nil {
		s = &session{b: b, id: c.clientID, fresh: true, resetPending: true}
		b.sessions[s.id] = s
	}
	s.version, s.expiry, s.gone = byte(c.version), c.connect.expiry, 0
	record := b.sessionRecord(s)
	b.mu.Unlock()
	if s.expiry > 0 || c.present {
		// A session that was promised to the client must be known after a crash:
		// else its ledger ends, and what the client sends again is stored twice.
		b.journal.await(b.ctx, b.journal.append(record))
	}
	c.session = s
	c.phase = connected
	c.owner.Store(s)
	s.attach(c)
	b.stats.connects.Add(1)
	return nil
}

// release ends what a connection had, in the order that a successor relies on.
func (b *Broker) release(c *conn) {
	defer close(c.done)
	s := c.session
	c.closeSink(c.expired)
	if s != nil {
		s.detach()
		b.mu.Lock()
		s.expiry, s.gone = c.connect.expiry, time.Now().Unix()
		record := b.sessionRecord(s)
		b.mu.Unlock()
		if c.expired {
			b.endSession(s)
		} else {
			b.journal.append(record)
		}
		if w := c.connect.will; w != nil && !c.graceful && !b.stopping.Load() {
			b.wills.gone(c.clientID, w, c.connect.expiry, c.expired)
		}
	}
	if c.clientID != "" {
		b.mu.Lock()
		if b.live[c.clientID] == c {
			delete(b.live, c.clientID)
		}
		b.mu.Unlock()
	}
}

// endSession forgets a session that mochi has ended.
func (b *Broker) endSession(s *session) {
	b.mu.Lock()
	if b.sessions[s.id] == s {
		delete(b.sessions, s.id)
		b.journal.append(sessionGone(s.id))
	}
	b.setSubscribed(s, false)
	b.mu.Unlock()
	b.fan.changed()
	s.drop()
}

// setSubscribed keeps the count of sessions that have subscriptions. mu is held.
func (b *Broker) setSubscribed(s *session, has bool) {
	if s.subscribed == has {
		return
	}
	s.subscribed = has
	if has {
		b.fan.subscribers.Add(1)
	} else {
		b.fan.subscribers.Add(-1)
	}
}

// markReset notes that the sink knows that the session began anew.
func (b *Broker) markReset(s *session) {
	s.resetPending = false
	b.mu.Lock()
	record := b.sessionRecord(s)
	keep := s.expiry > 0
	b.mu.Unlock()
	if keep {
		// Before anything of the new session is stored: after a crash the sink must
		// not be told to forget that.
		b.journal.await(b.ctx, b.journal.append(record))
	}
}

// client returns mochi's client of a session, nil once it ended.
func (s *session) client() *mqtt.Client {
	cl, ok := s.b.server.Clients.Get(s.id)
	if !ok {
		return nil
	}
	return cl
}
