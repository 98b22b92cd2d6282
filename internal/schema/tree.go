package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of a document.
const (
	MaxDocument    = 1 << 20 // bytes
	maxDocDepth    = 100
	maxDocNodes    = 100_000 // aliases count as often as they are used
	maxNumberText  = 400     // bytes of a number in a document
	maxNumberScale = 1_000   // decimal places before or after the point
)

// docKind is the kind of a value in a document.
type docKind uint8

const (
	docNull docKind = iota
	docBool
	docNumber
	docString
	docList
	docMap
)

func (k docKind) String() string {
	return [...]string{"null", "true or false", "a number", "text", "a list", "a mapping"}[k]
}

// docNode is a value of a document, of YAML or JSON alike, with its position.
type docNode struct {
	kind      docKind
	text      string // of scalars; numbers as JSON writes them
	items     []*docNode
	keys      []docKey
	line, col int
}

// docKey is one key of a mapping.
type docKey struct {
	name      string
	kind      docKind // as YAML reads the key: true: is a bool
	value     *docNode
	line, col int
}

// get returns the value of a key, or nil.
func (n *docNode) get(name string) *docNode {
	for i := range n.keys {
		if n.keys[i].name == name {
			return n.keys[i].value
		}
	}
	return nil
}

// at follows a JSON pointer's tokens as far as they lead.
func (n *docNode) at(tokens []string) *docNode {
	for _, t := range tokens {
		var next *docNode
		switch n.kind {
		case docMap:
			next = n.get(t)
		case docList:
			for i, item := range n.items {
				if fmt.Sprint(i) == t {
					next = item
				}
			}
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// plain is the value as encoding/json gives it, numbers as json.Number.
func (n *docNode) plain() any {
	switch n.kind {
	case docBool:
		return n.text == "true"
	case docNumber:
		return json.Number(n.text)
	case docString:
		return n.text
	case docList:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = item.plain()
		}
		return list
	case docMap:
		m := make(map[string]any, len(n.keys))
		for _, k := range n.keys {
			m[k.name] = k.value.plain()
		}
		return m
	}
	return nil
}

// treeReader builds the tree of a document and collects its problems.
type treeReader struct {
	file     string
	problems Problems
	nodes    int
	anchors  map[string]ast.Node
	open     map[string]bool // anchors that are being expanded
}

func (r *treeReader) problem(line, col int, message, hint string) {
	r.problems = append(r.problems, Problem{File: r.file, Line: line, Column: col, Message: message, Hint: hint})
}

// readTree parses a document: strict JSON if its file is named .json, else YAML,
// which JSON is too, but for the tabs that it may be indented by. So what begins
// as JSON and is JSON is read as such.
func readTree(file string, data []byte) (*docNode, Problems) {
	r := &treeReader{file: file, anchors: map[string]ast.Node{}, open: map[string]bool{}}
	if len(data) > MaxDocument {
		r.problem(0, 0, fmt.Sprintf("the document has %d bytes; at most %d are read", len(data), MaxDocument), "")
		return nil, r.problems
	}
	if strings.HasSuffix(strings.ToLower(file), ".json") {
		j := jsonTree{treeReader: r, p: data}
		return j.document(), r.problems
	}
	if at := skipSpace(data, 0); at < len(data) && data[at] == '{' {
		j := jsonTree{treeReader: &treeReader{file: file}, p: data}
		if n := j.document(); len(j.problems) == 0 {
			return n, nil
		}
	}
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		line, col, message := 0, 0, err.Error()
		if e := yaml.Error(nil); errors.As(err, &e) {
			message = e.GetMessage()
			if t := e.GetToken(); t != nil && t.Position != nil {
				line, col = t.Position.Line, t.Position.Column
			}
		}
		r.problem(line, col, "not YAML: "+message, "")
		return nil, r.problems
	}
	var body ast.Node
	for _, d := range f.Docs {
		if d.Body == nil || d.Body.Type() == ast.CommentType || d.Body.Type() == ast.CommentGroupType {
			continue
		}
		if body != nil {
			line, col := position(d.Body)
			r.problem(line, col, "a second document begins here", "a file holds one schema document")
			return nil, r.problems
		}
		body = d.Body
	}
	if body == nil {
		r.problem(1, 1, "the document is empty", "")
		return nil, r.problems
	}
	n := r.node(body, 0)
	return n, r.problems
}

// position is where a node begins; that of a block mapping is its first key.
func position(n ast.Node) (line, col int) {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return position(n.Values[0])
		}
	case *ast.MappingValueNode:
		return position(n.Key)
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line, t.Position.Column
	}
	return 0, 0
}

