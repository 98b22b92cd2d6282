package schema

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// draft202012 is the dialect that plans are written in.
const draft202012 = "https://json-schema.org/draft/2020-12/schema"

// annotations are keywords that decide nothing.
var annotations = []string{
	"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "$defs",
	"format", "contentEncoding", "contentMediaType", "contentSchema",
}

// schemaKeywords are all keywords of JSON Schema 2020-12, to find typing errors.
var schemaKeywords = append([]string{
	"$schema", "$id", "$ref", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary",
	"type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum",
	"maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "maxContains", "minContains",
	"maxProperties", "minProperties", "required", "dependentRequired", "dependentSchemas",
	"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "properties", "patternProperties", "additionalProperties",
	"propertyNames", "items", "prefixItems", "contains", "unevaluatedItems", "unevaluatedProperties", "definitions", "dependencies",
}, annotations...)

var typeNames = map[string]typeMask{
	"null": typeNull, "boolean": typeBool, "integer": typeInteger, "number": typeNumber,
	"string": typeString, "array": typeArray, "object": typeObject,
}

// maxCount stands for any larger count in minLength and its like.
const maxCount = 1 << 30

// schemaReader builds places from a JSON Schema. In the fast set it also takes the
// checks; at the first keyword outside of it, slow names the keyword, and the
// schema is read again for its properties only.
type schemaReader struct {
	root   *docNode
	fast   bool
	slow   string
	slowAt *docNode
	refs   []string // being followed
	depth  int
	branch int // within anyOf and its like: what is said may not hold
}

func (r *schemaReader) leave(n *docNode, keyword string) {
	if r.slow == "" {
		r.slow, r.slowAt = keyword, n
	}
}

// read adds what one schema says of a place, and returns the types it leaves.
func (r *schemaReader) read(p *place, n *docNode, at []string) typeMask {
	if r.depth++; r.depth > 4*MaxDepth {
		r.leave(n, "a schema this deep")
		r.depth--
		return typeAny
	}
	defer func() { r.depth-- }()
	if p.src == nil {
		p.src, p.schemaAt = n, at
	}
	if n.kind == docBool {
		if n.text == "false" {
			if r.fast {
				p.checked.types = 0
			}
			return 0
		}
		return typeAny
	}
	if n.kind != docMap {
		return typeAny // the metaschema says what is wrong
	}
	types := typeAny
	if t := n.get("type"); t != nil {
		types = typesOf(t)
	}
	if r.fast {
		p.checked.types &= types
	}
	for _, k := range n.keys {
		v, path := k.value, append(slices.Clone(at), k.name)
		switch k.name {
		case "type":
		case "properties":
			r.properties(p, v, path)
		case "items":
			if p.items == nil {
				p.items = newPlace(p.path + ".*")
			}
			p.items.types |= r.read(p.items, v, path)
		case "enum", "const":
			types &= r.enum(p, k.name, v)
		case "x-unit":
			if v.kind == docString {
				p.unit = v.text
			}
		case "$schema":
			if len(at) > 0 || strings.TrimSuffix(v.text, "#") != draft202012 {
				r.leave(v, k.name)
			}
		case "$id", "$anchor":
			// Names without references to them decide nothing.
		default:
			if slices.Contains(annotations, k.name) || r.check(p, n, k.name, v) {
				continue
			}
			types &= r.beyond(p, n, k.name, v, path)
		}
	}
	return types
}

func typesOf(t *docNode) typeMask {
	if t.kind == docString {
		return typeNames[t.text]
	}
	var types typeMask
	for _, item := range t.items {
		types |= typeNames[item.text]
	}
	return types
}

func (r *schemaReader) properties(p *place, v *docNode, at []string) {
	p.described = true
	for _, k := range v.keys {
		child := p.prop(k.name)
		child.declared = true
		child.types |= r.read(child, k.value, append(slices.Clone(at), k.name))
	}
}

// enum takes enum and const where all their values are scalars.
func (r *schemaReader) enum(p *place, keyword string, v *docNode) typeMask {
	values := []*docNode{v}
	if keyword == "enum" {
		values = v.items
	}
	var types typeMask
	var set []constant
	for _, item := range values {
		c, ok := constantOf(item)
		if !ok {
			r.leave(item, keyword+" of lists or objects")
			return typeAny
		}
		set = append(set, c)
		switch {
		case c.kind != typeNumber:
			types |= c.kind
		case c.num.isInt():
			types |= typeInteger
		default:
			types |= typeFraction
		}
	}
	if r.fast {
		if p.checked.checks&checkEnum != 0 {
			r.leave(v, "enum beside const")
		}
		p.checked.checks |= checkEnum
		p.checked.enum = set
		if len(set) > 16 {
			p.checked.texts = map[string]struct{}{}
			for _, c := range set {
				if c.kind == typeString {
					p.checked.texts[c.text] = struct{}{}
				}
			}
		}
		p.checked.types &^= typeArray | typeObject
	}
	return types
}

