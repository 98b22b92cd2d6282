package seal

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// KeyBytes is the length of master and data keys.
const KeyBytes = 32

const hidden = "[hidden]"

// secret is the bytes of a key. They stand behind a function, because that is the
// one thing that fmt shows as an address whatever the verb, the depth, or the
// struct that it is a field of: its methods it cannot call on fields that are not
// exported. No function has the bytes among the arguments that a crash prints.
type secret struct{ at func() *[KeyBytes]byte }

// newSecret returns a secret of zeros.
func newSecret() *secret {
	b := new([KeyBytes]byte)
	return &secret{func() *[KeyBytes]byte { return b }}
}

// bytes are those of the key, not a copy.
func (s *secret) bytes() []byte { return s.at()[:] }

func (s *secret) equals(o *secret) bool { return subtle.ConstantTimeCompare(s.bytes(), o.bytes()) == 1 }

// Format implements fmt.Formatter.
func (*secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue implements slog.LogValuer.
func (*secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText implements encoding.TextMarshaler.
func (*secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
