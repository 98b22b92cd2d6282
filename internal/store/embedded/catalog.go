package embedded

import (
	"context"
	"database/sql/driver"
	"fmt"

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
	return c.transaction(func() error {
		for _, t := range catalogTables {
			if err := c.exec(t.createSQL(sealed)); err != nil {
				return err
			}
		}
		return setCatalogVersion(c, formatVersion, sealed)
	})
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
