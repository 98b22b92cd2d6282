package node

import (
	"errors"
	"fmt"
	"time"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Above these the store is behind or the disk nearly full: the node still works,
// and a person should know.
const (
	warnWAL       = 64 << 20
	warnDebtAge   = time.Hour
	warnDebtBytes = 1 << 30
	warnFree      = 512 << 20
)

// ready reports whether the node does its work, and everything that a person
// should know. Reasons that are only degraded do not make it unready.
func (n *Node) ready() (bool, []control.Reason) {
	var reasons []control.Reason
	add := func(part string, degraded bool, err error) {
		r := control.Reason{Part: part, Message: err.Error(), Degraded: degraded}
		var e *telemetry.Error
		if errors.As(err, &e) && err == error(e) {
			plain := *e
			plain.Hint = ""
			r.Message, r.Hint = plain.Error(), e.Hint
		}
		reasons = append(reasons, r)
	}
	if n.stopping.Load() {
		add("node", false, errors.New("the node is stopping"))
	} else if err := n.pipeline.Health(); err != nil {
		add("store", false, err)
	}
	for _, s := range n.sources {
		st := s.Status()
		switch {
		case st.Stopped, !st.Connected:
			add("source "+st.Name, false, fmt.Errorf("not connected to %s: %s", st.URL, st.Reason))
		case !st.Subscribed: // what is published now may be lost
			add("source "+st.Name, false, fmt.Errorf("not subscribed at %s: %s", st.URL, st.Reason))
		case st.Reason != "":
			add("source "+st.Name, true, errors.New(st.Reason))
		}
	}
	for _, p := range n.registry.Problems() {
		add("schema", true, errors.New(p.Error()))
	}
	if len(n.registry.Current().Plans()) == 0 {
		add("schema", true, telemetry.Errorf(telemetry.CodeNotFound, "", "no schema is active, so no message matches one").
			WithHint("put documents into "+n.cfg.Schemas+"; weir schema infer proposes one from sample payloads"))
	}
	if err := n.backupReason(); err != nil {
		add("backup", true, err)
	}
	n.storeReasons(func(format string, args ...any) { add("store", true, fmt.Errorf(format, args...)) })
	blocking := false
	for _, r := range reasons {
		blocking = blocking || !r.Degraded
	}
	return !blocking, reasons
}

func (n *Node) storeReasons(add func(format string, args ...any)) {
	s := n.store.Stats()
	if s.WALSize > warnWAL {
		add("the write-ahead log has %d MB; checkpoints do not keep up", s.WALSize>>20)
	}
	if lag := n.compactionLag(s.Level0OldestNS); lag > warnDebtAge || s.Level0Bytes > warnDebtBytes {
		add("compaction is behind: %d MB in level 0, the oldest of it %s old", s.Level0Bytes>>20, lag.Round(time.Second))
	}
	if s.Damaged > 0 {
		add("damaged data was met %d times; the log names the files", s.Damaged)
	}
	if s.RetentionAhead > 0 {
		add("the wall clock is %s ahead of the time that retention knows and not believed: hardly anything is deleted by age; if it is right, run weir retention confirm", s.RetentionAhead.Round(time.Minute))
	}
	if free, ok := freeBytes(n.cfg.DataDir); ok && free < warnFree {
		add("only %d MB are free where data_dir lies", free>>20)
	}
	if card := n.cfg.Store.CommitInterval; !card.Auto && card.D < 100*time.Millisecond && n.card {
		add("data_dir lies on an SD card or eMMC, and store.commit_interval is %s: each commit writes to the card, which wears out", card)
	}
}

func (n *Node) compactionLag(oldest int64) time.Duration {
	if oldest == 0 {
		return 0
	}
	return max(0, n.now().Sub(time.Unix(0, oldest)))
}
