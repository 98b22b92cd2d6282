package seal

import "github.com/weir-telemetry/weir/internal/telemetry"

// box is a ring as one owner's telemetry.Box.
type box struct {
	ring  *Ring
	owner string
}

// Box returns the ring as the Box of an owner; it is nil for a nil ring.
func (r *Ring) Box(owner string) telemetry.Box {
	if r == nil {
		return nil
	}
	return &box{r, owner}
}

const boxPlace = "weir box "

// Seal implements telemetry.Box.
func (b *box) Seal(dst, plain []byte, place string) ([]byte, error) {
	return b.ring.AppendBox(dst, b.owner, plain, []byte(boxPlace+place))
}

// Open implements telemetry.Box.
func (b *box) Open(dst, sealed []byte, place string) ([]byte, error) {
	return b.ring.OpenBox(dst, sealed, []byte(boxPlace+place))
}
