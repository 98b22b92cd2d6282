package credentials

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOnlyTheRightPasswordIsTaken(t *testing.T) {
	line, err := Line("anna", "pässword")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(line, "pässword") {
		t.Fatal("the line shows the password")
	}
	u, err := Load(write(t, "# users", "", line))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from memory
		if !u.Verify("anna", "pässword") {
			t.Error("the right password is refused")
		}
		for _, wrong := range [][2]string{{"anna", ""}, {"anna", "passwort"}, {"bert", "pässword"}, {"", ""}} {
			if u.Verify(wrong[0], wrong[1]) {
				t.Errorf("%q is taken", wrong)
			}
		}
	}
}

func TestEveryWrongLineIsNamed(t *testing.T) {
	path := write(t, "anna:secret", "bert", "carl:$7$0$AA==$AA==", "dora:$7$1$!!$AA==")
	_, err := Load(path)
	if err == nil {
		t.Fatal("it was read")
	}
	for _, place := range []string{":1:", ":2:", ":3:", ":4:"} {
		if !strings.Contains(err.Error(), path+place) {
			t.Errorf("%s is not named in:\n%v", place, err)
		}
	}
}

func TestUserNamesThatWouldBreakTheFileAreRefused(t *testing.T) {
	for _, user := range []string{"", "a:b", "a\nb", "#a", " a"} {
		if _, err := Line(user, "x"); err == nil {
			t.Errorf("%q is taken", user)
		}
	}
}

func TestNewPasswordsDiffer(t *testing.T) {
	if a, b := New(), New(); a == b || len(a) != 20 {
		t.Errorf("%q and %q", a, b)
	}
}

func TestALineOfMosquittoPasswdIsRead(t *testing.T) {
	// Made by: mosquitto_passwd -b -c users anna secret
	const line = "anna:$7$101$y03z+2Eydql/OuEQ$s+MlZALy9Iy8KJlKq5TWZAinQ1SMAcnO0BaonU1+h392CV4r0FmygzvnvfNFZPvNv0Qs4r1vcqmwWgR9sSI/SQ=="
	u, err := Load(write(t, line))
	if err != nil {
		t.Fatal(err)
	}
	if !u.Verify("anna", "secret") || u.Verify("anna", "Secret") {
		t.Error("its password is not understood")
	}
}
