package broker

import (
	"net"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Config is everything that the broker can be told.
type Config struct {
	// Enabled says whether the node runs the broker.
	Enabled bool `yaml:"enabled"`
	// Listen is the address for MQTT over TCP. Empty turns it off.
	Listen string `yaml:"listen"`
	// TLS is MQTT over TLS, off while its Listen is empty.
	TLS TLSConfig `yaml:"tls"`
	// WebSocket is MQTT over WebSocket, off while its Listen is empty.
	WebSocket WebSocketConfig `yaml:"websocket"`

	// PasswordFile has lines of user:hash, as package credentials and mosquitto_passwd
	// write them.
	PasswordFile string `yaml:"password_file"`
	// Anonymous says whether clients may connect without a password: "yes", "no",
	// or "auto": only where there is no password file and every listener is on a
	// loopback address or asks for a client certificate.
	Anonymous string `yaml:"anonymous"`

	// Dir is where sessions, subscriptions and retained messages are kept. Empty:
	// they end with the process.
	Dir string `yaml:"dir"`
	// Box seals what is kept there; nil leaves it in clear.
	Box telemetry.Box `yaml:"-"`

	// MaxClients is how many clients may be connected at a time.
	MaxClients int `yaml:"max_clients"`
	// MaxPayload is the largest payload in bytes that is passed on whole. Larger
	// ones are read off the socket without being kept and quarantined truncated.
	MaxPayload int `yaml:"max_payload"`
	// MaxPacket is the largest packet in bytes that a client may send; it is
	// announced to MQTT 5 clients where it is less than the protocol's 256 MB.
	MaxPacket int `yaml:"max_packet"`
	// MaxInflight is how many QoS 1 and 2 messages of one client may wait for
	// their acknowledgement. It is the receive maximum of MQTT 5; for 3.1.1 the
	// socket is not read while it is reached.
	MaxInflight int `yaml:"max_inflight"`
	// MaxKeepAlive is the longest keep alive that MQTT 5 clients may choose, and
	// what a client gets that asks for none. 0: no limit.
	MaxKeepAlive time.Duration `yaml:"max_keep_alive"`
	// MaxSessionExpiry is how long a session is kept after its client went.
	MaxSessionExpiry time.Duration `yaml:"max_session_expiry"`

	// MaxQueuedMessages and MaxQueuedBytes bound what waits for one subscriber
	// that is away or slow; what comes then is dropped for it and counted.
	MaxQueuedMessages int `yaml:"max_queued_messages"`
	MaxQueuedBytes    int `yaml:"max_queued_bytes"`
	// MaxQueuedTotal bounds what waits for all subscribers together.
	MaxQueuedTotal int `yaml:"max_queued_total"`
	// MaxRetainedBytes bounds the retained messages; beyond it a message is
	// passed on and not retained.
	MaxRetainedBytes int `yaml:"max_retained_bytes"`

	// Now stamps messages with their time of receipt, ns since 1970 UTC, and tells
	// when they expire. Default: the wall clock, with all its jumps.
	Now func() int64 `yaml:"-"`
}

// TLSConfig is the listener for MQTT over TLS.
type TLSConfig struct {
	Listen string `yaml:"listen"`
	// Cert and Key are PEM files.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ClientCA is a PEM file; when set, a client must show a certificate that is
	// signed by one of its certificates.
	ClientCA string `yaml:"client_ca"`
	// MinVersion is "1.3" or, for devices that cannot, "1.2".
	MinVersion string `yaml:"min_version"`
}

// WebSocketConfig is the listener for MQTT over WebSocket.
type WebSocketConfig struct {
	Listen string `yaml:"listen"`
	// Path is where the WebSocket is served.
	Path string `yaml:"path"`
	// TLS serves it as wss with the certificate of TLSConfig.
	TLS bool `yaml:"tls"`
	// Origins are the host names from which browsers may connect, besides the
	// listener's own. Patterns as in path.Match. Programs that are not browsers
	// send no origin.
	Origins []string `yaml:"origins"`
}

// The limits that are not configured.
const (
	readBufferSize  = 64 << 10  // a borrowed read buffer
	smallBuffer     = 2 << 10   // the read buffer of a quiet TLS or WebSocket connection
	parkedSize      = 4 << 10   // what of a part of a packet may wait in a buffer of its own size
	maxControl      = 1 << 20   // largest packet other than PUBLISH
	oversizePrefix  = 192 << 10 // what is kept of a PUBLISH whose payload is drained
	outputLimit     = 1 << 20   // bytes waiting for a socket before its client is not read
	topicAliases    = 64        // topic aliases that a client may use
	aliasBytes      = 16 << 10  // bytes of topics that they may keep
	maxWindow       = 1024      // messages in flight to one subscriber
	connectTimeout  = 10 * time.Second
	writeTimeout    = 30 * time.Second
	closeTimeout    = 2 * time.Second // for the last bytes to a client that is being disconnected
	maxClientID     = 1024
	spareConns      = 256         // connections beyond MaxClients that have not said CONNECT
	protocolMaximum = 268_435_460 // the largest packet that MQTT can express
)

// DefaultConfig returns the configuration of a node that was told nothing.
func DefaultConfig() Config {
	return Config{
		Enabled:           true,
		Listen:            "127.0.0.1:1883",
		TLS:               TLSConfig{MinVersion: "1.3"},
		WebSocket:         WebSocketConfig{Path: "/mqtt"},
		Anonymous:         "auto",
		MaxClients:        10_000,
		MaxPayload:        1 << 20,
		MaxPacket:         protocolMaximum,
		MaxInflight:       16_384,
		MaxSessionExpiry:  7 * 24 * time.Hour,
		MaxQueuedMessages: 100_000,
		MaxQueuedBytes:    16 << 20,
		MaxQueuedTotal:    64 << 20,
		MaxRetainedBytes:  64 << 20,
	}
}

// withDefaults fills what is zero and cannot be.
func (c Config) withDefaults() Config {
	d := DefaultConfig()
	for _, f := range []struct{ have, want *int }{
		{&c.MaxClients, &d.MaxClients},
		{&c.MaxPayload, &d.MaxPayload},
		{&c.MaxPacket, &d.MaxPacket},
		{&c.MaxInflight, &d.MaxInflight},
		{&c.MaxQueuedMessages, &d.MaxQueuedMessages},
		{&c.MaxQueuedBytes, &d.MaxQueuedBytes},
		{&c.MaxQueuedTotal, &d.MaxQueuedTotal},
		{&c.MaxRetainedBytes, &d.MaxRetainedBytes},
	} {
		if *f.have == 0 {
			*f.have = *f.want
		}
	}
	if c.MaxSessionExpiry == 0 {
		c.MaxSessionExpiry = d.MaxSessionExpiry
	}
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixNano() }
	}
	if c.Anonymous == "" {
		c.Anonymous = "auto"
	}
	if c.WebSocket.Path == "" {
		c.WebSocket.Path = d.WebSocket.Path
	}
	if c.TLS.MinVersion == "" {
		c.TLS.MinVersion = d.TLS.MinVersion
	}
	return c
}

