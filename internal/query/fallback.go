package query

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// sqliteQuery is one statement that runs in SQLite, in a database of its own
// that lives in memory.
type sqliteQuery struct {
	id        string
	run       *queryRun
	why       string
	ctx       context.Context
	cancel    context.CancelCauseFunc
	started   time.Time
	relations map[string]*relation
	pinned    map[string]store.Scan // by relation
	collates  bool                  // the statement names a collation
	columns   []Column
	batches   chan *Batch
	pool      *sync.Pool
	out       *Batch
	bytes     int
	wg        sync.WaitGroup

	mu    sync.Mutex
	err   error // the first error inside a virtual table
	stats Stats
}

// queries are the statements that run, by id: virtual tables find theirs here,
// because SQLite hands them nothing but texts.
var queries struct {
	sync.Mutex
	last int64
	m    map[string]*sqliteQuery
}

func (q *sqliteQuery) register() {
	queries.Lock()
	defer queries.Unlock()
	if queries.m == nil {
		queries.m = map[string]*sqliteQuery{}
	}
	queries.last++
	q.id = strconv.FormatInt(queries.last, 10)
	queries.m[q.id] = q
}

func (q *sqliteQuery) unregister() {
	queries.Lock()
	defer queries.Unlock()
	delete(queries.m, q.id)
}

func lookupQuery(id string) *sqliteQuery {
	queries.Lock()
	defer queries.Unlock()
	return queries.m[id]
}

// failed keeps the first error of a virtual table as it is: SQLite would only
// keep its text.
func (q *sqliteQuery) failed(err error) error {
	if err != nil {
		q.mu.Lock()
		if q.err == nil {
			q.err = err
		}
		q.mu.Unlock()
	}
	return err
}

func (q *sqliteQuery) addStats(x *execution) {
	s := x.snapshot()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stats.Units += s.Units
	q.stats.Skipped += s.Skipped
	q.stats.Decoded += s.Decoded
	q.stats.Bytes += s.Bytes
	q.stats.Rows += s.Rows
}

func (q *sqliteQuery) snapshot() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.Path, s.Why, s.Elapsed = "sqlite", q.why, time.Since(q.started)
	return s
}

// connector opens connections of our own driver.
type connector struct{ dsn string }

func (c connector) Connect(context.Context) (driver.Conn, error) { return sqliteDriver().Open(c.dsn) }
func (c connector) Driver() driver.Driver                        { return sqliteDriver() }

// runSQLite runs the statement in SQLite.
func (q *queryRun) runSQLite(why string) (*Rows, error) {
	s := &sqliteQuery{run: q, why: why, started: time.Now(), relations: map[string]*relation{}, pinned: map[string]store.Scan{}, batches: make(chan *Batch, 1)}
	s.pool = &sync.Pool{New: func() any { return &Batch{} }}
	s.ctx, s.cancel = context.WithCancelCause(q.ctx)
	s.register()
	ok := false
	defer func() {
		if !ok {
			s.cancel(errClosed)
			s.unregister()
		}
	}()
	slot, err := acquireTemp(s.ctx, q.engine.opts.MemoryLimit)
	if err != nil {
		return nil, err
	}
	defer func() {
		if !ok {
			slot.release()
		}
	}()
	db := sql.OpenDB(connector{slot.dsn()})
	defer func() {
		if !ok {
			_ = db.Close()
		}
	}()
	conn, err := db.Conn(s.ctx)
	if err != nil {
		return nil, fmt.Errorf("open the database of a query: %w", err)
	}
	defer func() {
		if !ok {
			_ = conn.Close()
		}
	}()
	text := rewrite(q.sql, q.toks, q.now)[q.toks[0].start:]
	if err := s.prepare(conn, text); err != nil {
		return nil, err
	}
	ok = true
	s.wg.Go(func() {
		defer s.unregister()
		defer slot.release()
		defer func() { _ = db.Close() }()
		defer func() { _ = conn.Close() }()
		defer close(s.batches)
		defer s.unpin()
		_, err := conn.ExecContext(s.ctx, "INSERT INTO temp.weir_sink "+text)
		if err == nil {
			err = s.flush()
		}
		if err != nil {
			s.failed(s.explainError(err, slot))
		}
	})
	return s.rows(), nil
}

// unpin closes the scans, when nothing can ask for them any more.
func (s *sqliteQuery) unpin() {
	for _, scan := range s.pinned {
		scan.Close()
	}
}

