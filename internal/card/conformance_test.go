package card

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestTheVectorsThatTheFirmwareReadsToo holds docs/format/segment.md.
func TestTheVectorsThatTheFirmwareReadsToo(t *testing.T) {
	data, err := os.ReadFile("../../conformance/segment.txt")
	if err != nil {
		t.Fatal(err)
	}
	var title string
	var sector, want []string
	cases := 0
	check := func() {
		if len(sector) == 0 {
			return
		}
		cases++
		if got := outcome(t, sector[0]); !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", title, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		sector, want = nil, nil
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "", "#":
			check()
			title = rest
		case "block":
			sector = []string{rest}
		default:
			want = append(want, line)
		}
	}
	check()
	if cases < 10 {
		t.Errorf("only %d cases", cases)
	}
}

func outcome(t *testing.T, text string) (out []string) {
	t.Helper()
	sector := make([]byte, Sector)
	if _, err := hex.Decode(sector, []byte(text)); err != nil {
		t.Fatal(err)
	}
	b, err := OpenBlock(sector)
	if errors.Is(err, ErrNoBlock) {
		return []string{"refused"}
	}
	out = append(out, fmt.Sprintf("head %d %d %d %d %d %d %d", b.Flags, b.Count, b.Card, b.Serial, b.Index, b.Epoch, b.First))
	if b.Header() {
		h, err := b.ReadHeader()
		if err != nil {
			return append(out, "fault")
		}
		for _, l := range h.Lost {
			out = append(out, fmt.Sprintf("lost %d %d %d", l.Epoch, l.First, l.Next))
		}
		return out
	}
	if err := b.Records(func(r Record) {
		body := hex.EncodeToString(r.Body)
		if body == "" {
			body = "-"
		}
		out = append(out, fmt.Sprintf("record %d %d %d %s", r.Kind, r.Sequence, r.Uptime, body))
	}); err != nil {
		out = append(out, "fault")
	}
	return out
}
