package command

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/node/control"
)

// welcome tells a person what listens where, where the data is, and what to try.
func (e *Env) welcome(s *control.Status, d *demonstration) error {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-14s %s\n", what, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "Weir %s is running.\n\n", e.Version)
	mqtt := ""
	for _, l := range s.Listeners {
		switch {
		case l.What == "mqtt tcp":
			mqtt = node.Dialable(l.Address)
			line("MQTT broker", "%s", reachable(l.Address))
		case strings.HasPrefix(l.What, "mqtt "):
			line("MQTT "+strings.TrimPrefix(l.What, "mqtt "), "%s", reachable(l.Address))
		case l.What == "http":
			line("HTTP", "http://%s   /healthz  /readyz  /metrics", node.Dialable(l.Address))
			if others := elsewhere(l.Address); len(others) > 0 {
				line("", "for other machines: %s", strings.Join(others, ", "))
			}
		}
	}
	for _, src := range e.Config.Sources {
		line("source "+src.MQTT.Name, "%s", src.MQTT.URL)
	}
	line("data", "%s", shown(e.Config.DataDir))
	names := map[string]bool{}
	var tables []string
	for _, sc := range s.Schemas {
		if !names[sc.Table] {
			names[sc.Table] = true
			tables = append(tables, sc.Table)
		}
	}
	if len(tables) == 0 {
		line("schemas", "%s has none yet: every message is unmatched until it has", shown(e.Config.Schemas))
	} else {
		line("schemas", "%s: %s", shown(e.Config.Schemas), strings.Join(tables, ", "))
	}
	for _, r := range s.Reasons {
		if r.Part == "schema" && len(tables) > 0 {
			line("", "%s", r.Message)
		}
	}
	if d.fleet != nil {
		line("demo fleet", "%d devices publish over MQTT; one message in a hundred is wrong on purpose", d.fleet.Devices())
	}
	b.WriteString("\nTry in another terminal:\n")
	for _, command := range e.suggestions(tables, mqtt, d.options) {
		fmt.Fprintf(&b, "  %s\n", command)
	}
	b.WriteString("\nStop with Ctrl-C: what is on its way becomes durable first.\n\n")
	return e.printf("%s", b.String())
}

// reachable is a listener's address with those that other machines use.
func reachable(listen string) string {
	if others := elsewhere(listen); len(others) > 0 {
		return node.Dialable(listen) + ", for other machines: " + strings.Join(others, ", ")
	}
	return listen
}

// elsewhere returns the addresses by which other machines reach a listener on all
// interfaces. Link-local ones are left out: they mean nothing without their zone.
func elsewhere(listen string) []string {
	host, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err != nil || host != "" && (ip == nil || !ip.IsUnspecified()) {
		return nil
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil // a node that runs is not ended by what it would have printed
	}
	var out []string
	for _, a := range addresses {
		n, ok := a.(*net.IPNet)
		if ok && !n.IP.IsLoopback() && n.IP.IsGlobalUnicast() {
			out = append(out, net.JoinHostPort(n.IP.String(), port))
		}
	}
	return out
}

// suggestions are commands that work as they stand.
func (e *Env) suggestions(tables []string, mqtt string, o ServeOptions) []string {
	call := func(args string) string { return self() + " " + args + o.Flags }
	var out []string
	switch {
	case o.Demo && slices.Contains(tables, "env") && slices.Contains(tables, "power"):
		out = append(out,
			call(`query "select device, avg(temperature) from env group by device"`),
			call(`query "select bucket('1m', time) as minute, avg(power) from power group by minute order by minute desc limit 5"`))
	case len(tables) > 0:
		out = append(out, call(fmt.Sprintf(`query "select * from %s_latest limit 10"`, tables[0])))
	default:
		if mqtt != "" {
			host, port, _ := strings.Cut(mqtt, ":")
			login := ""
			if e.Config.Broker.PasswordFile != "" {
				login = " -u USER -P PASSWORD"
			}
			out = append(out, fmt.Sprintf("mosquitto_sub -h %s -p %s%s -t '#' -C 20 | %s schema infer > %s", host, port, login, self(), filepath.Join(shown(e.Config.Schemas), "first.yaml")))
		}
		out = append(out, call("schema check"))
	}
	if o.Demo {
		out = append(out, call("quarantine list --limit 5"))
	}
	return append(out, call("doctor"+o.From))
}

// self is how this binary was called.
func self() string {
	if len(os.Args) > 0 && os.Args[0] != "" {
		return os.Args[0]
	}
	return "weir"
}

// shown is a path as a person would write it from here.
func shown(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && filepath.IsAbs(path) && !strings.HasPrefix(rel, "..") {
		return "." + string(filepath.Separator) + rel
	}
	return path
}
