package e2e

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-telemetry/weir/internal/testkit"
)

// signer writes a new key and returns its file and public half.
func (p *place) signer(name string) (file, public string) {
	p.t.Helper()
	pub, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(name, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	return filepath.Join(p.dir, name), hex.EncodeToString(pub)
}

// metric waits until a line stands in /metrics.
func (r *running) metric(line string) {
	r.p.t.Helper()
	testkit.Eventually(r.p.t, line, func() bool {
		answer, err := http.Get("http://" + r.http + "/metrics")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		return err == nil && strings.Contains("\n"+string(body), "\n"+line+"\n")
	})
}

// TestASchemaReachesARunningDeviceAndABadOneDoesNot: weir schema publish, the device
// checks, stores, and records with it without a restart.
func TestASchemaReachesARunningDeviceAndABadOneDoesNot(t *testing.T) {
	long(t)
	second := strings.Replace(deviceSchema, "version: 1", "version: 2", 1)
	third := strings.Replace(deviceSchema, "version: 1", "version: 3", 1)
	p := newPlace(t, map[string]string{"env.yaml": deviceSchema, "env-2.yaml": second})
	p.write("weir.yaml", uplinkConfig)
	p.write("third.yaml", third)
	good, public := p.signer("good.pem")
	bad, _ := p.signer("bad.pem")
	n := p.serve("--config", "weir.yaml")
	d := newRecorder(t, p.dir, n.broker)
	slots := filepath.Join(p.dir, "slots")
	if err := os.Mkdir(slots, 0o700); err != nil {
		t.Fatal(err)
	}
	args := []string{"--sense", "20", "--linger", "50", "--flush", "20", "--schema-key", public, "--slots", slots}
	cmd := d.command(args...)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the device: %v\n%s", err, out.String())
		}
	}
	broker := "mqtt://" + n.broker
	n.metric(`weir_uplink_schema_version{device="d1",schema="env"} 1`)
	p.must("schema", "publish", "schemas/env-2.yaml", "--sign", good, "--broker", broker)
	n.metric(`weir_uplink_schema_version{device="d1",schema="env"} 2`)
	p.must("schema", "publish", "third.yaml", "--sign", bad, "--broker", broker)
	n.metric(`weir_uplink_schemas_refused_total{device="d1"} 1`)
	testkit.Eventually(t, "the log says which version was refused, and why", func() bool {
		return strings.Contains(n.out.String(), "device=d1 schema=env version=3 reason=signature")
	})
	n.metric(`weir_uplink_schema_version{device="d1",schema="env"} 2`)
	testkit.Eventually(t, "readings of version 2", func() bool { return p.number("SELECT count(*) FROM env WHERE _version = 2") > 5 })
	stop()
	// What was stored runs at the next start, without a broker.
	d.broker, d.base = "127.0.0.1:1", d.base+3_600_000
	cmd = d.command(args...)
	var after lockedBuffer
	cmd.Stdout, cmd.Stderr = &after, &after
	before, _ := d.recorded()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "it records again", func() bool {
		all, _ := d.recorded()
		return len(all) > len(before)
	})
	stop()
	if !strings.Contains(after.String(), "schema: env 2\n") {
		t.Errorf("after a restart it runs:\n%s", after.String())
	}
}
