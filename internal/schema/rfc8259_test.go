package schema

import (
	"strings"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestRFC8259 has a case for every class of payload that is not JSON. Each is
// tried where the plan knows the property, and where it does not: those are
// different readers.
func TestRFC8259(t *testing.T) {
	const doc = `
name: t
version: 1
topic: t
payload: {type: object, properties: {v: {}, n: {type: number}, s: {type: string}, o: {type: object, properties: {x: {}}}, l: {type: array, items: {type: number}}}}
`
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	cases := []struct {
		name, payload string
		offset        int
		detail        string
	}{
		{"EmptyPayload", ``, 0, "empty"},
		{"OnlySpace", "  \n", 3, "too early"},
		{"CutInAnObject", `{"n":1`, 6, "too early"},
		{"CutAfterAName", `{"n"`, 4, "too early"},
		{"CutAfterAColon", `{"n":`, 5, "too early"},
		{"CutAfterAComma", `{"n":1,`, 7, "too early"},
		{"CutInAString", `{"s":"ab`, 8, "no end"},
		{"CutInAWord", `{"v":tru`, 5, "no value"},
		{"CutInANumber", `{"n":-`, 6, "too early"},
		{"CutInAList", `{"l":[1,2`, 9, "too early"},
		{"CutInAnUnknownObject", `{"u":{"a":1`, 11, "too early"},
		{"CutInAnUnknownList", `{"u":[1`, 7, "too early"},
		{"TrailingBytes", `{"n":1}x`, 7, "after the end"},
		{"TrailingValue", `{"n":1} {"n":2}`, 8, "after the end"},
		{"TrailingNUL", "{\"n\":1}\x00", 7, "after the end"},
		{"TrailingCommaInAnObject", `{"n":1,}`, 7, "a name"},
		{"TrailingCommaInAList", `{"l":[1,]}`, 8, "no value"},
		{"TrailingCommaInAnUnknownObject", `{"u":{"a":1,}}`, 12, "a name"},
		{"TrailingCommaInAnUnknownList", `{"u":[1,]}`, 8, "no value"},
		{"DoubleComma", `{"n":1,,"s":"a"}`, 7, "a name"},
		{"NoComma", `{"n":1 "s":"a"}`, 7, "comma"},
		{"NoCommaInAList", `{"l":[1 2]}`, 8, "comma"},
		{"NoColon", `{"n" 1}`, 5, "colon"},
		{"NoColonUnknown", `{"u":{"a" 1}}`, 10, "colon"},
		{"SemicolonForAColon", `{"n";1}`, 4, "colon"},
		{"NameWithoutQuotes", `{n:1}`, 1, "double quotes"},
		{"NameInSingleQuotes", `{'n':1}`, 1, "double quotes"},
		{"NumberAsName", `{1:1}`, 1, "double quotes"},
		{"StringInSingleQuotes", `{"s":'a'}`, 5, "double quotes"},
		{"Comment", `{"n":1/*c*/}`, 6, "comma"},
		{"MismatchedBrackets", `{"l":[1}}`, 7, "comma"},
		{"DuplicateName", `{"n":1,"n":2}`, 7, "twice"},
		{"DuplicateNameAfterOthers", `{"n":1,"s":"a","n":1}`, 15, "twice"},
		{"DuplicateNameByEscape", `{"n":1,"\u006e":2}`, 7, "twice"},
		{"DuplicateUnknownName", `{"u":1,"v":0,"u":2}`, 13, "twice"},
		{"DuplicateUnknownNameByEscape", `{"u":1,"\u0075":2}`, 7, "twice"},
		{"DuplicateNameOfMany", `{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"c":1}`, 61, "twice"},
		{"DuplicateNameInAnUnknownObject", `{"u":{"a":1,"a":2}}`, 12, "twice"},
		{"DuplicateNameInANestedObject", `{"o":{"x":1,"x":2}}`, 12, "twice"},
		{"NaN", `{"n":NaN}`, 5, "NaN"},
		{"Infinity", `{"n":Infinity}`, 5, "NaN"},
		{"NegativeInfinity", `{"n":-Infinity}`, 6, "NaN"},
		{"LeadingZero", `{"n":01}`, 6, "leading zero"},
		{"LeadingZeroInALongNumber", `{"n":012345678901}`, 6, "leading zero"},
		{"LeadingZeroBeforeAPoint", `{"n":00.5}`, 6, "leading zero"},
		{"NegativeLeadingZero", `{"n":-01}`, 7, "leading zero"},
		{"LeadingPlus", `{"n":+1}`, 5, "plus"},
		{"LeadingPoint", `{"n":.5}`, 5, "no value"},
		{"TrailingPoint", `{"n":5.}`, 7, "digit is missing"},
		{"PointBeforeExponent", `{"n":5.e1}`, 7, "digit is missing"},
		{"EmptyExponent", `{"n":5e}`, 7, "digit is missing"},
		{"EmptySignedExponent", `{"n":5e+}`, 8, ""},
		{"OnlyAMinus", `{"n":-}`, 6, "digit is missing"},
		{"HexNumber", `{"n":0x10}`, 6, "comma"},
		{"TwoPoints", `{"n":1.2.3}`, 8, "comma"},
		{"Underscore", `{"n":1_000}`, 6, "comma"},
		{"UpperCaseTrue", `{"v":True}`, 5, "no value"},
		{"None", `{"v":None}`, 5, "no value"},
		{"Undefined", `{"v":undefined}`, 5, "no value"},
		{"WordRunsOn", `{"v":truex}`, 9, "comma"},
		{"ControlCharacterInAString", "{\"s\":\"a\tb\"}", 7, "control character"},
		{"NewLineInAString", "{\"s\":\"a\nb\"}", 7, "control character"},
		{"NULInAString", "{\"s\":\"a\x00b\"}", 7, "control character"},
		{"ControlCharacterInAName", "{\"a\tb\":1}", 3, "control character"},
		{"UnknownEscape", `{"s":"a\xb"}`, 7, "escape"},
		{"ShortUnicodeEscape", `{"s":"\u12"}`, 6, "escape"},
		{"BadUnicodeEscape", `{"s":"\u12g4"}`, 6, "escape"},
		{"LoneHighSurrogate", `{"s":"\ud800"}`, 6, "surrogate"},
		{"LoneHighSurrogateThenText", `{"s":"\ud800abcdef"}`, 6, "surrogate"},
		{"LoneLowSurrogate", `{"s":"\udc00"}`, 6, "surrogate"},
		{"SurrogatesTheWrongWayRound", `{"s":"\udc00\ud800"}`, 6, "surrogate"},
		{"BadUTF8", "{\"s\":\"a\xff\"}", 7, "UTF-8"},
		{"BadUTF8InAName", "{\"a\xff\":1}", 3, "UTF-8"},
		{"BadUTF8Unknown", "{\"u\":\"a\xff\"}", 7, "UTF-8"},
		{"OverlongUTF8", "{\"s\":\"\xc0\xaf\"}", 6, "UTF-8"},
		{"SurrogateInUTF8", "{\"s\":\"\xed\xa0\x80\"}", 6, "UTF-8"},
		{"BeyondUnicode", "{\"s\":\"\xf4\x90\x80\x80\"}", 6, "UTF-8"},
		{"CutUTF8", "{\"s\":\"\xe2\x82\"}", 6, "UTF-8"},
		{"ByteOrderMark", "\xEF\xBB\xBF{}", 0, "byte order mark"},
		{"OtherSpace", "\xC2\xA0{}", 0, "no value"},
		{"FormFeed", "{\"n\":\f1}", 5, "no value"},
		{"TooDeep", `{"u":` + deep(64) + `}`, 68, "deeper"},
		{"TooDeepByFar", `{"u":` + deep(100_000) + `}`, 68, "deeper"},
		{"TooDeepWhereAnObjectMustBe", deep(100_000), 64, "deeper"},
		{"BrokenAfterWhatTheSchemaRefuses", `{"n":"text","s":}`, 16, "no value"},
		{"CloseFirst", `]`, 0, "no value"},
	}
	p := mustCompile(t, doc)
	r := &Route{Plans: []*Plan{p}}
	c := NewChecker()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			_, _, fail := c.Check(r, []byte(tc.payload))
			if fail == nil {
				t.Fatalf("taken: %q", tc.payload)
			}
			if fail.Reason != telemetry.ReasonMalformed {
				t.Errorf("reason %s: %s", fail.Reason, fail.Detail())
			}
			if fail.Offset != tc.offset {
				t.Errorf("offset %d, want %d", fail.Offset, tc.offset)
			}
			if d := fail.Detail(); !strings.Contains(d, tc.detail) {
				t.Errorf("detail %q, want %q in it", d, tc.detail)
			}
			_ = fail.Pointer()
			if wellFormed([]byte(tc.payload)) {
				t.Error("the reader of unknown values takes it")
			}
		})
	}
	for _, good := range []string{
		`{}`, " \t\r\n{ } ", `{"n":-0}`, `{"n":0.0e-0}`, `{"n":1E+2}`, `{"s":"\"\\\/\b\f\n\r\t\u0041\ud83d\ude00é😀"}`, `{"s":"` + "\x7f" + `"}`,
		`{"u":` + deep(63) + `}`, `{"l":[ 1 , 2 ]}`, `{ "n" : 1 , "s" : "a" }`, `{"":1,"u":{"":{}}}`, `{"u":{"a":1},"w":{"a":1}}`, `{"s":"\u0000"}`,
	} {
		if _, _, fail := c.Check(r, []byte(good)); fail != nil {
			t.Errorf("%q is refused: %s", good, fail.Detail())
		}
	}
}
