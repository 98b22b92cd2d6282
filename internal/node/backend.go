package node

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/pipeline"
	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

var _ control.Backend = (*Node)(nil)

// Listeners are the addresses that the node answers on.
func (n *Node) Listeners() []control.Listener {
	var all []control.Listener
	if n.broker != nil {
		for _, a := range n.broker.Addrs() {
			all = append(all, control.Listener{What: "mqtt " + a.Transport, Address: a.String()})
		}
	}
	if n.web != nil {
		all = append(all, control.Listener{What: "http", Address: n.web.addr.String()})
	}
	if n.socket != nil {
		all = append(all, control.Listener{What: "control", Address: n.path})
	}
	return all
}

// Status implements control.Backend.
func (n *Node) Status(context.Context) (*control.Status, error) {
	ready, reasons := n.ready()
	dir, err := filepath.Abs(n.cfg.DataDir)
	if err != nil {
		dir = n.cfg.DataDir
	}
	s := &control.Status{
		Version: n.opts.Version, PID: os.Getpid(), Started: n.began, DataDir: dir,
		Listeners: n.Listeners(), Ready: ready, Reasons: reasons,
	}
	counts := map[string]*pipeline.SourceStats{}
	stats := n.pipeline.Stats()
	for i := range stats.Sources {
		counts[stats.Sources[i].Source] = &stats.Sources[i]
	}
	if n.broker != nil {
		s.Sources = append(s.Sources, sourceStatus("broker", "broker", true, "", counts["broker"]))
	}
	for _, src := range n.sources {
		st := src.Status()
		status := sourceStatus(st.Name, "mqtt", st.Connected, st.Reason, counts[st.Name])
		status.URL = st.URL
		s.Sources = append(s.Sources, status)
	}
	for _, p := range n.registry.Current().Plans() {
		t := p.Table()
		sc := control.SchemaStatus{Name: p.Name(), Version: p.Version(), Table: t.Name, Filter: p.Filter(), File: p.File(), Tags: t.Tags}
		for _, c := range t.Columns {
			sc.Columns = append(sc.Columns, c.Name)
		}
		s.Schemas = append(s.Schemas, sc)
	}
	for _, u := range n.pipeline.Unmatched() {
		s.Unmatched = append(s.Unmatched, control.TopicCount{Topic: u.Topic, Count: u.Count})
	}
	return s, nil
}

func sourceStatus(name, kind string, connected bool, detail string, c *pipeline.SourceStats) control.SourceStatus {
	s := control.SourceStatus{Name: name, Kind: kind, Connected: connected, Detail: detail}
	if c == nil {
		return s
	}
	s.Received, s.Stored, s.Duplicate, s.Unmatched, s.InFlight = c.Received, c.Stored, c.Duplicate, c.Unmatched, c.InFlight
	for _, v := range c.Quarantined {
		s.Quarantined += v
	}
	for r, v := range c.Dropped {
		if s.Dropped == nil {
			s.Dropped = map[string]uint64{}
		}
		s.Dropped[string(r)] = v
	}
	return s
}

// Quarantined implements control.Backend.
func (n *Node) Quarantined(ctx context.Context, f control.Filter, yield func(*control.Record) bool) error {
	return quarantined(ctx, n.store, f, yield)
}

func quarantined(ctx context.Context, st store.Store, f control.Filter, yield func(*control.Record) bool) error {
	return st.Quarantined(ctx, telemetry.DefaultTenant, storeFilter(f), func(q *telemetry.Quarantined) bool {
		return yield(&control.Record{
			ID: q.ID, Received: time.Unix(0, q.Received).UTC(), Source: q.Source, Topic: q.Topic,
			Payload: q.Payload, Size: q.Size, Truncated: q.Size > len(q.Payload), Reason: q.Reason, Detail: q.Detail,
			Pointer: q.Pointer, Offset: q.Offset, Schema: q.Schema, Version: q.Version,
		})
	})
}

func storeFilter(f control.Filter) store.QuarantineFilter {
	out := store.QuarantineFilter{Schema: f.Schema, Reason: f.Reason, Topic: f.Topic, Limit: f.Limit}
	if !f.Since.IsZero() {
		out.Since = f.Since.UnixNano()
	}
	return out
}

// Accept implements control.Backend.
func (n *Node) Accept(ctx context.Context, file string, document []byte, breaking bool) (*control.Accepted, error) {
	a, err := n.gate.accept(ctx, file, document, breaking)
	if err != nil {
		return nil, err
	}
	// Problems of other documents are no reason to call this one's acceptance a
	// failure; status and log show them.
	if err := n.registry.Reload(); err != nil {
		n.log.Warn("schemas have problems", "error", err)
	}
	n.tablesRecorded()
	return a, nil
}

// Replay implements control.Backend.
func (n *Node) Replay(ctx context.Context, f control.Filter) (*control.Replayed, error) {
	r, err := n.pipeline.Replay(ctx, storeFilter(f))
	if err != nil {
		return nil, err
	}
	return &control.Replayed{Tried: r.Seen, Stored: r.Stored, Kept: r.Stay, Readings: r.Readings, Duplicate: r.Duplicates}, nil
}