// node turns a YAML node into a docNode; nil after a problem.
func (r *treeReader) node(n ast.Node, depth int) *docNode {
	line, col := position(n)
	d := &docNode{line: line, col: col}
	if r.nodes++; r.nodes > maxDocNodes || depth > maxDocDepth {
		if r.nodes < 2*maxDocNodes {
			r.problem(line, col, "the document is too large or too deep", "")
			r.nodes = 2 * maxDocNodes
		}
		return nil
	}
	switch n := n.(type) {
	case *ast.NullNode:
	case *ast.BoolNode:
		d.kind, d.text = docBool, fmt.Sprint(n.Value)
	case *ast.StringNode:
		d.kind, d.text = docString, n.Value
		if n.Token.Type == token.StringType {
			// The parser leaves 1e3 and long integers as text; YAML 1.2 does not.
			if lit, ok := jsonNumber(n.Value); ok {
				return r.number(d, lit)
			}
		}
	case *ast.LiteralNode:
		d.kind, d.text = docString, n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode:
		text := n.GetToken().Value
		lit, ok := jsonNumber(text)
		if !ok {
			r.problem(line, col, fmt.Sprintf("%s is not a decimal number", text), "write it in decimal, without leading zeros or underscores")
			return nil
		}
		return r.number(d, lit)
	case *ast.InfinityNode, *ast.NanNode:
		r.problem(line, col, "infinity and NaN are not JSON", "")
		return nil
	case *ast.AnchorNode:
		if name := n.Name.GetToken(); name != nil {
			r.anchors[name.Value] = n.Value
		}
		return r.node(n.Value, depth+1)
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		target, ok := r.anchors[name]
		if !ok || r.open[name] {
			r.problem(line, col, fmt.Sprintf("the alias *%s has no anchor before it", name), "")
			return nil
		}
		r.open[name] = true
		defer delete(r.open, name)
		return r.node(target, depth+1)
	case *ast.TagNode:
		r.problem(line, col, fmt.Sprintf("the tag %s is not understood", n.GetToken().Value), "quote the value to make it text")
		return nil
	case *ast.SequenceNode:
		d.kind = docList
		for _, item := range n.Values {
			if v := r.node(item, depth+1); v != nil {
				d.items = append(d.items, v)
			}
		}
	case *ast.MappingNode:
		d.kind = docMap
		for _, v := range n.Values {
			r.entry(d, v, depth)
		}
	case *ast.MappingValueNode:
		d.kind = docMap
		r.entry(d, n, depth)
	default:
		r.problem(line, col, fmt.Sprintf("%s is not understood here", n.Type()), "")
		return nil
	}
	return d
}

// entry adds one key and value to a mapping.
func (r *treeReader) entry(d *docNode, v *ast.MappingValueNode, depth int) {
	line, col := position(v.Key)
	if v.Key.IsMergeKey() {
		m := r.node(v.Value, depth+1)
		if m == nil {
			return
		}
		for _, k := range m.keys {
			if d.get(k.name) == nil {
				d.keys = append(d.keys, k)
			}
		}
		return
	}
	var key ast.Node = v.Key
	if mk, ok := key.(*ast.MappingKeyNode); ok {
		key = mk.Value
	}
	k := r.node(key, depth+1)
	value := r.node(v.Value, depth+1)
	if k == nil || value == nil {
		return
	}
	if k.kind == docList || k.kind == docMap {
		r.problem(line, col, "a key must be a word, not "+k.kind.String(), "")
		return
	}
	name := k.text
	if k.kind == docNull {
		name = "null"
	}
	for i := range d.keys {
		if d.keys[i].name == name {
			r.problem(line, col, fmt.Sprintf("the key %q stands twice in one mapping", name), "")
			return
		}
	}
	d.keys = append(d.keys, docKey{name: name, kind: k.kind, value: value, line: line, col: col})
}

// number completes a number whose literal is JSON.
func (r *treeReader) number(d *docNode, lit string) *docNode {
	d.kind, d.text = docNumber, lit
	s := normalize([]byte(lit))
	if len(lit) > maxNumberText || !s.zero && (s.exp > maxNumberScale || s.last < -maxNumberScale) {
		r.problem(d.line, d.col, "the number has too many digits", fmt.Sprintf("at most %d decimal places on either side of the point", maxNumberScale))
		return nil
	}
	return d
}

