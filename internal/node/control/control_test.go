package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

type fakeNode struct {
	records []Record
	listErr error
	filter  Filter
}

func (f *fakeNode) Status(context.Context) (*Status, error) {
	return &Status{Version: "v1", Ready: true, Started: time.Unix(1, 0).UTC()}, nil
}

func (f *fakeNode) Quarantined(_ context.Context, filter Filter, yield func(*Record) bool) error {
	f.filter = filter
	for i := range f.records {
		if !yield(&f.records[i]) {
			return nil
		}
	}
	return f.listErr
}

func (f *fakeNode) Replay(_ context.Context, filter Filter) (*Replayed, error) {
	f.filter = filter
	return &Replayed{Tried: 3, Stored: 2, Kept: 1}, nil
}

func (f *fakeNode) Delete(_ context.Context, d Delete) (*Deleted, error) {
	if d.Table != "env" || d.Where == "" {
		return nil, telemetry.Errorf(telemetry.CodeNotFound, "delete", "no table %q", d.Table)
	}
	return &Deleted{Readings: 7, Unreadable: int64(len(d.Where))}, nil
}

func (f *fakeNode) Query(_ context.Context, sql, format string, w io.Writer) error {
	if strings.HasPrefix(sql, "bad") {
		return telemetry.Errorf(telemetry.CodeInvalid, "parse", "no such thing\nat all")
	}
	if _, err := io.WriteString(w, strings.Repeat(sql+format+"\n", 10000)); err != nil {
		return err
	}
	if strings.HasPrefix(sql, "torn") {
		return telemetry.Errorf(telemetry.CodeLimit, "run", "too\nlong")
	}
	return nil
}

func (f *fakeNode) Check(ctx context.Context, file string, document []byte) (*Accepted, error) {
	return f.Accept(ctx, file, document, false)
}

func (f *fakeNode) Accept(_ context.Context, file string, document []byte, breaking bool) (*Accepted, error) {
	if !breaking {
		return nil, telemetry.Errorf(telemetry.CodeConflict, "accept "+file, "it breaks: %s", document).WithHint("use --break")
	}
	return &Accepted{Name: "env", Version: 2, Table: "env_v2"}, nil
}

func serve(t *testing.T, dir string, b Backend) *Client {
	t.Helper()
	s, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: Handler(b)}
	done := make(chan error, 1)
	go func() { done <- server.Serve(s) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	c, err := NewClient(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestTheClientSaysWhatTheNodeSays(t *testing.T) {
	node := &fakeNode{records: []Record{{ID: 7, Topic: "a/b", Payload: []byte("\x00\xff"), Reason: telemetry.ReasonMalformed}, {ID: 6}}}
	c := serve(t, t.TempDir(), node)
	ctx := t.Context()

	status, err := c.Status(ctx)
	if err != nil || status.Version != "v1" || !status.Ready {
		t.Errorf("Status = %+v, %v", status, err)
	}
	filter := Filter{Schema: "env", Topic: "a/#", Since: time.Unix(5, 0).UTC(), Limit: 2}
	var got []Record
	if err := c.Quarantined(ctx, filter, func(r *Record) bool { got = append(got, *r); return true }); err != nil {
		t.Error(err)
	}
	if !reflect.DeepEqual(got, node.records) || node.filter != filter {
		t.Errorf("got %+v with the filter %+v", got, node.filter)
	}
	replayed, err := c.Replay(ctx, filter)
	if err != nil || *replayed != (Replayed{Tried: 3, Stored: 2, Kept: 1}) {
		t.Errorf("Replay = %+v, %v", replayed, err)
	}
	deleted, err := c.Delete(ctx, Delete{Table: "env", Where: "a=1"})
	if err != nil || *deleted != (Deleted{Readings: 7, Unreadable: 3}) {
		t.Errorf("Delete = %+v, %v", deleted, err)
	}
	if _, err := c.Delete(ctx, Delete{Table: "x", Where: "a=1"}); telemetry.CodeOf(err) != telemetry.CodeNotFound {
		t.Errorf("the error came through as %v", err)
	}
	accepted, err := c.Accept(ctx, "env.yaml", []byte("x"), true)
	if err != nil || accepted.Table != "env_v2" {
		t.Errorf("Accept = %+v, %v", accepted, err)
	}
	_, err = c.Accept(ctx, "env.yaml", []byte("x"), false)
	var e *telemetry.Error
	if !errors.As(err, &e) || e.Code != telemetry.CodeConflict || e.Hint != "use --break" || !strings.Contains(e.Message, "it breaks: x") {
		t.Errorf("the error came through as %#v", err)
	}
}

func TestAnErrorInTheMiddleOfAListIsNotAShortList(t *testing.T) {
	node := &fakeNode{records: []Record{{ID: 1}}, listErr: telemetry.Errorf(telemetry.CodeDamaged, "read", "bits")}
	c := serve(t, t.TempDir(), node)
	n := 0
	err := c.Quarantined(t.Context(), Filter{}, func(*Record) bool { n++; return true })
	if n != 1 || telemetry.CodeOf(err) != telemetry.CodeDamaged {
		t.Errorf("%d records, then %v", n, err)
	}
}

func TestOnlyTheOwnerMayOpenTheSocket(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("Windows has no such modes")
		return
	}
	s, err := Listen(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	info, err := os.Stat(s.Path())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
}

func TestADirectoryWithALongNameHasASocketToo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c := serve(t, dir, &fakeNode{})
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestADeadSocketIsReplacedAndMeansThatNoNodeRuns(t *testing.T) {
	for _, name := range []string{"", strings.Repeat("long", 40)} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, socketName), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewClient(t.Context(), dir); telemetry.CodeOf(err) != telemetry.CodeNotFound {
			t.Errorf("a client of nobody: %v", err)
		}
		for range 2 {
			s, err := Listen(dir)
			if err != nil {
				t.Fatal(err)
			}
			path := s.Path()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(path); err == nil {
				t.Errorf("%s is left behind", path)
			}
		}
	}
}

func TestRowsComeWholeOrWithTheirError(t *testing.T) {
	c := serve(t, t.TempDir(), &fakeNode{})
	for sql, want := range map[string]telemetry.Code{"good": "", "bad": telemetry.CodeInvalid, "torn": telemetry.CodeLimit} {
		var out bytes.Buffer
		err := c.Query(t.Context(), sql, "csv", &out)
		if telemetry.CodeOf(err) != want {
			t.Errorf("%s: %v, want %q", sql, err, want)
		}
		if got := strings.Count(out.String(), sql+"csv\n"); (sql == "bad") != (got == 0) {
			t.Errorf("%s: %d lines", sql, got)
		}
	}
}
