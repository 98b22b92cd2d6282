package mqtt

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

func TestTheBrokersSessionFollowsTheTopics(t *testing.T) {
	for _, v := range versions {
		t.Run("version "+v, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				cfg := f.config()
				cfg.Version, cfg.StateDir = v, t.TempDir()
				cfg.Topics = []string{"b", "a", "a"}
				s, stop := start(t, cfg, &recorder{})
				p := f.accept(wire.Connack{})
				if got := p.filters(wire.SUBSCRIBE); !slices.Equal(got, []string{"a", "b"}) {
					t.Fatalf("subscribed %v", got)
				}
				// On the standing connection.
				if err := s.SetTopics([]string{"b", "c/#"}, false); err != nil {
					t.Fatal(err)
				}
				if got := p.filters(wire.SUBSCRIBE); !slices.Equal(got, []string{"a", "b", "c/#"}) {
					t.Fatalf("subscribed %v", got)
				}
				if got := p.filters(wire.UNSUBSCRIBE); !slices.Equal(got, []string{"a"}) {
					t.Fatalf("unsubscribed %v", got)
				}
				if err := s.SetTopics([]string{"b", "c/#"}, false); err != nil {
					t.Fatal(err)
				}
				if got := p.filters(wire.SUBSCRIBE); len(got) != 3 {
					t.Fatalf("subscribed again without need: %v", got)
				}
				stop()

				// What an earlier run left in the session goes, and what is wanted is
				// asked for again.
				cfg.Topics = []string{"b", "d"}
				s, _ = start(t, cfg, &recorder{})
				p = f.resume()
				if got := p.filters(wire.SUBSCRIBE); !slices.Equal(got, []string{"b", "d"}) {
					t.Fatalf("subscribed %v", got)
				}
				if got := p.filters(wire.UNSUBSCRIBE); !slices.Equal(got, []string{"c/#"}) {
					t.Fatalf("unsubscribed %v", got)
				}
				p.hangUp()
				// Between two connections.
				if err := s.SetTopics([]string{"e"}, false); err != nil {
					t.Fatal(err)
				}
				p = f.resume()
				if got := p.filters(wire.UNSUBSCRIBE); !slices.Equal(got, []string{"b", "d"}) {
					t.Fatalf("unsubscribed %v", got)
				}
				p.hangUp()
				// A session that is gone has nothing to unsubscribe.
				if err := s.SetTopics(nil, false); err != nil {
					t.Fatal(err)
				}
				p = f.accept(wire.Connack{})
				if got := append(p.filters(wire.UNSUBSCRIBE), p.filters(wire.SUBSCRIBE)...); len(got) != 0 {
					t.Fatalf("sent %v", got)
				}
			})
		})
	}
}

func TestAnUnfinishedUnsubscribeIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		cfg := f.config()
		cfg.StateDir, cfg.Topics = t.TempDir(), []string{"a", "b"}
		s, stop := start(t, cfg, &recorder{})
		f.accept(wire.Connack{}).hangUp()
		if err := s.SetTopics([]string{"b"}, false); err != nil {
			t.Fatal(err)
		}
		stop() // before the broker heard of it
		cfg.Topics = []string{"b"}
		start(t, cfg, &recorder{})
		p := f.resume()
		if got := p.filters(wire.UNSUBSCRIBE); !slices.Equal(got, []string{"a"}) {
			t.Fatalf("unsubscribed %v", got)
		}
	})
}