// prepare limits the connection, declares what the statement names and learns
// the columns of the result.
func (s *sqliteQuery) prepare(conn *sql.Conn, text string) error {
	for id, v := range connectionLimits {
		if _, err := sqlite.Limit(conn, id, v); err != nil {
			return fmt.Errorf("limit the database of a query: %w", err)
		}
	}
	if err := s.declare(conn); err != nil {
		return err
	}
	err := conn.Raw(func(c any) error {
		auth := c.(sqlite.AuthorizerRegisterer)
		if err := auth.RegisterAuthorizer(authorize("")); err != nil {
			return err
		}
		info, err := c.(interface {
			ColumnInfo(string) ([]sqlite.ColumnInfo, error)
		}).ColumnInfo(text)
		for _, i := range info {
			s.columns = append(s.columns, Column{Name: originalName(i.Name), Type: typeOfDecl(i.DeclType)})
		}
		return errors.Join(err, auth.RegisterAuthorizer(nil))
	})
	if err != nil {
		return s.prepareError(err)
	}
	_, err = conn.ExecContext(s.ctx, fmt.Sprintf("CREATE VIRTUAL TABLE temp.weir_sink USING %s(%s)", sinkModule, s.id))
	if err == nil {
		err = conn.Raw(func(c any) error { return c.(sqlite.AuthorizerRegisterer).RegisterAuthorizer(authorize("weir_sink")) })
	}
	if err != nil {
		return fmt.Errorf("declare the sink of a query: %w", err)
	}
	return nil
}

// declare makes the relations that the statement names known to SQLite.
func (s *sqliteQuery) declare(conn *sql.Conn) error {
	cat := s.run.cat
	known := map[string]bool{}
	for _, n := range cat.names() {
		known[strings.ToLower(n)] = true
	}
	for _, t := range s.run.toks {
		if t.kind == tokWord && t.word("COLLATE") {
			s.collates = true
		}
		if t.kind != tokWord && t.kind != tokQuoted || !known[strings.ToLower(t.text)] {
			continue
		}
		if err := s.declareOne(conn, t.text); err != nil {
			return err
		}
	}
	return nil
}

func (s *sqliteQuery) declareOne(conn *sql.Conn, name string) error {
	rel, err := s.run.cat.relation(s.ctx, name)
	if err != nil {
		return err
	}
	if s.relations[rel.name] != nil {
		return nil
	}
	s.relations[rel.name] = rel
	ddl := fmt.Sprintf("CREATE VIRTUAL TABLE temp.%s USING %s(%s)", quoteName(rel.name), scanModule, s.id)
	if rel.kind == relUnion {
		var members []*relation
		for _, m := range rel.members {
			if err := s.declareOne(conn, m); err != nil {
				return err
			}
			members = append(members, s.relations[m])
		}
		ddl = "CREATE TEMP VIEW " + quoteName(rel.name) + " AS " + unionView(rel, members)
	}
	if _, err := conn.ExecContext(s.ctx, ddl); err != nil {
		return fmt.Errorf("declare table %q: %w", rel.name, err)
	}
	return nil
}

// connectionLimits bound what one statement may ask of SQLite.
var connectionLimits = map[int]int{
	0:  32 << 20,  // SQLITE_LIMIT_LENGTH: bytes of a text or row
	1:  2 << 20,   // SQLITE_LIMIT_SQL_LENGTH
	3:  500,       // SQLITE_LIMIT_EXPR_DEPTH
	4:  100,       // SQLITE_LIMIT_COMPOUND_SELECT
	5:  1_000_000, // SQLITE_LIMIT_VDBE_OP
	7:  0,         // SQLITE_LIMIT_ATTACHED
	8:  1000,      // SQLITE_LIMIT_LIKE_PATTERN_LENGTH
	11: 0,         // SQLITE_LIMIT_WORKER_THREADS
}

// authorize lets a statement read, call functions, and fill the sink once there
// is one. Nothing else compiles.
func authorize(sink string) sqlite.AuthorizerFn {
	return func(action sqlite.AuthorizerActionCode, arg1, arg2, _, _ string) sqlite.AuthorizerReturnCode {
		switch action {
		case sqlite.AuthSelect, sqlite.AuthRead, sqlite.AuthRecursive:
			return sqlite.AuthorizerOK
		case sqlite.AuthFunction:
			if !strings.EqualFold(arg2, "load_extension") {
				return sqlite.AuthorizerOK
			}
		case sqlite.AuthInsert:
			if sink != "" && arg1 == sink {
				return sqlite.AuthorizerOK
			}
		}
		return sqlite.AuthorizerDeny
	}
}

