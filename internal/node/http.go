package node

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/source/credentials"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// verifier checks the users of the HTTP server.
type verifier interface {
	Verify(user, password string) bool
}

// webHandler answers /healthz, /readyz and /metrics. users may be nil: then
// everybody who reaches the server may read all of it.
func (n *Node) webHandler(users verifier) http.Handler {
	known := func(r *http.Request) bool {
		if users == nil {
			return true
		}
		user, password, ok := r.BasicAuth()
		return ok && users.Verify(user, password)
	}
	guard := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !known(r) {
				w.Header().Set("WWW-Authenticate", `Basic realm="weir", charset="UTF-8"`)
				http.Error(w, "this page wants a user and a password", http.StatusUnauthorized)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { n.answerReady(w, known(r)) })
	mux.Handle("GET /metrics", guard(promhttp.HandlerFor(n.metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4})))
	if n.cfg.Node.Profile {
		mux.Handle("GET /debug/pprof/", guard(http.HandlerFunc(pprof.Index)))
		mux.Handle("GET /debug/pprof/profile", guard(http.HandlerFunc(pprof.Profile)))
		mux.Handle("GET /debug/pprof/symbol", guard(http.HandlerFunc(pprof.Symbol)))
		mux.Handle("GET /debug/pprof/trace", guard(http.HandlerFunc(pprof.Trace)))
	}
	return mux
}

// answerReady says whether the node is ready. The reasons may name files and
// brokers, so they are for those who may know.
func (n *Node) answerReady(w http.ResponseWriter, known bool) {
	ready, reasons := n.ready()
	answer := struct {
		Ready   bool             `json:"ready"`
		Reasons []control.Reason `json:"reasons,omitempty"`
	}{Ready: ready}
	if known {
		answer.Reasons = reasons
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(answer) // the client is gone if this fails
}

// server is an HTTP server with the goroutine that serves it.
type server struct {
	http     *http.Server
	listener net.Listener
	addr     net.Addr
	done     chan struct{} // nil before serve
}

func listenHTTP(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		e := telemetry.Errorf(telemetry.CodeUnavailable, "start the HTTP server", "%w", err)
		if IsTaken(err) {
			return nil, e.WithHint("another program listens there: give http.listen another address (--set http.listen=127.0.0.1:0 takes any free port)")
		}
		return nil, e.WithHint(listenHint("http.listen", err))
	}
	return l, nil
}

// newServer returns a server that does not serve yet: who connects waits.
func newServer(l net.Listener, h http.Handler) *server {
	return &server{
		http:     &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10},
		listener: l,
		addr:     l.Addr(),
	}
}

// serve serves until stop. failed is told if serving ends by itself.
func (s *server) serve(failed func(error)) {
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			failed(err)
		}
	}()
}

// stop lets requests under way end until ctx does.
func (s *server) stop(ctx context.Context) error {
	if s.done == nil {
		return s.listener.Close()
	}
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.done
	return err
}

// webUsers reads the users of the HTTP server; nil where none are configured.
func webUsers(path string) (verifier, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no users means that everybody may read
	}
	u, err := credentials.Load(path)
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, "read http.password_file", "%w", err)
	}
	return u, nil
}

// controlHandler answers the commands.
func (n *Node) controlHandler() http.Handler { return control.Handler(n) }
