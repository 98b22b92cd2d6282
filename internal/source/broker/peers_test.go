package broker

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/gorilla/websocket"

	"github.com/weir-telemetry/weir/internal/source/credentials"
	"github.com/weir-telemetry/weir/internal/source/wire"
)

// certificates makes a CA and certificates that it signed, as files in a directory.
func certificates(t testing.TB) (dir string, pool *x509.CertPool, client tls.Certificate) {
	t.Helper()
	dir = t.TempDir()
	var ca *x509.Certificate
	var caKey *ecdsa.PrivateKey
	for i, name := range []string{"ca", "server", "client"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: i == 0, BasicConstraintsValid: true,
			IPAddresses: []net.IP{net.ParseIP("127.0.0.1")},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		parent, parentKey := tmpl, key
		if i > 0 {
			parent, parentKey = ca, caKey
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, parentKey)
		if err != nil {
			t.Fatal(err)
		}
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			caKey = key
			if ca, err = x509.ParseCertificate(der); err != nil {
				t.Fatal(err)
			}
		}
		for file, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
			if err := os.WriteFile(filepath.Join(dir, name+file), pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	pool = x509.NewCertPool()
	pool.AddCert(ca)
	client, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	return dir, pool, client
}

func withTLS(dir string, ca bool) func(*Config) {
	return func(c *Config) {
		c.TLS = TLSConfig{Listen: "127.0.0.1:0", Cert: filepath.Join(dir, "server.pem"), Key: filepath.Join(dir, "server.key")}
		if ca {
			c.TLS.ClientCA = filepath.Join(dir, "ca.pem")
		}
	}
}

func withWebSocket(c *Config) { c.WebSocket.Listen = "127.0.0.1:0" }

func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// TestPaho5 runs the MQTT 5 client of Eclipse Paho over each transport.
func TestPaho5(t *testing.T) {
	dir, pool, _ := certificates(t)
	sink := newFakeSink(t)
	b := start(t, sink, withTLS(dir, false), withWebSocket)
	for _, transport := range []string{"tcp", "tls", "ws"} {
		t.Run(transport, func(t *testing.T) {
			ctx := patient(t)
			messages := make(chan *paho.Publish, 100)
			server, err := url.Parse(map[string]string{"tcp": "mqtt", "tls": "mqtts", "ws": "ws"}[transport] + "://" + b.address(transport) + "/mqtt")
			if err != nil {
				t.Fatal(err)
			}
			subscribed := make(chan struct{}, 1)
			c, err := autopaho.NewConnection(ctx, autopaho.ClientConfig{
				ServerUrls: []*url.URL{server}, TlsCfg: &tls.Config{RootCAs: pool}, KeepAlive: 20,
				CleanStartOnInitialConnection: true, SessionExpiryInterval: 60,
				OnConnectionUp: func(cm *autopaho.ConnectionManager, _ *paho.Connack) {
					_, err := cm.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "paho/#", QoS: 2}, {Topic: "quiet", QoS: 1, NoLocal: true}}})
					if err != nil {
						t.Error(err)
					}
					subscribed <- struct{}{}
				},
				ClientConfig: paho.ClientConfig{
					ClientID:          "paho-" + transport,
					OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) { messages <- p.Packet; return true, nil }},
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Disconnect(ctx); <-c.Done() }()
			if err := c.AwaitConnection(ctx); err != nil {
				t.Fatal(err)
			}
			<-subscribed
			for qos := range byte(3) {
				p := &paho.Publish{Topic: fmt.Sprintf("paho/%d", qos), QoS: qos, Payload: []byte("hello"), Properties: &paho.PublishProperties{ContentType: "text/plain"}}
				p.Properties.User.Add("k", "v")
				if _, err := c.Publish(ctx, &paho.Publish{Topic: "quiet", QoS: 1}); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Publish(ctx, p); err != nil {
					t.Fatalf("QoS %d: %v", qos, err)
				}
				select {
				case m := <-messages:
					if m.Topic != p.Topic || m.QoS != qos || m.Properties.User.Get("k") != "v" || m.Properties.ContentType != "text/plain" {
						t.Errorf("got %v", m)
					}
				case <-ctx.Done():
					t.Fatalf("QoS %d: no message", qos)
				}
			}
		})
	}
	sink.awaitCount(3 * 6)
}

