package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestFilesThatKeysNameAreLookedForWhereTheyAreNeeded(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "weir.yaml")
	text := "broker:\n  password_file: users\n  tls:\n    listen: 127.0.0.1:0\n    cert_file: cert.pem\n    key_file: .\nsources:\n  - mqtt:\n      url: mqtts://h\n      ca_file: ca.pem\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "users"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Options{File: file}); err != nil {
		t.Errorf("a command that only asks a node wants its files: %v", err)
	}
	_, err := Load(Options{File: file, CheckFiles: true})
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 3 {
		t.Fatalf("got %v", err)
	}
	for i, want := range []string{"weir.yaml:5:16: broker.tls.cert_file: there is no file", "weir.yaml:6:15: broker.tls.key_file: " + dir + " is a directory", "weir.yaml:10:16: sources[0].mqtt.ca_file: there is no file"} {
		if !strings.Contains(problems[i].Error(), want) {
			t.Errorf("it says %q, not %q", problems[i], want)
		}
	}
}

func TestAConfigurationThatIsNotThereIsNotFound(t *testing.T) {
	_, err := Load(Options{File: filepath.Join(t.TempDir(), "nope.yaml")})
	if telemetry.CodeOf(err) != telemetry.CodeNotFound {
		t.Errorf("got %v", err)
	}
}

func TestAnAddressThatIsNoneIsOneMistake(t *testing.T) {
	_, err := Load(Options{Overrides: []Override{{Path: "broker.listen", Value: "127.0.0.1", Flag: "--set"}}})
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 1 || !strings.Contains(problems[0].Message, "is not an address") {
		t.Errorf("got %v", err)
	}
}
