package jsontext

import (
	"encoding/json"
	"strings"
	"testing"
)

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\\n\r\t\x00\x1f\x7f", "é日\U0001F600", "\xff\xc3", "\u2028<&>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := AppendString([]byte("x"), []byte(s))
		var back string
		if err := json.Unmarshal(got[1:], &back); err != nil || back != strings.ToValidUTF8(s, "") && back != string([]rune(s)) {
			t.Errorf("%q is written as %s, and read as %q, %v", s, got, back, err)
		}
		if strings.ContainsAny(string(got), "\n\r\x00") {
			t.Errorf("%q is not written in one line: %s", s, got)
		}
	})
}

func TestAValueIsWrittenInOneLine(t *testing.T) {
	if got := string(AppendLine(nil, []byte("{\"a\": [1,\r\n2]}"))); got != `{"a": [1,  2]}` {
		t.Error(got)
	}
}
