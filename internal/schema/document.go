package schema

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Limits of what a document may ask for.
const (
	maxColumns = 1_000
	maxTags    = 64
	maxName    = 128
)

// unknownPolicy says what becomes of properties that the schema does not name.
type unknownPolicy uint8

const (
	unknownKeep unknownPolicy = iota
	unknownDrop
	unknownRefuse
)

// document is a schema document, read but not compiled.
type document struct {
	name     string
	version  int
	pattern  pattern
	captures []string
	format   payloadFormat

	timeAt *pointer
	timeAs timeFormat
	zone   *time.Location

	payload *docNode
	when    []whenSpec
	rows    *pointer
	tags    []tagSpec
	columns []columnSpec
	nulls   []constant
	nullDoc []*docNode

	unknown     unknownPolicy
	identity    telemetry.Identity
	retained    RetainedPolicy
	expectEvery time.Duration
	retention   time.Duration
	rollups     []Rollup
	onDrop      bool
	device      bool // profile: device
}

// pointer is a JSON pointer (RFC 6901) of the document, with its position.
type pointer struct {
	tokens []string
	text   string
	node   *docNode
}

type whenSpec struct {
	at    pointer
	value constant
}

type tagSpec struct {
	name      string
	at        pointer
	line, col int
}

type columnSpec struct {
	name      string
	at        pointer
	mapped    []mapSpec
	unit      string
	drop      bool // name: false
	line, col int
}

type mapSpec struct {
	from constant
	to   *docNode
}

var documentKeys = []string{
	"name", "version", "topic", "format", "profile", "time", "payload", "when", "rows", "tags", "columns", "null_values",
	"unknown", "identity", "retained", "expect_every", "retention", "rollups", "on_invalid",
}

var (
	tableName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	viewName  = regexp.MustCompile(`_latest$|_v[0-9]+$`)
)

// reserved are the columns that every table has.
var reserved = []string{"time", "received_at", "_topic", "_version", telemetry.RestColumn}

// sqlWords cannot name a table without quotes.
var sqlWords = []string{
	"add", "all", "alter", "and", "as", "between", "case", "check", "collate", "commit", "constraint", "create", "cross",
	"default", "delete", "desc", "asc", "distinct", "drop", "else", "end", "escape", "except", "exists", "false", "foreign",
	"from", "full", "group", "having", "if", "in", "index", "inner", "insert", "intersect", "into", "is", "isnull", "join",
	"left", "like", "limit", "natural", "not", "notnull", "null", "offset", "on", "or", "order", "outer", "primary",
	"references", "right", "rollback", "row", "rows", "select", "set", "table", "then", "time", "to", "transaction", "true",
	"union", "unique", "update", "using", "values", "view", "when", "where", "with",
}

// documentReader reads the keys of a document and collects problems.
type documentReader struct {
	file     string
	problems Problems
	doc      document
}

func (r *documentReader) at(line, col int, path, message, hint string) {
	r.problems = append(r.problems, Problem{File: r.file, Line: line, Column: col, Path: path, Message: message, Hint: hint})
}

func (r *documentReader) problem(n *docNode, path, message, hint string) {
	r.at(n.line, n.col, path, message, hint)
}

