package mqtt

import "github.com/weir-telemetry/weir/internal/source/wire"

// Publish sends a message at QoS 0, if the source is connected; false: it is not.
// Nothing is kept for later.
func (s *Source) Publish(topic string, payload []byte) bool {
	s.subs.mu.Lock()
	defer s.subs.mu.Unlock()
	l := s.subs.link
	if l == nil {
		return false
	}
	l.w.send(wire.AppendPublish(nil, l.version, &wire.Publish{Topic: []byte(topic), Payload: payload}))
	return true
}
