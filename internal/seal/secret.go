package seal

import (
	"fmt"
	"log/slog"
)

// KeyBytes is the length of master and data keys.
const KeyBytes = 32

const hidden = "[hidden]"

// secret is the bytes of a key. It is always held behind a pointer: printing a
// struct that holds one then shows an address and never the bytes, also where
// fmt cannot call methods because the field is not exported, and no function has
// the bytes among the arguments that a crash prints.
type secret [KeyBytes]byte

// Format implements fmt.Formatter.
func (*secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue implements slog.LogValuer.
func (*secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText implements encoding.TextMarshaler.
func (*secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
