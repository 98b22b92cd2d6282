package node

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weir-telemetry/weir/internal/durable"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// identityFile keeps what a node draws once and must not forget.
const identityFile = "node.json"

// identity is what a data directory is known by.
type identity struct {
	// LedgerKey keys the hashes of the session ledger.
	LedgerKey string `json:"ledger_key"`

	path    string
	changed bool
}

// loadIdentity reads the identity of a data directory, drawing what is missing.
func loadIdentity(dir string) (*identity, error) {
	id := &identity{path: filepath.Join(dir, identityFile)}
	data, err := os.ReadFile(id.path)
	switch {
	case err == nil:
		if err := json.Unmarshal(data, id); err != nil {
			return nil, telemetry.Errorf(telemetry.CodeDamaged, "read the node's identity", "%s: %v", id.path, err).
				WithHint("restore the file, or remove it: messages that are redelivered after that may be stored twice")
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read the node's identity: %w", err)
	}
	if _, err := id.ledgerKey(); err != nil {
		id.LedgerKey, id.changed = randomHex(16), true
	}
	return id, nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b)
}

func (id *identity) ledgerKey() (key [16]byte, err error) {
	b, err := hex.DecodeString(id.LedgerKey)
	if err != nil || len(b) != len(key) {
		return key, fmt.Errorf("the ledger key is not %d bytes of hex", len(key))
	}
	return [16]byte(b), nil
}

// save makes what was drawn durable, before it is used.
func (id *identity) save() error {
	if !id.changed {
		return nil
	}
	data, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(id.path, append(data, '\n')); err != nil {
		return fmt.Errorf("keep the node's identity: %w", err)
	}
	id.changed = false
	return nil
}

// writeFile replaces a file of the data directory in one step.
func writeFile(path string, data []byte) error { return durable.WriteFile(path, path+".tmp", data) }
