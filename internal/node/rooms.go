package node

import (
	"net"
	"net/url"
	"path/filepath"

	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/node/probe"
	"github.com/weir-telemetry/weir/internal/seal"
	"github.com/weir-telemetry/weir/internal/source/broker"
	"github.com/weir-telemetry/weir/internal/source/mqtt"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// brokerConfig says in the broker's words what the configuration says in its own.
func brokerConfig(c *config.Config, ring *seal.Ring) broker.Config {
	b := &c.Broker
	return broker.Config{
		Enabled: true,
		Listen:  b.Listen,
		TLS: broker.TLSConfig{
			Listen: b.TLS.Listen, Cert: b.TLS.CertFile, Key: b.TLS.KeyFile, ClientCA: b.TLS.ClientCA, MinVersion: b.TLS.MinVersion,
		},
		WebSocket: broker.WebSocketConfig{
			Listen: b.WebSocket.Listen, Path: b.WebSocket.Path, TLS: b.WebSocket.TLS, Origins: b.WebSocket.Origins,
		},
		PasswordFile:      b.PasswordFile,
		Anonymous:         b.Anonymous,
		Dir:               filepath.Join(c.DataDir, brokerDir),
		Box:               ring.Box(string(telemetry.DefaultTenant)), // whose clients they are
		MaxClients:        b.MaxClients,
		MaxPayload:        int(c.Pipeline.MaxPayload.Bytes),
		MaxPacket:         int(b.MaxPacket.Bytes),
		MaxInflight:       b.MaxInflight,
		MaxKeepAlive:      b.MaxKeepAlive.D,
		MaxSessionExpiry:  b.MaxSessionExpiry.D,
		MaxQueuedMessages: b.MaxQueuedMessages,
		MaxQueuedBytes:    int(b.MaxQueuedBytes.Bytes),
		MaxQueuedTotal:    int(b.MaxQueuedTotal.Bytes),
		MaxRetainedBytes:  int(b.MaxRetainedBytes.Bytes),
	}
}

// sourceConfig does the same for one source.
func sourceConfig(c *config.Config, i int, ring *seal.Ring) mqtt.Config {
	m := &c.Sources[i].MQTT
	out := mqtt.DefaultConfig()
	out.Name = m.Name
	out.URL = m.URL
	out.Topics = m.Topics
	out.QoS = m.QoS
	out.ShareGroup = m.ShareGroup
	out.ClientID = m.ClientID
	out.Version = m.Version
	out.Username = m.Username
	out.PasswordFile = m.PasswordFile
	out.CAFile = m.CAFile
	out.CertFile = m.CertFile
	out.KeyFile = m.KeyFile
	out.ServerName = m.ServerName
	out.InsecureSkipVerify = m.Insecure
	out.MinTLS = m.MinTLS
	out.KeepAlive = m.KeepAlive.D
	out.ConnectTimeout = m.ConnectTimeout.D
	out.SessionExpiry = m.SessionExpiry.D
	out.ReceiveMaximum = m.ReceiveMaximum
	out.MaxPayload = int(c.Pipeline.MaxPayload.Bytes)
	// A stopping source leaves the pipeline some time for its own end.
	out.DrainTimeout = c.Node.DrainTimeout.D * 3 / 4
	out.StateDir = c.DataDir
	out.Box = ring.Box(seal.NodeOwner)
	return out
}

// Dialable is an address that a client on this machine can dial, for one that a
// server listens on.
func Dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// BrokerAddress returns the host and port of a broker's URL, and whether it wants
// TLS.
func BrokerAddress(broker string) (address string, usesTLS bool, err error) {
	if message, hint := config.CheckBrokerURL(broker); message != "" || broker == "" {
		return "", false, telemetry.Errorf(telemetry.CodeInvalid, "read the broker's URL", "%s", message).WithHint(hint)
	}
	u, err := url.Parse(broker)
	if err != nil {
		return "", false, err
	}
	usesTLS = u.Scheme != "mqtt" && u.Scheme != "tcp"
	port := u.Port()
	if port == "" {
		port = "1883"
		if usesTLS {
			port = "8883"
		}
	}
	return net.JoinHostPort(u.Hostname(), port), usesTLS, nil
}

// BrokerLogin is how to reach the broker of a source.
func BrokerLogin(c *config.Config, i int) (probe.Login, error) {
	m := &c.Sources[i].MQTT
	address, usesTLS, err := BrokerAddress(m.URL)
	return probe.Login{
		Address: address, TLS: usesTLS, Username: m.Username, PasswordFile: m.PasswordFile, CAFile: m.CAFile,
		CertFile: m.CertFile, KeyFile: m.KeyFile, ServerName: m.ServerName, MinTLS: m.MinTLS, Insecure: m.Insecure,
	}, err
}

// Disk is what a directory lies on.
type Disk struct {
	Card      bool // an SD card or eMMC
	Free      int64
	FreeKnown bool
}

// LookAtDisk says what a directory lies on.
func LookAtDisk(dir string) Disk {
	d := Disk{Card: onCard(dir)}
	d.Free, d.FreeKnown = freeBytes(dir)
	return d
}