// prepareError explains why SQLite cannot compile the statement.
func (s *sqliteQuery) prepareError(err error) error {
	if s.ctx.Err() != nil {
		return contextError(s.ctx)
	}
	if name := s.unknownSource(); name != "" {
		return s.run.cat.unknownTable(name)
	}
	e := telemetry.Errorf(telemetry.CodeInvalid, "query", "%s", cleanMessage(err))
	e.Err = err
	if hint, ok := hintOf(e.Message); ok {
		return e.WithHint(hint)
	}
	var lines []string
	for _, t := range s.run.toks {
		for n, r := range s.relations {
			if equalFold(t.text, n) {
				if l := fmt.Sprintf("columns of %s: %s", n, strings.Join(r.columnNames(), ", ")); len(lines) == 0 || lines[len(lines)-1] != l {
					lines = append(lines, l)
				}
			}
		}
	}
	if len(lines) > 0 {
		return e.WithHint(strings.Join(lines, "; "))
	}
	return e.WithHint("tables: " + strings.Join(s.run.cat.names(), ", "))
}

// unknownSource returns a name after FROM or JOIN that nothing has.
func (s *sqliteQuery) unknownSource() string {
	toks := s.run.toks
	ctes := map[string]bool{}
	for i := 0; i+2 < len(toks); i++ {
		if isName(toks[i]) && (toks[i+1].word("AS") || toks[i+1].is("(")) {
			ctes[strings.ToLower(toks[i].text)] = true
		}
	}
	for i := 1; i+1 < len(toks); i++ {
		t := toks[i]
		if !toks[i-1].word("FROM") && !toks[i-1].word("JOIN") || !isName(t) || toks[i+1].is("(") || toks[i+1].is(".") {
			continue
		}
		if _, err := s.run.cat.relation(s.ctx, t.text); err != nil && !ctes[strings.ToLower(t.text)] {
			return t.text
		}
	}
	return ""
}

// cleanMessage takes SQLite's own words out of the binding's error.
func cleanMessage(err error) string {
	var e *sqlite.Error
	msg := err.Error()
	if errors.As(err, &e) {
		msg = strings.TrimPrefix(e.Error(), "SQL logic error: ")
		if i := strings.LastIndex(msg, " ("); i > 0 && strings.HasSuffix(msg, ")") {
			msg = msg[:i]
		}
	}
	return originalName(msg)
}

const (
	sqliteNoMem    = 7
	sqliteFull     = 13
	sqliteTooBig   = 18
	primaryErrMask = 0xff
)

// explainError turns an error of a running statement into one for the border.
func (s *sqliteQuery) explainError(err error, slot *tempSlot) error {
	s.mu.Lock()
	inner := s.err
	s.mu.Unlock()
	switch {
	case inner != nil:
		return inner
	case s.ctx.Err() != nil:
		return contextError(s.ctx)
	case slot.full():
		return memoryError(s.run.engine.opts.MemoryLimit)
	}
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & primaryErrMask {
		case sqliteNoMem, sqliteFull:
			return memoryError(s.run.engine.opts.MemoryLimit)
		case sqliteTooBig:
			return telemetry.Errorf(telemetry.CodeLimit, "run query", "a text or row is longer than %d MB", connectionLimits[0]>>20)
		}
		w := telemetry.Errorf(telemetry.CodeInvalid, "run query", "%s", cleanMessage(err))
		w.Err = err
		return w
	}
	var t *telemetry.Error
	if errors.As(err, &t) {
		return t
	}
	return fmt.Errorf("run query: %w", err)
}

func (s *sqliteQuery) rows() *Rows {
	var last *Batch
	return &Rows{
		columns: s.columns,
		next: func() (*Batch, error) {
			if last != nil {
				s.pool.Put(last)
				last = nil
			}
			b, ok := <-s.batches
			if !ok {
				s.mu.Lock()
				defer s.mu.Unlock()
				return nil, s.err
			}
			last = b
			return b, nil
		},
		stop: func() {
			s.cancel(errClosed)
			for range s.batches { //nolint:revive // lets the statement see that it is over
			}
			s.wg.Wait()
		},
		stats: s.snapshot,
	}
}