// readDocument reads every key; what could not be read is left at its default.
func readDocument(file string, root *docNode) (*document, Problems) {
	r := &documentReader{file: file}
	d := &r.doc
	d.identity = telemetry.IdentityTimeValues
	if root.kind != docMap {
		r.problem(root, "", "a schema document is a mapping, not "+root.kind.String(), "it begins with name, version and topic")
		return d, r.problems
	}
	for _, k := range root.keys {
		if !slices.Contains(documentKeys, k.name) {
			r.at(k.line, k.col, k.name, "unknown key", suggest(k.name, documentKeys))
		}
	}
	for _, name := range []string{"name", "version", "topic"} {
		if root.get(name) == nil {
			r.problem(root, name, "is missing", "")
		}
	}
	each(root, "name", r.readName)
	each(root, "version", r.readVersion)
	each(root, "topic", r.readTopic)
	if i := r.choice(root.get("format"), "format", "json", "value", "text"); i > 0 {
		d.format = payloadFormat(i)
	}
	d.device = r.choice(root.get("profile"), "profile", "server", "device") == 1
	each(root, "time", r.readTime)
	d.payload = root.get("payload")
	each(root, "when", r.readWhen)
	each(root, "rows", r.readRows)
	each(root, "tags", r.readTags)
	each(root, "columns", r.readColumns)
	each(root, "null_values", r.readNulls)
	d.unknown = unknownPolicy(r.choice(root.get("unknown"), "unknown", "keep", "drop", "refuse"))
	if d.device && root.get("unknown") == nil {
		d.unknown = unknownDrop
	}
	d.identity += telemetry.Identity(r.choice(root.get("identity"), "identity", "time+values", "time", "none"))
	d.retained = RetainedPolicy(r.choice(root.get("retained"), "retained", "latest", "never", "always"))
	d.onDrop = r.choice(root.get("on_invalid"), "on_invalid", "quarantine", "drop") == 1
	d.expectEvery = r.duration(root.get("expect_every"), "expect_every", time.Second)
	d.retention = r.duration(root.get("retention"), "retention", time.Minute)
	each(root, "rollups", r.readRollups)
	return d, r.problems
}

func each(root *docNode, key string, read func(*docNode)) {
	if n := root.get(key); n != nil {
		read(n)
	}
}

func (r *documentReader) readName(n *docNode) {
	switch {
	case n.kind != docString || !tableName.MatchString(n.text):
		r.problem(n, "name", fmt.Sprintf("%q cannot name a table", n.text), "lower-case letters, digits and _, beginning with a letter, at most 63")
	case slices.Contains(sqlWords, n.text) || strings.HasPrefix(n.text, "sqlite_") || strings.HasPrefix(n.text, "weir_"):
		r.problem(n, "name", fmt.Sprintf("%q is a word of SQL or kept for Weir", n.text), "")
	case viewName.MatchString(n.text):
		r.problem(n, "name", fmt.Sprintf("%q ends as the views do that Weir makes", n.text), "names ending in _latest or in _v and a number are kept for them")
	}
	r.doc.name = n.text
}

func (r *documentReader) readVersion(n *docNode) {
	const most = 1_000_000
	if n.kind == docNumber {
		d := parseDecimal(n.text)
		if v, ok := d.integer(most + 1); ok && v >= 1 && v <= most {
			r.doc.version = v
			return
		}
	}
	r.problem(n, "version", "must be a whole number from 1", "")
}

func (r *documentReader) readTopic(n *docNode) {
	if n.kind != docString {
		r.problem(n, "topic", "must be text, not "+n.kind.String(), "")
		return
	}
	p, names, err := parsePattern(n.text)
	if err != nil {
		r.problem(n, "topic", err.Error(), "as plants/{plant}/+/env or devices/#")
		return
	}
	r.doc.pattern, r.doc.captures = p, names
}

func (r *documentReader) readTime(n *docNode) {
	if !r.mapping(n, "time", "at", "as") {
		return
	}
	if at := n.get("at"); at == nil {
		r.problem(n, "time", "at is missing", "as time: {at: /ts, as: unix_ms}")
	} else {
		r.doc.timeAt = r.pointer(at, "time.at")
	}
	as := n.get("as")
	if as == nil {
		r.problem(n, "time", "as is missing", "one of unix_s, unix_ms, unix_us, unix_ns, rfc3339, local:Zone")
		return
	}
	if zone, ok := strings.CutPrefix(as.text, "local:"); ok && as.kind == docString {
		loc, err := time.LoadLocation(zone)
		if err != nil || zone == "" || zone == "Local" {
			r.problem(as, "time.as", fmt.Sprintf("%q is not a time zone", zone), "a name of the IANA database, as local:Europe/Berlin")
			return
		}
		r.doc.timeAs, r.doc.zone = timeLocal, loc
		return
	}
	names := []string{"unix_s", "unix_ms", "unix_us", "unix_ns", "rfc3339"}
	if i := slices.Index(names, as.text); i >= 0 {
		r.doc.timeAs = timeUnixS + timeFormat(i)
		return
	}
	hint := suggest(as.text, names)
	if hint == "" {
		hint = "one of unix_s, unix_ms, unix_us, unix_ns, rfc3339, local:Zone"
	}
	r.problem(as, "time.as", fmt.Sprintf("%q is not a way to write a time", as.text), hint)
}

