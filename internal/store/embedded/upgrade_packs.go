package embedded

import (
	"context"
	"database/sql/driver"
)

// toPacks gives the rows of segments the columns of packs.
var toPacks = upgradeStep{
	from: 1, what: "let small segments share a file: the list of segments is written anew",
	apply: func(ctx context.Context, u *upgrader) error {
		err := u.c.exec(`CREATE TABLE segments2 (id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL, table_id INTEGER NOT NULL,
			partition INTEGER NOT NULL, arrival INTEGER NOT NULL, created INTEGER NOT NULL, rows INTEGER NOT NULL, size INTEGER NOT NULL,
			min_time INTEGER NOT NULL, max_time INTEGER NOT NULL, pack INTEGER NOT NULL, start INTEGER NOT NULL, crc INTEGER NOT NULL, replaced BLOB) STRICT`)
		if err != nil {
			return err
		}
		err = u.c.query("SELECT id, tenant, table_id, partition, arrival, created, rows, size, min_time, max_time, replaced, crc FROM segments", func(row []driver.Value) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := len(row)
			crc := row[n-1] // of a damaged row: it stays damaged
			values := append(append([]driver.Value{}, row[:n-2]...), int64(0), int64(0), row[n-2])
			if intact(row) {
				crc = int64(rowSum(values))
			}
			return u.c.exec("INSERT INTO segments2 (id, tenant, table_id, partition, arrival, created, rows, size, min_time, max_time, pack, start, replaced, crc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
				append(values, crc)...)
		})
		if err != nil {
			return err
		}
		if err := u.c.exec("DROP TABLE segments"); err != nil {
			return err
		}
		return u.c.exec("ALTER TABLE segments2 RENAME TO segments")
	},
}
