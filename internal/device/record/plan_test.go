package record

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/schema"
)

// verify asks the firmware for a signature.
func (f *firmware) verify(t testing.TB, key, signature, message []byte) bool {
	t.Helper()
	c := append(append([]byte{'V'}, key...), signature...)
	c = append(binary.LittleEndian.AppendUint32(c, uint32(len(message))), message...)
	return f.ask(t, c, 1)[0] != 0
}

// rfc8032 are the test vectors of RFC 8032 section 7.1: key, signature, message.
var rfc8032 = [][3]string{
	{"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b", ""},
	{"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00", "72"},
	{"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a", "af82"},
	{"ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf", "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704", "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"},
}

// TestSignatures checks signatures in C: the vectors of RFC 8032, those that Go
// makes over messages of every length around SHA-512's blocks, and broken ones.
func TestSignatures(t *testing.T) {
	f := startFirmware(t)
	for i, v := range rfc8032 {
		key, _ := hex.DecodeString(v[0])
		sig, _ := hex.DecodeString(v[1])
		message, _ := hex.DecodeString(v[2])
		if !f.verify(t, key, sig, message) {
			t.Errorf("vector %d of RFC 8032 is refused", i)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	for n := range 60 {
		var from [32]byte
		for i := range from {
			from[i] = byte(r.Uint32())
		}
		private := ed25519.NewKeyFromSeed(from[:])
		public := private.Public().(ed25519.PublicKey)
		message := make([]byte, []int{0, 1, 47, 48, 63, 64, 111, 112, 127, 128, 1000}[n%11]+r.IntN(3))
		for i := range message {
			message[i] = byte(r.Uint32())
		}
		sig := ed25519.Sign(private, message)
		if !f.verify(t, public, sig, message) {
			t.Fatalf("a good signature is refused: key %x, %d bytes", public, len(message))
		}
		bad := bytes.Clone(sig)
		bad[r.IntN(64)] ^= 1 << r.IntN(8)
		key := bytes.Clone(public)
		key[r.IntN(32)] ^= 1 << r.IntN(8)
		if f.verify(t, public, bad, message) || f.verify(t, key, sig, message) || f.verify(t, public, sig, append(message, 0)) {
			t.Fatalf("a broken signature is taken: key %x, %d bytes", public, len(message))
		}
		if s := addOrder(sig); f.verify(t, public, s, message) {
			t.Fatalf("a scalar that is not below the order is taken (RFC 8032 section 5.1.7): %x", s)
		}
	}
}

// addOrder adds the order of the base point to a signature's scalar: the same
// point, and not the same signature.
func addOrder(sig []byte) []byte {
	order, _ := hex.DecodeString("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	out := bytes.Clone(sig)
	carry := 0
	for i, o := range order {
		carry += int(out[32+i]) + int(o)
		out[32+i] = byte(carry)
		carry >>= 8
	}
	return out
}

// TestEnvelope signs plans in Go and opens them, with the right key only.
func TestEnvelope(t *testing.T) {
	p := newPair(t, startFirmware(t), env)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	envelope := Sign(p.bin, private)
	if plan, err := Open(envelope, public); err != nil || !bytes.Equal(plan, p.bin) {
		t.Errorf("%v", err)
	}
	if !p.device.verify(t, public, envelope[12:76], append([]byte("weir plan 1\x00"), envelope[76:]...)) {
		t.Error("the firmware does not take the signature")
	}
	if _, err := Open(envelope, other); !errors.Is(err, ErrOtherKey) {
		t.Errorf("another key: %v", err)
	}
	envelope[100] ^= 1
	if _, err := Open(envelope, public); !errors.Is(err, ErrBadSignature) {
		t.Errorf("a changed plan: %v", err)
	}
	if _, err := Open(envelope[:70], public); !errors.Is(err, ErrNoEnvelope) {
		t.Errorf("a short envelope: %v", err)
	}
}

// TestADamagedPlanIsRefused flips every bit of a plan and cuts it everywhere.
func TestADamagedPlanIsRefused(t *testing.T) {
	p := newPair(t, startFirmware(t), env)
	for i := range 8 * len(p.bin) {
		bad := bytes.Clone(p.bin)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := ParsePlan(bad); err == nil || p.device.plan(t, bad) {
			t.Fatalf("bit %d of byte %d is flipped: Go says %v", i%8, i/8, err)
		}
	}
	for n := range len(p.bin) {
		if _, err := ParsePlan(p.bin[:n]); err == nil || p.device.plan(t, p.bin[:n]) {
			t.Fatalf("a plan of %d bytes: Go says %v", n, err)
		}
	}
}

// TestADamagedRecordIsRefusedByBoth damages records: Go and C take the same ones,
// and each that is taken has one form only.
func TestADamagedRecordIsRefusedByBoth(t *testing.T) {
	p := newPair(t, startFirmware(t), env)
	body := p.device.check(t, envTopic, []byte(envPayload), 0).body
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	taken := 0
	for range 20_000 {
		bad := bytes.Clone(body)
		for range 1 + r.IntN(3) {
			switch i := r.IntN(len(bad)); r.IntN(4) {
			case 0:
				bad = bad[:i+1]
			case 1:
				bad = append(bad[:i:i], append([]byte{byte(r.Uint32())}, bad[i:]...)...)
			default:
				bad[i] ^= 1 << r.IntN(8)
			}
		}
		err := p.reader.Decode(bad, &p.got)
		if (err == nil) != p.device.opens(t, bad) {
			t.Fatalf("%x: Go says %v, C the opposite", bad, err)
		}
		if err != nil {
			if !ErrDamaged(err) {
				t.Fatalf("%x: %v", bad, err)
			}
			continue
		}
		taken++
		if again := p.reader.Append(nil, &p.got); !bytes.Equal(again, bad) {
			t.Fatalf("%x is taken and written as %x", bad, again)
		}
	}
	t.Logf("%d of 20,000 damaged records are records", taken)
}

// TestBind names the plan of a slot in C and reads it in Go.
func TestBind(t *testing.T) {
	p := newPair(t, startFirmware(t), strings.Replace(env, "version: 1", "version: 70000", 1))
	n := binary.LittleEndian.Uint16(p.device.ask(t, []byte{'B', 9}, 2))
	body := p.device.read(t, int(n))
	b, err := ParseBind(body)
	if err != nil || b != (Bind{Slot: 9, ID: p.reader.ID, Version: 70000, Name: "env"}) {
		t.Errorf("%+v %v", b, err)
	}
	if again := AppendBind(nil, b); !bytes.Equal(again, body) {
		t.Errorf("%x is written as %x", body, again)
	}
	for i := range body {
		if _, err := ParseBind(body[:i]); err == nil {
			t.Errorf("the first %d bytes are taken", i)
		}
	}
	n = binary.LittleEndian.Uint16(p.device.ask(t, []byte{'F'}, 2))
	if filter := string(p.device.read(t, int(n))); filter != p.plan.Filter() {
		t.Errorf("the filter is %q, not %q", filter, p.plan.Filter())
	}
}

// TestEveryLimitIsRefusedByLine compiles documents beyond the profile.
func TestEveryLimitIsRefusedByLine(t *testing.T) {
	head := "name: t\nversion: 1\ntopic: t/{c}\nprofile: device\n"
	deep := "{type: number}"
	for range 9 {
		deep = "{type: object, properties: {a: " + deep + "}}"
	}
	many := make([]string, 33)
	for i := range many {
		many[i] = "p" + strings.Repeat("x", i) + ": {type: number}"
	}
	for _, c := range []struct{ doc, want string }{
		{"payload: {properties: {a: {type: string, pattern: x}}}\n", "5:42: payload.properties.a.pattern: a device does not run"},
		{"payload: {$ref: '#/x', x: {}}\n", "5:11: payload.$ref: a device does not run"},
		{"payload: {properties: {a: {enum: [1, [2]]}}}\n", "5:38: payload.properties.a.enum: a device compares no lists"},
		{"payload: {properties: {a: {type: number, minimum: 12345678901234567891}}}\n", "5:51: payload.properties.a.minimum: a device compares numbers of up to 19 digits"},
		{"payload: {properties: {a: {type: number, multipleOf: 4294967296}}}\n", "5:54: payload.properties.a.multipleOf: a device divides"},
		{"payload: {properties: {a: {type: number, minimum: 1, exclusiveMinimum: 1}}}\n", "exclusiveMinimum: stands beside minimum"},
		{"payload: {properties: {a: {type: string, maxLength: 70000}}}\n", "5:53: payload.properties.a.maxLength: a device counts to"},
		{"payload: {additionalProperties: {type: number}}\n", "payload.additionalProperties: a device takes true or false"},
		{"payload: {properties: {a: {type: array}}}\n", "columns.a: would hold JSON"},
		{"payload: " + deep + "\n", "nested deeper than the 8 levels"},
		{"payload: {properties: {" + strings.Join(many, ", ") + "}}\n", "33 properties; an object of a device has 32"},
		{"payload: {properties: {" + strings.Repeat("n", 65) + ": {type: number}}}\n", "a name of 65 bytes; a device takes 64"},
		{"time: {at: /t, as: \"local:Europe/Berlin\"}\n", "5:20: time.as: a device knows no time zones"},
		{"unknown: keep\n", "5:10: unknown: a device has no room"},
		{"rows: /r/*\npayload: {properties: {r: {type: array, items: {type: number}}}}\n", "5:7: rows: a device does not run this"},
		{"tags: {m: /m}\n", "a tag of a device needs a type"},
		{"when: {/a/0: 1}\npayload: {properties: {a: {type: array, items: {type: number}}}}\ncolumns: {a: false}\n", "a device looks at members of objects only"},
		{"payload: {properties: {a: {type: string}, b: {type: string}, e: {type: string}, d: {type: string}}}\n", "a record may need"},
	} {
		p, bin, problems := schema.CompileDevice("d.yaml", []byte(head+c.doc))
		if p != nil || bin != nil || problems == nil || !strings.Contains(problems.Error(), c.want) {
			t.Errorf("%q is not told of\n%s\nbut\n%v", c.want, c.doc, problems)
		}
	}
	if _, problems := schema.Compile("d.yaml", []byte(head+"unknown: keep\n")); len(problems) == 0 {
		t.Error("profile: device is not held to by the server's compiler")
	}
}