func (r *documentReader) readWhen(n *docNode) {
	if n.kind != docMap || len(n.keys) == 0 {
		r.problem(n, "when", "must be a mapping from pointers to values", "as when: {/method: NotifyStatus}")
		return
	}
	for _, k := range n.keys {
		path := "when." + k.name
		at := r.pointer(&docNode{kind: docString, text: k.name, line: k.line, col: k.col}, path)
		c, ok := constantOf(k.value)
		if !ok {
			r.problem(k.value, path, "must be one value, not "+k.value.kind.String(), "")
			continue
		}
		if at != nil {
			r.doc.when = append(r.doc.when, whenSpec{at: *at, value: c})
		}
	}
}

func (r *documentReader) readRows(n *docNode) {
	p := r.pointer(n, "rows")
	if p == nil {
		return
	}
	if len(p.tokens) == 0 || slices.Index(p.tokens, "*") != len(p.tokens)-1 {
		r.problem(n, "rows", "must end in /* and hold no other *", "as /readings/*, or /* where the payload is the list")
		return
	}
	r.doc.rows = p
}

func (r *documentReader) readTags(n *docNode) {
	if n.kind != docMap {
		r.problem(n, "tags", "must be a mapping from names to pointers", "as tags: {model: /dev/model}")
		return
	}
	for _, k := range n.keys {
		path := "tags." + k.name
		if at := r.pointer(k.value, path); at != nil {
			r.doc.tags = append(r.doc.tags, tagSpec{name: k.name, at: *at, line: k.line, col: k.col})
		}
	}
}

func (r *documentReader) readColumns(n *docNode) {
	if n.kind != docMap {
		r.problem(n, "columns", "must be a mapping from names to places", "as columns: {state: {at: /state}}")
		return
	}
	for _, k := range n.keys {
		path := "columns." + k.name
		c := columnSpec{name: k.name, line: k.line, col: k.col}
		switch v := k.value; {
		case v.kind == docBool && v.text == "false":
			c.drop = true
		case v.kind == docString:
			at := r.pointer(v, path)
			if at == nil {
				continue
			}
			c.at = *at
		default:
			if !r.mapping(v, path, "at", "map", "unit") {
				continue
			}
			if v.get("at") == nil {
				r.problem(v, path, "at is missing", "the JSON pointer of the value, as /state")
				continue
			}
			at := r.pointer(v.get("at"), path+".at")
			if at == nil {
				continue
			}
			c.at = *at
			if u := v.get("unit"); u != nil {
				c.unit = u.text
				r.checkUnit(u, path+".unit")
			}
			if m := v.get("map"); m != nil {
				c.mapped = r.readMap(m, path+".map")
			}
		}
		r.doc.columns = append(r.doc.columns, c)
	}
}

func (r *documentReader) readMap(n *docNode, path string) []mapSpec {
	if n.kind != docMap || len(n.keys) == 0 {
		r.problem(n, path, "must be a mapping from values to values", "as map: {online: true, offline: false}")
		return nil
	}
	var specs []mapSpec
	for _, k := range n.keys {
		c, ok := constantOf(&docNode{kind: k.kind, text: k.name})
		if !ok || k.value.kind == docList || k.value.kind == docMap {
			r.at(k.line, k.col, path, "maps one value to one value", "")
			continue
		}
		specs = append(specs, mapSpec{from: c, to: k.value})
	}
	return specs
}

