package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// validate checks what one field's type cannot say.
func (l *Loaded) validate() Problems {
	var problems Problems
	add := func(path, message, hint string) {
		problems = append(problems, Problem{Origin: l.origins[path], Key: path, Message: message, Hint: hint})
	}
	l.validateKinds(reflect.ValueOf(l.Config).Elem(), "", add)
	if l.DataDir == "" {
		add("data_dir", "is empty", "name a directory")
	}
	if l.Schemas == "" {
		add("schemas", "is empty", "name a directory")
	}
	l.validateEncryption(add)
	if interval := l.Store.CommitInterval; !interval.Auto && l.Node.DrainTimeout.D < interval.D+time.Second {
		add("node.drain_timeout", fmt.Sprintf("is shorter than store.commit_interval (%s) and a second: a stopping node could not commit what it has", interval), "")
	}
	if l.Backup.Schedule != "" && l.Backup.Dir == "" {
		add("backup.schedule", "a schedule is given, and no backup.dir", "name the directory of the backups, on another disk")
	}
	l.validateBroker(add)
	l.validateSources(add)
	if l.Node.Profile && l.HTTP.Listen != "" && !Loopback(l.HTTP.Listen) {
		add("node.profile", "profiles show memory, and http.listen is not a loopback address", "listen on 127.0.0.1, or set it to false")
	}
	return problems
}

// validateGiven runs the same checks where there are problems already, so that
// all are reported at once, and leaves out what repeats one of them.
func (l *Loaded) validateGiven(known Problems) Problems {
	reported := map[string]bool{}
	for _, p := range known {
		reported[p.Key] = true
		reported[p.Origin.String()] = true
	}
	var more Problems
	for _, p := range l.validate() {
		if _, given := l.origins[p.Key]; given && !reported[p.Key] && !reported[p.Origin.String()] {
			more = append(more, p)
		}
	}
	return more
}

// sealingDrivers are the stores that keep what they get sealed. Others must see
// plain rows.
var sealingDrivers = []string{"embedded"}

func (l *Loaded) validateEncryption(add func(path, message, hint string)) {
	e := &l.Encryption
	given := 0
	for _, source := range []string{e.KeyFile, e.KeyEnv, e.KeyCommand} {
		if source != "" {
			given++
		}
	}
	switch {
	case given > 1:
		add("encryption.enabled", "the master key comes from more than one place", "give one of key_file, key_env and key_command")
	case e.Enabled && given == 0:
		add("encryption.enabled", "needs a master key", "give one of key_file, key_env and key_command; weir key init makes the key file")
	}
	if e.Enabled && !slices.Contains(sealingDrivers, l.Store.Driver) {
		add("encryption.enabled", fmt.Sprintf("store.driver %s must see plain rows", l.Store.Driver), "use the embedded store, or encrypt the disk of the database")
	}
	if e.Enabled && e.KeyFile != "" && inside(e.KeyFile, l.DataDir) {
		// A backup with keys is restored to such a place.
		l.Warnings = append(l.Warnings, "encryption.key_file lies inside data_dir: whoever gets hold of the data has the key with it")
	}
}

