package embedded

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// formatVersion is that of catalog.db; docs/format/catalog.md describes it. Who
// raises it adds a step to upgradeSteps and testdata/format-N.
const formatVersion = 2

// The tables of catalog.db. Every row has a checksum. Blobs come last in a row, so
// that the columns before them are read without following overflow pages. What
// is unique is so in memory: an index would only be more to write and to damage.
var schemaSQL = []string{
	`CREATE TABLE tenants (id INTEGER PRIMARY KEY, name TEXT NOT NULL, floor INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT`,
	`CREATE TABLE tables (id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL,
		series_group INTEGER NOT NULL, recorded INTEGER NOT NULL, crc INTEGER NOT NULL, definition BLOB NOT NULL, document BLOB NOT NULL) STRICT`,
	`CREATE TABLE series (id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
		size INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT`,
	`CREATE TABLE frames (id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, created INTEGER NOT NULL, rows INTEGER NOT NULL,
		min_time INTEGER NOT NULL, max_time INTEGER NOT NULL, crc INTEGER NOT NULL, replaced BLOB, data BLOB NOT NULL) STRICT`,
	`CREATE TABLE segments (id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, table_id INTEGER NOT NULL,
		partition INTEGER NOT NULL, arrival INTEGER NOT NULL, created INTEGER NOT NULL, rows INTEGER NOT NULL, size INTEGER NOT NULL,
		min_time INTEGER NOT NULL, max_time INTEGER NOT NULL, pack INTEGER NOT NULL, start INTEGER NOT NULL, crc INTEGER NOT NULL, replaced BLOB) STRICT`,
	`CREATE TABLE sessions (id INTEGER PRIMARY KEY, key TEXT NOT NULL, crc INTEGER NOT NULL) STRICT`,
	`CREATE TABLE ledger (id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT`,
	`CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL, crc INTEGER NOT NULL) STRICT, WITHOUT ROWID`,
	`CREATE TABLE quarantine (id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL,
		size INTEGER NOT NULL, crc INTEGER NOT NULL, data BLOB NOT NULL) STRICT`,
}

// prepareCatalog makes the tables of an empty database, or brings those of an
// older format to this one.
func prepareCatalog(ctx context.Context, c *conn, opt Options) error {
	version, err := catalogVersion(c)
	if err != nil {
		return err
	}
	if version != 0 {
		return upgradeCatalog(ctx, &upgrader{opt: opt, c: c}, version, formatVersion, upgradeSteps)
	}
	return c.transaction(func() error {
		for _, sql := range schemaSQL {
			if err := c.exec(sql); err != nil {
				return err
			}
		}
		return c.exec(fmt.Sprintf("PRAGMA user_version=%d", formatVersion))
	})
}

func catalogVersion(c *conn) (version int64, err error) {
	err = c.query("PRAGMA user_version", func(row []driver.Value) error {
		version, _ = row[0].(int64)
		return nil
	})
	return version, err
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
