package node

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/node/config"
)

func TestAnErrorOfSeveralLinesIsLoggedInOneThatReads(t *testing.T) {
	var b bytes.Buffer
	NewLogger(config.Log{Level: "info", Format: "text"}, &b).Info("x", "error", errors.New("it does not fit:\n  /a: gone\n  /b: gone\n"), "n", 5)
	if !strings.Contains(b.String(), `error="it does not fit: /a: gone; /b: gone" n=5`) {
		t.Errorf("the line is %q", b.String())
	}
}
