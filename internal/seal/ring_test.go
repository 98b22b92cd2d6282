package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

func openRing(tb testing.TB, dir string, c *Credentials, o RingOptions) *Ring {
	tb.Helper()
	r, err := OpenRing(dir, c, o)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func current(tb testing.TB, r *Ring, owner string) *Key {
	tb.Helper()
	k, err := r.Current(owner)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestWhatARingSealedOpensAfterAStart(t *testing.T) {
	dir, c := t.TempDir(), Holding(NewMaster())
	r := openRing(t, dir, c, RingOptions{})
	for _, owner := range []string{"plant", NodeOwner} {
		if k := current(t, r, owner); k != current(t, r, owner) || k.Owner() != owner {
			t.Errorf("%v is not the key of %q", k, owner)
		}
	}
	box, err := r.AppendBox(nil, "plant", []byte("21.5"), []byte("here"))
	if err != nil {
		t.Fatal(err)
	}
	again := openRing(t, dir, c, RingOptions{ReadOnly: true})
	if plain, err := again.OpenBox(nil, box, []byte("here")); err != nil || string(plain) != "21.5" {
		t.Errorf("%q, %v", plain, err)
	}
	if _, err := again.OpenBox(nil, box, []byte("there")); err == nil {
		t.Error("a box opens in another place")
	}
	if _, err := again.Current("plant"); err == nil {
		t.Error("a reader may seal, and its count is kept nowhere")
	}
	if current(t, r, "plant").KeyID() == current(t, r, NodeOwner).KeyID() {
		t.Error("two owners share a key")
	}
}

func TestSealsAreCountedOverCrashes(t *testing.T) {
	dir, c := t.TempDir(), Holding(NewMaster())
	made := uint64(0)
	for range 3 { // each ring is forgotten without an end, as in a crash
		r := openRing(t, dir, c, RingOptions{})
		for range 10 {
			current(t, r, "plant").Seal(nil, nil, nil)
			made++
		}
		if got := current(t, r, "plant").used.Load(); got < made {
			t.Fatalf("%d seals are counted of %d", got, made)
		}
		made = current(t, r, "plant").reserved.Load() // as if all had been used
	}
	if got := openRing(t, dir, c, RingOptions{}).List(); len(got) != 1 || got[0].Seals < 3*reserveStep {
		t.Errorf("%+v", got)
	}
}

func TestADataKeyIsReplacedAfterItsTimeAndAfterItsCount(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	r := openRing(t, t.TempDir(), Holding(NewMaster()), RingOptions{Now: func() time.Time { return now }})
	first := current(t, r, "plant")
	now = now.Add(period - time.Second)
	if current(t, r, "plant") != first {
		t.Error("it was replaced before its time")
	}
	now = now.Add(time.Second)
	second := current(t, r, "plant")
	if second == first || r.Key(first.KeyID()) != first {
		t.Error("it was not replaced, or it opens no more")
	}
	second.used.Store(retireAfter)
	if third := current(t, r, "plant"); third == second || third.used.Load() != 0 {
		t.Error("it was not replaced after its count")
	}
	if list := r.List(); !list[0].Retired || !list[1].Retired || list[2].Retired {
		t.Errorf("%+v", list)
	}
}

func TestAFullDiskStopsSealingOnlyAtTheBound(t *testing.T) {
	dir := t.TempDir()
	r := openRing(t, dir, Holding(NewMaster()), RingOptions{})
	k := current(t, r, "plant")
	r.dir = filepath.Join(dir, "none") // nothing can be written there
	k.used.Store(retireAfter)
	if got, err := r.Current("plant"); err != nil || got != k {
		t.Errorf("%v, %v: sealing could go on", got, err)
	}
	k.used.Store(hardLimit)
	if _, err := r.Current("plant"); telemetry.CodeOf(err) != telemetry.CodeUnavailable {
		t.Error("at the bound:", err)
	}
	if _, err := r.Current("new"); err == nil {
		t.Error("a key was issued that is kept nowhere")
	}
	r.dir = dir
	if got := current(t, r, "plant"); got == k {
		t.Error("it is not replaced when the disk takes it again")
	}
}

func TestAWrongMasterKeyIsToldFromDamage(t *testing.T) {
	dir, c := t.TempDir(), Holding(NewMaster())
	current(t, openRing(t, dir, c, RingOptions{}), "plant")
	files := func() string {
		var b strings.Builder
		for _, name := range []string{RingFile, CopyFile} {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			b.Write(data)
		}
		return b.String()
	}
	before := files()
	for _, open := range []func() error{
		func() error { return Probe(dir, Holding(NewMaster())) },
		func() error { _, err := OpenRing(dir, Holding(NewMaster()), RingOptions{}); return err },
	} {
		if err := open(); telemetry.CodeOf(err) != telemetry.CodeInvalid || !strings.Contains(err.Error(), "not the one") {
			t.Error("another master key:", err)
		}
	}
	if files() != before {
		t.Error("a wrong key changed the ring")
	}
	ring := filepath.Join(dir, RingFile)
	change := func(path string, f func(data []byte) []byte) {
		t.Helper()
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, f(data), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	flip := func(data []byte) []byte { data[len(data)/2] ^= 1; return data }
	change(ring, flip)
	if r := openRing(t, dir, c, RingOptions{}); r.Key(1) == nil {
		t.Error("the copy was not read")
	}
	if files() != before {
		t.Error("the damaged file was not written anew")
	}
	if err := os.Remove(filepath.Join(dir, CopyFile)); err != nil {
		t.Fatal(err)
	}
	change(ring, flip)
	if err := Probe(dir, c); telemetry.CodeOf(err) != telemetry.CodeDamaged {
		t.Error("damage without a copy:", err)
	}
	change(ring, flip)
	// Somebody takes the entry out and makes the checksum right.
	change(ring, func(data []byte) []byte {
		binary.LittleEndian.PutUint32(data[12:], 0)
		out := append(bytes.Clone(data[:ringHeader]), data[len(data)-ringTrailer:len(data)-4]...)
		return binary.LittleEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
	})
	if _, err := OpenRing(dir, c, RingOptions{}); telemetry.CodeOf(err) != telemetry.CodeDamaged || !strings.Contains(err.Error(), "somebody") {
		t.Error("an entry was taken out:", err)
	}
}

func TestRotationKeepsTheDataKeysAndDestructionTheOthers(t *testing.T) {
	dir, keyFile := t.TempDir(), filepath.Join(t.TempDir(), "master.key")
	if err := Init(keyFile); err != nil {
		t.Fatal(err)
	}
	if err := Init(keyFile); telemetry.CodeOf(err) != telemetry.CodeConflict {
		t.Error("a key file was written over:", err)
	}
	source := Source{File: keyFile}
	load := func() *Credentials {
		c, err := source.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := load()
	r := openRing(t, dir, first, RingOptions{})
	boxes := map[string][]byte{}
	for _, owner := range []string{"a", "b"} {
		var err error
		if boxes[owner], err = r.AppendBox(nil, owner, []byte(owner), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Rotate(""); err != nil {
		t.Fatal(err)
	}
	if err := Probe(dir, first); telemetry.CodeOf(err) != telemetry.CodeInvalid {
		t.Error("the old master key opens the rotated ring:", err)
	}
	r = openRing(t, dir, load(), RingOptions{})
	for owner, box := range boxes {
		if plain, err := r.OpenBox(nil, box, nil); err != nil || string(plain) != owner {
			t.Errorf("after the rotation: %q, %v", plain, err)
		}
		if k := current(t, r, owner); k.KeyID() <= 2 {
			t.Errorf("%v goes on after the rotation", k)
		}
	}
	second := load()
	if err := r.Destroy("a", ""); err != nil {
		t.Fatal(err)
	}
	if err := Probe(dir, second); err == nil {
		t.Error("the old master key opens the ring after a destruction")
	}
	r = openRing(t, dir, load(), RingOptions{})
	if _, err := r.OpenBox(nil, boxes["a"], nil); err == nil {
		t.Error("what was destroyed opens")
	}
	if plain, err := r.OpenBox(nil, boxes["b"], nil); err != nil || string(plain) != "b" {
		t.Errorf("the other owner: %q, %v", plain, err)
	}
	if got := r.Destroyed(); len(got) != 1 || got[0] != "a" {
		t.Errorf("to be cleared away: %q", got)
	}
	if err := r.Cleared(); err != nil || len(openRing(t, dir, load(), RingOptions{}).Destroyed()) != 0 {
		t.Error("the note stays", err)
	}
	for _, name := range []string{RingFile, CopyFile} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		image, err := parseRing(name, data)
		if err != nil || image.opens(second.masters[0]) {
			t.Errorf("%s opens with the old master key, %v", name, err)
		}
	}
}

func TestSourcesOfTheMasterKey(t *testing.T) {
	dir := t.TempDir()
	m := NewMaster()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	asHex, asBase64 := hex.EncodeToString(m.key.bytes()), base64.StdEncoding.EncodeToString(m.key.bytes())
	t.Setenv("WEIR_TEST_KEY", asBase64)
	t.Setenv("WEIR_TEST_SHORT", asHex[:62])
	file := write("hex", "  "+asHex+"\r\n", 0o600)
	for name, c := range map[string]struct {
		source Source
		fails  telemetry.Code
		says   string
	}{
		"hex in a file":         {source: Source{File: file}},
		"base64 in a file":      {source: Source{File: write("b64", asBase64, 0o400)}},
		"environment":           {source: Source{Env: "WEIR_TEST_KEY"}},
		"command":               {source: Source{Command: "echo " + asHex}},
		"no file":               {Source{File: filepath.Join(dir, "none")}, telemetry.CodeNotFound, "weir key init"},
		"readable by others":    {Source{File: write("open", asHex, 0o640)}, telemetry.CodeInvalid, "chmod 600 "},
		"half a key":            {Source{File: write("half", asHex[:32], 0o600)}, telemetry.CodeInvalid, "64 hexadecimal digits"},
		"no variable":           {Source{Env: "WEIR_TEST_NONE"}, telemetry.CodeNotFound, "WEIR_TEST_NONE"},
		"a short variable":      {Source{Env: "WEIR_TEST_SHORT"}, telemetry.CodeInvalid, "WEIR_TEST_SHORT"},
		"a command that fails":  {Source{Command: "echo no vault >&2; exit 3"}, telemetry.CodeUnavailable, "no vault"},
		"a command without key": {Source{Command: "echo " + asHex[:10]}, telemetry.CodeInvalid, "key command"},
	} {
		got, err := c.source.Load(t.Context())
		if c.fails != "" {
			hint := ""
			var e *telemetry.Error
			if errors.As(err, &e) {
				hint = e.Hint
			}
			if telemetry.CodeOf(err) != c.fails || !strings.Contains(err.Error()+hint, c.says) || strings.Contains(err.Error()+hint, asHex[:10]) {
				t.Errorf("%s: %v (%s)", name, err, hint)
			}
			continue
		}
		if err != nil || !got.masters[0].key.equals(m.key) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
}

func TestNothingOfAKeyIsPrinted(t *testing.T) {
	dir := t.TempDir()
	c := Holding(NewMaster())
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r := openRing(t, dir, c, RingOptions{Logger: logger})
	k := current(t, r, "plant")
	keys := [][]byte{c.masters[0].key.bytes(), k.key.bytes()}
	type holder struct {
		Ring    *Ring
		Key     Key2
		Master  *Master
		private *Master
		secret  *secret
	}
	h := holder{r, Key2{k}, c.masters[0], c.masters[0], k.key}
	var out bytes.Buffer
	for _, v := range []any{c, c.masters[0], *c.masters[0], r, k, k.key, r.List(), h, &h, []any{h}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb, v)
		}
		logger.Info("x", "v", v)
		if b, err := json.Marshal(v); err == nil {
			out.Write(b)
		}
	}
	_, err := r.OpenBox(nil, make([]byte, 100), nil)
	fmt.Fprint(&out, err, Probe(dir, Holding(NewMaster())))
	out.Write(log.Bytes())
	for _, file := range []string{RingFile, CopyFile} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		out.Write(data)
	}
	for _, key := range keys {
		for form, text := range map[string]string{
			"raw": string(key), "hex": hex.EncodeToString(key), "HEX": strings.ToUpper(hex.EncodeToString(key)),
			"base64": base64.RawStdEncoding.EncodeToString(key), "base64url": base64.RawURLEncoding.EncodeToString(key),
			"decimal": strings.Trim(fmt.Sprint(key), "[]"), "a part": string(key[:8]), "hex of a part": hex.EncodeToString(key[:8]),
			"decimal of a part": strings.Trim(fmt.Sprint(key[:8]), "[]"),
		} {
			if strings.Contains(out.String(), text) {
				t.Errorf("a key is printed as %s", form)
			}
		}
	}
}

// Key2 holds a key as another package's struct might.
type Key2 struct{ k *Key }

var update = flag.Bool("update", false, "write testdata anew")

// The ring of an older program opens.
func TestTheRingOfVersion1Opens(t *testing.T) {
	const dir = "testdata/ring-1"
	master := filepath.Join(dir, "master.key")
	if *update {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := Init(master); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Log(err)
		}
	}
	text, err := os.ReadFile(master)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseMaster(text)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		r := openRing(t, dir, Holding(m), RingOptions{})
		box, err := r.AppendBox(nil, "default", []byte("a reading"), []byte("a place"))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "box"), box, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r := openRing(t, dir, Holding(m), RingOptions{ReadOnly: true})
	box, err := os.ReadFile(filepath.Join(dir, "box"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := r.OpenBox(nil, box, []byte("a place")); err != nil || string(plain) != "a reading" {
		t.Errorf("%q, %v", plain, err)
	}
}

func FuzzParseRing(f *testing.F) {
	dir, m := f.TempDir(), NewMaster()
	current(f, openRing(f, dir, Holding(m), RingOptions{}), "plant")
	data, err := os.ReadFile(filepath.Join(dir, RingFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(ringMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4 { // the checksum is right, so that the rest is looked at
			binary.LittleEndian.PutUint32(data[len(data)-4:], crc32.Checksum(data[:len(data)-4], castagnoli))
		}
		if image, err := parseRing("x", data); err == nil {
			_, _ = image.entries("x", m)
		}
	})
}
