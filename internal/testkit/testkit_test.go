package testkit

import (
	"os/exec"
	"strings"
	"testing"
)

func TestMosquittoStartsStopsAndStartsAgain(t *testing.T) {
	m := StartMosquitto(t, "persistence true")
	pub := Binary(t, "mosquitto_pub")
	publish := func() error {
		return exec.Command(pub, "-h", "127.0.0.1", "-p", strings.Split(m.Addr(), ":")[1], "-t", "a", "-m", "1", "-q", "1").Run()
	}
	if err := publish(); err != nil {
		t.Fatalf("publish: %v\n%s", err, m.Log())
	}
	m.Stop()
	if err := publish(); err == nil {
		t.Fatal("a stopped broker took a message")
	}
	m.Start()
	if err := publish(); err != nil {
		t.Fatalf("publish after a restart: %v\n%s", err, m.Log())
	}
	m.Kill()
	m.Start()
	if err := publish(); err != nil {
		t.Fatalf("publish after a kill: %v\n%s", err, m.Log())
	}
}

func TestMosquittoTakesCertificatesOfTheAuthority(t *testing.T) {
	ca := NewAuthority(t)
	cert, key := ca.Issue("server")
	m := StartMosquitto(t, "cafile "+ca.CAFile, "certfile "+cert, "keyfile "+key, "require_certificate true")
	clientCert, clientKey := ca.Issue("client")
	out, err := exec.Command(Binary(t, "mosquitto_pub"), "-h", "127.0.0.1", "-p", strings.Split(m.Addr(), ":")[1], "-t", "a", "-m", "1",
		"-q", "1", "--cafile", ca.CAFile, "--cert", clientCert, "--key", clientKey).CombinedOutput()
	if err != nil {
		t.Fatalf("publish over TLS: %v: %s\n%s", err, out, m.Log())
	}
}
