package mqtt

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// state is what a source remembers from run to run.
type state struct {
	// DrawnID is the client identifier that was drawn for want of a configured one.
	DrawnID string `json:"client_id,omitempty"`
	// Subscribed are the filters that the broker's session of an identifier may
	// have. A filter is added before it is subscribed and removed after it was
	// unsubscribed, so that none is ever forgotten.
	Subscribed map[string][]string `json:"subscribed,omitempty"`
	// Version5 says that the broker was seen to speak MQTT 5: then a connection
	// that ends before its CONNACK is no reason to fall back to 3.1.1.
	Version5 bool `json:"version_5,omitempty"`

	box telemetry.Box // seals the file; nil: it is in clear
}

// statePlace is where the file's sealed bytes stand.
const statePlace = "source state "

// stateFile names the file; characters that a file name cannot have are replaced.
func stateFile(dir, name string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, name)
	return filepath.Join(dir, "source-"+clean+".json")
}

func loadState(dir, name string, box telemetry.Box) (*state, error) {
	s := &state{box: box}
	if dir != "" {
		file := stateFile(dir, name)
		b, err := os.ReadFile(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("read source state: %w", err)
		default:
			if box != nil {
				b, err = box.Open(nil, b, statePlace+name)
			}
			if err == nil {
				err = json.Unmarshal(b, s)
			}
			if err != nil {
				e := telemetry.Errorf(telemetry.CodeDamaged, "read source state", "%s: %w", file, err)
				return nil, e.WithHint("it holds the drawn client identifier and the subscribed filters; without it a new identifier is drawn, and the broker keeps the old session until it expires")
			}
		}
	}
	if s.Subscribed == nil {
		s.Subscribed = map[string][]string{}
	}
	return s, nil
}

// save replaces the file in one step: a crash leaves the old or the new one.
func (s *state) save(dir, name string) (err error) {
	if dir == "" {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("save source state: %w", err)
		}
	}()
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if s.box != nil {
		if b, err = s.box.Seal(nil, b, statePlace+name); err != nil {
			return err
		}
	}
	if err := durable.MakeDir(dir, 0o700); err != nil {
		return err
	}
	file := stateFile(dir, name)
	f, err := os.CreateTemp(dir, filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	if _, err := f.Write(b); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir is durable.SyncDir but for tests.
var syncDir = durable.SyncDir

// drawClientID draws an identifier of the form that every server must accept:
// at most 23 letters and digits [MQTT-3.1.3-5].
func drawClientID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return "weir" + hex.EncodeToString(b[:])
}
