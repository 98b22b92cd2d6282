package broker

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

func TestConfigurationsThatContradictThemselvesAreRefused(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(bad, []byte("anna:plain\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"no listener":            func(c *Config) { c.Listen = "" },
		"everybody could log in": func(c *Config) { c.Listen = "0.0.0.0:1883" },
		"listener :1883":         func(c *Config) { c.Listen = ":1883" },
		"tls.cert":               func(c *Config) { c.TLS.Listen = ":8883" },
		"nobody could log in":    func(c *Config) { c.Anonymous = "no" },
		`anonymous "maybe"`:      func(c *Config) { c.Anonymous = "maybe" },
		"max_inflight":           func(c *Config) { c.MaxInflight = 70_000 },
		"min_version":            func(c *Config) { c.TLS.MinVersion = "1.1" },
		"websocket.path":         func(c *Config) { c.WebSocket.Path = "mqtt" },
		"negative":               func(c *Config) { c.MaxKeepAlive = -1 },
		`users:1: user "anna"`:   func(c *Config) { c.PasswordFile = bad },
		"read password file":     func(c *Config) { c.PasswordFile = bad + "x" },
		"max_payload, max_packet and max_clients": func(c *Config) { c.MaxPacket = 1 },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		_, err := New(cfg, newFakeSink(t), nil)
		if err == nil || !strings.Contains(err.Error(), want) || telemetry.CodeOf(err) != telemetry.CodeInvalid {
			t.Errorf("want an error about %q, got %v", want, err)
		}
	}
	for _, change := range []func(*Config){
		func(*Config) {},
		func(c *Config) { c.Listen = "[::1]:1883" },
		func(c *Config) { c.Listen, c.Anonymous = ":1883", "yes" },
		func(c *Config) { *c = Config{Listen: "localhost:1883"} },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if _, err := New(cfg, newFakeSink(t), nil); err != nil {
			t.Error(err)
		}
	}
}

func TestATakenPortSaysWhatToDo(t *testing.T) {
	b := start(t, newFakeSink(t))
	cfg := DefaultConfig()
	cfg.Listen = b.address("tcp")
	second, err := New(cfg, newFakeSink(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	err = second.Start(context.Background())
	if err == nil || !strings.Contains(err.Error(), "is taken") || !strings.Contains(err.Error(), "--from mqtt://"+b.address("tcp")) {
		t.Errorf("got %v", err)
	}
	if telemetry.CodeOf(err) != telemetry.CodeUnavailable {
		t.Errorf("code %v", telemetry.CodeOf(err))
	}
}
