package transfer

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The columns that every table has, besides its tags and fields.
const (
	timeColumn     = "time"
	receivedColumn = "received_at"
	topicColumn    = "_topic"
	versionColumn  = "_version"
)

// appendTime writes a time as RFC 3339 in UTC, with as many digits of the second
// as it has.
func appendTime(dst []byte, ns int64) []byte {
	return time.Unix(0, ns).UTC().AppendFormat(dst, time.RFC3339Nano)
}

// parseTime reads RFC 3339 with any offset; without one, UTC. The times that
// int64 nanoseconds hold are 1677-09-21 to 2262-04-11.
func parseTime(text string) (int64, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07", time.DateOnly} {
		t, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		ns := t.UnixNano()
		if !time.Unix(0, ns).Equal(t) {
			return 0, fmt.Errorf("the time %q lies outside 1677-09-21 to 2262-04-11", text)
		}
		return ns, nil
	}
	return 0, fmt.Errorf("%q is not a time (RFC 3339, as 2026-01-31T12:00:00Z)", text)
}

// appendNumber writes a value that is not textual so that it reads back the same.
// NaN has one form: its payload bits are not kept.
func appendNumber(dst []byte, t telemetry.ColumnType, bits uint64) []byte {
	switch t {
	case telemetry.Int:
		return strconv.AppendInt(dst, int64(bits), 10)
	case telemetry.Bool:
		return strconv.AppendBool(dst, bits != 0)
	}
	f := math.Float64frombits(bits)
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// parseValue reads a value of a column from text.
func parseValue(t telemetry.ColumnType, text string) (telemetry.Value, error) {
	switch t {
	case telemetry.Int:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return telemetry.Value{}, fmt.Errorf("%s is not an integer of 64 bits", short(text))
		}
		return telemetry.Value{Bits: uint64(n)}, nil
	case telemetry.Bool:
		switch text {
		case "true", "t", "TRUE", "True", "T":
			return telemetry.Value{Bits: 1}, nil
		case "false", "f", "FALSE", "False", "F":
			return telemetry.Value{}, nil
		}
		return telemetry.Value{}, fmt.Errorf("%s is neither true nor false", short(text))
	case telemetry.Float:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || !decimal(text) {
			return telemetry.Value{}, fmt.Errorf("%s is not a number that float64 holds", short(text))
		}
		return telemetry.Value{Bits: math.Float64bits(f)}, nil
	case telemetry.JSON:
		if !json.Valid([]byte(text)) || !utf8.ValidString(text) {
			return telemetry.Value{}, fmt.Errorf("%s is not JSON", short(text))
		}
	default:
		if !utf8.ValidString(text) {
			return telemetry.Value{}, fmt.Errorf("%s is not UTF-8", short(text))
		}
	}
	return telemetry.Value{Text: []byte(text)}, nil
}

// decimal refuses what Go's parser takes and nobody else writes: hexadecimal and
// underscores.
func decimal(text string) bool {
	for i := range len(text) {
		if text[i] == '_' || text[i] == 'x' || text[i] == 'X' {
			return false
		}
	}
	return true
}

func short(text string) string {
	if len(text) > 40 {
		text = text[:40] + "…"
	}
	return strconv.Quote(text)
}