func (r *documentReader) readNulls(n *docNode) {
	if n.kind != docList {
		r.problem(n, "null_values", "must be a list", "as [unavailable, unknown, \"\"]")
		return
	}
	for i, item := range n.items {
		c, ok := constantOf(item)
		if !ok {
			r.problem(item, fmt.Sprintf("null_values.%d", i), "must be one value, not "+item.kind.String(), "")
			continue
		}
		r.doc.nulls = append(r.doc.nulls, c)
		r.doc.nullDoc = append(r.doc.nullDoc, item)
	}
}

// mapping reports whether n is a mapping, and refuses keys that it may not have.
func (r *documentReader) mapping(n *docNode, path string, keys ...string) bool {
	if n.kind != docMap {
		r.problem(n, path, "must be a mapping with "+strings.Join(keys, ", ")+", not "+n.kind.String(), "")
		return false
	}
	for _, k := range n.keys {
		if !slices.Contains(keys, k.name) {
			r.at(k.line, k.col, path+"."+k.name, "unknown key", suggest(k.name, keys))
		}
	}
	return true
}

// choice returns which of the words the value is; the first is the default.
func (r *documentReader) choice(n *docNode, path string, words ...string) int {
	if n == nil {
		return 0
	}
	if i := slices.Index(words, n.text); i >= 0 && n.kind == docString {
		return i
	}
	hint := suggest(n.text, words)
	if hint == "" {
		hint = "one of " + strings.Join(words, ", ")
	}
	r.problem(n, path, fmt.Sprintf("%q is not a choice", n.text), hint)
	return 0
}

func (r *documentReader) pointer(n *docNode, path string) *pointer {
	if n.kind != docString {
		r.problem(n, path, "must be a JSON pointer, not "+n.kind.String(), "as /dev/model")
		return nil
	}
	tokens, err := parsePointer(n.text)
	if err != nil {
		r.problem(n, path, err.Error(), "a JSON pointer (RFC 6901), as /dev/model")
		return nil
	}
	return &pointer{tokens: tokens, text: n.text, node: n}
}

func (r *documentReader) checkUnit(n *docNode, path string) {
	if n.kind != docString || n.text == "" || len(n.text) > 32 {
		r.problem(n, path, "a unit is 1 to 32 characters of text", "as in SenML (RFC 8428): Cel, %RH, V")
	}
}

// parsePointer splits a JSON pointer into its tokens (RFC 6901 section 3).
func parsePointer(s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	if s[0] != '/' {
		return nil, fmt.Errorf("%q is not a JSON pointer: it must begin with /", s)
	}
	tokens := strings.Split(s[1:], "/")
	if len(tokens) > MaxDepth {
		return nil, fmt.Errorf("%q is deeper than a payload may be", s)
	}
	for i, t := range tokens {
		for j := 0; j < len(t); j++ {
			if t[j] == '~' && (j+1 == len(t) || t[j+1] != '0' && t[j+1] != '1') {
				return nil, fmt.Errorf("%q is not a JSON pointer: ~ is written ~0, and / in a name ~1", s)
			}
		}
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
	}
	return tokens, nil
}

func escapeToken(t string) string {
	return strings.ReplaceAll(strings.ReplaceAll(t, "~", "~0"), "/", "~1")
}

// constantOf turns a scalar of the document into a constant.
func constantOf(n *docNode) (constant, bool) {
	switch n.kind {
	case docNull:
		return constant{kind: typeNull}, true
	case docBool:
		return constant{kind: typeBool, text: n.text}, true
	case docNumber:
		c := constant{kind: typeNumber, text: n.text, num: parseDecimal(n.text)}
		c.float = c.num.float()
		return c, true
	case docString:
		c := constant{kind: typeString, text: n.text}
		if len(n.text) <= 8 {
			for i := range len(n.text) {
				c.short |= uint64(n.text[i]) << (8 * i)
			}
		}
		return c, true
	}
	return constant{}, false
}

// same reports whether two constants are the same JSON value.
func (k *constant) same(o *constant) bool {
	if k.kind != o.kind {
		return false
	}
	if k.kind == typeNumber {
		return k.num.compare([]byte(o.text)) == 0
	}
	return k.text == o.text
}
