package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Compile parses a schema document and compiles it. It reports every problem
// that it finds; the plan is nil if there is one.
func Compile(file string, data []byte) (*Plan, Problems) {
	return compileFor(file, data, false)
}

// compileFor compiles a document, and asks that it keeps to the device profile
// where it is compiled for a device.
func compileFor(file string, data []byte, device bool) (*Plan, Problems) {
	tree, problems := readTree(file, data)
	if tree == nil || len(problems) > 0 {
		return nil, problems
	}
	doc, problems := readDocument(file, tree)
	c := &compiler{documentReader: documentReader{file: file, problems: problems, doc: *doc}, tree: tree}
	if device && !doc.device && tree.kind == docMap {
		c.at(tree.line, tree.col, "profile", "is missing: without it the server takes payloads that a device refuses", "profile: device")
		c.doc.device = true
		if tree.get("unknown") == nil {
			c.doc.unknown = unknownDrop
		}
	}
	p := c.compile()
	if len(c.problems) > 0 {
		slices.SortStableFunc(c.problems, func(a, b Problem) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return a.Column - b.Column
		})
		return nil, slices.Compact(c.problems)
	}
	p.file, p.document = file, slices.Clone(data)
	return p, nil
}

// compiler makes a plan of a document.
type compiler struct {
	documentReader
	tree  *docNode
	root  *place
	plan  *Plan
	table *telemetry.Table

	columnPlaces []*place // parallel to table.Columns; nil for _rest
	inner        map[*place]bool
	loader       jsonschema.URLLoader // of references out of the document; nil refuses them
}

func (c *compiler) compile() *Plan {
	d := &c.doc
	c.table = &telemetry.Table{Name: d.name, Version: d.version, Identity: d.identity, TimeInPayload: d.timeAt != nil}
	c.plan = &Plan{
		name: d.name, version: d.version, table: c.table, filter: d.pattern.filter, pattern: d.pattern,
		onDrop: d.onDrop, retained: d.retained, expectEvery: d.expectEvery, retention: d.retention, rollups: d.rollups,
		device: d.device, format: d.format, timeAs: d.timeAs, zone: d.zone, whens: len(d.when), when: d.when, restSlot: -1,
	}
	c.inner = map[*place]bool{}
	schema := c.payloadSchema()
	before := len(c.problems)
	library := c.compileLibrary(schema)
	if schema.kind == docMap {
		c.findTypingErrors(schema, "payload", 0)
	}
	if len(c.problems) > before {
		return nil
	}
	c.readSchema(schema, true)
	if d.device {
		c.deviceKeywords(schema)
	}
	if c.plan.slow != "" {
		c.readSchema(schema, false)
	}
	c.addRows()
	c.addTime()
	c.addWhen()
	c.addTags()
	c.addColumns()
	if d.device {
		c.deviceLimits()
	}
	if len(c.problems) > 0 {
		return nil
	}
	c.finishPlan(schema, library)
	return c.plan
}

// payloadSchema is the document's payload, or what its format stands for.
func (c *compiler) payloadSchema() *docNode {
	if c.doc.payload != nil {
		return c.doc.payload
	}
	schema := &docNode{kind: docMap, line: 1, col: 1}
	if kind := [...]string{"", "number", "string"}[c.doc.format]; kind != "" {
		schema.keys = []docKey{{name: "type", kind: docString, value: &docNode{kind: docString, text: kind}}}
	}
	return schema
}

// readSchema builds the places, for the fast set or for properties only.
func (c *compiler) readSchema(schema *docNode, fast bool) {
	r := schemaReader{root: schema, fast: fast}
	c.root = newPlace("")
	c.root.types = r.read(c.root, schema, nil)
	if fast && r.slow != "" {
		c.plan.slow = fmt.Sprintf("%s, line %d", r.slow, r.slowAt.line)
	}
	if c.doc.format != formatJSON && c.root.types&(typeArray|typeObject) != 0 && c.root.types != typeAny {
		c.problem(schema, "payload", "a bare value is neither a list nor an object", "format: json takes those")
	}
	if c.doc.format == formatText && c.root.types&typeString == 0 {
		c.problem(schema, "payload", "a text is a string", "type: string")
	}
}

