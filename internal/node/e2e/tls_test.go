package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/testkit"
)

// needTLS skips loudly where the firmware's TLS cannot be built.
func needTLS(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/usr/include/mbedtls/ssl.h"); err != nil {
		testkit.Missing(t, "mbedtls/ssl.h", "install it with: apt-get install libmbedtls-dev")
	}
}

// serverKey writes a self-signed certificate and returns the SHA-256 of its public key.
func serverKey(t *testing.T, dir string) (cert, key, pin string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// Long past its date: a device without a clock checks the key alone.
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(86400, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "broker.crt"), filepath.Join(dir, "broker.key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256(public)
	return cert, key, hex.EncodeToString(sum[:])
}

// TestARecorderOverTLS: with the right key what was recorded is with the gateway,
// once; with a wrong one nothing comes through.
func TestARecorderOverTLS(t *testing.T) {
	needTLS(t)
	dir := t.TempDir()
	psk := filepath.Join(dir, "psk")
	if err := os.WriteFile(psk, []byte("d1:00112233445566778899aabbccddeeff\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key, pin := serverKey(t, dir)
	for name, c := range map[string]struct {
		listener     []string
		right, wrong []string
	}{
		"key shared beforehand": {
			[]string{"psk_file " + psk, "psk_hint weir", "allow_anonymous true"},
			[]string{"--tls-psk", "d1:00112233445566778899aabbccddeeff"},
			[]string{"--tls-psk", "d1:00112233445566778899aabbccddee00"},
		},
		"pinned key": {
			[]string{"certfile " + cert, "keyfile " + key, "allow_anonymous true"},
			[]string{"--tls-pin", pin},
			[]string{"--tls-pin", strings.Repeat("5a", 32)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, map[string]string{"env.yaml": deviceSchema})
			plain := testkit.FreePort(t)
			m := testkit.StartMosquitto(t, append(c.listener, fmt.Sprintf("listener %d 127.0.0.1", plain))...)
			p.write("weir.yaml", uplinkConfig+fmt.Sprintf("broker: {enabled: false}\nsources:\n  - mqtt: {url: \"mqtt://127.0.0.1:%d\"}\n", plain))
			p.serve("--config", "weir.yaml")
			d := newRecorder(t, p.dir, m.Addr())
			refused(t, d, m, c.wrong)
			cmd := d.command(append(c.right, "--sense", "10", "--readings", "50", "--linger", "20")...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
			testkit.Eventually(t, "all is with the gateway", func() bool { return len(p.stored()) == 50 })
			all, _ := d.recorded()
			got := p.stored()
			if len(all) != 50 || !maps.Equal(all, got) {
				t.Fatalf("%d readings recorded, %d stored: not the same", len(all), len(got))
			}
		})
	}
}

// refused runs the device until the broker saw its handshake fail, and checks that it never came up.
func refused(t *testing.T, d *recorder, m *testkit.Mosquitto, wrong []string) {
	t.Helper()
	cmd := d.command(append(wrong, "--no-card")...)
	d.runs = 0 // the card is not formatted yet
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !strings.Contains(m.Log(), "bad record mac") && !strings.Contains(m.Log(), "access denied"); {
		if time.Now().After(deadline) {
			t.Errorf("the broker saw no failed handshake: %s", m.Log())
			break
		}
		time.Sleep(5 * time.Millisecond) // the log is a file: there is nothing to wait on
	}
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	if strings.Contains(m.Log(), "as d1") || !strings.Contains(out.String(), "connects=0") {
		t.Errorf("a wrong key came through: %s\n%s", out.String(), m.Log())
	}
}

// TestAServerThatClosesInAHandshake: the device tries again, and does not end.
func TestAServerThatClosesInAHandshake(t *testing.T) {
	needTLS(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	d := newRecorder(t, t.TempDir(), listener.Addr().String())
	cmd := d.command("--no-card", "--tls-pin", strings.Repeat("5a", 32))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	for range 2 {
		c, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		hello := make([]byte, 5)
		if _, err := c.Read(hello); err != nil || hello[0] != 22 {
			t.Errorf("no handshake record: %x, %v", hello, err)
		}
		_ = c.Close()
	}
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	if !strings.Contains(out.String(), "connects=0") {
		t.Errorf("the device: %s", out.String())
	}
}
