package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keyed is a place with encryption and 100 readings.
type keyed struct {
	t            *testing.T
	config, file string
}

func newKeyed(t *testing.T, encryption string) *keyed {
	t.Helper()
	dir := t.TempDir()
	k := &keyed{t: t, config: filepath.Join(dir, "weir.yaml"), file: filepath.Join(dir, "master.key")}
	var rows strings.Builder
	rows.WriteString("time,device,_topic,v\n")
	for i := range 100 {
		fmt.Fprintf(&rows, "2025-01-01T00:00:%02d.%dZ,d,a/d/env,%d\n", i%60, i/60, i)
	}
	for name, text := range map[string]string{
		"weir.yaml": "data_dir: ./data\nschemas: ./schemas\nhttp: {listen: ''}\nbroker: {enabled: false}\nencryption: " + encryption + "\n",
		"env.csv":   rows.String(),
		"schemas/env.yaml": "name: env\nversion: 1\ntopic: a/{device}/env\nformat: json\ntime: {at: /ts, as: unix_ms}\n" +
			"payload: {type: object, required: [ts, v], properties: {ts: {type: integer}, v: {type: number}}}\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// says runs a command with a line of input and checks its code and what it says.
func (k *keyed) says(in string, code int, what string, args ...string) {
	k.t.Helper()
	var out, errs bytes.Buffer
	got := run(append(args, "--config", k.config), streams{strings.NewReader(in), &out, &errs, os.Environ()})
	if said := out.String() + errs.String(); got != code || !strings.Contains(said, what) {
		k.t.Errorf("weir %q ends with %d, not %d, or does not say %q:\n%s", args, got, code, what, said)
	}
}

func (k *keyed) fill() {
	k.t.Helper()
	k.says("", exitOK, "imported 100 readings", "import", filepath.Join(filepath.Dir(k.config), "env.csv"), "--table", "env")
}

func TestTheLifeOfAMasterKeyInAFile(t *testing.T) {
	k := newKeyed(t, "{enabled: true, key_file: ./master.key}")
	k.says("", exitNotFound, "weir key init", "import", filepath.Join(filepath.Dir(k.config), "env.csv"), "--table", "env")
	k.says("", exitOK, "Copy it now", "key", "init")
	k.says("", exitConflict, "exists", "key", "init")
	k.says("", exitNotFound, "no key ring", "key", "list")
	k.fill()
	k.says("", exitOK, "default", "key", "list")
	k.says("", exitOK, `"state": "in use"`, "key", "list", "--format", "json")
	first, err := os.ReadFile(k.file)
	if err != nil {
		t.Fatal(err)
	}
	k.says("", exitConflict, "exists", "key", "init") // also when there is a ring
	k.says("", exitOK, "holds a new master key", "key", "rotate")
	k.says("", exitOK, "100", "query", "select count(*) from env")
	k.says("", exitOK, "retired", "key", "list")
	second, err := os.ReadFile(k.file)
	if err != nil || bytes.Equal(first, second) {
		t.Error("the key file holds the old key", err)
	}
	if err := os.Remove(k.file); err != nil {
		t.Fatal(err)
	}
	k.says("", exitConflict, "put its key file back", "key", "init") // a lost key is not made up for by another
	if err := os.WriteFile(k.file, second, 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(k.file); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if err := os.WriteFile(k.file, first, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"query", "select count(*) from env"}, {"key", "rotate"}, {"key", "list"}, {"verify"}} {
		k.says("", exitUsage, "is not the one", args...)
	}
	// The rotation of before was killed before the key file was replaced.
	if err := os.WriteFile(k.file+".new", second, 0o600); err != nil {
		t.Fatal(err)
	}
	k.says("", exitOK, "an interrupted rotation is complete", "key", "rotate")
	if now, err := os.ReadFile(k.file); err != nil || !bytes.Equal(now, second) {
		t.Error("the rotation was not completed", err)
	}
	k.says("no\n", exitUsage, "not confirmed", "key", "destroy", "default")
	k.says("", exitOK, "100", "query", "select count(*) from env")
	k.says("", exitNotFound, "has no keys", "key", "destroy", "nobody", "--yes")
	k.says("", exitNotFound, "has no keys", "key", "destroy", "nobody") // before it asks
	k.says("default\n", exitOK, "is gone", "key", "destroy", "default")
	k.says("", exitNotFound, "no table", "query", "select count(*) from env")
	k.says("", exitOK, "imported 100 readings", "import", filepath.Join(filepath.Dir(k.config), "env.csv"), "--table", "env", "--again")
	k.says("", exitOK, "100", "query", "select count(*) from env")
}

func TestATextThatIsNoMasterKeyIsToldByItsLengthWithWhatToDo(t *testing.T) {
	for encryption, hint := range map[string]string{
		"{enabled: true, key_file: ./master.key}":      "hint: put the copy of the key back",
		"{enabled: true, key_env: WEIR_TEST_MASTER}":   "hint: set it to the master key",
		"{enabled: true, key_command: cat master.key}": "hint: encryption.key_command must print the master key alone",
	} {
		k := newKeyed(t, encryption)
		t.Chdir(filepath.Dir(k.config))
		const text = "c0ffee"
		t.Setenv("WEIR_TEST_MASTER", text)
		if err := os.WriteFile(k.file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"its 6 characters are no key: that is 32 bytes, as 64 hexadecimal digits", hint} {
			k.says("", exitUsage, want, "key", "rotate")
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(k.config), "data")); err == nil {
			t.Error("a data directory was made")
		}
	}
}

// A key file may have mode 0400, which lets its owner replace it and not write to it.
func TestAKeyFileThatIsReadOnlyIsRotated(t *testing.T) {
	k := newKeyed(t, "{enabled: true, key_file: ./master.key}")
	k.says("", exitOK, "Copy it now", "key", "init")
	k.fill()
	if err := os.Chmod(k.file, 0o400); err != nil {
		t.Fatal(err)
	}
	k.says("", exitOK, "holds a new master key", "key", "rotate")
	k.says("", exitOK, "100", "query", "select count(*) from env")
	if left, _ := filepath.Glob(k.file + ".*"); len(left) > 0 {
		t.Error("left over:", left)
	}
}

func TestAMasterKeyFromTheEnvironment(t *testing.T) {
	k := newKeyed(t, "{enabled: true, key_env: WEIR_TEST_MASTER}")
	t.Setenv("WEIR_TEST_MASTER", strings.Repeat("0123456789abcdef", 4))
	k.says("", exitUsage, "names no file", "key", "init")
	k.fill()
	k.says("", exitUsage, "--new-key-file", "key", "rotate")
	k.says("", exitOK, "put it into the environment variable WEIR_TEST_MASTER", "key", "rotate", "--new-key-file", k.file)
	k.says("", exitUsage, "is not the one", "query", "select count(*) from env")
	key, err := os.ReadFile(k.file)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("WEIR_TEST_MASTER", string(key))
	k.says("", exitOK, "100", "query", "select count(*) from env")
}