// resolve returns the place that a pointer leads to, making places on the way.
// inner reports whether it stands within an element of rows.
func (c *compiler) resolve(at *pointer, path string) (p *place, inner bool) {
	p = c.root
	if c.doc.format != formatJSON && len(at.tokens) > 0 {
		c.problem(at.node, path, "a bare value has no parts", `its pointer is ""`)
		return nil, false
	}
	for _, t := range at.tokens {
		rows := c.doc.rows
		switch {
		case p.rows && t == "*":
			p = p.items
			inner = true
		case p.rows:
			c.problem(at.node, path, fmt.Sprintf("%s leads into the list that rows names", at.text),
				"elements are reached by "+rows.text+"/…")
			return nil, false
		case isIndex(t) && p.isList():
			n := 0
			if _, err := fmt.Sscan(t, &n); err != nil || n >= maxColumns {
				c.problem(at.node, path, fmt.Sprintf("the index %s is too large", t), "")
				return nil, false
			}
			p = p.element(n)
		case t == "*" && !slices.Contains(p.names, t):
			c.problem(at.node, path, "* stands only where rows has it", "")
			return nil, false
		default:
			if p.closed && !slices.Contains(p.names, t) {
				c.problem(at.node, path, fmt.Sprintf("%s is refused by additionalProperties: false", at.text), "name it in properties")
				return nil, false
			}
			p = p.prop(t)
		}
	}
	return p, inner
}

func isIndex(t string) bool {
	for i := range len(t) {
		if !isDigit(t[i]) {
			return false
		}
	}
	return t == "0" || t != "" && t[0] != '0' && len(t) < 10
}

func (c *compiler) addRows() {
	rows := c.doc.rows
	if rows == nil {
		return
	}
	if c.doc.format != formatJSON {
		c.problem(rows.node, "rows", "only format json has rows", "")
		return
	}
	list := &pointer{tokens: rows.tokens[:len(rows.tokens)-1], text: rows.text, node: rows.node}
	p, _ := c.resolve(list, "rows")
	if p == nil {
		return
	}
	if p.types != 0 && p.types&typeArray == 0 {
		c.problem(rows.node, "rows", "the payload's schema has no list there", "")
		return
	}
	p.rows = true
	if p.items == nil {
		p.items = newPlace(p.path + ".*")
	}
	c.plan.rowSlots = []int32{}
}

func (c *compiler) addTime() {
	d := &c.doc
	if d.timeAt == nil || d.timeAs == timeNone {
		return
	}
	p, inner := c.resolve(d.timeAt, "time.at")
	if p == nil {
		return
	}
	if t := p.types; t != 0 && t&^typeNull != 0 {
		switch {
		case d.timeAs <= timeUnixNS && t&typeNumber == 0:
			c.problem(d.timeAt.node, "time.at", "the payload's schema has no number there", "rfc3339 and local:Zone are texts")
		case d.timeAs > timeUnixNS && t&typeString == 0:
			c.problem(d.timeAt.node, "time.at", "the payload's schema has no text there", "unix_ms and its like are numbers")
		}
	}
	c.plan.timeText = d.timeAt.text
	c.inner[p] = inner
	p.uses = append(p.uses, use{kind: toTime, numeric: d.timeAs <= timeUnixNS})
	p.setNulls(d.nulls)
}

func (c *compiler) addWhen() {
	for i := range c.doc.when {
		w := &c.doc.when[i]
		if c.doc.format != formatJSON {
			c.problem(w.at.node, "when", "only format json has parts to look at", "")
			return
		}
		p, inner := c.resolve(&w.at, "when."+w.at.text)
		if p == nil {
			continue
		}
		if inner {
			c.problem(w.at.node, "when."+w.at.text, "stands within an element of rows", "when looks at the payload as a whole")
			continue
		}
		p.uses = append(p.uses, use{kind: toWhen, when: w.value})
	}
}