// What is published before the broker has answered may be lost: only then does the
// source call itself subscribed.
func TestASourceIsSubscribedOnceTheBrokerHasAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		cfg := f.config()
		s, _ := start(t, cfg, &recorder{})
		for range 2 { // a reconnect begins anew
			p := f.answer(func(*wire.Connect) []byte { return nil })
			p.slow = true
			p.send(wire.AppendConnack(nil, p.version, &wire.Connack{}))
			synctest.Wait()
			if st := s.Status(); !st.Connected || st.Subscribed || !strings.Contains(st.Reason, "not answered") {
				t.Errorf("before the answer: connected %v, subscribed %v, %q", st.Connected, st.Subscribed, st.Reason)
			}
			p.send(wire.AppendSuback(nil, p.version, &wire.Suback{PacketID: 1, Reasons: []wire.ReasonCode{wire.GrantedQoS1}}))
			synctest.Wait()
			if st := s.Status(); !st.Subscribed || st.Reason != "" {
				t.Errorf("after it: subscribed %v, %q", st.Subscribed, st.Reason)
			}
			// More topics do not make it unready: what it had goes on.
			if err := s.SetTopics([]string{"#", "more"}, false); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if st := s.Status(); !st.Subscribed || st.Reason != "" {
				t.Errorf("with a new topic: subscribed %v, %q", st.Subscribed, st.Reason)
			}
			if err := s.SetTopics([]string{"#"}, false); err != nil {
				t.Fatal(err)
			}
			p.hangUp()
			synctest.Wait()
			if st := s.Status(); st.Subscribed {
				t.Error("subscribed without a connection")
			}
		}
	})
}

func TestARefusedFilterIsReportedByName(t *testing.T) {
	for _, v := range versions {
		t.Run("version "+v, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				cfg := f.config()
				cfg.Version, cfg.Topics, cfg.QoS = v, []string{"good", "secret/#", "weak"}, 2
				s, _ := start(t, cfg, &recorder{})
				p := f.answer(func(*wire.Connect) []byte { return nil })
				p.grant = func(s wire.Subscription) wire.ReasonCode {
					switch s.Filter {
					case "secret/#":
						return wire.NotAuthorized
					case "weak":
						return wire.GrantedQoS1
					}
					return wire.ReasonCode(s.QoS)
				}
				p.send(wire.AppendConnack(nil, p.version, &wire.Connack{}))
				synctest.Wait()
				st := s.Status()
				if len(st.Filters) != 3 || st.Filters[0].Granted != 2 || st.Filters[1].Granted != -1 || st.Filters[1].Refused == "" || st.Filters[2].Granted != 1 {
					t.Errorf("filters %+v", st.Filters)
				}
				if !st.Connected || !strings.Contains(st.Reason, "secret/#") || v == "5" && !strings.Contains(st.Reason, "not authorized") {
					t.Errorf("connected %v, reason %q", st.Connected, st.Reason)
				}
			})
		})
	}
}

func TestManyFiltersAreSentWithinTheServersPacketSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		cfg := f.config()
		cfg.Topics = nil
		for i := range 500 {
			cfg.Topics = append(cfg.Topics, fmt.Sprintf("plants/p%03d/lines/+/env", i))
		}
		s, _ := start(t, cfg, &recorder{})
		var ack wire.Connack
		ack.Properties.SetUint(wire.MaximumPacketSize, 200)
		p := f.accept(ack)
		if got := p.filters(wire.SUBSCRIBE); !slices.Equal(got, cfg.Topics) {
			t.Fatalf("subscribed %d filters", len(got))
		}
		for _, k := range p.of(wire.SUBSCRIBE) {
			if len(k.body)+3 > 200 {
				t.Fatalf("a packet of %d bytes", len(k.body)+3)
			}
		}
		connected(t, s)
		if s.Status().Limits.MaximumPacketSize != 200 {
			t.Errorf("limits %+v", s.Status().Limits)
		}
	})
}

func TestSharedSubscriptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		cfg := f.config()
		cfg.ShareGroup, cfg.Topics = "weir", []string{"a/#", "$share/other/b"}
		start(t, cfg, &recorder{})
		p := f.accept(wire.Connack{})
		if got := p.filters(wire.SUBSCRIBE); !slices.Equal(got, []string{"$share/other/b", "$share/weir/a/#"}) {
			t.Fatalf("subscribed %v", got)
		}
	})
}

