package card

import (
	"crypto/aes"
	"crypto/cipher"
)

// open decrypts a sealed block with the first key that fits.
func (s *Scan) open(b *Block) bool {
	for _, k := range s.Keys {
		if b.Open(k) == nil {
			return true
		}
	}
	return false
}

// Open decrypts a sealed block in place.
func (b *Block) Open(k Key) error {
	c, err := aes.NewCipher(k[:])
	if err != nil {
		return err
	}
	gcm, err := cipher.NewGCM(c)
	if err != nil {
		return err
	}
	var nonce [12]byte
	le.PutUint64(nonce[:], b.Epoch)
	le.PutUint32(nonce[8:], uint32(b.Counter))
	aad := append(append([]byte{}, b.sector[2:4]...), b.sector[20:headBytes]...)
	n := len(b.payload)
	plain, err := gcm.Open(nil, nonce[:], b.sector[headBytes:headBytes+n+tagBytes], aad)
	if err != nil {
		return err
	}
	b.payload = plain
	b.Flags &^= flagSealed
	return nil
}
