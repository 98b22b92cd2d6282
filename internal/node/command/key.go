package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// KeyInit draws a master key into the configured file.
func KeyInit(e *Env) error {
	path := e.Config.Encryption.KeyFile
	if path == "" {
		return telemetry.Errorf(telemetry.CodeInvalid, "make master key", "the configuration names no file for it").
			WithHint("write encryption: {enabled: true, key_file: /path/outside/data_dir/master.key}")
	}
	if _, err := os.Stat(path); err != nil && seal.Exists(e.Config.DataDir) { // A key that opens nothing would only hide that the right one is missing.
		return telemetry.Errorf(telemetry.CodeConflict, "make master key", "the data in %s is sealed already, with another key", e.Config.DataDir).
			WithHint("put its key file back, as " + path + "; weir key rotate draws a new key while the old one is there")
	}
	if err := seal.Init(path); err != nil {
		return err
	}
	return e.printf("%s holds a new master key. Copy it now to a place that survives this machine, and keep it apart from\n"+
		"backups of the data: without it nothing that is sealed can ever be read again.\n", path)
}

// KeyRotate puts a new master key in the place of the one in use.
func KeyRotate(ctx context.Context, e *Env, newKeyFile string) error {
	if newKeyFile != "" {
		var err error
		if newKeyFile, err = filepath.Abs(newKeyFile); err != nil {
			return err
		}
	}
	var done *control.Rotated
	err := e.either(ctx,
		func(c *control.Client) (err error) {
			done, err = c.RotateKey(ctx, newKeyFile)
			return err
		},
		func() (err error) {
			done, err = node.RotateKey(ctx, e.Config.Config, e.Logger, newKeyFile)
			return err
		})
	switch {
	case err != nil:
		return err
	case newKeyFile != "":
		return e.printf("from now on %s\n", opensWith(e, newKeyFile))
	case done.Finished:
		return e.printf("an interrupted rotation is complete: %s holds the new master key; copy it to where the old copy is\n", e.Config.Encryption.KeyFile)
	}
	return e.printf("%s holds a new master key; copy it to where the old copy is. The old one opens only what was copied before now.\n", e.Config.Encryption.KeyFile)
}

// opensWith says what is to be done with a new key outside the configured place.
func opensWith(e *Env, newKeyFile string) string {
	enc := &e.Config.Encryption
	where := "encryption.key_file"
	switch {
	case enc.KeyEnv != "":
		where = "the environment variable " + enc.KeyEnv
	case enc.KeyCommand != "":
		where = "the place that the key command reads"
	}
	return fmt.Sprintf("the data opens with the key in %s only: put it into %s before the node starts again", newKeyFile, where)
}

// keyItem is a data key as JSON.
type keyItem struct {
	ID      uint32    `json:"id"`
	Tenant  string    `json:"tenant"` // "" is the node itself
	Created time.Time `json:"created"`
	State   string    `json:"state"` // in use, or retired
	Seals   uint64    `json:"seals"` // at most so many were made
}

// KeyList lists the data keys.
func KeyList(ctx context.Context, e *Env, format string) error {
	keys, err := node.ListKeys(ctx, e.Config.Config, e.Logger)
	if err != nil {
		return err
	}
	items := make([]keyItem, len(keys))
	for i, k := range keys {
		items[i] = keyItem{ID: k.ID, Tenant: k.Owner, Created: k.Created, State: "in use", Seals: k.Seals}
		if k.Retired {
			items[i].State = "retired"
		}
	}
	if format == "json" {
		return printJSON(e.Out, items)
	}
	t := newTable("id", "tenant", "created", "state", "seals at most")
	for _, k := range items {
		tenant := k.Tenant
		if tenant == seal.NodeOwner {
			tenant = "(node)"
		}
		t.row(fmt.Sprint(k.ID), tenant, k.Created.Format(time.RFC3339), k.State, fmt.Sprint(k.Seals))
	}
	return t.print(e.Out)
}

// KeyDestroy makes a tenant's data unreadable for good, after a person has typed
// the tenant's name.
func KeyDestroy(ctx context.Context, e *Env, tenant, newKeyFile string, yes bool) error {
	const op = "destroy tenant"
	client, err := control.NewClient(ctx, e.Config.DataDir)
	if err == nil {
		client.Close()
		return telemetry.Errorf(telemetry.CodeConflict, op, "a node runs on %s", e.Config.DataDir).
			WithHint("stop it, destroy the tenant, and start it again: it goes on with the tenant empty")
	}
	if telemetry.CodeOf(err) != telemetry.CodeNotFound {
		return err
	}
	has, err := node.HasTenant(ctx, e.Config.Config, e.Logger, tenant)
	if err != nil {
		return err
	}
	if !has {
		return telemetry.Errorf(telemetry.CodeNotFound, op, "tenant %q has no keys in %s", tenant, e.Config.DataDir).WithHint("weir key list shows who has")
	}
	if !yes {
		if err := confirm(e, op, tenant); err != nil {
			return err
		}
	}
	if err := node.DestroyTenant(ctx, e.Config.Config, e.quiet(), tenant, newKeyFile); err != nil {
		return err
	}
	if err := e.printf("what %s had stored is gone. Backups and copies of it open with the old master key only: destroy all copies of that.\n", tenant); err != nil || newKeyFile == "" {
		return err
	}
	return e.printf("from now on %s\n", opensWith(e, newKeyFile))
}

func confirm(e *Env, op, tenant string) error {
	_, err := fmt.Fprintf(e.Err, "Everything that tenant %s has stored in %s becomes unreadable, and nobody can undo it.\nType the name of the tenant to go on: ", tenant, e.Config.DataDir)
	if err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(e.In, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(line) != tenant {
		return telemetry.Errorf(telemetry.CodeInvalid, op, "not confirmed").WithHint("nothing was changed; --yes goes on without asking")
	}
	return nil
}
