package broker

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"math"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// connectInfo is what outlives the CONNECT packet.
type connectInfo struct {
	clean      bool
	expiry     uint32 // seconds; math.MaxUint32: never. 3.1.1 has 0 for clean sessions and never for others
	receiveMax int
	maxPacket  int // 0: any
	will       *will
	keepAlive  uint16 // as granted
}

// onConnect judges a CONNECT, takes the client id over from another connection,
// and gives mochi a CONNECT without what is handled here: will and credentials.
func (c *conn) onConnect(h wire.Header, body []byte) error {
	var p wire.Connect
	err := wire.ParseConnect(&p, h.First, body)
	c.version = p.Version
	if err == nil {
		err = c.b.judge(c, &p)
	}
	if err != nil {
		c.refuseConnect(err)
		return err
	}
	c.clientID = p.ClientID
	if p.ClientID == "" {
		var id [10]byte
		_, _ = rand.Read(id[:])
		p.ClientID = "auto-" + hex.EncodeToString(id[:])
		c.clientID, c.assigned = p.ClientID, true
	}
	c.connect = c.b.connectInfo(&p)
	c.keep = time.Duration(c.connect.keepAlive) * time.Second * 3 / 2
	if err := c.b.takeOver(c); err != nil {
		return err
	}
	p.Will, p.HasUser, p.HasPass = nil, false, false
	p.Properties.Remove(wire.TopicAliasMaximum) // mochi would use aliases that we do not know of
	p.Properties.Users = nil
	c.pass = wire.AppendConnect(nil, &p)
	c.phase = connecting
	return nil
}

// connectInfo copies what is needed later.
func (b *Broker) connectInfo(p *wire.Connect) *connectInfo {
	i := &connectInfo{clean: p.Clean, receiveMax: math.MaxUint16, keepAlive: p.KeepAlive}
	switch {
	case p.Version >= wire.V5:
		i.expiry = p.Properties.UintOr(wire.SessionExpiry, 0)
		i.receiveMax = int(p.Properties.UintOr(wire.ReceiveMaximum, math.MaxUint16))
		i.maxPacket = int(p.Properties.UintOr(wire.MaximumPacketSize, 0))
		if limit := uint64(b.cfg.MaxKeepAlive / time.Second); limit > 0 && (p.KeepAlive == 0 || uint64(p.KeepAlive) > limit) {
			i.keepAlive = uint16(min(limit, math.MaxUint16))
		}
	case !p.Clean:
		i.expiry = math.MaxUint32
	}
	if p.Will != nil {
		i.will = newWill(p)
	}
	return i
}

// judge reports why a CONNECT is refused.
func (b *Broker) judge(c *conn, p *wire.Connect) error {
	refuse := func(reason wire.ReasonCode, clause, text string) error {
		return &wire.Error{Reason: reason, Clause: clause, Text: text}
	}
	switch {
	case b.stopping.Load():
		return refuse(wire.ServerShuttingDown, "3.2.2.2", "the server shuts down")
	case p.ClientID == "" && p.Version < wire.V5 && !p.Clean:
		return refuse(wire.ClientIdentifierNotValid, "MQTT-3.1.3-8", "a session without a client id cannot be kept")
	case len(p.ClientID) > maxClientID:
		return refuse(wire.ClientIdentifierNotValid, "3.1.3.1", "the client id is too long")
	case p.Properties.Has(wire.AuthMethod):
		return refuse(wire.BadAuthenticationMethod, "4.12", "extended authentication is not offered")
	}
	if p.Will != nil {
		if err := wire.ValidTopicName(p.Will.Topic); err != nil {
			return err
		}
		if reserved(p.Will.Topic) {
			return refuse(wire.NotAuthorized, "4.7.2", "the will's topic is the broker's own")
		}
	}
	if !b.admit(c, p) {
		b.stats.logins.Add(1)
		if p.HasUser {
			return refuse(wire.BadUserNameOrPassword, "3.2.2.2", "wrong user name or password")
		}
		return refuse(wire.NotAuthorized, "3.2.2.2", "a user name and a password are needed")
	}
	return nil
}

// refuseConnect answers a CONNECT that is not accepted. What is not MQTT at all
// gets no answer.
func (c *conn) refuseConnect(err error) {
	var e *wire.Error
	if !errors.As(err, &e) || errors.Is(err, wire.ErrProtocolName) || c.version < wire.V31 {
		return
	}
	version := c.version
	if version > wire.V5 {
		version = wire.V5
	}
	c.append(func(out []byte) []byte {
		return wire.AppendConnack(out, version, &wire.Connack{Reason: e.Reason})
	})
}

// takeOver makes c the owner of its client id: a connection that has it is told so,
// and ends wholly, its session of the sink closed, before this one goes on
// [MQTT-3.1.4-3]. Of several that wait for it the latest gets it.
func (b *Broker) takeOver(c *conn) error {
	id := c.clientID
	b.mu.Lock()
	old, waiting := b.live[id], b.claims[id]
	if old == nil {
		b.live[id] = c
		delete(b.claims, id)
	} else {
		b.claims[id] = c
	}
	b.mu.Unlock()
	if waiting != nil {
		b.stats.takeovers.Add(1)
		_ = waiting.Close()
	}
	if old == nil {
		return nil
	}
	b.stats.takeovers.Add(1)
	old.disconnect(wire.SessionTakenOver)
	select {
	case <-old.done:
	case <-c.ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.claims[id] != c {
		return errClosed
	}
	delete(b.claims, id)
	if c.closing.Load() || b.live[id] != nil {
		return errClosed
	}
	b.live[id] = c
	return nil
}

// connack completes mochi's CONNACK with what only the wrapper knows.
func (c *conn) connack(cl *mqtt.Client, pk *packets.Packet) {
	if pk.ReasonCode != 0 {
		return
	}
	c.present = pk.SessionPresent
	c.phase = accepted
	c.mu.Lock()
	c.greeting = true
	c.mu.Unlock()
	if cl.Properties.ProtocolVersion < 5 {
		return
	}
	p := &pk.Properties
	p.TopicAliasMaximum = topicAliases
	if c.b.cfg.MaxPacket < protocolMaximum {
		p.MaximumPacketSize = uint32(c.b.cfg.MaxPacket)
	}
	if c.assigned {
		p.AssignedClientID = c.clientID
	}
	if cl.State.Keepalive != c.connect.keepAlive {
		p.ServerKeepAlive, p.ServerKeepAliveFlag = c.connect.keepAlive, true
	}
	if p.SessionExpiryIntervalFlag {
		c.connect.expiry = p.SessionExpiryInterval
	}
}