func (c *compiler) addTags() {
	d := &c.doc
	for _, name := range d.captures {
		line, col := c.tree.get("topic").line, c.tree.get("topic").col
		if c.freeName(name, line, col, "topic") {
			c.table.Tags = append(c.table.Tags, name)
		}
	}
	for _, t := range d.tags {
		path := "tags." + t.name
		if len(c.table.Tags) >= maxTags {
			c.at(t.line, t.col, path, fmt.Sprintf("more than %d tags", maxTags), "")
			return
		}
		p, inner := c.resolve(&t.at, path)
		if p == nil || !c.freeName(t.name, t.line, t.col, path) {
			continue
		}
		if p.described || p.rows || p.types != 0 && p.types&(typeScalar|typeNull) == 0 {
			c.problem(t.at.node, path, "a tag is one value, not a list or an object", "")
			continue
		}
		slot := int32(c.plan.payloadTags)
		c.plan.payloadTags++
		c.table.Tags = append(c.table.Tags, t.name)
		p.uses = append(p.uses, use{kind: toTag, slot: slot})
		p.setNulls(d.nulls)
		if c.doc.rows != nil && !inner {
			c.plan.rowTags = append(c.plan.rowTags, slot)
		}
	}
}

// freeName reports whether a tag or column may have the name.
func (c *compiler) freeName(name string, line, col int, path string) bool {
	bad := func(message, hint string) bool {
		c.at(line, col, path, message, hint)
		return false
	}
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == '"' || r == 0x7F }) {
		return bad(fmt.Sprintf("%q cannot name a column", name), fmt.Sprintf("1 to %d bytes without quotes and control characters", maxName))
	}
	if slices.ContainsFunc(reserved, func(r string) bool { return strings.EqualFold(r, name) }) {
		return bad(fmt.Sprintf("%q is a column that every table has", name), "give it a name of its own, as columns: {device_time: {at: /time}}")
	}
	for _, t := range c.table.Tags {
		if strings.EqualFold(t, name) {
			return bad(fmt.Sprintf("%q is already a tag", name), "names are the same in SQL if only their case differs; columns: {other_name: {at: …}} gives another")
		}
	}
	for _, k := range c.table.Columns {
		if strings.EqualFold(k.Name, name) {
			return bad(fmt.Sprintf("%q is already a column", name), "names are the same in SQL if only their case differs; columns: {other_name: {at: …}} gives another")
		}
	}
	return true
}

// finishPlan turns places into nodes.
func (c *compiler) finishPlan(schema *docNode, library *libraryInput) {
	p, d := c.plan, &c.doc
	if c.restColumn() {
		p.restSlot = len(c.table.Columns)
		c.table.Columns = append(c.table.Columns, telemetry.Column{Name: telemetry.RestColumn, Type: telemetry.JSON})
		c.columnPlaces = append(c.columnPlaces, nil)
	}
	p.prefill = len(c.table.Columns) > 64 || d.rows != nil
	for i, at := range c.columnPlaces {
		if at == nil {
			continue
		}
		if i < 64 {
			p.slotMask |= 1 << i
		}
		if d.rows != nil && !c.inner[at] {
			p.rowSlots = append(p.rowSlots, int32(i))
		}
	}
	strict := d.unknown == unknownRefuse
	p.root = c.root.finish(p.restSlot >= 0, strict)
	if p.root == nil {
		p.root = &node{types: typeAny, slot: -1}
	}
	if p.root.object == nil && d.format == formatJSON && p.restSlot >= 0 {
		o := &object{keep: true}
		o.seal()
		p.root.object = o
	}
	if p.slow != "" {
		p.library = c.finishLibrary(schema, library)
	}
}

// restColumn says whether the table has a column for what the schema does not
// name.
func (c *compiler) restColumn() bool {
	return c.doc.unknown == unknownKeep && c.doc.format == formatJSON && (c.root.types == 0 || c.root.types&(typeObject|typeArray) != 0) && c.root.open()
}

// open reports whether a property that the schema does not name could stand in
// the place or below.
func (p *place) open() bool {
	if p.raw {
		return false
	}
	if p.rows {
		return p.items.open()
	}
	if !p.closed && (p.described || len(p.uses) == 0 && p.items == nil && p.at == nil && (p.types == 0 || p.types&typeObject != 0)) {
		return true
	}
	for _, child := range p.props {
		if (child.described || len(child.props) > 0 || child.rows) && child.open() {
			return true
		}
	}
	return false
}