// TestPaho3 runs the MQTT 3.1.1 client of Eclipse Paho, which sends without waiting.
func TestPaho3(t *testing.T) {
	dir, pool, cert := certificates(t)
	sink := newFakeSink(t)
	b := start(t, sink, withTLS(dir, true), withWebSocket)
	for _, transport := range []string{"tcp", "tls", "ws"} {
		t.Run(transport, func(t *testing.T) {
			before := len(sink.awaitCount(0))
			scheme := map[string]string{"tcp": "tcp", "tls": "ssl", "ws": "ws"}[transport]
			options := paho3.NewClientOptions().AddBroker(scheme + "://" + b.address(transport) + "/mqtt").SetClientID("paho3").
				SetCleanSession(false).SetAutoReconnect(false).SetTLSConfig(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}})
			c := paho3.NewClient(options)
			if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
				t.Fatal(token.Error())
			}
			defer c.Disconnect(100)
			messages := make(chan paho3.Message, 10_000)
			if token := c.Subscribe("p3/#", 1, func(_ paho3.Client, m paho3.Message) { messages <- m }); !token.WaitTimeout(patience) || token.Error() != nil {
				t.Fatal(token.Error())
			}
			sink.set(func() { sink.hold = true })
			const n = 2000
			var tokens []paho3.Token
			for i := range n {
				tokens = append(tokens, c.Publish("p3/x", byte(i%2+1), false, fmt.Sprint(i)))
			}
			sink.awaitCount(before + n)
			for range n { // live, before the commit
				select {
				case <-messages:
				case <-time.After(patience):
					t.Fatal("a message is missing")
				}
			}
			for i, token := range tokens {
				if token.WaitTimeout(0) {
					t.Fatalf("message %d is acknowledged before the commit", i)
				}
			}
			sink.release()
			for i, token := range tokens {
				if !token.WaitTimeout(patience) || token.Error() != nil {
					t.Fatalf("message %d: %v", i, token.Error())
				}
			}
		})
	}
}

func TestMosquittoSubGetsRetainedAndLiveMessages(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	host, port, _ := net.SplitHostPort(b.address("tcp"))
	pub := func(args ...string) {
		t.Helper()
		args = append([]string{"-h", host, "-p", port}, args...)
		if out, err := exec.CommandContext(patient(t), "mosquitto_pub", args...).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_pub %v: %v: %s", args, err, out)
		}
	}
	for _, version := range []string{"mqttv311", "mqttv5"} {
		pub("-t", "m/retained", "-m", "old", "-r", "-q", "1", "-V", version)
		sub := exec.CommandContext(patient(t), "mosquitto_sub", "-h", host, "-p", port, "-V", version, "-t", "m/#", "-q", "2", "-F", "%r %q %t %p", "-C", "4")
		out, err := sub.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := sub.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		var got []string
		for lines.Scan() {
			got = append(got, lines.Text())
			if len(got) == 1 {
				for _, qos := range []string{"0", "1", "2"} {
					pub("-t", "m/live", "-m", qos, "-q", qos, "-V", version)
				}
			}
		}
		if err := sub.Wait(); err != nil {
			t.Fatal(err)
		}
		if want := "1 1 m/retained old|0 0 m/live 0|0 1 m/live 1|0 2 m/live 2"; strings.Join(got, "|") != want {
			t.Errorf("%s: got %s, want %s", version, strings.Join(got, "|"), want)
		}
	}
}

func TestMosquittoSubResumesItsSession(t *testing.T) {
	sink := newFakeSink(t)
	b := start(t, sink)
	host, port, _ := net.SplitHostPort(b.address("tcp"))
	sub := func(args ...string) string {
		t.Helper()
		args = append([]string{"-h", host, "-p", port, "-i", "sub", "-c", "-q", "1", "-t", "s/#"}, args...)
		out, err := exec.CommandContext(patient(t), "mosquitto_sub", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("mosquitto_sub: %v: %s", err, out)
		}
		return string(out)
	}
	sub("-E")
	if out, err := exec.CommandContext(patient(t), "mosquitto_pub", "-h", host, "-p", port, "-t", "s/1", "-m", "missed", "-q", "1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := sub("-C", "1"); got != "missed\n" {
		t.Errorf("got %q", got)
	}
}

