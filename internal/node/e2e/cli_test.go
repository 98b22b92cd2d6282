package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/testkit"
)

func TestAConfigurationWithMistakesListsThemAll(t *testing.T) {
	long(t)
	p := newPlace(t, nil)
	p.write("weir.yaml", "data_dri: ./d\nbroker:\n  listn: x\nstore:\n  commit_interval: 5\nencryption: {enabled: true}\n")
	stdout, stderr, code := p.run("serve")
	if code != 2 || stdout != "" {
		t.Errorf("exit code %d, output %q", code, stdout)
	}
	for _, line := range []string{
		`weir.yaml:1:1: unknown key "data_dri" (did you mean "data_dir"?)`,
		`weir.yaml:3:3: unknown key "listn" in broker (did you mean "listen"?)`,
		`weir.yaml:5:20: store.commit_interval: "5" has no unit`,
		`weir.yaml:6:23: encryption.enabled: needs a master key (give one of key_file, key_env and key_command; weir key init makes the key file)`,
		`4 mistake(s)`,
	} {
		if !strings.Contains(stderr, line) {
			t.Errorf("it does not say %q:\n%s", line, stderr)
		}
	}
	if _, err := os.Stat(p.data); err == nil {
		t.Error("a refused start left a data directory")
	}
}

func TestWrongFlagsAndCommandsEndWithTwoAndAHint(t *testing.T) {
	long(t)
	p := newPlace(t, nil)
	for _, args := range [][]string{{"sevre"}, {"serve", "--demmo"}, {"query"}, {"query", "--format", "xml", "select 1"}, {"serve", "--set", "nonsense"}, {"serve", "--set", "broker.lisen=x"}, {"serve", "--from", "http://x"}} {
		_, stderr, code := p.run(args...)
		if code != 2 || stderr == "" {
			t.Errorf("weir %s: exit code %d\n%s", strings.Join(args, " "), code, stderr)
		}
	}
	for _, args := range [][]string{{}, {"--help"}, {"serve", "--help"}, {"version"}} {
		if stdout, stderr, code := p.run(args...); code != 0 || !strings.Contains(stdout, "weir") {
			t.Errorf("weir %s: exit code %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
		}
	}
}

func TestCommandsWithoutDataSaySoAndMakeNone(t *testing.T) {
	long(t)
	p := newPlace(t, nil)
	for _, args := range [][]string{{"query", "select 1"}, {"quarantine", "list"}, {"quarantine", "replay"}, {"schema", "list"}} {
		_, stderr, code := p.run(args...)
		if code != 3 || !contains(stderr, "no node has run", "weir serve") {
			t.Errorf("weir %s: exit code %d\n%s", strings.Join(args, " "), code, stderr)
		}
	}
	if _, err := os.Stat(p.data); err == nil {
		t.Error("a command made a data directory")
	}
}

func TestAnswersComeInEveryFormat(t *testing.T) {
	long(t)
	p := newPlace(t, map[string]string{"timed.yaml": timedSchema})
	r := p.serve()
	publish(t, r, "p", timed("a,\"b", 3))
	check := func(when string) {
		t.Helper()
		const sql = "select client, seq, time from timed order by seq"
		want := "client,seq,time\r\n" + `"a,""b",0,2025-06-15T15:06:40.000000000Z` + "\r\n" + `"a,""b",1,2025-06-15T15:06:40.001000000Z` + "\r\n" + `"a,""b",2,2025-06-15T15:06:40.002000000Z` + "\r\n"
		if got := p.must("query", "--format", "csv", sql); got != want {
			t.Errorf("%s: csv is\n%q, want\n%q", when, got, want)
		}
		var objects []map[string]any
		if err := json.Unmarshal([]byte(p.must("query", "--format", "json", sql)), &objects); err != nil || len(objects) != 3 || objects[2]["seq"] != 2.0 || objects[0]["client"] != `a,"b` {
			t.Errorf("%s: json is %v, %v", when, objects, err)
		}
		if got := p.must("query", "--format", "ndjson", sql); strings.Count(got, "\n") != 3 || !json.Valid([]byte(strings.Split(got, "\n")[2])) {
			t.Errorf("%s: ndjson is %s", when, got)
		}
		if got := p.must("query", sql); !contains(got, "client  seq  time", "(3 rows)") {
			t.Errorf("%s: the table is\n%s", when, got)
		}
		if got, _, _ := p.feed(sql+"\n", "query", "--format", "csv", "-"); got != want {
			t.Errorf("%s: from standard input csv is\n%q", when, got)
		}
		if _, stderr, code := p.run("query", "select nothing from nowhere"); code != 3 && code != 2 || stderr == "" {
			t.Errorf("%s: an unknown table ends with %d\n%s", when, code, stderr)
		}
		if _, _, code := p.run("query", "delete from timed"); code != 2 {
			t.Errorf("%s: a delete ends with %d", when, code)
		}
	}
	check("asking the node")
	if code := r.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	check("reading the directory")
}

func TestSchemaCheckNamesFileLineAndColumn(t *testing.T) {
	long(t)
	p := newPlace(t, map[string]string{"good.yaml": timedSchema, "bad.yaml": "name: bad\nversion: 1\ntopic: b/{x}\nformat: jsonn\npayload: {type: object}\n"})
	_, stderr, code := p.run("schema", "check")
	if code != 2 || !regexp.MustCompile(`bad\.yaml:4:\d+: `).MatchString(stderr) {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	if out := p.must("schema", "check", "schemas/good.yaml"); !contains(out, "timed version 1", "t/+/timed") {
		t.Errorf("the good one alone: %s", out)
	}
	if out := p.must("schema", "check", "schemas/good.yaml"); strings.Contains(out, "slow") {
		t.Errorf("the one-pass plan takes it all, and it says: %s", out)
	}
	p.write("slow.yaml", "name: slow\nversion: 1\ntopic: s/{x}\nformat: json\npayload:\n  type: object\n  properties: {v: {type: number}}\n  dependentRequired: {v: [w]}\n")
	if out := p.must("schema", "check", "slow.yaml"); !contains(out, "slow version 1", "slow: dependentRequired, line 8") {
		t.Errorf("a keyword outside the plan: %s", out)
	}
	if _, stderr, code := p.run("schema", "check", "schemas/missing.yaml"); code != 3 {
		t.Errorf("a missing file: exit code %d\n%s", code, stderr)
	}
}

func TestASchemaIsInferredFromSamples(t *testing.T) {
	long(t)
	p := newPlace(t, nil)
	out, stderr, code := p.feed("{\"ts\":1750000000000,\"temp\":21.5}\n{\"ts\":1750000001000,\"temp\":21.7,\"door\":\"open\"}\n", "schema", "infer")
	if code != 0 || !contains(out, "temp", "door", "payload") {
		t.Errorf("exit code %d\n%s%s", code, out, stderr)
	}
	out, stderr, code = p.feed(`{"":1,"temp":2.5}`, "schema", "infer")
	if code != 2 || !contains(out, "temp: {type: number}") || !contains(stderr, "do not fit one table", "hint:") {
		t.Errorf("a proposal that does not compile: exit code %d\n%s%s", code, out, stderr)
	}
	if out, stderr, code := p.feed("{\"a\":1,\n", "schema", "infer"); code != 0 || !strings.Contains(stderr, "sample 1 begins as JSON and is none") {
		t.Errorf("broken JSON: exit code %d\n%s%s", code, out, stderr)
	}
	if _, stderr, code := p.feed("", "schema", "infer"); code != 2 || !strings.Contains(stderr, "no samples") {
		t.Errorf("without samples: exit code %d\n%s", code, stderr)
	}
}

func TestQuarantineSaysOnceWhereTheTroubleIs(t *testing.T) {
	p := newPlace(t, map[string]string{"bare.yaml": bareSchema})
	r := p.serve()
	publish(t, r, "q", func(i int) (string, []byte, bool) {
		return "t/q/bare", []byte([]string{`{"seq":"one`, `{"seq":-1}`}[i%2]), i < 2
	})
	out := p.must("quarantine", "list")
	for _, line := range []string{"malformed", "invalid"} {
		if strings.Count(out, line) != 1 {
			t.Fatalf("no record %s:\n%s", line, out)
		}
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "malformed") && strings.Count(line, "byte ") != 1 || strings.Contains(line, "invalid") && strings.Count(line, "byte 7") != 1 {
			t.Errorf("where it is: %s", line)
		}
	}
}

func TestConfigPrintsWhatHoldsAndWhereItCameFrom(t *testing.T) {
	long(t)
	p := newPlace(t, nil)
	p.write("weir.yaml", "store: {commit_interval: 5ms}\n")
	out := p.must("config", "--origins", "--log-level", "debug")
	for _, line := range []string{`commit_interval: 5ms +# weir.yaml:1:26`, `level: "debug" +# --log-level`, `listen: "127.0.0.1:0" +# WEIR_HTTP_LISTEN`, `gc_percent: \d+ +# default`} {
		if !regexp.MustCompile(line).MatchString(out) {
			t.Errorf("no line like %q in\n%s", line, out)
		}
	}
}

func TestLanMakesCredentialsAndAsksForThem(t *testing.T) {
	long(t)
	p := newPlace(t, map[string]string{"bare.yaml": bareSchema})
	r := p.serve("--lan", "--demo")
	said := regexp.MustCompile(`user (\w+), password (\w+)`).FindStringSubmatch(r.out.String())
	if said == nil {
		t.Fatalf("no credentials were printed:\n%s", r.out.String())
	}
	if strings.HasPrefix(r.broker, "127.") || strings.HasPrefix(r.http, "127.") {
		t.Errorf("it listens on %s and %s", r.broker, r.http)
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(r.http, "[::]"), ":")
	ask := func(path, user, password string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			req.SetBasicAuth(user, password)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for _, c := range []struct {
		path, user, password string
		want                 int
	}{
		{"/healthz", "", "", 200},
		{"/readyz", "", "", 200},
		{"/metrics", "", "", 401},
		{"/metrics", said[1], "wrong", 401},
		{"/metrics", said[1], said[2], 200},
	} {
		if got := ask(c.path, c.user, c.password); got != c.want {
			t.Errorf("%s as %q: %d, want %d", c.path, c.user, got, c.want)
		}
	}
	testkit.Eventually(t, "the demo fleet is logged in", func() bool {
		s, err := r.status()
		return err == nil && s.Sources[0].Received > 100
	})
	if code := r.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	// Where the listeners are said by flags, --lan opens them all the same.
	again := p.serve("--lan", "--set", "broker.listen=127.0.0.1:0", "--set", "http.listen=0.0.0.0:0")
	if strings.Contains(again.out.String(), said[2]) || !contains(again.out.String(), "as user weir", "lan-users") {
		t.Errorf("the second start does not name the login without its password:\n%s", again.out.String())
	}
	if strings.HasPrefix(again.broker, "127.") {
		t.Errorf("it listens on %s", again.broker)
	}
	users, err := os.ReadFile(filepath.Join(p.data, "lan-users"))
	if err != nil || strings.Contains(string(users), said[2]) {
		t.Errorf("the file of users holds the password, or is not there: %v", err)
	}
}

func TestDoctorAsksTheBrokersOfTheRunningNode(t *testing.T) {
	m := testkit.StartMosquitto(t)
	p := newPlace(t, map[string]string{"bare.yaml": bareSchema})
	r := p.serve("--from", m.URL())
	if !strings.Contains(r.out.String(), "doctor --from "+m.URL()) {
		t.Errorf("the start-up output does not name the doctor's flag:\n%s", r.out.String())
	}
	testkit.Eventually(t, "the node is subscribed", r.subscribed)
	out, stderr, code := p.run("doctor")
	if code != 0 || !contains(out, "mosquitto version", "max_queued_messages") || strings.Contains(out, "embedded broker") {
		t.Errorf("exit code %d\n%s%s", code, out, stderr)
	}
	m.Stop()
	if out, _, code := p.run("doctor"); code != 5 || !contains(out, "FAIL", "cannot be asked") {
		t.Errorf("without the broker: exit code %d\n%s", code, out)
	}
}

func TestAnInterruptedQuerySaysSo(t *testing.T) {
	p := newPlace(t, map[string]string{"bare.yaml": bareSchema})
	r := p.serve()
	interrupt := func(when string) {
		t.Helper()
		cmd := p.command("query", "--format", "csv", "with recursive c(x) as (select 1 union all select x+1 from c) select x from c")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, out) // until it ends
		_ = cmd.Wait()                  // its code is asked below
		if code := cmd.ProcessState.ExitCode(); code != 130 || stderr.String() != "weir: interrupted\n" {
			t.Errorf("%s: exit code %d\n%s", when, code, stderr.String())
		}
	}
	interrupt("asking the node")
	if code := r.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	interrupt("reading the directory")
}

func TestTroubleAtTheStartIsNamedWithWhatHelps(t *testing.T) {
	other := newPlace(t, nil).serve()
	p := newPlace(t, nil)
	r := p.serve()
	if code := r.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	p.write("file", "")
	for _, c := range []struct {
		set  string
		code int
		said []string
		not  string
	}{
		{"http.listen=203.0.113.7:9", 5, []string{"203.0.113.7", "give http.listen an address of this machine"}, "another program"},
		{"http.listen=" + other.http, 5, []string{"another program listens there"}, "of this machine"},
		{"broker.listen=" + other.broker, 5, []string{"is taken", "--from mqtt://" + other.broker}, "is another broker running"},
		{"broker.listen=127.0.0.1", 2, []string{"is not an address", "1 mistake(s)"}, "anyone could connect"},
		{"broker.password_file=nope", 2, []string{"--set: broker.password_file: there is no file nope"}, ""},
		{"broker.password_file=schemas", 2, []string{"is a directory, not a file"}, ""},
		{"schemas=file", 2, []string{"file is a file, not a directory", "--schemas"}, ""},
		{"data_dir=file", 2, []string{"file is a file, not a directory", "--data-dir"}, ""},
	} {
		_, stderr, code := p.run("serve", "--set", c.set)
		if code != c.code || !contains(stderr, c.said...) || c.not != "" && strings.Contains(stderr, c.not) {
			t.Errorf("%s: exit code %d\n%s", c.set, code, stderr)
		}
	}
	p.write("weir-data/catalog.db", strings.Repeat("this is no database ", 1000))
	for _, args := range [][]string{{"serve"}, {"query", "select 1"}} {
		if _, stderr, code := p.run(args...); code != 6 || !contains(stderr, "catalog.db is damaged", "backup") {
			t.Errorf("weir %s: exit code %d\n%s", args[0], code, stderr)
		}
	}
}

func TestDoctorTriesEveryListener(t *testing.T) {
	p := newPlace(t, nil)
	other := newPlace(t, nil).serve()
	out, _, code := p.run("doctor", "--set", "broker.listen="+other.broker, "--set", "http.listen="+other.http)
	if code != 5 || !contains(out, other.broker+" is taken", "--from mqtt://"+other.broker, other.http+" is taken by another program: give http.listen") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

func TestADocumentThatChangedUnderItsVersionIsNamedByCheckAndReplay(t *testing.T) {
	p := newPlace(t, map[string]string{"bare.yaml": bareSchema})
	r := p.serve()
	wrong := func(i int) (string, []byte, bool) { return "t/a/bare", []byte(`{"seq":-1}`), i < 3 }
	publish(t, r, "p", wrong)
	mended := strings.Replace(bareSchema, "minimum: 0", "minimum: -1", 1)
	p.write("schemas/bare.yaml", mended)
	testkit.Eventually(t, "the node sees the change", func() bool {
		s, err := r.status()
		return err == nil && len(s.Reasons) > 0
	})
	check := func(when string) {
		t.Helper()
		if _, stderr, code := p.run("schema", "check"); code != 4 || !contains(stderr, "bare.yaml", "recorded with other content", "give the changed document version: ") {
			t.Errorf("%s: check of the changed document ends with %d\n%s", when, code, stderr)
		}
	}
	check("asking the node")
	out, stderr, code := p.run("quarantine", "replay")
	if code != 0 || !contains(out, "tried 3: 0 stored") || !contains(stderr, "schema problem: ", "recorded with other content", "quarantined as invalid by bare version 1", "/seq") {
		t.Errorf("replay ends with %d\n%s%s", code, out, stderr)
	}
	p.write("schemas/bare.yaml", strings.Replace(mended, "version: 1", "version: 2", 1))
	testkit.Eventually(t, "the node takes the new version", func() bool {
		s, err := r.status()
		return err == nil && len(s.Reasons) == 0
	})
	if out := p.must("schema", "check"); !strings.Contains(out, "all fit") {
		t.Errorf("check says\n%s", out)
	}
	if out := p.must("quarantine", "replay"); !strings.Contains(out, "tried 3: 3 stored") {
		t.Errorf("replay says %s", out)
	}
	if code := r.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	p.write("schemas/bare.yaml", mended)
	check("reading the directory")
	if _, stderr, code := p.run("quarantine", "list"); code != 0 || stderr != "" {
		t.Errorf("a list of what is in quarantine is about nothing else; it ends with %d\n%s", code, stderr)
	}
}

func TestQuarantineKnowsItsReasonsAndSchemas(t *testing.T) {
	p := newPlace(t, map[string]string{"bare.yaml": bareSchema})
	r := p.serve()
	check := func() {
		t.Helper()
		for _, command := range []string{"list", "replay"} {
			if _, stderr, code := p.run("quarantine", command, "--reason", "nonsense"); code != 2 || !contains(stderr, "nonsense", "malformed", "cardinality") {
				t.Errorf("%s --reason: exit code %d\n%s", command, code, stderr)
			}
			if _, stderr, code := p.run("quarantine", command, "--schema", "nosuch"); code != 3 || !contains(stderr, "nosuch", "bare") {
				t.Errorf("%s --schema: exit code %d\n%s", command, code, stderr)
			}
			p.must("quarantine", command, "--reason", "invalid", "--schema", "bare")
		}
	}
	check()
	if code := r.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	check()
}

func TestASecondSignalEndsTheNodeAtOnceUnlessItComesWithTheFirst(t *testing.T) {
	p := newPlace(t, map[string]string{"bare.yaml": bareSchema})
	// A profile that is being taken holds the drain up.
	r := p.serve("--set", "node.profile=true", "--set", "node.drain_timeout=5m")
	ctx := deadline(t)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.http+"/debug/pprof/trace?seconds=60", nil)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return // the node may end before it answers
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body) // it ends with the node
	}()
	testkit.Eventually(t, "the trace is being taken", func() bool {
		status, body := r.get("/debug/pprof/goroutine?debug=1")
		return status == 200 && strings.Contains(body, "pprof.Trace")
	})
	signal := func() {
		t.Helper()
		if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil && !r.gone() {
			t.Fatal(err)
		}
	}
	first := time.Now()
	signal()
	signal() // as timeout and supervisors send them
	if gap := time.Since(first); gap > 400*time.Millisecond {
		t.Skipf("SKIPPED: this machine took %s from one signal to the next: they did not come together", gap)
	}
	testkit.Eventually(t, "the node drains", func() bool { return strings.Contains(r.out.String(), "stopping: ") })
	if r.gone() {
		t.Fatal("two signals at once ended it")
	}
	testkit.Eventually(t, "a later signal ends it", func() bool {
		signal()
		return r.gone()
	})
	if code := r.cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d", code)
	}
	<-answered
}

func TestEveryLogLineNamesItsPart(t *testing.T) {
	p := newPlace(t, map[string]string{"bare.yaml": bareSchema})
	r := p.serve("--set", "log.format=json", "--set", "log.level=debug")
	publish(t, r, "p", bare("a", 10))
	if code := r.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	lines := 0
	for line := range strings.Lines(r.out.String()) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		lines++
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry["part"] == nil {
			t.Errorf("log line %s: %v", line, err)
		}
	}
	if lines == 0 {
		t.Error("nothing was logged")
	}
}
