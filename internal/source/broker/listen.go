package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// listener accepts the connections of one transport.
type listener struct {
	net.Listener
	b         *Broker
	transport string
	serveHTTP func(net.Listener) // for WebSocket
}

const opStart = "start broker"

// listen opens all listeners.
func (b *Broker) listen(ctx context.Context) error {
	var secure *tls.Config
	if b.cfg.TLS.Listen != "" || b.cfg.WebSocket.TLS {
		var err error
		if secure, err = b.tlsConfig(); err != nil {
			return err
		}
	}
	open := func(address, transport string, secure *tls.Config) error {
		if address == "" {
			return nil
		}
		var lc net.ListenConfig
		nl, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			return listenError(address, err)
		}
		if secure != nil {
			nl = tls.NewListener(nl, secure)
		}
		l := &listener{Listener: nl, b: b, transport: transport}
		if transport == "ws" || transport == "wss" {
			b.serveWebSocket(l)
		}
		b.listeners = append(b.listeners, l)
		return nil
	}
	ws, wsSecure := "ws", (*tls.Config)(nil)
	if b.cfg.WebSocket.TLS {
		ws, wsSecure = "wss", secure.Clone()
		wsSecure.NextProtos = []string{"http/1.1"}
	}
	if err := open(b.cfg.Listen, "tcp", nil); err != nil {
		return err
	}
	if err := open(b.cfg.TLS.Listen, "tls", secure); err != nil {
		return err
	}
	return open(b.cfg.WebSocket.Listen, ws, wsSecure)
}

// listenError says what to do where another broker has the port.
func listenError(address string, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return &telemetry.Error{Code: telemetry.CodeUnavailable, Op: opStart, Message: fmt.Sprintf("listen on %s: %v", address, err), Err: err}
	}
	from := address
	if host, port, splitErr := net.SplitHostPort(address); splitErr == nil && (host == "" || net.ParseIP(host).IsUnspecified()) {
		from = net.JoinHostPort("127.0.0.1", port)
	}
	return &telemetry.Error{
		Code: telemetry.CodeUnavailable, Op: opStart, Err: err,
		Message: fmt.Sprintf("%s is taken: another program, perhaps an MQTT broker, listens there", address),
		Hint:    fmt.Sprintf("take the messages from it with --from mqtt://%s, or set broker.listen to another address", from),
	}
}

func (b *Broker) tlsConfig() (*tls.Config, error) {
	t := b.cfg.TLS
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, opConfig, "load certificate %s and key %s: %v", t.Cert, t.Key, err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	if t.MinVersion == "1.2" {
		c.MinVersion = tls.VersionTLS12
	}
	if t.ClientCA != "" {
		pem, err := os.ReadFile(t.ClientCA)
		if err != nil {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, opConfig, "read client CA: %v", err)
		}
		c.ClientCAs = x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, opConfig, "%s has no PEM certificate", t.ClientCA)
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

// serve accepts until the listener is closed.
func (l *listener) serve() {
	defer l.b.tasks.Done()
	if l.serveHTTP != nil {
		l.serveHTTP(l.Listener)
		return
	}
	for {
		nc, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || l.b.stopping.Load() {
				return
			}
			// Out of file descriptors, most likely: wait for some to be closed.
			l.b.log.Error("broker cannot accept", "transport", l.transport, "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-l.b.ctx.Done():
			}
			continue
		}
		l.b.tasks.Add(1)
		go func() {
			defer l.b.tasks.Done()
			l.b.adopt(nc, l.transport)
		}()
	}
}

func (b *Broker) closeListeners() {
	for _, s := range b.https {
		_ = s.Close()
	}
	for _, l := range b.listeners {
		_ = l.Close()
	}
}