// inside reports whether a file lies in a directory, as far as names tell.
func inside(file, dir string) bool {
	f, errFile := filepath.Abs(file)
	d, errDir := filepath.Abs(dir)
	if errFile != nil || errDir != nil {
		return false
	}
	rel, err := filepath.Rel(d, f)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func (l *Loaded) validateBroker(add func(path, message, hint string)) {
	b := &l.Broker
	if !b.Enabled {
		return
	}
	if b.Listen == "" && b.TLS.Listen == "" && b.WebSocket.Listen == "" {
		add("broker.listen", "the broker is enabled and listens nowhere", "give it an address, or set broker.enabled to false")
	}
	if (b.TLS.Listen != "" || b.WebSocket.TLS) && (b.TLS.CertFile == "" || b.TLS.KeyFile == "") {
		at := "broker.tls.listen"
		if b.TLS.Listen == "" {
			at = "broker.websocket.tls"
		}
		add(at, "needs broker.tls.cert_file and broker.tls.key_file", "")
	}
	if b.Anonymous == "no" && b.PasswordFile == "" && b.TLS.ClientCA == "" {
		add("broker.anonymous", "nobody could log in: there is neither password_file nor tls.client_ca_file", "")
	}
	if !strings.HasPrefix(b.WebSocket.Path, "/") {
		add("broker.websocket.path", fmt.Sprintf("%q does not begin with /", b.WebSocket.Path), "")
	}
	if b.Anonymous == "yes" || b.PasswordFile != "" {
		return
	}
	for _, open := range []struct{ path, listen string }{
		{"broker.listen", b.Listen}, {"broker.tls.listen", b.TLS.Listen}, {"broker.websocket.listen", b.WebSocket.Listen},
	} {
		if wrong, _ := checkListen(open.listen); wrong != "" {
			continue // which is said already
		}
		if open.listen == "" || Loopback(open.listen) || open.path == "broker.tls.listen" && b.TLS.ClientCA != "" {
			continue
		}
		add(open.path, "listens for other machines, and anyone could connect",
			"give broker.password_file, or say broker.anonymous: yes, or start with --lan, which makes credentials")
	}
}

func (l *Loaded) validateSources(add func(path, message, hint string)) {
	names := map[string]bool{}
	for i := range l.Sources {
		m := &l.Sources[i].MQTT
		base := fmt.Sprintf("sources[%d]", i)
		path := base + ".mqtt"
		if m.URL == "" {
			at := path
			if !l.Given(at) {
				at = base
			}
			add(at, "needs a url", "as mqtt://127.0.0.1:1883")
		}
		if (m.CertFile == "") != (m.KeyFile == "") {
			add(path, "cert_file and key_file go together", "")
		}
		if m.PasswordFile != "" && m.Username == "" {
			add(path+".password_file", "needs a username", "")
		}
		if strings.HasPrefix(m.URL, "mqtt:") && (m.CAFile != "" || m.CertFile != "") {
			add(path+".url", "certificates are given, and the url does not ask for TLS", "write mqtts://")
		}
		if m.Name == "" {
			m.Name = "mqtt"
			if i > 0 {
				m.Name = "mqtt" + strconv.Itoa(i+1)
			}
		}
		if m.Name == "broker" || m.Name == "replay" || names[m.Name] {
			add(path+".name", fmt.Sprintf("the name %q is taken", m.Name), "names tell sources apart in metrics")
		}
		names[m.Name] = true
		for j, topic := range m.Topics {
			if message := checkFilter(topic); message != "" {
				add(path+".topics", fmt.Sprintf("filter %d (%q): %s", j+1, topic, message), "")
			}
		}
	}
}

// checkFilter returns what is wrong with a topic filter (MQTT 5, 4.7.1).
func checkFilter(filter string) string {
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		group, inner, ok := strings.Cut(rest, "/")
		if !ok || group == "" || strings.ContainsAny(group, "+#") {
			return "a shared subscription is $share/group/filter"
		}
		filter = inner
	}
	if filter == "" {
		return "is empty"
	}
	if len(filter) > 65535 {
		return "is longer than 65,535 bytes"
	}
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		if strings.Contains(level, "#") && (level != "#" || i != len(levels)-1) {
			return "# stands alone, at the end"
		}
		if strings.Contains(level, "+") && level != "+" {
			return "+ stands alone in its level"
		}
	}
	return ""
}

func (l *Loaded) validateKinds(v reflect.Value, path string, add func(path, message, hint string)) {
	for _, f := range fieldsOf(v.Type()) {
		fv, p := v.Field(f.index), join(path, f.key)
		switch {
		case f.isList():
			for i := range fv.Len() {
				l.validateKinds(fv.Index(i), fmt.Sprintf("%s[%d]", p, i), add)
			}
		case f.typ.Kind() == reflect.Struct && !isScalar(f.typ):
			l.validateKinds(fv, p, add)
		case f.kind == "listen":
			if message, hint := checkListen(fv.String()); message != "" {
				add(p, message, hint)
			}
		case f.kind == "file" && l.checkFiles:
			if message := checkFile(fv.String()); message != "" {
				add(p, message, "")
			}
		case f.kind == "schedule":
			if _, err := ParseSchedule(fv.String()); err != nil {
				add(p, err.Error(), "")
			}
		case f.kind == "brokerurl":
			if message, hint := CheckBrokerURL(fv.String()); message != "" {
				add(p, message, hint)
			}
		}
	}
}

// checkFile returns why a path cannot be the file that it should be. Whether it
// may be read and what is in it shows when it is read.
func checkFile(path string) string {
	if path == "" {
		return ""
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("there is no file %s", path)
	case err == nil && info.IsDir():
		return path + " is a directory, not a file"
	}
	return ""
}

func checkListen(listen string) (message, hint string) {
	if listen == "" {
		return "", ""
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		if _, number := strconv.ParseUint(listen, 10, 16); number == nil {
			return fmt.Sprintf("%q is only a port", listen), fmt.Sprintf("write 127.0.0.1:%s, or :%s for all interfaces", listen, listen)
		}
		return fmt.Sprintf("%q is not an address", listen), "write host:port, as 127.0.0.1:1883"
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Sprintf("%q is not a port", port), "a number from 0 (any free port) to 65535"
	}
	if strings.ContainsAny(host, " /") {
		return fmt.Sprintf("%q is not a host", host), ""
	}
	return "", ""
}

// CheckBrokerURL returns what is wrong with the URL of a broker.
func CheckBrokerURL(text string) (message, hint string) {
	if text == "" {
		return "", ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return fmt.Sprintf("%q is not a URL", text), "write mqtt://host:1883 or mqtts://host:8883"
	}
	schemes := []string{"mqtt", "mqtts", "tcp", "ssl", "tls"}
	known := false
	for _, s := range schemes {
		known = known || u.Scheme == s
	}
	switch {
	case !known:
		return fmt.Sprintf("unknown scheme %q", u.Scheme), "write mqtt:// or mqtts:// (TLS)"
	case u.User != nil:
		return "a user name or password in a URL ends in logs and process lists", "give username and password_file"
	case u.Path != "" && u.Path != "/" || u.RawQuery != "":
		return "nothing may follow the port: MQTT has no paths", "topics go under topics:"
	}
	return "", ""
}

// Loopback reports whether a listen address is reachable from this machine only.
func Loopback(listen string) bool {
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
