package pipeline

import (
	"encoding/binary"
	"math/bits"
)

// sipHash returns SipHash-2-4 (Aumasson, Bernstein 2012) of the concatenation of
// head, a and b under a key of 128 bits. It is a pseudo-random function: who reads
// the ledger on disk learns nothing about contents, also not by guessing them.
// The parts are joined after their lengths, which head carries.
func sipHash(key *[16]byte, head [2]uint64, a, b []byte) uint64 {
	k0 := binary.LittleEndian.Uint64(key[:8])
	k1 := binary.LittleEndian.Uint64(key[8:])
	s := sip{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	s.word(head[0])
	s.word(head[1])
	s.bytes(a)
	s.bytes(b)
	s.word(uint64(16+len(a)+len(b)) << 56)
	s.v2 ^= 0xff
	s.round()
	s.round()
	s.round()
	s.round()
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3
}

type sip struct{ v0, v1, v2, v3 uint64 }

func (s *sip) word(m uint64) {
	s.v3 ^= m
	s.round()
	s.round()
	s.v0 ^= m
}

// bytes takes whole words and pads the last with zeros: with the lengths in the
// head, no two inputs give the same words.
func (s *sip) bytes(p []byte) {
	for len(p) >= 8 {
		s.word(binary.LittleEndian.Uint64(p))
		p = p[8:]
	}
	if len(p) > 0 {
		var last [8]byte
		copy(last[:], p)
		s.word(binary.LittleEndian.Uint64(last[:]))
	}
}

func (s *sip) round() {
	s.v0 += s.v1
	s.v1 = bits.RotateLeft64(s.v1, 13) ^ s.v0
	s.v0 = bits.RotateLeft64(s.v0, 32)
	s.v2 += s.v3
	s.v3 = bits.RotateLeft64(s.v3, 16) ^ s.v2
	s.v0 += s.v3
	s.v3 = bits.RotateLeft64(s.v3, 21) ^ s.v0
	s.v2 += s.v1
	s.v1 = bits.RotateLeft64(s.v1, 17) ^ s.v2
	s.v2 = bits.RotateLeft64(s.v2, 32)
}
