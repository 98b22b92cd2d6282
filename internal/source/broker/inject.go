package broker

import "github.com/weir-telemetry/weir/internal/source/wire"

// Publish gives subscribers a message of the node itself, as if a client had sent it
// at QoS 0, or retains it. It does not go to the sink.
func (b *Broker) Publish(topic string, payload []byte, retain bool) {
	p := wire.Publish{Topic: []byte(topic), Payload: payload, Retain: retain}
	if retain {
		p.QoS = 1
	}
	b.forward(nil, wire.V311, &p, b.cfg.Now())
}
