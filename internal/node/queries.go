package node

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/query/render"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// querier answers statements within the limits of the configuration.
type querier struct {
	engine  *query.Engine
	timeout time.Duration
	active  chan struct{} // one for each statement that runs
}

func newQuerier(st store.Store, c *config.Config, s sizes, now func() time.Time) *querier {
	return &querier{
		engine:  query.New(st, query.Options{MemoryLimit: s.query, Now: now}),
		timeout: c.Query.Timeout.D,
		active:  make(chan struct{}, c.Query.MaxActive),
	}
}

// errTimeout is the cause of a statement's end by query.timeout.
var errTimeout = telemetry.Errorf(telemetry.CodeLimit, "run query", "the statement took longer than query.timeout").
	WithHint("narrow it, as with time > ago('1h'), or raise query.timeout")

// run answers a statement into w, in a format of package render.
func (q *querier) run(ctx context.Context, sql, format string, w io.Writer) error {
	f, err := render.Parse(format)
	if err != nil {
		return err
	}
	select {
	case q.active <- struct{}{}:
		defer func() { <-q.active }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeoutCause(ctx, q.timeout, errTimeout)
	defer cancel()
	rows, err := q.engine.Query(ctx, telemetry.DefaultTenant, sql)
	if err == nil {
		err = render.Write(w, f, rows)
	}
	if err != nil && errors.Is(context.Cause(ctx), errTimeout) {
		return errTimeout
	}
	return err
}

// Query implements control.Backend.
func (n *Node) Query(ctx context.Context, sql, format string, w io.Writer) error {
	return n.queries.run(ctx, sql, format, w)
}

// Reader answers queries from a data directory that no node runs on.
type Reader struct {
	store   *embedded.Store
	queries *querier
	cfg     *config.Loaded
	version string
}

// OpenReader opens a data directory for reading only.
func OpenReader(ctx context.Context, cfg *config.Loaded, opts Options) (*Reader, error) {
	c := cfg.Config
	if err := restored(c.DataDir); err != nil {
		return nil, err
	}
	if err := exists(c.DataDir); err != nil {
		return nil, err
	}
	now := opts.Now
	if now == nil {
		now = time.Now
	}
	o, err := storeOptions(ctx, c, opts.Logger, now, true)
	if err != nil {
		return nil, err
	}
	st, err := openStore(ctx, o)
	if err != nil {
		return nil, err
	}
	return &Reader{st, newQuerier(st, c, chooseSizes(c, machineMemory()), now), cfg, opts.Version}, nil
}

// Query answers a statement into w.
func (r *Reader) Query(ctx context.Context, sql, format string, w io.Writer) error {
	return r.queries.run(ctx, sql, format, w)
}

// Close lets go of the directory.
func (r *Reader) Close() error { return r.store.Close() }