func TestTheClientIdentifierIsDrawnOnceAndKept(t *testing.T) {
	dir := t.TempDir()
	id := func(dir, name string) string {
		s, err := New(Config{URL: "mqtt://h", StateDir: dir, Name: name}, &recorder{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s.Status().ClientID
	}
	first := id(dir, "plant")
	if len(first) < 10 || len(first) > 23 {
		t.Errorf("drew %q", first)
	}
	if again := id(dir, "plant"); again != first {
		t.Errorf("drew %q, then %q", first, again)
	}
	if other := id(dir, "cellar/2"); other == first {
		t.Error("two sources of one node share an identifier")
	}
	if other := id(t.TempDir(), "plant"); other == first {
		t.Error("two nodes share an identifier")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
	if err := os.WriteFile(stateFile(dir, "plant"), []byte("{broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{URL: "mqtt://h", StateDir: dir, Name: "plant"}, &recorder{}, nil); err == nil || !strings.Contains(err.Error(), "source-plant.json") {
		t.Errorf("a damaged state file: %v", err)
	}
}

func TestWhatConnectAsksFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		cfg := f.config()
		cfg.Username, cfg.PasswordFile = "ada", t.TempDir()+"/password"
		cfg.SessionExpiry = time.Hour
		if err := os.WriteFile(cfg.PasswordFile, []byte("first line\r\nsecond\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		start(t, cfg, &recorder{})
		c := f.accept(wire.Connack{}).connect
		if c.Clean || c.KeepAlive != 30 || c.ClientID != "node" || c.Username != "ada" || string(c.Password) != "first line" || c.Will != nil ||
			c.Properties.UintOr(wire.SessionExpiry, 0) != 3600 || c.Properties.UintOr(wire.ReceiveMaximum, 0) != 65535 ||
			c.Properties.Has(wire.MaximumPacketSize) {
			t.Errorf("CONNECT %+v", c)
		}
	})
}

func TestAConfigurationThatCannotWorkIsRefused(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"scheme":             func(c *Config) { c.URL = "http://h" },
		"no host":            func(c *Config) { c.URL = "mqtt://" },
		"does not belong":    func(c *Config) { c.URL = "mqtt://user:pass@h" },
		"nothing may follow": func(c *Config) { c.URL = "mqtt://h/path" },
		"qos 3":              func(c *Config) { c.QoS = 3 },
		"version":            func(c *Config) { c.Version = "3.1" },
		"min_tls":            func(c *Config) { c.MinTLS = "1.1" },
		"belong together":    func(c *Config) { c.CertFile = "x" },
		"topic filter":       func(c *Config) { c.Topics = []string{"a/#/b"} },
		"receive_maximum":    func(c *Config) { c.ReceiveMaximum = 70000 },
		"keep_alive":         func(c *Config) { c.KeepAlive = time.Millisecond },
		"max_payload":        func(c *Config) { c.MaxPayload = 1 << 30 },
		"client_id":          func(c *Config) { c.ClientID = "a\x00" },
		"username":           func(c *Config) { c.PasswordFile = "f" },
	} {
		cfg := Config{URL: "mqtt://h"}
		change(&cfg)
		if _, err := New(cfg, &recorder{}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error about %q, got %v", want, err)
		}
		if _, err := New(cfg, &recorder{}, nil); err != nil && strings.Contains(err.Error(), "pass@") {
			t.Error("the error shows a password")
		}
	}
	for url, address := range map[string]string{
		"mqtt://h": "h:1883", "tcp://h:99": "h:99", "mqtts://h": "h:8883", "ssl://[::1]": "[::1]:8883", "MQTT://h/": "h:1883",
	} {
		if e, err := parseURL(url); err != nil || e.address != address {
			t.Errorf("%s: %q, %v", url, e.address, err)
		}
	}
	s, err := New(Config{URL: "mqtt://h"}, &recorder{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetTopics([]string{"a#"}, false); err == nil {
		t.Error("SetTopics took a filter that cannot be")
	}
}
