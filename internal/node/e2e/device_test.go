package e2e

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestTheDeviceSaysWhatIsWrong: with its flags, and with its card.
func TestTheDeviceSaysWhatIsWrong(t *testing.T) {
	p := newPlace(t, map[string]string{"env.yaml": deviceSchema})
	d := newRecorder(t, p.dir, "127.0.0.1:1")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--qos", "2"}, "--qos takes a number from 0 to 1, not 2"},
		{[]string{"--qos", "257"}, "--qos takes"},
		{[]string{"--ring", "-1"}, "--ring takes a number from 1024 to"},
		{[]string{"--ring", "1023"}, "--ring takes"},
		{[]string{"--ring", "4294969344"}, "--ring takes"},
		{[]string{"--readings", ""}, "--readings takes"},
		{[]string{"--sense", "1x"}, "--sense takes"},
		{[]string{"--broker", "127.0.0.1:65536"}, "--broker HOST:PORT takes a number from 1 to 65535"},
		{[]string{"--base", "18446744073709551616"}, "--base takes"},
		{[]string{"--schema-key", strings.Repeat(" 1", 32)}, "not hexadecimal"},
		{[]string{"--overflow", "maybe"}, "--overflow is one of hold, oldest, newest"},
		{[]string{"--device", "a b"}, "--device takes 1 to 64 characters"},
		{[]string{"--topic", ""}, "--topic takes"},
		{[]string{"--period", "10", "--window", "20"}, "--window is at most as long as --period"},
		{[]string{"--watchdog", "300"}, "--watchdog needs --state"},
		{[]string{"--sense"}, "without its value"},
		{[]string{"--nonsense", "1"}, "not known"},
	} {
		cmd := exec.Command(d.binary, c.args...)
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), c.want) {
			t.Errorf("%q: %v\n%swant exit code 2 and %q", c.args, err, out, c.want)
		}
	}
	for _, c := range []struct{ flag, hint string }{
		{"--slots", "hint: --slots names a directory"},
		{"--state", "hint: --state names a file"},
		{"--log", "hint: --log names a file"},
		{"--card", "hint: weir card format"},
		{"--plan", "hint: weir schema compile"},
	} {
		out, err := exec.Command(d.binary, c.flag, p.dir+"/none/none").CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.hint) {
			t.Errorf("%s: %v\n%swant %q", c.flag, err, out, c.hint)
		}
	}

	// Two hours of virtual time end a device that no gateway answers.
	short := func(args ...string) string {
		out, _ := d.command(append([]string{"--virtual", "30", "--sense", "1000"}, args...)...).CombinedOutput()
		if !bytes.Contains(out, []byte("did not take everything")) {
			t.Fatalf("%s", out)
		}
		return string(out)
	}
	if out := short(); !strings.Contains(out, " storage_errors=0 skipped_segments=0 ") || strings.Contains(out, "card is") {
		t.Errorf("a healthy card: %s", out)
	}
	data, err := os.ReadFile(d.card)
	if err != nil {
		t.Fatal(err)
	}
	breakChain(data, 3)
	if err := os.WriteFile(d.card, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := short(); !strings.Contains(out, "WEIR0003.SEG is skipped: it lies in pieces") || !strings.Contains(out, " storage_errors=0 skipped_segments=1 ") {
		t.Errorf("a segment in pieces: %s", out)
	}
	clear(data[:512])
	if err := os.WriteFile(d.card, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := short(); !strings.Contains(out, "the card is refused: it is not formatted\nhint: weir card format "+d.card) || !strings.Contains(out, " storage_errors=1 ") {
		t.Errorf("a card without a partition: %s", out)
	}
}

// breakChain makes a segment of a card of 64 MiB lie in pieces.
func breakChain(card []byte, segment int) {
	le := binary.LittleEndian
	boot := card[8192*512:]
	fat := boot[int(le.Uint16(boot[14:]))*512:]
	root := fat[int(le.Uint32(boot[36:]))*2*512:]
	entry := root[(1+segment)*32:] // the label comes first
	first := int(le.Uint16(entry[26:])) | int(le.Uint16(entry[20:]))<<16
	le.PutUint32(fat[4*(first+5):], uint32(first+7))
}
