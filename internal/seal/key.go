package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
)

const (
	nonceBytes = 12
	tagBytes   = 16
	// Overhead is how many bytes the sealed form of anything has more.
	Overhead = nonceBytes + tagBytes
)

// Key is one data key. It implements chunk.Sealer, allocates nothing, and is safe
// for concurrent use.
type Key struct {
	id    uint32
	owner string
	key   *secret
	aead  cipher.AEAD

	// used counts the seals, never too few: after a start it begins with what was
	// reserved before. Its upper bound is docs/format/sealing.md's.
	used     atomic.Uint64
	reserved atomic.Uint64 // as the ring on disk says
	created  int64         // unix seconds
	retired  bool          // guarded by Ring.mu: it seals nothing more
}

// newAEAD is AES-256-GCM with nonces of 96 bits and tags of 128.
func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err == nil {
		var a cipher.AEAD
		if a, err = cipher.NewGCM(block); err == nil {
			return a
		}
	}
	panic(err) // only a key of another length
}

// KeyID implements chunk.Sealer.
func (k *Key) KeyID() uint32 { return k.id }

// Owner is whose data the key seals.
func (k *Key) Owner() string { return k.owner }

// Seal implements chunk.Sealer: it appends a random nonce, the encrypted bytes
// and the tag. plain must not share memory with dst's free part.
func (k *Key) Seal(dst, plain, additional []byte) []byte {
	k.used.Add(1)
	return sealWith(k.aead, dst, plain, additional)
}

func sealWith(aead cipher.AEAD, dst, plain, additional []byte) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, nonceBytes)...)
	_, _ = rand.Read(dst[at:]) // never fails: crypto/rand ends the process instead
	return aead.Seal(dst, dst[at:at+nonceBytes], plain, additional)
}

var (
	errShort = errors.New("it is too short to be sealed")
	errAuth  = errors.New("it was changed, moved or sealed with another key")
)

// Open implements chunk.Sealer.
func (k *Key) Open(dst, sealed, additional []byte) ([]byte, error) {
	return openWith(k.aead, dst, sealed, additional)
}

func openWith(aead cipher.AEAD, dst, sealed, additional []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, errShort
	}
	out, err := aead.Open(dst, sealed[:nonceBytes], sealed[nonceBytes:], additional)
	if err != nil {
		return nil, errAuth
	}
	return out, nil
}

// String implements fmt.Stringer.
func (k *Key) String() string { return fmt.Sprintf("data key %d of %q", k.id, k.owner) }

// Format implements fmt.Formatter.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// LogValue implements slog.LogValuer.
func (k *Key) LogValue() slog.Value { return slog.StringValue(k.String()) }
