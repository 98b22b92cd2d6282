package record

import (
	"crypto/ed25519"
	"crypto/sha512"
	"errors"
)

// The envelope of a signed plan: docs/format/plan.md.
const (
	envelopeHead    = 76
	envelopeMagic   = "WSP1"
	envelopeContext = "weir plan 1\x00"
)

// Errors of an envelope.
var (
	ErrNoEnvelope   = errors.New("not a signed plan")
	ErrOtherKey     = errors.New("signed with another key")
	ErrBadSignature = errors.New("the signature is not that of the plan")
)

// KeyID names a public key.
func KeyID(key ed25519.PublicKey) (id [8]byte) {
	sum := sha512.Sum512(key)
	copy(id[:], sum[:])
	return id
}

// Sign puts a binary plan into a signed envelope.
func Sign(plan []byte, key ed25519.PrivateKey) []byte {
	id := KeyID(key.Public().(ed25519.PublicKey))
	out := append(append([]byte(envelopeMagic), id[:]...), ed25519.Sign(key, append([]byte(envelopeContext), plan...))...)
	return append(out, plan...)
}

// Open checks an envelope and returns its plan.
func Open(envelope []byte, key ed25519.PublicKey) ([]byte, error) {
	if len(envelope) < envelopeHead || string(envelope[:4]) != envelopeMagic {
		return nil, ErrNoEnvelope
	}
	if [8]byte(envelope[4:12]) != KeyID(key) {
		return nil, ErrOtherKey
	}
	plan := envelope[envelopeHead:]
	if !ed25519.Verify(key, append([]byte(envelopeContext), plan...), envelope[12:envelopeHead]) {
		return nil, ErrBadSignature
	}
	return plan, nil
}
