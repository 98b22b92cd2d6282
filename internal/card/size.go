package card

import (
	"strconv"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// ParseSize reads a size such as 64M, 1G or 32G.
func ParseSize(s string) (int64, error) {
	units := map[string]int64{"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
	text := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(strings.TrimSpace(s)), "B"), "I")
	factor := int64(1)
	if n := len(text); n > 0 && units[text[n-1:]] != 0 {
		factor, text = units[text[n-1:]], text[:n-1]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n > (1<<50)/factor {
		return 0, telemetry.Errorf(telemetry.CodeInvalid, "read size", "%q is not a size", s).WithHint("as in 64M, 1G or 32G")
	}
	return n * factor, nil
}