const opConfig = "configure broker"

// validate reports the first contradiction, after withDefaults.
func (c *Config) validate() error {
	bad := func(format string, args ...any) *telemetry.Error {
		return telemetry.Errorf(telemetry.CodeInvalid, opConfig, format, args...)
	}
	switch {
	case c.Listen == "" && c.TLS.Listen == "" && c.WebSocket.Listen == "":
		return bad("no listener is configured").WithHint("set broker.listen, or broker.enabled: false")
	case (c.TLS.Listen != "" || c.WebSocket.TLS) && (c.TLS.Cert == "" || c.TLS.Key == ""):
		return bad("TLS needs tls.cert and tls.key")
	case c.TLS.MinVersion != "1.3" && c.TLS.MinVersion != "1.2":
		return bad("tls.min_version %q is neither 1.3 nor 1.2", c.TLS.MinVersion)
	case c.Anonymous != "auto" && c.Anonymous != "yes" && c.Anonymous != "no":
		return bad("anonymous %q is none of auto, yes, no", c.Anonymous)
	case !strings.HasPrefix(c.WebSocket.Path, "/"):
		return bad("websocket.path %q does not start with /", c.WebSocket.Path)
	case c.MaxInflight < 1 || c.MaxInflight > 65535:
		return bad("max_inflight %d is not in 1 to 65535", c.MaxInflight)
	case c.MaxPayload < 1 || c.MaxPacket < 1024 || c.MaxPacket > protocolMaximum || c.MaxClients < 1:
		return bad("max_payload, max_packet and max_clients must be positive, max_packet between 1024 and %d", protocolMaximum)
	case c.MaxSessionExpiry < 0 || c.MaxKeepAlive < 0 || c.MaxQueuedMessages < 0 || c.MaxQueuedBytes < 0 ||
		c.MaxQueuedTotal < 0 || c.MaxRetainedBytes < 0:
		return bad("a limit is negative")
	case c.Anonymous == "no" && c.PasswordFile == "" && c.TLS.ClientCA == "":
		return bad("nobody could log in: anonymous is no, and there is neither password_file nor tls.client_ca")
	}
	if c.PasswordFile != "" || c.Anonymous != "auto" {
		return nil
	}
	for _, listen := range []string{c.Listen, c.WebSocket.Listen, c.TLS.Listen} {
		if listen == "" || loopback(listen) || listen == c.TLS.Listen && c.TLS.ClientCA != "" {
			continue
		}
		return bad("listener %s can be reached by others, and everybody could log in", listen).
			WithHint("give broker.password_file, or say broker.anonymous: yes")
	}
	return nil
}

// anonymousAllowed reports whether a client without a password is let in.
func (c *Config) anonymousAllowed() bool {
	switch c.Anonymous {
	case "yes":
		return true
	case "no":
		return false
	}
	return c.PasswordFile == ""
}

// loopback reports whether only this machine can reach the address.
func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
