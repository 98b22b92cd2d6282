package query_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestMistakesGetTheHintThatHelps(t *testing.T) {
	st := newW1(2, 10, 1)
	for _, c := range []struct{ sql, message, hint, not string }{
		{"select avgg(temperature) from env", "no such function: avgg", "did you mean avg?", "columns of"},
		{"select nosuch(device) from env", "no such function: nosuch", "functions: ", "columns of"},
		{"select upper(device, 3) from env", "wrong number of arguments", "", "columns of"},
		{"select * frm env", `near "frm"`, "did you mean FROM?", "columns of"},
		{"select device, from env", `near "from"`, "", "columns of"},
		{"select * from env where", "incomplete input", "", "columns of"},
		{"selct * from env", "selct", "did you mean SELECT?", ""},
		{"update env set x = 1", "UPDATE is not allowed", "never change", "did you mean"},
		{"delete from env", "DELETE is not allowed", "never change", "did you mean"},
		{"select * from env where time > '2025-13-45T99:00:00Z'", "2025-13-45T99:00:00Z", "ago('1h')", ""},
		{"select * from env where time between '2025-02-31' and '2026-01-01'", "2025-02-31", "ago('1h')", ""},
		{"select * from env where 'yesterday' < time", "yesterday", "ago('1h')", ""},
		{"select max(e.time) from env e where e.time > '2025-99-01' union select 1", "2025-99-01", "ago('1h')", ""},
	} {
		_, err := run(t, query.New(st, query.Options{}), c.sql)
		var e *telemetry.Error
		if !errors.As(err, &e) || e.Code != telemetry.CodeInvalid {
			t.Errorf("%s\nis answered with %v", c.sql, err)
			continue
		}
		if !strings.Contains(e.Message, c.message) || !strings.Contains(e.Hint, c.hint) || c.not != "" && strings.Contains(e.Hint, c.not) {
			t.Errorf("%s\n%s\nhint: %s", c.sql, e.Message, e.Hint)
		}
	}
	for _, sql := range []string{
		"select count(*) from env where time > '2025'", "select count(*) from env where time >= '2025-06' and time < '2025-06-3'",
		"select count(*) from env where time > '2025-06-15T1'", "select count(*) from env where time > '2025-06-15 15:06:40.5'",
		"select count(*) from env where device = 'time' and time <> '2025-06-15T15:06:40+02:00'",
	} {
		if _, err := run(t, query.New(st, query.Options{}), sql); err != nil {
			t.Errorf("%s\n%v", sql, err)
		}
	}
}