func TestMutualTLSTurnsStrangersAway(t *testing.T) {
	dir, pool, cert := certificates(t)
	b := start(t, newFakeSink(t), withTLS(dir, true), func(c *Config) { c.Anonymous = "no" })
	nc, err := tls.Dial("tcp", b.address("tls"), &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	handshake(t, nc, wire.V5, "known").ping()
	nc, err = tls.Dial("tcp", b.address("tls"), &tls.Config{RootCAs: pool})
	if err == nil {
		_, _ = nc.Write(wire.AppendConnect(nil, &wire.Connect{Version: wire.V5, Clean: true}))
		_ = nc.SetReadDeadline(time.Now().Add(patience))
		if n, err := nc.Read(make([]byte, 10)); n > 0 || isTimeout(err) {
			t.Errorf("a client without a certificate gets %d bytes, %v", n, err)
		}
		_ = nc.Close()
	}
	if c := dialRaw(t, b, wire.V5, "anonymous"); c.connack.Reason != wire.NotAuthorized {
		t.Errorf("over tcp without a password: %v", c.connack.Reason)
	}
	old, err := tls.Dial("tcp", b.address("tls"), &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12})
	if err == nil {
		_ = old.Close()
		t.Error("TLS 1.2 is spoken")
	}
}

func TestPasswords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	line, err := credentials.Line("anna", "secret")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(patient(t), "mosquitto_passwd", "-b", "-c", file, "bert", "s3cret").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v: %s", err, out)
	}
	lines, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(lines, "# users\n\n"+line+"\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, newFakeSink(t), func(c *Config) { c.PasswordFile = file })
	for i, tc := range []struct {
		user, password string
		reason         wire.ReasonCode
	}{
		{"anna", "secret", wire.Success},
		{"anna", "secret", wire.Success}, // remembered
		{"anna", "Secret", wire.BadUserNameOrPassword},
		{"anna", "", wire.BadUserNameOrPassword},
		{"bert", "s3cret", wire.Success},
		{"bert", "secret", wire.BadUserNameOrPassword},
		{"carl", "secret", wire.BadUserNameOrPassword},
		{"", "", wire.NotAuthorized},
	} {
		v := versions[i%2] // a hash takes its time
		c := dialRaw(t, b, v, "", func(p *wire.Connect) {
			p.Username, p.Password = tc.user, []byte(tc.password)
			p.HasUser, p.HasPass = tc.user != "", tc.user != ""
		})
		if c.connack.Reason != tc.reason {
			t.Errorf("%s/%s: %v, want %v", tc.user, tc.password, c.connack.Reason, tc.reason)
		}
	}
	victim := dial(t, b, wire.V5, "victim", func(p *wire.Connect) {
		p.Username, p.Password, p.HasUser, p.HasPass = "anna", []byte("secret"), true, true
	})
	dialRaw(t, b, wire.V5, "victim", func(p *wire.Connect) {
		p.Username, p.Password, p.HasUser, p.HasPass = "anna", []byte("wrong"), true, true
	})
	victim.ping() // who cannot log in takes nobody's place
	if n := b.Stats().FailedLogins; n != 6 {
		t.Errorf("%d failed logins are counted", n)
	}
}

func TestWebSocketNeedNotFrameByPacket(t *testing.T) {
	b := start(t, newFakeSink(t), withWebSocket)
	ws, r, err := (&websocket.Dialer{Subprotocols: []string{"mqtt"}}).Dial("ws://"+b.address("ws")+"/mqtt", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	if ws.Subprotocol() != "mqtt" {
		t.Errorf("subprotocol %q", ws.Subprotocol())
	}
	c := handshake(t, &webSocket{Conn: ws}, wire.V311, "browser")
	stream := numbered(wire.V311, 1, 1, 500)
	for i := 0; i < len(stream); i += 13 {
		c.write(stream[i:min(i+13, len(stream))])
	}
	for i := 1; i <= 500; i++ {
		c.ack(wire.PUBACK, uint16(i), wire.Success)
	}
	if err := ws.WriteMessage(websocket.TextMessage, []byte{0xc0, 0}); err != nil { // [MQTT-6.0.0-1]
		t.Fatal(err)
	}
	c.closed()
	for origin, want := range map[string]bool{"": true, "http://" + b.address("ws"): true, "http://evil.example": false, "not a url\x7f": false} {
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		ws, r, err := websocket.DefaultDialer.Dial("ws://"+b.address("ws")+"/mqtt", h)
		if (err == nil) != want {
			t.Errorf("origin %q: %v", origin, err)
		}
		if r != nil {
			_ = r.Body.Close()
		}
		if ws != nil {
			_ = ws.Close()
		}
	}
}
