package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func load(t *testing.T, yaml string, environ []string, overrides ...Override) (*Loaded, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(Options{File: file, Environ: environ, Overrides: overrides})
}

func problemsOf(t *testing.T, yaml string) []string {
	t.Helper()
	_, err := load(t, yaml, nil)
	var ps Problems
	if !errors.As(err, &ps) {
		t.Fatalf("want Problems, got %v", err)
	}
	lines := make([]string, len(ps))
	for i, p := range ps {
		p.Origin.File = filepath.Base(p.Origin.File)
		lines[i] = p.Error()
	}
	return lines
}

func TestTheExampleOfTheDesignLoads(t *testing.T) {
	l, err := load(t, `# weir.yaml: every key has a default
data_dir: ./weir-data
schemas: ./schemas
http: {listen: 127.0.0.1:9347}
broker: {enabled: true, listen: 127.0.0.1:1883}
sources:
  - mqtt: {url: "mqtt://127.0.0.1:1883", topics: ["plants/#"], qos: 1, client_id: "", version: auto}   # auto | 3.1.1 | 5
store: {driver: embedded, commit_interval: auto}
encryption: {enabled: false, key_file: ""}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := l.Sources[0].MQTT
	if m.URL != "mqtt://127.0.0.1:1883" || len(m.Topics) != 1 || m.Topics[0] != "plants/#" || m.QoS != 1 || m.Name != "mqtt" {
		t.Errorf("source read as %+v", m)
	}
	if !l.Store.CommitInterval.Auto {
		t.Error("commit_interval is not auto")
	}
	if want := filepath.Join(filepath.Dir(l.File), "weir-data"); l.DataDir != want {
		t.Errorf("data_dir is %q, want %q: relative to the file", l.DataDir, want)
	}
}

func TestAllErrorsComeAtOnceEachWithItsPlace(t *testing.T) {
	got := problemsOf(t, `data_dir: ./d
brocker:
  enabled: true
broker:
  listn: 127.0.0.1:1883
  enabled: perhaps
http:
  listen: 9347
store:
  commit_interval: 5
  driver: embeded
pipeline:
  buffer: 64 parrots
  max_payload: 1GB
sources:
  - mqtt: {url: "http://host", qos: 3, topics: ["a/#/b"]}
  - mqtt: {}
  - kafka: {}
encryption: {enabled: true}
store:
  max_series: 1
`)
	want := []string{
		`weir.yaml:2:1: unknown key "brocker" (did you mean "broker"?)`,
		`weir.yaml:5:3: unknown key "listn" in broker (did you mean "listen"?)`,
		`weir.yaml:6:12: broker.enabled: "perhaps" is neither true nor false`,
		`weir.yaml:8:11: http.listen: "9347" is only a port (write 127.0.0.1:9347, or :9347 for all interfaces)`,
		`weir.yaml:10:20: store.commit_interval: "5" has no unit; write it as 2ms, 90s, 12h or 7d`,
		`weir.yaml:11:11: store.driver: "embeded" is not one of embedded; did you mean "embedded"?`,
		`weir.yaml:13:11: pipeline.buffer: "64 parrots" has the unknown unit "parrots"; write it as 512KB, 64MB or 2GB`,
		`weir.yaml:14:16: pipeline.max_payload: 1GB is above the greatest value, 256MB`,
		`weir.yaml:16:17: sources[0].mqtt.url: unknown scheme "http" (write mqtt:// or mqtts:// (TLS))`,
		`weir.yaml:16:37: sources[0].mqtt.qos: 3 is above the greatest value, 2`,
		`weir.yaml:16:48: sources[0].mqtt.topics: filter 1 ("a/#/b"): # stands alone, at the end`,
		`weir.yaml:17:5: sources[1].mqtt: needs a url (as mqtt://127.0.0.1:1883)`,
		`weir.yaml:18:5: unknown key "kafka" in sources[2] (known here: mqtt)`,
		`weir.yaml:19:23: encryption.enabled: needs a master key (give one of key_file, key_env and key_command; weir key init makes the key file)`,
		`weir.yaml:20:1: store: given twice; the first one stands in line 9`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAKeyInTheWrongBlockIsPointedHome(t *testing.T) {
	got := problemsOf(t, "commit_interval: 2ms\n")
	if want := `weir.yaml:1:1: unknown key "commit_interval" (did you mean "store.commit_interval"?)`; len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBrokenYAMLNamesItsLine(t *testing.T) {
	for _, yaml := range []string{"data_dir: ./d\nbroker: {enabled: true\n", "a: b: c\n", "\tbroker:\n", "- a\n- b\n", "just text\n", "broker: [1, 2\n", "x: *nowhere\n", "--- \na: 1\n---\nb: 2\n"} {
		for _, line := range problemsOf(t, yaml) {
			if !strings.HasPrefix(line, "weir.yaml:") {
				t.Errorf("%q: the problem has no place: %s", yaml, line)
			}
		}
	}
}

func TestAnEmptyFileMeansTheDefaults(t *testing.T) {
	for _, yaml := range []string{"", "# nothing\n", "---\n", "null\n", "broker:\nstore:\n"} {
		l, err := load(t, yaml, nil)
		if err != nil {
			t.Errorf("%q: %v", yaml, err)
			continue
		}
		if l.Broker.Listen != "127.0.0.1:1883" || l.HTTP.Listen != "127.0.0.1:9347" {
			t.Errorf("%q: listens on %q and %q", yaml, l.Broker.Listen, l.HTTP.Listen)
		}
	}
}

func TestTheEnvironmentWinsOverTheFileAndFlagsOverBoth(t *testing.T) {
	file := "store: {commit_interval: 5ms}\nlog: {level: warn}\nsources:\n  - mqtt: {url: mqtt://a:1883}\n"
	l, err := load(t, file, []string{
		"WEIR_STORE_COMMIT_INTERVAL=1 s", "WEIR_LOG_LEVEL=debug", "WEIR_SOURCES_0_MQTT_TOPICS=a/#, b/+",
		"WEIR_SOURCES_1_MQTT_URL=mqtts://b:8883", "PATH=/bin",
	}, Override{"log.level", "error", "--log-level"})
	if err != nil {
		t.Fatal(err)
	}
	if l.Store.CommitInterval.D != time.Second {
		t.Errorf("commit_interval is %s", l.Store.CommitInterval)
	}
	if l.Log.Level != "error" {
		t.Errorf("level is %s", l.Log.Level)
	}
	if len(l.Sources) != 2 || l.Sources[1].MQTT.Name != "mqtt2" || l.Sources[1].MQTT.QoS != 1 || len(l.Sources[0].MQTT.Topics) != 2 {
		t.Errorf("sources are %+v", l.Sources)
	}
	if o := l.Origin("log.level").String(); o != "--log-level" {
		t.Errorf("the level's origin is %q", o)
	}
}

func TestAWrongVariableNamesItself(t *testing.T) {
	l, err := load(t, "", []string{"WEIR_STORE_COMMIT_INTERVALL=1s", "WEIR_SERVICE_HOST=10.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Warnings) != 2 || !strings.Contains(strings.Join(l.Warnings, "\n"), "did you mean WEIR_STORE_COMMIT_INTERVAL?") {
		t.Errorf("warnings are %q", l.Warnings)
	}
	if _, err := load(t, "", []string{"WEIR_BROKER_MAX_CLIENTS=many"}); err == nil || !strings.Contains(err.Error(), `WEIR_BROKER_MAX_CLIENTS: broker.max_clients: "many" is not a whole number`) {
		t.Errorf("the error is %v", err)
	}
}

func TestAVariableThatHoldsTheMasterKeyIsNotWarnedOf(t *testing.T) {
	l, err := load(t, "encryption: {enabled: true, key_env: WEIR_MASTER}", []string{"WEIR_MASTER=x", "WEIR_MASTERS=x"})
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], "WEIR_MASTERS sets no key") {
		t.Errorf("warnings are %q", l.Warnings)
	}
}

func TestListeningForOthersNeedsCredentials(t *testing.T) {
	for yaml, fine := range map[string]bool{
		"broker: {listen: 0.0.0.0:1883}":                        false,
		"broker: {listen: ':1883'}":                             false,
		"broker: {listen: 0.0.0.0:1883, enabled: false}":        true,
		"broker: {listen: 0.0.0.0:1883, anonymous: yes}":        true,
		"broker: {listen: 0.0.0.0:1883, password_file: users}":  true,
		"broker: {listen: '[::1]:1883'}":                        true,
		"broker: {listen: localhost:1883}":                      true,
		"broker: {listen: ''}":                                  false,
		"broker: {tls: {listen: 127.0.0.1:8883}}":               false,
		"node: {profile: true}\nhttp: {listen: 0.0.0.0:9347}":   false,
		"sources: [{mqtt: {url: 'mqtt://u:secret@host:1883'}}]": false,
		"sources: [{mqtt: {url: 'mqtt://u@host'}}]":             false,
		"sources: [{mqtt: {url: 'mqtt://host'}}]":               true,
	} {
		if _, err := load(t, yaml, nil); (err == nil) != fine {
			t.Errorf("%q: err = %v, want it accepted: %v", yaml, err, fine)
		}
	}
}

func TestALimitOfZeroIsRefusedWhereItCannotBeMeant(t *testing.T) {
	for yaml, says := range map[string]string{
		"sources: [{mqtt: {url: 'mqtt://host', session_expiry: 0s}}]": "session_expiry: 0s is below the least value, 1s",
		"quarantine: {max_records: 0}":                                "quarantine.max_records: 0 is below the least value, 1",
		"quarantine: {max_bytes: 0B}":                                 "quarantine.max_bytes: 0B is below the least value, 1KB",
	} {
		if _, err := load(t, yaml, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: err = %v", yaml, err)
		}
	}
}

func TestWhatIsPrintedLoadsToTheSame(t *testing.T) {
	l, err := load(t, `store: {commit_interval: 4500ms, max_series: 5}
pipeline: {buffer: 33MB}
sources:
  - mqtt: {url: mqtt://a, topics: ["a/#", 'b "x"'], session_expiry: 1h30m}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := l.Print(&out, true); err != nil {
		t.Fatal(err)
	}
	again, err := load(t, out.String(), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !reflect.DeepEqual(l.Config, again.Config) {
		t.Errorf("%+v\nis not\n%+v", again.Config, l.Config)
	}
}

func TestSizesAndDurationsAreReadKindly(t *testing.T) {
	for text, want := range map[string]int64{"64MB": 64 << 20, "64 mib": 64 << 20, "1.5k": 1536, "0": 0, "7": 7, "2GB": 2 << 30} {
		if n, err := ParseSize(text); err != nil || n != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, n, err, want)
		}
	}
	for text, want := range map[string]time.Duration{"2ms": 2e6, "7d": 168 * time.Hour, "1d 12h": 36 * time.Hour, "2w": 336 * time.Hour, "0": 0, "1.5s": 15e8} {
		if d, err := ParseDuration(text); err != nil || d != want {
			t.Errorf("ParseDuration(%q) = %s, %v, want %s", text, d, err, want)
		}
	}
	for _, text := range []string{"", "MB", "-1", "1 parrot", "1e400", "NaN", "99999999TB"} {
		if n, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, n)
		}
	}
	for _, text := range []string{"", "s", "-1s", "5", "1 parrot", "d", "99999999w"} {
		if d, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %s, want an error", text, d)
		}
	}
}

func TestEveryKeyHasADocAndAUniqueVariable(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Keys() {
		if k.Doc == "" || !strings.HasSuffix(k.Doc, ".") {
			t.Errorf("%s has no sentence: %q", k.Path, k.Doc)
		}
		if seen[k.Env] {
			t.Errorf("%s: %s is taken", k.Path, k.Env)
		}
		seen[k.Env] = true
		if got := pathOfEnv(strings.ReplaceAll(k.Env, "<n>", "0")); got != strings.ReplaceAll(k.Path, "[]", "[0]") {
			t.Errorf("%s sets %q, want %q", k.Env, got, k.Path)
		}
	}
}

func FuzzAFileNeverPanics(f *testing.F) {
	f.Add("broker: {listen: 127.0.0.1:1}\nsources: [{mqtt: {url: mqtt://a}}]")
	f.Add("a: &x {b: *x}\n<<: *x\n? [a]\n: b\n")
	f.Add("store: !!str {commit_interval: 1s}")
	f.Fuzz(func(t *testing.T, yaml string) {
		d := &decoder{file: "f", origins: map[string]Origin{}, anchors: nil}
		d.anchors = newAnchors()
		d.decode([]byte(yaml), Default())
	})
}
