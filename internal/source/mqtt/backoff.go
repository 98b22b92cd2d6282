package mqtt

import (
	"math/rand/v2"
	"time"
)

// backoff is a pause that doubles. What is waited is drawn from its upper half,
// so that nodes which lost one broker do not come back in step.
type backoff struct {
	min, max time.Duration
	next     time.Duration
}

func (b *backoff) draw() time.Duration {
	b.next = max(b.next, b.min)
	d := b.next/2 + rand.N(b.next/2+1)
	b.next = min(2*b.next, b.max)
	return d
}

func (b *backoff) reset() { b.next = 0 }
