package wire

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// ValidText reports why a string may not stand in a packet: it is not UTF-8
// [MQTT-1.5.4-1] or contains U+0000 [MQTT-1.5.4-2].
func ValidText(s []byte) error {
	if !utf8.Valid(s) {
		return ErrUTF8
	}
	if bytes.IndexByte(s, 0) >= 0 {
		return ErrUTF8Null
	}
	return nil
}

// ValidTopicName reports why a topic name may not stand in a PUBLISH. Plain
// ASCII, which almost every topic is, is checked eight bytes at a time.
func ValidTopicName(topic []byte) error {
	if len(topic) == 0 {
		return ErrTopicEmpty
	}
	if plainTopic(topic) {
		return nil
	}
	if err := ValidText(topic); err != nil {
		return err
	}
	if bytes.ContainsAny(topic, "+#") {
		return ErrTopicWildcard
	}
	return nil
}

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// hasZero has a high bit set where a byte of v is zero, and may have more set
// above it: good enough to ask whether there is one.
func hasZero(v uint64) uint64 { return (v - lows) &^ v & highs }

func plainTopic(t []byte) bool {
	for len(t) >= 8 {
		v := binary.LittleEndian.Uint64(t)
		if v&highs|hasZero(v)|hasZero(v^lows*'+')|hasZero(v^lows*'#') != 0 {
			return false
		}
		t = t[8:]
	}
	for _, c := range t {
		if c >= 0x80 || c == 0 || c == '+' || c == '#' {
			return false
		}
	}
	return true
}

// ValidTopicFilter reports why a filter may not stand in a SUBSCRIBE; shared
// subscriptions ($share/group/filter) are checked too.
func ValidTopicFilter(filter string) error {
	if filter == "" {
		return ErrTopicEmpty
	}
	if len(filter) > 0xffff {
		return ErrTruncated
	}
	if err := ValidText([]byte(filter)); err != nil {
		return err
	}
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		// [MQTT-4.8.2-1], [MQTT-4.8.2-2]
		group, inner, ok := strings.Cut(rest, "/")
		if !ok || group == "" || inner == "" || strings.ContainsAny(group, "+#") {
			return ErrSharedFilter
		}
		filter = inner
	}
	for filter != "" {
		level, rest, more := strings.Cut(filter, "/")
		// [MQTT-4.7.1-1], [MQTT-4.7.1-2]
		if len(level) > 1 && strings.ContainsAny(level, "+#") || level == "#" && more {
			return ErrTopicFilter
		}
		filter = rest
	}
	return nil
}
