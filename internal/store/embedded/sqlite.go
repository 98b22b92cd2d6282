package embedded

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// conn is one SQLite connection with its prepared statements. It goes below
// database/sql because that costs an allocation for each argument and a
// goroutine hand-over for each context; a conn is used by one goroutine at a time.
type conn struct {
	c     driver.Conn
	stmts map[string]preparedStmt
	args  []driver.NamedValue
}

type preparedStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// openConn opens a connection and runs the pragmas. One that is for reading only
// must be alone with the database, which has no log.
func openConn(path string, readOnly bool, pragmas ...string) (*conn, error) {
	q := url.Values{}
	if readOnly {
		// Without immutable SQLite makes and leaves the files of the log.
		q.Set("mode", "ro")
		q.Set("immutable", "1")
	}
	uri := "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()
	if len(q) > 0 {
		uri += "?" + q.Encode()
	}
	dc, err := (&sqlite.Driver{}).Open(uri)
	if err != nil {
		return nil, sqliteError("open "+path, err)
	}
	c := &conn{c: dc, stmts: map[string]preparedStmt{}}
	for _, p := range pragmas {
		if err := c.query("PRAGMA "+p, func([]driver.Value) error { return nil }); err != nil {
			return nil, errors.Join(fmt.Errorf("pragma %s: %w", p, err), c.close())
		}
	}
	return c, nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.c.Close())...)
}

func (c *conn) prepare(sql string) (preparedStmt, error) {
	if s, ok := c.stmts[sql]; ok {
		return s, nil
	}
	s, err := c.c.Prepare(sql)
	if err != nil {
		return nil, sqliteError("prepare", err)
	}
	ps, ok := s.(preparedStmt)
	if !ok {
		return nil, errors.Join(errors.New("the SQLite driver lacks context methods"), s.Close())
	}
	c.stmts[sql] = ps
	return ps, nil
}

func (c *conn) bind(args []driver.Value) []driver.NamedValue {
	c.args = c.args[:0]
	for i, a := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return c.args
}

// exec runs a statement that gives no rows. Arguments are int64, string,
// []byte or nil.
func (c *conn) exec(sql string, args ...driver.Value) error {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	if _, err := s.ExecContext(context.Background(), c.bind(args)); err != nil {
		return sqliteError(verb(sql), err)
	}
	return nil
}

// query calls each with every row; the row is reused.
func (c *conn) query(sql string, each func(row []driver.Value) error, args ...driver.Value) (err error) {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(context.Background(), c.bind(args))
	if err != nil {
		return sqliteError(verb(sql), err)
	}
	defer func() {
		if e := rows.Close(); e != nil && err == nil {
			err = sqliteError(verb(sql), e)
		}
	}()
	row := make([]driver.Value, len(rows.Columns()))
	for {
		if err := rows.Next(row); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return sqliteError(verb(sql), err)
		}
		if err := each(row); err != nil {
			return err
		}
	}
}

// transaction runs f between BEGIN and COMMIT, and rolls back when it fails.
func (c *conn) transaction(f func() error) error {
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := f()
	if err == nil {
		err = c.exec("COMMIT")
	}
	if err != nil {
		// SQLite rolls back by itself on some errors; then this one says so.
		_ = c.exec("ROLLBACK")
	}
	return err
}

func verb(sql string) string {
	v, _, _ := strings.Cut(strings.TrimSpace(sql), " ")
	return "sqlite " + strings.ToLower(v)
}

// sqliteError gives a driver's error the code that says what to do about it.
func sqliteError(op string, err error) error {
	var se *sqlite.Error
	if !errors.As(err, &se) {
		return telemetry.Errorf(telemetry.CodeInternal, op, "%v", err)
	}
	code := telemetry.CodeInternal
	switch se.Code() & 0xff {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM,
		sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PROTOCOL:
		code = telemetry.CodeUnavailable
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return telemetry.Errorf(telemetry.CodeDamaged, op, "catalog.db is damaged: %v", err).
			WithHint("copy the whole data directory first; then put back a backup of it, or let sqlite3's .recover write catalog.db anew and move that in its place, without the -wal and -shm files")
	case sqlite3.SQLITE_TOOBIG:
		code = telemetry.CodeRefused
	}
	return telemetry.Errorf(code, op, "%v", err)
}

// writePragmas are those of the connection that commits. Automatic checkpoints
// are off because they would stall the commit that happens to trigger them.
func writePragmas(o Options) []string {
	p := []string{
		fmt.Sprintf("page_size=%d", o.PageSize),
		"busy_timeout=10000",
		"journal_mode=WAL",
		"synchronous=FULL",
		"wal_autocheckpoint=0",
		"cache_size=-1024",
		"temp_store=MEMORY",
		"secure_delete=OFF",
		"foreign_keys=OFF",
	}
	if runtime.GOOS == "darwin" {
		p = append(p, "fullfsync=1", "checkpoint_fullfsync=1")
	}
	return p
}
