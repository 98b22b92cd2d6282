package node

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testConfig is a configuration on free ports in a directory of its own.
func testConfig(t *testing.T, overrides ...string) *config.Loaded {
	t.Helper()
	dir := t.TempDir()
	o := config.Options{File: filepath.Join(dir, "weir.yaml")}
	if err := os.WriteFile(o.File, []byte("broker: {listen: '127.0.0.1:0'}\nhttp: {listen: '127.0.0.1:0'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range overrides {
		key, value, _ := strings.Cut(s, "=")
		o.Overrides = append(o.Overrides, config.Override{Path: key, Value: value, Flag: "test"})
	}
	c, err := config.Load(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func stop(t *testing.T, n *Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func TestANodeStartsAndStopsAndLeavesNothingRunning(t *testing.T) {
	c := testConfig(t)
	for range 2 { // the second on what the first left
		n, err := Open(t.Context(), c, Options{Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, err := n.Status(t.Context())
		if err != nil || !s.Ready || len(s.Listeners) != 3 {
			t.Errorf("status is %+v, %v", s, err)
		}
		stop(t, n)
		if _, err := os.Stat(filepath.Join(c.DataDir, "weir.sock")); err == nil {
			t.Error("the control socket is left behind")
		}
	}
}

func TestAFailedStartLeavesNothingRunning(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, key := range []string{"broker.listen", "http.listen"} {
		n, err := Open(t.Context(), testConfig(t, key+"="+taken.Addr().String()), Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = n.Start(t.Context())
		var e *telemetry.Error
		if !errors.As(err, &e) || e.Code != telemetry.CodeUnavailable || e.Hint == "" {
			t.Errorf("%s taken: %v", key, err)
		}
		stop(t, n)
	}
	broken := testConfig(t)
	if err := os.MkdirAll(broken.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken.DataDir, identityFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), broken, Options{}); telemetry.CodeOf(err) != telemetry.CodeDamaged {
		t.Errorf("a broken identity: %v", err)
	}
}

func TestTheLedgerKeyIsDrawnOnceAndKept(t *testing.T) {
	dir := t.TempDir()
	first, err := loadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.save(); err != nil {
		t.Fatal(err)
	}
	second, err := loadIdentity(dir)
	if err != nil || second.LedgerKey != first.LedgerKey || second.changed {
		t.Errorf("read back as %+v, %v", second, err)
	}
	other, err := loadIdentity(t.TempDir())
	if err != nil || other.LedgerKey == first.LedgerKey {
		t.Errorf("two directories share the key %s, %v", other.LedgerKey, err)
	}
}

// page asks the handler of a node.
func page(t *testing.T, h http.Handler, path, user, password string) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

type oneUser struct{}

func (oneUser) Verify(user, password string) bool { return user == "u" && password == "p" }

func TestPagesAreForThoseWhoMayReadThem(t *testing.T) {
	n, err := Open(t.Context(), testConfig(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, n)
	open, closed := n.webHandler(nil), n.webHandler(oneUser{})
	for _, c := range []struct {
		h              http.Handler
		path, user     string
		status         int
		says, saysNone string
	}{
		{open, "/healthz", "", 200, "ok", ""},
		{open, "/metrics", "", 200, "weir_ready 1", ""},
		{open, "/readyz", "", 200, "no schema is active", ""},
		{open, "/debug/pprof/", "", 404, "", ""},
		{open, "/nothing", "", 404, "", ""},
		{closed, "/healthz", "", 200, "ok", ""},
		{closed, "/readyz", "", 200, `"ready": true`, "no schema"},
		{closed, "/readyz", "u", 200, "no schema is active", ""},
		{closed, "/metrics", "", 401, "", "weir_"},
		{closed, "/metrics", "u", 200, "weir_ready 1", ""},
	} {
		status, body := page(t, c.h, c.path, c.user, "p")
		if status != c.status || !strings.Contains(body, c.says) || c.saysNone != "" && strings.Contains(body, c.saysNone) {
			t.Errorf("%s as %q: %d %.200s", c.path, c.user, status, body)
		}
	}
	if status, _ := page(t, closed, "/metrics", "u", "wrong"); status != 401 {
		t.Errorf("a wrong password: %d", status)
	}
}

func TestAStoppedNodeIsNotReadyAndSaysWhy(t *testing.T) {
	n, err := Open(t.Context(), testConfig(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := n.webHandler(nil)
	stop(t, n)
	status, body := page(t, h, "/readyz", "", "")
	var answer struct {
		Ready   bool
		Reasons []struct{ Part, Message string }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 503 || answer.Ready || len(answer.Reasons) == 0 || answer.Reasons[0].Message != "the node is stopping" {
		t.Errorf("%d %s, %v", status, body, err)
	}
}

func TestSizesThatTheNodeChoosesFitTheMachine(t *testing.T) {
	c := config.Default()
	small, large := chooseSizes(c, 1<<30), chooseSizes(c, 8<<30)
	if small.buffer >= large.buffer || small.query >= large.query || small.limit != 512<<20 || small.heads != 16<<20 || large.heads != 64<<20 {
		t.Errorf("chosen %+v and %+v", small, large)
	}
	c.Pipeline.Buffer = config.Size{Bytes: 5 << 20}
	if got := chooseSizes(c, 8<<30).buffer; got != 5<<20 {
		t.Errorf("5MB was given, and %d is taken", got)
	}
}
