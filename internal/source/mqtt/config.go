package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Config says which broker to read from, and how. New fills zero fields with
// the defaults that the comments name.
type Config struct {
	// Name names the source in metrics and quarantine records. Default "mqtt".
	Name string `yaml:"name"`
	// URL is the broker: mqtt:// or tcp:// (port 1883), mqtts:// or ssl:// (8883).
	// A user name and password in it are refused: they would stand in logs.
	URL string `yaml:"url"`
	// Topics are the filters to subscribe to; SetTopics replaces them.
	Topics []string `yaml:"topics"`
	// QoS is asked for with every filter: 0, 1 or 2. DefaultConfig has 1.
	QoS int `yaml:"qos"`
	// ShareGroup, if set, turns every filter into $share/<group>/<filter>, so that
	// several nodes divide the stream. Filters that begin with $share/ stay.
	ShareGroup string `yaml:"share_group"`
	// ClientID is the MQTT client identifier. Empty: one is drawn and kept in
	// StateDir, because two nodes with one identifier evict each other without end.
	ClientID string `yaml:"client_id"`
	// Version is "auto" (the default: 5, then 3.1.1 where the broker refuses it),
	// "3.1.1" or "5".
	Version string `yaml:"version"`

	// Username logs in; the password is the first line of PasswordFile, which is
	// read at each connect, so that it may be changed without a restart.
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`

	// CAFile holds the PEM certificates that the broker's must be signed by.
	// Default: those of the system.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are the PEM client certificate and its key.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ServerName is the name that the broker's certificate must have. Default:
	// the host of URL.
	ServerName string `yaml:"server_name"`
	// MinTLS is the lowest version that is spoken: "1.3" (default) or "1.2".
	MinTLS string `yaml:"min_tls"`
	// InsecureSkipVerify takes any certificate. Default off.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`

	// KeepAlive is the longest silence towards the broker. A PINGREQ is sent at
	// three quarters of it, and the connection is given up when nothing comes for
	// another half. Default 30s.
	KeepAlive time.Duration `yaml:"keep_alive"`
	// ConnectTimeout bounds dialling, TLS and CONNACK together. Default 15s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// SessionExpiry is how long the broker keeps the session while the node is
	// away (MQTT 5; 3.1.1 leaves it to the broker). Default 7 days.
	SessionExpiry time.Duration `yaml:"session_expiry"`
	// ReceiveMaximum is how many unacknowledged messages the broker may have in
	// flight (MQTT 5). Default 65535.
	ReceiveMaximum int `yaml:"receive_maximum"`
	// TopicAliasMaximum is how many topic aliases the broker may use (MQTT 5).
	// Default 2048; -1 for none.
	TopicAliasMaximum int `yaml:"topic_alias_maximum"`

	// MaxPayload is the largest payload that is taken whole. Default 1 MiB.
	MaxPayload int `yaml:"max_payload"`
	// KeepOversized is how many bytes of a larger payload are handed on.
	// Default 4 KiB.
	KeepOversized int `yaml:"keep_oversized"`
	// ReadBuffer is how far the read buffer may grow under load. It starts at
	// 16 KiB, and grows beyond this only for a single larger packet. Default 256 KiB.
	ReadBuffer int `yaml:"read_buffer"`

	// ConfirmAfter is how long after an acknowledgement a PINGREQ asks whether it
	// arrived. Default 1s.
	ConfirmAfter time.Duration `yaml:"confirm_after"`
	// ConfirmGrace is for how long a resumed session confirms nothing, while the
	// broker sends again what was in flight. Default 5s.
	ConfirmGrace time.Duration `yaml:"confirm_grace"`

	// BackoffMin and BackoffMax bound the pause before a reconnect, which doubles
	// and is drawn from its upper half. Defaults 250ms and 30s.
	BackoffMin time.Duration `yaml:"backoff_min"`
	BackoffMax time.Duration `yaml:"backoff_max"`
	// RefusedMin and RefusedMax are the same where the broker refuses the login or
	// its certificate is not trusted: a person must act first. Defaults 30s and 5m.
	RefusedMin time.Duration `yaml:"refused_min"`
	RefusedMax time.Duration `yaml:"refused_max"`
	// StableAfter is how long a connection must last for the backoff to start
	// from its minimum again. Default 10s.
	StableAfter time.Duration `yaml:"stable_after"`
	// DrainTimeout is how long Run, when it is to end, waits for the
	// acknowledgements of what it handed on. Default 5s.
	DrainTimeout time.Duration `yaml:"drain_timeout"`

	// KeepHeld leaves subscribed what the broker's session holds beside Topics,
	// until SetTopics says otherwise.
	KeepHeld bool `yaml:"-"`
	// Now stamps messages with their time of receipt, ns since 1970 UTC. Default:
	// the wall clock, with all its jumps.
	Now func() int64 `yaml:"-"`
	// StateDir keeps the drawn client identifier and the list of subscribed
	// filters. Empty: nothing is kept.
	StateDir string `yaml:"-"`
	// Box seals what is kept there; nil leaves it in clear.
	Box telemetry.Box `yaml:"-"`
	// Dial replaces the network in tests.
	Dial func(ctx context.Context, address string) (net.Conn, error) `yaml:"-"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	c := Config{QoS: 1}
	c.fill()
	return c
}

// aliasDefault bounds the alias table together with maxAliasBytes.
const aliasDefault = 2048

func (c *Config) fill() {
	def(&c.Name, "mqtt")
	def(&c.Version, "auto")
	def(&c.MinTLS, "1.3")
	def(&c.KeepAlive, 30*time.Second)
	def(&c.ConnectTimeout, 15*time.Second)
	def(&c.SessionExpiry, 7*24*time.Hour)
	def(&c.ReceiveMaximum, 65535)
	def(&c.TopicAliasMaximum, aliasDefault)
	def(&c.MaxPayload, 1<<20)
	def(&c.KeepOversized, 4<<10)
	def(&c.ReadBuffer, 256<<10)
	def(&c.ConfirmAfter, time.Second)
	def(&c.ConfirmGrace, 5*time.Second)
	def(&c.BackoffMin, 250*time.Millisecond)
	def(&c.BackoffMax, 30*time.Second)
	def(&c.RefusedMin, 30*time.Second)
	def(&c.RefusedMax, 5*time.Minute)
	def(&c.StableAfter, 10*time.Second)
	def(&c.DrainTimeout, 5*time.Second)
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixNano() }
	}
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// endpoint is where and how to connect.
type endpoint struct {
	address string // host:port
	host    string
	tls     bool
}

func parseURL(raw string) (endpoint, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return endpoint{}, fmt.Errorf("url %q: %w", raw, err)
	}
	e := endpoint{host: u.Hostname()}
	port := u.Port()
	switch strings.ToLower(u.Scheme) {
	case "mqtt", "tcp":
		def(&port, "1883")
	case "mqtts", "ssl", "tls":
		def(&port, "8883")
		e.tls = true
	default:
		return endpoint{}, fmt.Errorf("url %q: unknown scheme %q (write mqtt:// or mqtts://)", raw, u.Scheme)
	}
	switch {
	case u.User != nil:
		return endpoint{}, fmt.Errorf("url of %s: a user name or password does not belong here (use username and password_file)", u.Host)
	case e.host == "":
		return endpoint{}, fmt.Errorf("url %q: no host", raw)
	case u.Path != "" && u.Path != "/" || u.RawQuery != "":
		return endpoint{}, fmt.Errorf("url %q: nothing may follow the port", raw)
	}
	e.address = net.JoinHostPort(e.host, port)
	return e, nil
}

// check reports the first thing that is wrong with the configuration.
func (c *Config) check() error {
	const op = "configure mqtt source"
	bad := func(format string, args ...any) error {
		return telemetry.Errorf(telemetry.CodeInvalid, op, format, args...)
	}
	if _, err := parseURL(c.URL); err != nil {
		return bad("%w", err)
	}
	for _, f := range c.filters(c.Topics) {
		if err := wire.ValidTopicFilter(f); err != nil {
			return bad("topic filter %q: %w", f, err)
		}
	}
	switch {
	case c.QoS < 0 || c.QoS > 2:
		return bad("qos %d is not 0, 1 or 2", c.QoS)
	case c.Version != "auto" && c.Version != "3.1.1" && c.Version != "5":
		return bad("version %q is not auto, 3.1.1 or 5", c.Version)
	case c.MinTLS != "1.2" && c.MinTLS != "1.3":
		return bad("min_tls %q is not 1.2 or 1.3", c.MinTLS)
	case (c.CertFile == "") != (c.KeyFile == ""):
		return bad("cert_file and key_file belong together")
	case c.ReceiveMaximum < 1 || c.ReceiveMaximum > 65535:
		return bad("receive_maximum %d is not 1 to 65535", c.ReceiveMaximum)
	case c.TopicAliasMaximum < -1 || c.TopicAliasMaximum > 65535:
		return bad("topic_alias_maximum %d is not -1 to 65535", c.TopicAliasMaximum)
	case c.KeepAlive < time.Second || c.KeepAlive > 65535*time.Second:
		return bad("keep_alive %s is not 1s to 65535s", c.KeepAlive)
	case c.MaxPayload < 0 || c.MaxPayload > wire.MaxRemaining:
		return bad("max_payload %d is not 1 to %d", c.MaxPayload, wire.MaxRemaining)
	case len(c.ClientID) > 65535 || wire.ValidText([]byte(c.ClientID)) != nil:
		return bad("client_id is not a valid MQTT string")
	case c.PasswordFile != "" && c.Username == "":
		return bad("password_file needs a username")
	}
	return nil
}

// filters applies ShareGroup.
func (c *Config) filters(topics []string) []string {
	out := make([]string, 0, len(topics))
	for _, t := range topics {
		if c.ShareGroup != "" && !strings.HasPrefix(t, "$share/") {
			t = "$share/" + c.ShareGroup + "/" + t
		}
		out = append(out, t)
	}
	return out
}

func (c *Config) password() ([]byte, error) {
	if c.PasswordFile == "" {
		return nil, nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("read password file: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return []byte(strings.TrimSuffix(line, "\r")), nil
}

// tlsConfig reads the files anew at each connect, so that certificates may be
// renewed without a restart.
func (c *Config) tlsConfig(host string) (*tls.Config, error) {
	t := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS13, InsecureSkipVerify: c.InsecureSkipVerify} //nolint:gosec // off unless a person asked for it
	if c.ServerName != "" {
		t.ServerName = c.ServerName
	}
	if c.MinTLS == "1.2" {
		t.MinVersion = tls.VersionTLS12
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file %q holds no PEM certificate", c.CAFile)
		}
	}
	if c.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load client certificate: %w", err)
		}
		t.Certificates = []tls.Certificate{cert}
	}
	return t, nil
}
