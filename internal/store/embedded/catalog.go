package embedded

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// formatVersion is that of catalog.db; docs/format/catalog.md describes it. Who
// raises it adds a step to upgradeSteps and testdata/format-N.
const formatVersion = 5

// sealedFormat is set in PRAGMA user_version beside the format where the store is
// sealed, so that a program that does not know of sealing refuses it as newer.
const sealedFormat = 1 << 30

// prepareCatalog makes the tables of an empty database, or brings those of an
// older format to this one.
func prepareCatalog(ctx context.Context, c *conn, opt Options, sealed bool) error {
	version, err := catalogVersion(c)
	if err != nil {
		return err
	}
	if version != 0 {
		return upgradeCatalog(ctx, &upgrader{opt: opt, c: c}, version, formatVersion, upgradeSteps)
	}
	if err := lostCatalog(opt.Dir); err != nil {
		return err
	}
	return c.transaction(func() error {
		for _, t := range catalogTables {
			if err := c.exec(t.createSQL(sealed)); err != nil {
				return err
			}
		}
		return setCatalogVersion(c, formatVersion, sealed)
	})
}

// lostCatalog is asked where there is no catalog: it refuses a directory with
// segments, which no new catalog would know, and which would be removed as leftovers
// of a compaction then. The catalog is durable before the first segment is written.
func lostCatalog(dir string) error {
	entries, err := os.ReadDir(filepath.Join(dir, segmentDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return telemetry.Errorf(telemetry.CodeUnavailable, "open store", "%w", err)
	}
	n := 0
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".seg" || ext == packExt {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return telemetry.Errorf(telemetry.CodeDamaged, "open store", "%s holds %d files of readings, and %s, which says what is in them, is missing or empty", dir, n, catalogFile).
		WithHint("nothing was changed: put " + catalogFile + " of the same moment back, or restore a backup with weir restore; to begin anew, move the directory away")
}

// Exists reports whether there is a store in the directory, or what is left of one.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, catalogFile))
	return err == nil || lostCatalog(dir) != nil
}

func setCatalogVersion(c *conn, version int64, sealed bool) error {
	if sealed {
		version |= sealedFormat
	}
	return c.exec(fmt.Sprintf("PRAGMA user_version=%d", version))
}

func catalogVersion(c *conn) (version int64, err error) {
	version, _, err = catalogState(c)
	return version, err
}

// catalogState returns the format, and whether the rows are sealed.
func catalogState(c *conn) (version int64, sealed bool, err error) {
	err = c.query("PRAGMA user_version", func(row []driver.Value) error {
		version, _ = row[0].(int64)
		return nil
	})
	return version &^ sealedFormat, version&sealedFormat != 0, err
}

func versionError(version int64) error {
	return telemetry.Errorf(telemetry.CodeConflict, "open store", "catalog.db has format %d, which a newer weir wrote; this program reads up to %d", version, formatVersion).
		WithHint("use the version of weir that wrote it, or a newer one; nothing was changed")
}

func asInt(v driver.Value) int64 { n, _ := v.(int64); return n }

func asBytes(v driver.Value) []byte {
	switch b := v.(type) {
	case []byte:
		return b
	case string:
		return []byte(b)
	}
	return nil
}

func asText(v driver.Value) string { return string(asBytes(v)) }
