package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/pipeline"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// ParseSince reads a point in time that a flag gives: RFC 3339, a date (without a
// zone it is UTC, as in SQL and in what is printed), or an age such as 2h or 7d
// before now.
func ParseSince(flag, text string, now time.Time, age func(string) (time.Duration, error)) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if d, err := age(text); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, telemetry.Errorf(telemetry.CodeInvalid, "read "+flag, "%q is neither a time nor an age", text).
		WithHint("write it as 2h, 7d, 2026-01-31 or 2026-01-31T12:00:00Z")
}

// QuarantineList prints the records that match, newest first.
func QuarantineList(ctx context.Context, e *Env, f control.Filter, format string) error {
	if err := checkReason(f.Reason); err != nil {
		return err
	}
	return e.withLooker(ctx, func(b looker) error {
		if format == "json" {
			enc := json.NewEncoder(e.Out)
			var broken error
			some := false
			err := b.Quarantined(ctx, f, func(r *control.Record) bool {
				some = true
				broken = enc.Encode(readable(r))
				return broken == nil
			})
			if broken != nil {
				return broken
			}
			if err == nil && !some {
				err = checkSchema(ctx, b, f.Schema)
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
			if err := checkSchema(ctx, b, f.Schema); err != nil {
				return err
			}
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

// checkReason refuses a reason that no record can have.
func checkReason(r telemetry.Reason) error {
	known := pipeline.QuarantineReasons()
	if r == "" || slices.Contains(known, r) {
		return nil
	}
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = string(k)
	}
	return telemetry.Errorf(telemetry.CodeInvalid, "read --reason", "%q is no reason for quarantine", r).
		WithHint("the reasons are " + strings.Join(names, ", "))
}

// checkSchema is asked where no record matched: a name that nobody knows is a
// mistake, not an empty quarantine.
func checkSchema(ctx context.Context, b any, name string) error {
	if name == "" {
		return nil
	}
	var known []string
	var err error
	switch b := b.(type) {
	case interface {
		Status(ctx context.Context) (*control.Status, error)
	}:
		var status *control.Status
		if status, err = b.Status(ctx); err == nil {
			for _, s := range status.Schemas {
				known = append(known, s.Name)
			}
		}
	case interface {
		SchemaNames(ctx context.Context) ([]string, error)
	}:
		known, err = b.SchemaNames(ctx)
	}
	if err != nil || slices.Contains(known, name) {
		return err
	}
	hint := "there are none yet"
	if len(known) > 0 {
		slices.Sort(known)
		hint = "the schemas are " + strings.Join(slices.Compact(known), ", ")
	}
	return telemetry.Errorf(telemetry.CodeNotFound, "read --schema", "there is no schema %q, and no record of one", name).WithHint(hint)
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
	if err := checkReason(f.Reason); err != nil {
		return err
	}
	return e.withBackend(ctx, func(b control.Backend) error {
		r, err := b.Replay(ctx, f)
		if err == nil && r.Tried == 0 {
			err = checkSchema(ctx, b, f.Schema)
		}
		if err != nil {
			return err
		}
		if err := e.printf("tried %d: %d stored (%d readings, and %d that were stored already), %d stay in quarantine\n",
			r.Tried, r.Stored, r.Readings, r.Duplicate, r.Kept); err != nil {
			return err
		}
		if r.Stored > 0 || r.Kept == 0 {
			return nil
		}
		return e.whyNone(ctx, b, f)
	})
}

// whyNone says what may be the reason that a replay stored nothing: a mended
// document that is not active, or that does not take the messages yet.
func (e *Env) whyNone(ctx context.Context, b control.Backend, f control.Filter) error {
	status, err := b.Status(ctx)
	if err != nil {
		return err
	}
	for _, r := range status.Reasons {
		if r.Part != "schema" {
			continue
		}
		text := "schema problem: " + r.Message
		if r.Hint != "" {
			text += " (" + r.Hint + ")"
		}
		if _, err := fmt.Fprintln(e.Err, text); err != nil {
			return err
		}
	}
	f.Limit = 1
	var broken error
	err = b.Quarantined(ctx, f, func(r *control.Record) bool {
		by := ""
		if r.Schema != "" {
			by = fmt.Sprintf(" by %s version %d", r.Schema, r.Version)
		}
		_, broken = fmt.Fprintf(e.Err, "the newest, of %s, was quarantined as %s%s: %s\n", visible([]byte(r.Topic), 60), r.Reason, by, what(r))
		return false
	})
	return errors.Join(err, broken)
}
