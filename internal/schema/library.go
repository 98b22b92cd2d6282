package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// payloadURL is the base of a payload schema's own references. It is never
// fetched.
const payloadURL = "weir:payload"

// libraryInput is a payload schema as the library compiled it.
type libraryInput struct {
	schema *jsonschema.Schema
}

// noLoader refuses references out of the document: a schema must mean the same on
// every node, and reading one must not reach for files or the network.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is outside of the document", url)
}

// newLibrary returns a compiler of the full library that treats a schema as Weir
// does. A nil loader refuses every reference out of the document.
func newLibrary(loader jsonschema.URLLoader) *jsonschema.Compiler {
	if loader == nil {
		loader = noLoader{}
	}
	lc := jsonschema.NewCompiler()
	lc.DefaultDraft(jsonschema.Draft2020)
	lc.UseLoader(loader)
	return lc
}

func compileWithLibrary(schema any, loader jsonschema.URLLoader) (*jsonschema.Schema, error) {
	lc := newLibrary(loader)
	if err := lc.AddResource(payloadURL, schema); err != nil {
		return nil, err
	}
	return lc.Compile(payloadURL)
}

// compileLibrary checks the payload schema against the metaschema and reports
// where it is wrong.
func (c *compiler) compileLibrary(schema *docNode) *libraryInput {
	s, err := compileWithLibrary(schema.plain(), c.loader)
	if err == nil {
		return &libraryInput{schema: s}
	}
	var invalid *jsonschema.SchemaValidationError
	var verr *jsonschema.ValidationError
	if errors.As(err, &invalid) && errors.As(invalid.Err, &verr) {
		c.schemaErrors(schema, verr)
		return nil
	}
	c.problem(schema, "payload", "the schema cannot be compiled: "+strings.ReplaceAll(err.Error(), payloadURL, "payload"),
		"references must stay within the document")
	return nil
}

// schemaErrors reports the innermost errors of a schema against its metaschema,
// each place once, and no place that holds another: that is an alternative which
// was not meant.
func (c *compiler) schemaErrors(schema *docNode, e *jsonschema.ValidationError) {
	leaves := map[string]*jsonschema.ValidationError{}
	var collect func(e *jsonschema.ValidationError)
	collect = func(e *jsonschema.ValidationError) {
		for _, cause := range e.Causes {
			collect(cause)
		}
		path := strings.Join(append([]string{"payload"}, e.InstanceLocation...), ".")
		if len(e.Causes) == 0 && leaves[path] == nil {
			leaves[path] = e
		}
	}
	collect(e)
	for path, e := range leaves {
		inner := false
		for other := range leaves {
			inner = inner || strings.HasPrefix(other, path+".")
		}
		if inner {
			continue
		}
		hint := ""
		at := schema.at(e.InstanceLocation)
		if at.kind == docNull && slices.Contains(e.InstanceLocation, "type") {
			hint = `the type is written "null", in quotes`
		}
		if f, ok := e.ErrorKind.(*kind.Format); ok && f.Want == "regex" {
			hint = "patterns are RE2, without look-around and back references"
		}
		c.problem(at, path, strings.ReplaceAll(errorText(e), "'", ""), hint)
	}
}

// errorText is the library's sentence about one failed keyword.
func errorText(e *jsonschema.ValidationError) string {
	s := (&jsonschema.ValidationError{SchemaURL: e.SchemaURL, ErrorKind: e.ErrorKind}).Error()
	if i := strings.Index(s, "': "); i >= 0 && strings.HasPrefix(s, "at '") {
		s = s[i+3:]
	}
	return s
}

// finishLibrary compiles the schema again where null_values change it: a place
// that they hold for allows them beside what its schema allows.
func (c *compiler) finishLibrary(schema *docNode, in *libraryInput) *jsonschema.Schema {
	if len(c.doc.nulls) == 0 || c.doc.format != formatJSON {
		return in.schema
	}
	nulls := make([]any, len(c.doc.nullDoc))
	for i, n := range c.doc.nullDoc {
		nulls[i] = n.plain()
	}
	plain := schema.plain()
	var walk func(p *place)
	walk = func(p *place) {
		if p == nil {
			return
		}
		for _, child := range p.props {
			walk(child)
		}
		walk(p.items)
		if p.nulled && p.src != nil {
			plain = wrapAt(plain, p.schemaAt, nulls)
		}
	}
	walk(c.root)
	s, err := compileWithLibrary(plain, c.loader)
	if err != nil {
		c.problem(schema, "payload", "null_values do not go with this schema: "+err.Error(), "")
		return nil
	}
	return s
}

// wrapAt puts the schema at a location into anyOf beside the null values.
func wrapAt(v any, at []string, nulls []any) any {
	if len(at) == 0 {
		return map[string]any{"anyOf": []any{v, map[string]any{"enum": nulls}}}
	}
	switch v := v.(type) {
	case map[string]any:
		if child, ok := v[at[0]]; ok {
			v[at[0]] = wrapAt(child, at[1:], nulls)
		}
	case []any:
		for i := range v {
			if fmt.Sprint(i) == at[0] {
				v[i] = wrapAt(v[i], at[1:], nulls)
			}
		}
	}
	return v
}

