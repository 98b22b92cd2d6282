package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
)

// Master is a master key. It never shows its bytes when it is printed or logged.
type Master struct {
	key   *secret
	where string // as a person names its place
	// pending is the file that an interrupted rotation left beside the key file;
	// "" for the key that the configuration names.
	pending string
}

// NewMaster draws a master key.
func NewMaster() *Master {
	m := &Master{key: newSecret()}
	_, _ = rand.Read(m.key.bytes()) // never fails: crypto/rand ends the process instead
	return m
}

var errKeyText = errors.New("no key")

// noKey says what is wrong with a text that is no key, without repeating any of it.
func noKey(text []byte) error {
	if len(text) == 0 {
		return fmt.Errorf("it is empty: %w", errKeyText)
	}
	return fmt.Errorf("its %d characters are %w: that is 32 bytes, as 64 hexadecimal digits or 44 characters of base64", len(text), errKeyText)
}

// ParseMaster reads a master key as text: 64 hexadecimal digits, or base64 of 32
// bytes. White space around it is passed over. The error does not repeat the text.
func ParseMaster(text []byte) (*Master, error) {
	text = bytes.TrimSpace(text)
	m := &Master{key: newSecret()}
	if hex.DecodedLen(len(text)) == KeyBytes {
		if _, err := hex.Decode(m.key.bytes(), text); err == nil {
			return m, nil
		}
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if b, err := enc.DecodeString(string(text)); err == nil && len(b) == KeyBytes {
			copy(m.key.bytes(), b)
			return m, nil
		}
	}
	return nil, noKey(text)
}

// text is what a key file holds.
func (m *Master) text() []byte { return append(hex.AppendEncode(nil, m.key.bytes()), '\n') }

// Where names the place that the key came from, for a person.
func (m *Master) Where() string { return m.where }

// String implements fmt.Stringer.
func (m Master) String() string { return hidden }

// Format implements fmt.Formatter.
func (m Master) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue implements slog.LogValuer.
func (m Master) LogValue() slog.Value { return slog.StringValue(hidden) }

// The keys that a ring derives from its master, by HKDF-SHA256 (RFC 5869) with
// the ring's id as salt.
const (
	infoWrap  = "weir ring wrap v1"
	infoMAC   = "weir ring mac v1"
	infoCheck = "weir ring check v1"
)

// derive returns size bytes that only the master and the ring's id give.
func (m *Master) derive(ring []byte, info string, size int) []byte {
	out, err := hkdf.Key(sha256.New, m.key.bytes(), ring, info, size)
	if err != nil {
		panic(err) // only a size that no caller asks for
	}
	return out
}
