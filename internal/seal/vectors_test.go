package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// The vectors are test cases 13 to 16 of "The Galois/Counter Mode of Operation"
// (McGrew, Viega), and the first of some groups of gcmEncryptExtIV256.rsp of NIST's
// CAVP.
func TestPublishedVectorsOfAES256GCM(t *testing.T) {
	for name, v := range map[string]struct{ key, nonce, plain, additional, cipher, tag string }{
		"GCM 13": {
			key: strings.Repeat("00", 32), nonce: strings.Repeat("00", 12),
			tag: "530f8afbc74536b9a963b4f1c4cb738b",
		},
		"GCM 14": {
			key: strings.Repeat("00", 32), nonce: strings.Repeat("00", 12), plain: strings.Repeat("00", 16),
			cipher: "cea7403d4d606b6e074ec5d3baf39d18", tag: "d0d1c8a799996bf0265b98b5d48ab919",
		},
		"GCM 15": {
			key: "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", nonce: "cafebabefacedbaddecaf888",
			plain:  "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
			cipher: "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
			tag:    "b094dac5d93471bdec1a502270e3cc6c",
		},
		"GCM 16": {
			key: "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", nonce: "cafebabefacedbaddecaf888",
			plain:      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
			additional: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
			cipher:     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
			tag:        "76fc6ece0f4e1768cddf8853bb2d551b",
		},
		"CAVP empty": {
			key: "b52c505a37d78eda5dd34f20c22540ea1b58963cf8e5bf8ffa85f9f2492505b4", nonce: "516c33929df5a3284ff463d7",
			tag: "bdc1ac884d332457a1d2664f168c76f0",
		},
		"CAVP plain": {
			key: "31bdadd96698c204aa9ce1448ea94ae1fb4a9a0b3c9d773b51bb1822666b8f22", nonce: "0d18e06c7c725ac9e362e1ce",
			plain: "2db5168e932556f8089a0622981d017d", cipher: "fa4362189661d163fcd6a56d8bf0405a", tag: "d636ac1bbedd5cc3ee727dc2ab4a9489",
		},
		"CAVP additional": {
			key: "92e11dcdaa866f5ce790fd24501f92509aacf4cb8b1339d50c9c1240935dd08b", nonce: "ac93a1a6145299bde902f21a",
			plain: "2d71bcfa914e4ac045b2aa60955fad24", additional: "1e0889016f67601c8ebea4943bc23ad6",
			cipher: "8995ae2e6df3dbf96fac7b7137bae67f", tag: "eca5aa77d51d4a0a14d9c51e1da474ab",
		},
	} {
		k := newKey(&entry{key: secretOf(unhex(t, v.key))})
		nonce, plain, additional := unhex(t, v.nonce), unhex(t, v.plain), unhex(t, v.additional)
		sealed := append(append(bytes.Clone(nonce), unhex(t, v.cipher)...), unhex(t, v.tag)...)
		if got := k.aead.Seal(bytes.Clone(nonce), nonce, plain, additional); !bytes.Equal(got, sealed) {
			t.Errorf("%s: sealed %x, not %x", name, got, sealed)
		}
		if got, err := k.Open(nil, sealed, additional); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: opened %x, %v", name, got, err)
		}
		for i := range sealed {
			changed := bytes.Clone(sealed)
			changed[i] ^= 0x40
			if _, err := k.Open(nil, changed, additional); err == nil {
				t.Fatalf("%s: opens with byte %d changed", name, i)
			}
		}
	}
}

// Test case 1 of RFC 5869, and that a ring's keys are derived so.
func TestPublishedVectorOfHKDF(t *testing.T) {
	out, err := hkdf.Key(sha256.New, bytes.Repeat([]byte{0x0b}, 22), unhex(t, "000102030405060708090a0b0c"), string(unhex(t, "f0f1f2f3f4f5f6f7f8f9")), 42)
	if want := "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"; err != nil || hex.EncodeToString(out) != want {
		t.Errorf("%x, %v", out, err)
	}
	m, ring := NewMaster(), []byte("a ring's id, 16b")
	want, err := hkdf.Key(sha256.New, m.key.bytes(), ring, "weir ring check v1", 16)
	if got := m.derive(ring, infoCheck, 16); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%x, not %x (%v)", got, want, err)
	}
}

func TestSealingAllocatesNothing(t *testing.T) {
	k := newKey(&entry{key: newSecret()})
	plain, place, dst, back := make([]byte, 1000), []byte("somewhere"), make([]byte, 0, 2000), make([]byte, 0, 2000)
	if n := testing.AllocsPerRun(100, func() { dst = k.Seal(dst[:0], plain, place) }); n != 0 {
		t.Errorf("Seal allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := k.Open(back[:0], dst, place); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Open allocates %v times", n)
	}
}

func secretOf(b []byte) *secret {
	s := newSecret()
	copy(s.bytes(), b)
	return s
}

func BenchmarkSeal(b *testing.B) {
	k := newKey(&entry{key: newSecret()})
	for _, size := range []int{64, 1 << 10, 46 << 10, 1 << 20} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			plain, dst := make([]byte, size), make([]byte, 0, size+Overhead)
			b.SetBytes(int64(size))
			for b.Loop() {
				dst = k.Seal(dst[:0], plain, nil)
			}
		})
	}
}