// jsonNumber writes a YAML 1.2 decimal number as JSON does.
func jsonNumber(s string) (string, bool) {
	lit := strings.TrimPrefix(s, "+")
	sign := ""
	if strings.HasPrefix(lit, "-") && lit == s {
		sign, lit = "-", lit[1:]
	}
	if strings.HasPrefix(lit, ".") {
		lit = "0" + lit
	}
	if i := strings.IndexByte(lit, '.'); i >= 0 && (i+1 == len(lit) || lit[i+1]|0x20 == 'e') {
		lit = lit[:i+1] + "0" + lit[i+1:]
	}
	lit = sign + lit
	_, _, end, flags := scanNumber([]byte(lit), 0)
	return lit, flags&numBad == 0 && end == len(lit)
}

// jsonTree reads a document in strict JSON.
type jsonTree struct {
	*treeReader
	p   []byte
	pos int
}

func (j *jsonTree) where(pos int) (line, col int) {
	before := j.p[:min(pos, len(j.p))]
	line = 1 + strings.Count(string(before), "\n")
	return line, pos - strings.LastIndexByte(string(before), '\n')
}

func (j *jsonTree) fail(pos int, message string) *docNode {
	line, col := j.where(pos)
	j.problem(line, col, "not JSON: "+message, "")
	return nil
}

func (j *jsonTree) document() *docNode {
	n := j.value(0)
	if n == nil {
		return nil
	}
	if j.pos = skipSpace(j.p, j.pos); j.pos < len(j.p) {
		return j.fail(j.pos, "something stands after the document")
	}
	return n
}

func (j *jsonTree) value(depth int) *docNode {
	j.pos = skipSpace(j.p, j.pos)
	if j.pos >= len(j.p) {
		return j.fail(j.pos, "the document ends too early")
	}
	if j.nodes++; j.nodes > maxDocNodes || depth > maxDocDepth {
		return j.fail(j.pos, "the document is too large or too deep")
	}
	d := &docNode{}
	d.line, d.col = j.where(j.pos)
	switch c := j.p[j.pos]; c {
	case '"':
		text, ok := j.text()
		if !ok {
			return nil
		}
		d.kind, d.text = docString, text
		return d
	case 't', 'f', 'n':
		end := wordEnd(j.p, j.pos)
		if end < 0 {
			return j.fail(j.pos, "not a value")
		}
		if c != 'n' {
			d.kind, d.text = docBool, string(j.p[j.pos:end])
		}
		j.pos = end
		return d
	case '[', '{':
		return j.members(d, c, depth)
	}
	_, _, end, flags := scanNumber(j.p, j.pos)
	if flags&numBad != 0 {
		return j.fail(end, "not a value")
	}
	lit := string(j.p[j.pos:end])
	j.pos = end
	return j.number(d, lit)
}

func (j *jsonTree) text() (string, bool) {
	end, flags := scanString(j.p, j.pos+1)
	if flags&strBad != 0 {
		j.fail(end, "a string with a character or escape that JSON does not allow")
		return "", false
	}
	s := string(appendUnescaped(nil, j.p[j.pos+1:end]))
	j.pos = end + 1
	return s, true
}

// members reads a list or an object.
func (j *jsonTree) members(d *docNode, open byte, depth int) *docNode {
	d.kind = docList
	last := byte(']')
	if open == '{' {
		d.kind, last = docMap, '}'
	}
	j.pos = skipSpace(j.p, j.pos+1)
	if j.pos < len(j.p) && j.p[j.pos] == last {
		j.pos++
		return d
	}
	for {
		var key docKey
		if open == '{' {
			if j.pos = skipSpace(j.p, j.pos); j.pos >= len(j.p) || j.p[j.pos] != '"' {
				return j.fail(j.pos, "a name in quotes must stand here")
			}
			key.line, key.col = j.where(j.pos)
			key.kind = docString
			at := j.pos
			var ok bool
			if key.name, ok = j.text(); !ok {
				return nil
			}
			if d.get(key.name) != nil {
				return j.fail(at, fmt.Sprintf("the name %q stands twice in one object", key.name))
			}
			if j.pos = skipSpace(j.p, j.pos); j.pos >= len(j.p) || j.p[j.pos] != ':' {
				return j.fail(j.pos, "a colon must stand here")
			}
			j.pos++
		}
		v := j.value(depth + 1)
		if v == nil {
			return nil
		}
		if open == '{' {
			key.value = v
			d.keys = append(d.keys, key)
		} else {
			d.items = append(d.items, v)
		}
		if j.pos = skipSpace(j.p, j.pos); j.pos >= len(j.p) {
			return j.fail(j.pos, "the document ends too early")
		}
		switch j.p[j.pos] {
		case last:
			j.pos++
			return d
		case ',':
			j.pos++
		default:
			return j.fail(j.pos, "a comma or "+string(last)+" must stand here")
		}
	}
}