// findTypingErrors reports keywords that are almost one that JSON Schema knows:
// it ignores unknown keywords, which hides a typing error.
func (c *compiler) findTypingErrors(n *docNode, path string, depth int) {
	if n.kind != docMap || depth > maxDocDepth {
		return
	}
	for _, k := range n.keys {
		at := path + "." + k.name
		switch k.name {
		case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas":
			for _, child := range k.value.keys {
				c.findTypingErrors(child.value, at+"."+child.name, depth+1)
			}
		case "allOf", "anyOf", "oneOf", "prefixItems":
			for i, child := range k.value.items {
				c.findTypingErrors(child, fmt.Sprintf("%s.%d", at, i), depth+1)
			}
		case "items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames",
			"unevaluatedItems", "unevaluatedProperties":
			c.findTypingErrors(k.value, at, depth+1)
		case "x-unit":
			c.checkUnit(k.value, at)
		default:
			if known(k.name) || strings.HasPrefix(k.name, "x-") {
				continue
			}
			if hint := suggest(k.name, schemaKeywords); hint != "" {
				c.at(k.line, k.col, at, "is not a keyword of JSON Schema", hint+" keywords of your own begin with x-")
			}
		}
	}
}

func known(keyword string) bool {
	for _, k := range schemaKeywords {
		if k == keyword {
			return true
		}
	}
	return false
}

// checkLibrary asks the full library for the verdict on a payload that was
// parsed and taken apart already.
func (c *Checker) checkLibrary() bool {
	var v any
	if c.plan.format == formatText {
		v = string(c.p)
	} else {
		end := 0
		if v, end = decode(c.p, skipSpace(c.p, 0)); end < 0 {
			return true // a null value that is not JSON
		}
	}
	err := c.plan.library.Validate(v)
	if err == nil {
		return true
	}
	c.failAt(failLibrary, nil, 0)
	c.fail.library = err
	var verr *jsonschema.ValidationError
	if errors.As(err, &verr) {
		for len(verr.Causes) > 0 {
			verr = verr.Causes[0]
		}
		c.fail.library = verr
		if at := locate(c.p, verr.InstanceLocation); at >= 0 {
			c.fail.Offset = at
		}
	}
	return false
}

// decode turns a payload that was parsed before into what the library takes.
func decode(p []byte, pos int) (v any, end int) {
	if pos >= len(p) {
		return nil, -1
	}
	switch p[pos] {
	case '"':
		end, _ = scanString(p, pos+1)
		return string(appendUnescaped(nil, p[pos+1:end])), end + 1
	case '{':
		m := map[string]any{}
		for pos = skipSpace(p, pos+1); p[pos] != '}'; {
			nameEnd, _ := scanString(p, pos+1)
			name := string(appendUnescaped(nil, p[pos+1:nameEnd]))
			pos = skipSpace(p, skipSpace(p, nameEnd+1)+1)
			m[name], pos = decode(p, pos)
			if pos = skipSpace(p, pos); p[pos] == ',' {
				pos = skipSpace(p, pos+1)
			}
		}
		return m, pos + 1
	case '[':
		list := []any{}
		for pos = skipSpace(p, pos+1); p[pos] != ']'; {
			var item any
			item, pos = decode(p, pos)
			list = append(list, item)
			if pos = skipSpace(p, pos); p[pos] == ',' {
				pos = skipSpace(p, pos+1)
			}
		}
		return list, pos + 1
	}
	if end = wordEnd(p, pos); end >= 0 {
		if p[pos] == 'n' {
			return nil, end
		}
		return p[pos] == 't', end
	}
	_, _, end, flags := scanNumber(p, pos)
	if flags&numBad != 0 {
		return nil, -1
	}
	return libraryNumber(p[pos:end]), end
}

// libraryNumber keeps numbers within what the library computes with: it expands
// exponents, and gives up at a million. A number this far out compares the same
// with every number that a schema may hold when it is brought nearer.
func libraryNumber(lit []byte) json.Number {
	s := normalize(lit)
	const far = 4 * maxNumberScale
	if s.zero || s.exp < far && s.exp > -far {
		if s.zero {
			return "0"
		}
		return json.Number(lit)
	}
	digits := strings.ReplaceAll(string(lit[s.first:s.end]), ".", "")
	exp := far
	if s.exp < 0 {
		exp = -far
	}
	sign := ""
	if s.neg {
		sign = "-"
	}
	return json.Number(fmt.Sprintf("%s0.%se%d", sign, digits, exp))
}

// libraryText is the library's sentence, without its frame.
func libraryText(err error) string {
	var verr *jsonschema.ValidationError
	if errors.As(err, &verr) {
		return errorText(verr)
	}
	return err.Error()
}
