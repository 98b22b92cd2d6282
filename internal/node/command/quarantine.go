package command

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// ParseSince reads a point in time: RFC 3339, a date, or an age such as 2h or 7d
// before now.
func ParseSince(text string, now time.Time, age func(string) (time.Duration, error)) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	if d, err := age(text); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, telemetry.Errorf(telemetry.CodeInvalid, "read --since", "%q is neither a time nor an age", text).
		WithHint("write it as 2h, 7d, 2026-01-31 or 2026-01-31T12:00:00Z")
}

// QuarantineList prints the records that match, newest first.
func QuarantineList(ctx context.Context, e *Env, f control.Filter, format string) error {
	return e.withBackend(ctx, func(b control.Backend) error {
		if format == "json" {
			enc := json.NewEncoder(e.Out)
			var broken error
			err := b.Quarantined(ctx, f, func(r *control.Record) bool {
				broken = enc.Encode(readable(r))
				return broken == nil
			})
			if broken != nil {
				return broken
			}
			return err
		}
		t := newTable("id", "received", "topic", "reason", "what", "payload")
		err := b.Quarantined(ctx, f, func(r *control.Record) bool {
			t.row(fmt.Sprint(r.ID), r.Received.UTC().Format("2006-01-02 15:04:05"), visible([]byte(r.Topic), 60), string(r.Reason), what(r), visible(r.Payload, 60))
			return true
		})
		if err != nil {
			return err
		}
		if len(t.rows) == 0 {
			return e.printf("nothing is in quarantine that matches\n")
		}
		if err := t.print(e.Out); err != nil {
			return err
		}
		if f.Limit > 0 && len(t.rows) == f.Limit {
			return e.printf("the newest %d; --limit shows more\n", f.Limit)
		}
		return nil
	})
}

// what says in one line what is wrong and where.
func what(r *control.Record) string {
	s := visible([]byte(r.Detail), 120)
	if r.Pointer != "" {
		s += " at " + visible([]byte(r.Pointer), 60)
	}
	if at := fmt.Sprintf("byte %d", r.Offset); r.Offset >= 0 && !strings.HasSuffix(r.Detail, "at "+at) {
		s += ", " + at
	}
	return s
}

// readable shows a payload as text where it is text, else in base64.
func readable(r *control.Record) any {
	type record control.Record
	if !utf8.Valid(r.Payload) {
		return (*record)(r)
	}
	return struct {
		*record
		Payload string `json:"payload"`
	}{(*record)(r), string(r.Payload)}
}

// QuarantineReplay tries the records that match again.
func QuarantineReplay(ctx context.Context, e *Env, f control.Filter) error {
	return e.withBackend(ctx, func(b control.Backend) error {
		r, err := b.Replay(ctx, f)
		if err != nil {
			return err
		}
		return e.printf("tried %d: %d stored (%d readings, and %d that were stored already), %d stay in quarantine\n",
			r.Tried, r.Stored, r.Readings, r.Duplicate, r.Kept)
	})
}
