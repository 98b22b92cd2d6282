package local_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/weir-telemetry/weir/internal/query"
	"github.com/weir-telemetry/weir/internal/query/local"
	"github.com/weir-telemetry/weir/internal/query/render"
	"github.com/weir-telemetry/weir/internal/store/storetest"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve mounts a handler over a memory store of a few readings on a socket.
func serve(t *testing.T) *local.Client {
	t.Helper()
	st := storetest.NewMemory()
	tab := &telemetry.Table{Name: "env", Version: 1, Tags: []string{"device"}, Identity: telemetry.IdentityTimeValues, TimeInPayload: true, Columns: []telemetry.Column{
		{Name: "temperature", Type: telemetry.Float}, {Name: "on", Type: telemetry.Bool}, {Name: "note", Type: telemetry.String}, {Name: "extra", Type: telemetry.JSON}}}
	ctx := t.Context()
	if err := st.PutTable(ctx, telemetry.DefaultTenant, tab, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	var sec telemetry.Section
	sec.Reset(tab)
	for i := range 600 {
		ref, err := st.Series(telemetry.DefaultTenant, tab, []byte("t/d1"), [][]byte{[]byte("d1")})
		if err != nil {
			t.Fatal(err)
		}
		sec.AppendRow(ref, int64(i)*1e9, 0, []telemetry.Value{{Bits: math.Float64bits(float64(i) / 2)}, {Bits: uint64(i % 2)},
			{Text: []byte(fmt.Sprintf("a \"b\",\n%d", i))}, {Text: []byte(`{"x":[1]}`), Null: i == 1}})
	}
	staged, err := st.Stage(ctx, &telemetry.Commit{Batches: []*telemetry.Batch{{Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{&sec}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := staged.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(local.Path, local.Handler(query.New(st, query.Options{}), telemetry.DefaultTenant))
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	c := local.NewClient(socket)
	t.Cleanup(func() { c.Close(); _ = srv.Close(); <-done })
	return c
}

func ask(t *testing.T, c *local.Client, sql string, f render.Format) (string, error) {
	t.Helper()
	var b bytes.Buffer
	err := c.Query(t.Context(), sql, f, &b)
	return b.String(), err
}

func TestFormats(t *testing.T) {
	c := serve(t)
	const two = `select time, device, temperature, "on", note, extra from env where time < '1970-01-01T00:00:02Z' order by time`
	t.Run("Table", func(t *testing.T) {
		got, err := ask(t, c, two, render.Table)
		want := `time                  device  temperature  on     note      extra
--------------------  ------  -----------  -----  --------  ---------
1970-01-01T00:00:00Z  d1              0.0  false  a "b", 0  {"x":[1]}
1970-01-01T00:00:01Z  d1              0.5  true   a "b", 1  NULL
`
		if err != nil || got != want {
			t.Errorf("%v\n%s\nwant\n%s", err, got, want)
		}
	})
	t.Run("JSON", func(t *testing.T) {
		got, err := ask(t, c, two, render.JSON)
		var rows []map[string]any
		if err2 := json.Unmarshal([]byte(got), &rows); err != nil || err2 != nil || len(rows) != 2 {
			t.Fatal(err, err2, got)
		}
		if r := rows[1]; r["on"] != true || r["temperature"] != 0.5 || r["note"] != "a \"b\",\n1" || r["extra"] != nil || r["time"] != "1970-01-01T00:00:01.000000000Z" {
			t.Error(r)
		}
		if x, ok := rows[0]["extra"].(map[string]any); !ok || len(x) != 1 {
			t.Error(rows[0])
		}
	})
	t.Run("EmptyJSONIsAnArray", func(t *testing.T) {
		got, err := ask(t, c, "select 1 from env where 0", render.JSON)
		if err != nil || strings.TrimSpace(got) != "[]" {
			t.Errorf("%q %v", got, err)
		}
	})
	t.Run("NDJSON", func(t *testing.T) {
		got, err := ask(t, c, "select * from env", render.NDJSON)
		lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
		if err != nil || len(lines) != 600 || !json.Valid([]byte(lines[599])) {
			t.Error(len(lines), err)
		}
	})
	t.Run("CSV", func(t *testing.T) {
		got, err := ask(t, c, two, render.CSV)
		rows, err2 := csv.NewReader(strings.NewReader(got)).ReadAll()
		if err != nil || err2 != nil || len(rows) != 3 || rows[2][4] != "a \"b\",\n1" || rows[2][5] != "" || rows[2][3] != "true" {
			t.Error(err, err2, rows)
		}
	})
	t.Run("BothPathsPrintTheSame", func(t *testing.T) {
		for _, f := range render.Formats {
			a, err := ask(t, c, "select * from env order by time", f)
			b, err2 := ask(t, c, "with e as (select * from env) select * from e order by time", f)
			if err != nil || err2 != nil || a != b {
				t.Errorf("%s: %v %v\n%.300s\n%.300s", f, err, err2, a, b)
			}
		}
	})
}

func TestErrors(t *testing.T) {
	c := serve(t)
	t.Run("BeforeTheFirstByte", func(t *testing.T) {
		_, err := ask(t, c, "select nosuch from env", render.CSV)
		var te *telemetry.Error
		if !errors.As(err, &te) || te.Code != telemetry.CodeNotFound || !strings.Contains(te.Hint, "columns of env") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("AfterRowsWereSent", func(t *testing.T) {
		got, err := ask(t, c, "select n, e.time, abs(case when n = 9 and temperature > 298 then -9223372036854775807 - 1 else 1 end) from "+
			"(select 0 as n union all select 1 union all select 9) cross join env e", render.CSV)
		if telemetry.CodeOf(err) != telemetry.CodeInvalid || !strings.Contains(fmt.Sprint(err), "overflow") || len(got) < 10_000 {
			t.Errorf("%d bytes, then %v", len(got), err)
		}
	})
	t.Run("UnknownFormat", func(t *testing.T) {
		if _, err := ask(t, c, "select 1", "xml"); telemetry.CodeOf(err) != telemetry.CodeInvalid {
			t.Errorf("got %v", err)
		}
	})
	t.Run("NoNode", func(t *testing.T) {
		n := local.NewClient(filepath.Join(t.TempDir(), "none"))
		defer n.Close()
		if _, err := ask(t, n, "select 1", render.CSV); telemetry.CodeOf(err) != telemetry.CodeUnavailable {
			t.Errorf("got %v", err)
		}
	})
	t.Run("CallerGivesUp", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &cancelOnWrite{cancel: cancel}
		err := c.Query(ctx, "with recursive c(x) as (select 1 union all select x + 1 from c) select x from c", render.CSV, w)
		if err == nil {
			t.Error("an endless statement ended")
		}
	})
}

type cancelOnWrite struct{ cancel func() }

func (c *cancelOnWrite) Write(p []byte) (int, error) {
	c.cancel()
	return len(p), nil
}