// check takes a keyword of the fast set; false says that it is none.
func (r *schemaReader) check(p *place, schema *docNode, keyword string, v *docNode) bool {
	n := &p.checked
	var num decimal
	count := 0
	if v.kind == docNumber {
		num = parseDecimal(v.text)
		count, _ = num.integer(maxCount)
	}
	switch keyword {
	case "minimum", "exclusiveMinimum":
		return r.bound(n, &n.min, checkMin, v, num, keyword != "minimum")
	case "maximum", "exclusiveMaximum":
		return r.bound(n, &n.max, checkMax, v, num, keyword != "maximum")
	case "multipleOf":
		if r.fast && v.kind == docNumber {
			var ok bool
			if n.multiple, ok = newMultiple(num); !ok {
				r.leave(v, "multipleOf with this many digits")
			}
			n.checks |= checkMultiple
		}
	case "minLength", "maxLength":
		if r.fast {
			if n.checks&checkLength == 0 {
				n.minLen, n.maxLen = 0, maxCount
			}
			n.checks |= checkLength
			if keyword == "minLength" {
				n.minLen = count
			} else {
				n.maxLen = count
			}
		}
	case "minItems", "maxItems":
		if r.fast {
			if n.checks&checkItems == 0 {
				n.minItems, n.maxItems = 0, maxCount
			}
			n.checks |= checkItems
			if keyword == "minItems" {
				n.minItems = count
			} else {
				n.maxItems = count
			}
		}
	case "pattern":
		if r.fast {
			if re, err := regexp.Compile(v.text); err == nil {
				n.checks |= checkPattern
				n.pattern = re
			}
		}
	case "required":
		if r.fast {
			for _, item := range v.items {
				p.required = append(p.required, item.text)
			}
		}
	case "additionalProperties":
		if v.kind != docBool {
			return false
		}
		if v.text == "false" {
			p.refuse = r.fast
			p.closed = p.closed || r.branch == 0 && schema.get("patternProperties") == nil
		}
	case "uniqueItems":
		return v.kind == docBool && v.text == "false"
	default:
		return strings.HasPrefix(keyword, "x-") || !slices.Contains(schemaKeywords, keyword)
	}
	return true
}

// bound takes a minimum or maximum; a second one of the same side is beyond the
// fast set.
func (r *schemaReader) bound(n *node, b *bound, check nodeChecks, v *docNode, num decimal, exclusive bool) bool {
	if !r.fast || v.kind != docNumber {
		return true
	}
	if n.checks&check != 0 {
		r.leave(v, "a bound beside an exclusive one")
	}
	n.checks |= check
	*b = bound{float: num.float(), exclusive: exclusive, exact: num}
	b.short = len(num.digits) <= 15 && num.exp < 300 && num.exp > -290 && num.digits != ""
	return true
}

// beyond notes a keyword outside of the fast set. On the reading for properties,
// it follows those that can name some.
func (r *schemaReader) beyond(p *place, n *docNode, keyword string, v *docNode, at []string) typeMask {
	r.leave(v, keyword)
	if r.fast {
		return typeAny
	}
	r.branch++
	defer func() { r.branch-- }()
	switch keyword {
	case "$ref":
		return r.follow(p, v)
	case "allOf":
		types := typeAny
		for i, item := range v.items {
			types &= r.read(p, item, append(slices.Clone(at), fmt.Sprint(i)))
		}
		return types
	case "anyOf", "oneOf":
		var types typeMask
		for i, item := range v.items {
			types |= r.read(p, item, append(slices.Clone(at), fmt.Sprint(i)))
		}
		return types
	case "then", "else":
		r.read(p, v, at)
	case "dependentSchemas":
		for _, k := range v.keys {
			r.read(p, k.value, append(slices.Clone(at), k.name))
		}
	}
	return typeAny
}

// follow reads the target of a reference into the same document.
func (r *schemaReader) follow(p *place, v *docNode) typeMask {
	frag, ok := strings.CutPrefix(v.text, "#")
	if !ok || slices.Contains(r.refs, v.text) || len(r.refs) > 16 {
		return typeAny
	}
	tokens, err := parsePointer(frag)
	if err != nil {
		return typeAny
	}
	target := r.root
	for _, t := range tokens {
		if target.kind != docMap || target.get(t) == nil {
			return typeAny
		}
		target = target.get(t)
	}
	r.refs = append(r.refs, v.text)
	defer func() { r.refs = r.refs[:len(r.refs)-1] }()
	return r.read(p, target, tokens)
}
