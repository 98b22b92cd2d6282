package schema

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func timeOf(t *testing.T, as, value string) (string, string) {
	t.Helper()
	p := mustCompile(t, head+"time: {at: /t, as: \""+as+"\"}\nunknown: drop\n")
	_, rows, fail := NewChecker().Check(&Route{Plans: []*Plan{p}}, []byte(`{"t":`+value+`}`))
	if fail != nil {
		return "", string(fail.Reason) + ": " + fail.Detail()
	}
	return time.Unix(0, rows[0].Time).UTC().Format(time.RFC3339Nano), ""
}

func TestTime(t *testing.T) {
	cases := []struct{ name, as, value, want string }{
		{"UnixSeconds", "unix_s", "1750000000", "2025-06-15T15:06:40Z"},
		{"UnixSecondsWithFraction", "unix_s", "1750000000.123456789", "2025-06-15T15:06:40.123456789Z"},
		{"UnixSecondsWithMoreThanNanoseconds", "unix_s", "1750000000.1234567899", "2025-06-15T15:06:40.123456789Z"},
		{"UnixSecondsWithExponent", "unix_s", "1.75e9", "2025-06-15T15:06:40Z"},
		{"UnixMilliseconds", "unix_ms", "1750000000123", "2025-06-15T15:06:40.123Z"},
		{"UnixMillisecondsWithFraction", "unix_ms", "1750000000123.5", "2025-06-15T15:06:40.1235Z"},
		{"UnixMicroseconds", "unix_us", "1750000000123456", "2025-06-15T15:06:40.123456Z"},
		{"UnixNanoseconds", "unix_ns", "1750000000123456789", "2025-06-15T15:06:40.123456789Z"},
		{"UnixNanosecondsWithFraction", "unix_ns", "1750000000123456789.9", "2025-06-15T15:06:40.123456789Z"},
		{"BeforeTheEpoch", "unix_s", "-1.5", "1969-12-31T23:59:58.5Z"},
		{"BeforeTheEpochIsCutTowardsThePast", "unix_ns", "-1.5", "1969-12-31T23:59:59.999999998Z"},
		{"Zero", "unix_ms", "-0.0e5", "1970-01-01T00:00:00Z"},
		{"TheFirst", "unix_s", "-9214560000", "1678-01-01T00:00:00Z"},
		{"BeforeTheFirst", "unix_s", "-9214560001", "bad_time: t: -9214560001 is out of the range"},
		{"TheLast", "unix_s", "9214646399", "2261-12-31T23:59:59Z"},
		{"AfterTheLast", "unix_s", "9214646400", "bad_time: t: 9214646400 is out of the range of times as unix_s"},
		{"MillisecondsAsSeconds", "unix_s", "1750000000123", "bad_time: t: 1750000000123 is out of the range of times as unix_s; as unix_ms it would be one"},
		{"Overflow", "unix_s", "1e300", "bad_time"},
		{"OverflowOfTheWord", "unix_s", "18446744073709551616", "bad_time"},
		{"ATextIsNoNumber", "unix_ms", `"1750000000123"`, `bad_time: t: "1750000000123" is not a time as unix_ms`},
		{"NullIsNoTime", "unix_ms", `null`, `bad_time: t: null is not a time as unix_ms`},
		{"AListIsNoTime", "unix_ms", `[1]`, `bad_time`},
		{"RFC3339", "rfc3339", `"2025-06-15T15:06:40.5Z"`, "2025-06-15T15:06:40.5Z"},
		{"RFC3339WithOffset", "rfc3339", `"2025-06-15T17:06:40+02:00"`, "2025-06-15T15:06:40Z"},
		{"RFC3339WithASpace", "rfc3339", `"2025-06-15 15:06:40z"`, "2025-06-15T15:06:40Z"},
		{"RFC3339WithPicoseconds", "rfc3339", `"2025-06-15T15:06:40.123456789123Z"`, "2025-06-15T15:06:40.123456789Z"},
		{"RFC3339LeapSecond", "rfc3339", `"2016-12-31T23:59:60Z"`, "2017-01-01T00:00:00Z"},
		{"RFC3339LeapDay", "rfc3339", `"2024-02-29T00:00:00Z"`, "2024-02-29T00:00:00Z"},
		{"RFC3339NoLeapDay", "rfc3339", `"2023-02-29T00:00:00Z"`, "bad_time"},
		{"RFC3339WithoutOffset", "rfc3339", `"2025-06-15T15:06:40"`, `bad_time: t: "2025-06-15T15:06:40" is not a time as rfc3339`},
		{"RFC3339Month13", "rfc3339", `"2025-13-15T15:06:40Z"`, "bad_time"},
		{"RFC3339Hour24", "rfc3339", `"2025-12-15T24:00:00Z"`, "bad_time"},
		{"RFC3339OutOfRange", "rfc3339", `"3000-01-01T00:00:00Z"`, "bad_time"},
		{"RFC3339EmptyFraction", "rfc3339", `"2025-06-15T15:06:40.Z"`, "bad_time"},
		{"ANumberIsNoRFC3339", "rfc3339", `1750000000`, "bad_time: t: 1750000000 is not a time as rfc3339"},
		{"Local", "local:Europe/Berlin", `"2025-06-15T17:06:40"`, "2025-06-15T15:06:40Z"},
		{"LocalWinter", "local:Europe/Berlin", `"2025-01-15 17:06:40,25"`, "2025-01-15T16:06:40.25Z"},
		{"LocalHourThatIsSkipped", "local:Europe/Berlin", `"2025-03-30T02:30:00"`, "2025-03-30T01:30:00Z"},
		{"LocalHourThatComesTwice", "local:Europe/Berlin", `"2025-10-26T02:30:00"`, "2025-10-26T00:30:00Z"},
		{"LocalHourAfterwards", "local:Europe/Berlin", `"2025-10-26T03:00:00"`, "2025-10-26T02:00:00Z"},
		{"LocalSouth", "local:Australia/Lord_Howe", `"2025-04-06T01:45:00"`, "2025-04-05T14:45:00Z"},
		{"LocalWithAnOffset", "local:Europe/Berlin", `"2025-06-15T17:06:40Z"`, "bad_time"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got, fail := timeOf(t, tc.as, tc.value)
			if strings.HasPrefix(tc.want, "bad_time") {
				if !strings.HasPrefix(fail, tc.want) {
					t.Errorf("%s gives %q %q, want %q", tc.value, got, fail, tc.want)
				}
			} else if got != tc.want {
				t.Errorf("%s gives %q %q, want %q", tc.value, got, fail, tc.want)
			}
		})
	}
	if _, fail := timeOf(t, "unix_s", `1,"t2":1`); fail != "" {
		t.Error(fail)
	}

	t.Run("AgreesWithTheStandardLibrary", func(t *testing.T) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 3))
		berlin, err := time.LoadLocation("Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		for range 20_000 {
			at := time.Unix(r.Int64N(18_400_000_000)-9_200_000_000, r.Int64N(1e9))
			for _, loc := range []*time.Location{time.UTC, time.FixedZone("x", (r.IntN(28)-14)*3600)} {
				s := at.In(loc).Format(time.RFC3339Nano)
				if got, ok := parseDateTime([]byte(s), nil); !ok || got != at.UnixNano() {
					t.Fatalf("%s: %d %v, want %d", s, got, ok, at.UnixNano())
				}
			}
			// A local time that exists once comes back; of one that exists twice, the first.
			s := at.In(berlin).Format("2006-01-02T15:04:05.999999999")
			got, ok := parseDateTime([]byte(s), berlin)
			if back := time.Unix(0, got).In(berlin).Format("2006-01-02T15:04:05.999999999"); !ok || back != s || got > at.UnixNano() {
				t.Fatalf("%s: %d %v, want %d", s, got, ok, at.UnixNano())
			}
		}
	})
}
