package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// decoder fills a Config from a YAML document and remembers where each key
// stood, so that later checks can name the line as well.
type decoder struct {
	file     string
	origins  map[string]Origin
	anchors  map[string]ast.Node
	problems Problems
}

func newAnchors() map[string]ast.Node { return map[string]ast.Node{} }

func (d *decoder) decode(data []byte, c *Config) {
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc == nil || doc.Body == nil {
			continue
		}
		if body != nil {
			d.add(doc.Body, "", "a configuration is one YAML document, and this is a second one", "")
			return
		}
		body = doc.Body
	}
	if body == nil || body.Type() == ast.NullType {
		return // an empty file asks for the defaults
	}
	d.mapping(body, "", reflect.ValueOf(c).Elem())
}

func (d *decoder) syntax(err error) {
	p := Problem{Origin: Origin{File: d.file, Line: 1, Column: 1}, Message: "not YAML: " + err.Error()}
	var syntax yaml.Error
	if errors.As(err, &syntax) {
		p.Message = "not YAML: " + syntax.GetMessage()
		if tk := syntax.GetToken(); tk != nil && tk.Position != nil {
			p.Origin.Line, p.Origin.Column = tk.Position.Line, tk.Position.Column
		}
	}
	d.problems = append(d.problems, p)
}

func (d *decoder) add(n ast.Node, key, message, hint string) {
	d.problems = append(d.problems, Problem{Origin: d.at(n), Key: key, Message: message, Hint: hint})
}

func (d *decoder) at(n ast.Node) Origin {
	o := Origin{File: d.file, Line: 1, Column: 1}
	if n == nil {
		return o
	}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		n = m.Values[0].Key
	}
	if mv, ok := n.(*ast.MappingValueNode); ok {
		n = mv.Key
	}
	if tk := n.GetToken(); tk != nil && tk.Position != nil {
		o.Line, o.Column = tk.Position.Line, tk.Position.Column
	}
	return o
}

// resolve follows anchors and aliases, so that a file may name a block once and
// use it again.
func (d *decoder) resolve(n ast.Node) ast.Node {
	for range 100 { // an alias cannot reach itself in YAML; the bound is for a defect
		switch t := n.(type) {
		case *ast.AnchorNode:
			d.anchors[t.Name.GetToken().Value] = t.Value
			n = t.Value
		case *ast.AliasNode:
			target, ok := d.anchors[t.Value.GetToken().Value]
			if !ok {
				d.add(n, "", fmt.Sprintf("the alias *%s names no anchor before it", t.Value.GetToken().Value), "")
				return nil
			}
			n = target
		case *ast.TagNode:
			n = t.Value
		default:
			return n
		}
	}
	return nil
}

func entries(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch t := n.(type) {
	case *ast.MappingNode:
		return t.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{t}, true
	}
	return nil, false
}

func (d *decoder) mapping(n ast.Node, path string, v reflect.Value) {
	n = d.resolve(n)
	if n == nil || n.Type() == ast.NullType {
		return // "broker:" with nothing below it leaves the defaults
	}
	values, ok := entries(n)
	if !ok {
		d.add(n, path, "expected keys and values here, found "+describe(n), "")
		return
	}
	fields := fieldsOf(v.Type())
	seen := map[string]Origin{}
	for _, e := range values {
		name := keyText(e.Key)
		if e.Key.Type() == ast.MergeKeyType {
			d.add(e.Key, path, "merge keys (<<) are not supported", "repeat the keys, or alias a whole block")
			continue
		}
		if first, dup := seen[name]; dup {
			d.add(e.Key, join(path, name), fmt.Sprintf("given twice; the first one stands in line %d", first.Line), "")
			continue
		}
		seen[name] = d.at(e.Key)
		i := indexOf(fields, name)
		if i < 0 {
			d.unknown(e.Key, path, name, fields)
			continue
		}
		d.value(e.Value, join(path, name), fields[i], v.Field(fields[i].index), d.at(e.Key))
	}
}

func indexOf(fields []field, key string) int {
	for i := range fields {
		if fields[i].key == key {
			return i
		}
	}
	return -1
}

func (d *decoder) unknown(key ast.Node, path, name string, fields []field) {
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].key
	}
	message := "unknown key " + strconv.Quote(name)
	if path != "" {
		message += " in " + path
	}
	hint := "known here: " + strings.Join(names, ", ")
	if near := Suggest(name, names); near != "" {
		hint = "did you mean " + strconv.Quote(near) + "?"
	} else if elsewhere := placeOf(name); elsewhere != "" {
		hint = "did you mean " + strconv.Quote(elsewhere) + "?"
	}
	d.add(key, "", message, hint)
}

// placeOf finds a key of that name anywhere in the configuration, for those who
// remember the key and not the block that it belongs to.
func placeOf(name string) string {
	for _, k := range Keys() {
		if k.Path[strings.LastIndexByte(k.Path, '.')+1:] == name {
			return k.Path
		}
	}
	return ""
}

func (d *decoder) value(n ast.Node, path string, f field, v reflect.Value, key Origin) {
	switch {
	case f.typ.Kind() == reflect.Struct && !isScalar(f.typ):
		d.origins[path] = key
		d.mapping(n, path, v)
		return
	case f.isList():
		d.origins[path] = key
		d.list(n, path, v)
		return
	}
	n = d.resolve(n)
	if n == nil || n.Type() == ast.NullType {
		return
	}
	d.origins[path] = d.at(n)
	if f.typ == reflect.TypeFor[[]string]() {
		if seq, ok := n.(*ast.SequenceNode); ok {
			var list []string
			for _, item := range seq.Values {
				text, ok := scalarText(d.resolve(item))
				if !ok {
					d.add(item, path, "expected a list of texts, found "+describe(item)+" in it", "")
					continue
				}
				list = append(list, text)
			}
			v.Set(reflect.ValueOf(list))
			return
		}
	}
	text, ok := scalarText(n)
	if !ok {
		d.add(n, path, "expected a "+f.typeName()+", found "+describe(n), "")
		return
	}
	if err := f.set(v, text); err != nil {
		d.add(n, path, err.Error(), "")
	}
}

func (d *decoder) list(n ast.Node, path string, v reflect.Value) {
	n = d.resolve(n)
	if n == nil || n.Type() == ast.NullType {
		return
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.add(n, path, "expected a list (lines that begin with -), found "+describe(n), "")
		return
	}
	for i, item := range seq.Values {
		element := newElement(v)
		p := fmt.Sprintf("%s[%d]", path, i)
		d.origins[p] = d.at(item)
		before := len(d.problems)
		d.mapping(item, p, element)
		if values, ok := entries(d.resolve(item)); len(d.problems) == before && (!ok || len(values) != 1) {
			d.add(item, p, "expected exactly one kind of source, as - mqtt: {url: …}", "")
		}
		v.Set(reflect.Append(v, element))
	}
}

func newElement(list reflect.Value) reflect.Value {
	element := reflect.New(list.Type().Elem()).Elem()
	fillDefaults(element)
	return element
}

func keyText(n ast.MapKeyNode) string {
	if s, ok := n.(*ast.StringNode); ok {
		return s.Value
	}
	return n.GetToken().Value
}

func scalarText(n ast.Node) (string, bool) {
	switch t := n.(type) {
	case *ast.StringNode:
		return t.Value, true
	case *ast.LiteralNode:
		return t.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	}
	if text, ok := scalarText(n); ok {
		return strconv.Quote(text)
	}
	return n.Type().String()
}
