package broker

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// webSocket makes a byte stream of binary messages [MQTT-6.0.0-1]: packets need not
// begin or end with them [MQTT-6.0.0-2].
type webSocket struct {
	*websocket.Conn
	r io.Reader
}

var errNotBinary = errors.New("websocket: a message is not binary")

var wsBuffers sync.Pool

// serveWebSocket prepares an HTTP server that upgrades to WebSocket.
func (b *Broker) serveWebSocket(l *listener) {
	up := websocket.Upgrader{
		Subprotocols:    []string{"mqtt"}, // [MQTT-6.0.0-4]
		ReadBufferSize:  2 << 10,
		WriteBufferSize: 4 << 10,
		WriteBufferPool: &wsBuffers,
		CheckOrigin:     b.originAllowed,
	}
	mux := http.NewServeMux()
	mux.HandleFunc(b.cfg.WebSocket.Path, func(w http.ResponseWriter, r *http.Request) {
		if !b.enter() {
			http.Error(w, "the broker shuts down", http.StatusServiceUnavailable)
			return
		}
		defer b.tasks.Done()
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return // the client has its answer
		}
		b.adopt(&webSocket{Conn: c}, l.transport)
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: connectTimeout, MaxHeaderBytes: 16 << 10, ErrorLog: nil}
	b.https = append(b.https, s)
	l.serveHTTP = func(nl net.Listener) { _ = s.Serve(nl) }
}

// originAllowed keeps other sites' pages from using a visitor's browser to reach the
// broker.
func (b *Broker) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	return strings.EqualFold(u.Host, r.Host) || slices.ContainsFunc(b.cfg.WebSocket.Origins, func(pattern string) bool {
		ok, _ := path.Match(strings.ToLower(pattern), strings.ToLower(u.Host))
		return ok
	})
}

func (w *webSocket) Read(p []byte) (int, error) {
	for {
		if w.r == nil {
			kind, r, err := w.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errNotBinary
			}
			w.r = r
		}
		n, err := w.r.Read(p)
		if errors.Is(err, io.EOF) {
			w.r, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (w *webSocket) Write(p []byte) (int, error) {
	if err := w.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *webSocket) SetDeadline(t time.Time) error {
	return errors.Join(w.SetReadDeadline(t), w.SetWriteDeadline(t))
}
