package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The device profile: what the firmware runs. A document with `profile: device`
// keeps within it, and its plan holds payloads to the same limits, so that
// gateway and device give one verdict. conformance/device-profile.json is the
// same list for other languages; a test holds the two together.
const (
	DevicePlan       = 8192 // bytes of a binary plan
	DeviceDepth      = 8    // lists and objects in each other
	DeviceNames      = 32   // names in the objects that are open at once
	DeviceName       = 64   // bytes of a name or a constant
	DeviceText       = 128  // bytes of a text that is recorded
	DeviceDigits     = 19   // digits of a number
	DeviceProperties = 32   // of one object
	DeviceFields     = 32   // tags from the payload and columns
	DeviceCaptures   = 8
	DeviceTopic      = 128 // bytes
	DeviceRecord     = 400 // bytes of a record's body
	DeviceEntries    = 64  // of an enum, a map, null_values
	DeviceWhen       = 8
	DeviceElements   = 16 // elements of a list that pointers may name
	deviceDivisor    = 1<<31 - 1
	deviceExponent   = 1000
	deviceCount      = 65_534 // minLength and its like
)

// deviceKeywordSet are the keywords of the payload's schema that decide
// something and that a device runs.
var deviceKeywordSet = []string{
	"type", "required", "properties", "additionalProperties", "enum", "const", "minimum", "maximum", "exclusiveMinimum",
	"exclusiveMaximum", "multipleOf", "minLength", "maxLength", "items", "minItems", "maxItems",
}

// deviceIdle are keywords that decide nothing by themselves.
var deviceIdle = append([]string{"$schema", "$id", "$anchor"}, annotations...)

// deviceKeywords notes every keyword of the document and of the payload's schema
// that a device does not run.
func (c *compiler) deviceKeywords(schema *docNode) {
	for _, key := range []string{"rows"} {
		if n := c.tree.get(key); n != nil {
			c.problem(n, key, "a device does not run this", "one message is one record")
		}
	}
	if n := c.tree.get("unknown"); n != nil && n.text == "keep" {
		c.problem(n, "unknown", "a device has no room for what the schema does not name", "drop or refuse")
	}
	if c.doc.timeAs == timeLocal {
		c.problem(c.tree.get("time").get("as"), "time.as", "a device knows no time zones", "unix_ms and its like, or rfc3339")
	}
	for i := range c.doc.pattern.levels {
		if l := &c.doc.pattern.levels[i]; l.kind == levelOne || l.kind == levelRest {
			c.problem(c.tree.get("topic"), "topic", "a record keeps only named levels of its topic", "{site} in place of +; # has no such name")
			break
		}
	}
	if len(c.doc.when) > DeviceWhen {
		c.problem(c.tree.get("when"), "when", fmt.Sprintf("%d conditions; a device runs %d", len(c.doc.when), DeviceWhen), "")
	}
	for i := range c.doc.when {
		w := &c.doc.when[i]
		if slices.ContainsFunc(w.at.tokens, isIndex) {
			c.problem(w.at.node, "when."+w.at.text, "a device looks at members of objects only", "")
		}
		c.deviceConstant(w.at.node, "when."+w.at.text, &w.value)
	}
	for i := range c.doc.nulls {
		c.deviceConstant(c.doc.nullDoc[i], fmt.Sprintf("null_values.%d", i), &c.doc.nulls[i])
	}
	if n := len(c.doc.nulls); n > DeviceEntries {
		c.problem(c.tree.get("null_values"), "null_values", fmt.Sprintf("%d entries; a device runs %d", n, DeviceEntries), "")
	} else if n > 8 && c.doc.format == formatValue {
		c.problem(c.tree.get("null_values"), "null_values", fmt.Sprintf("%d entries; with format value a device runs 8", n), "")
	}
	if schema.kind == docMap {
		c.deviceSchema(schema, "payload", 1)
	}
}

// deviceSchema looks through one schema and those of its properties and items.
func (c *compiler) deviceSchema(n *docNode, path string, depth int) {
	if depth > DeviceDepth+1 {
		c.problem(n, path, fmt.Sprintf("nested deeper than the %d levels of a device", DeviceDepth), "")
		return
	}
	for i := range n.keys {
		k := &n.keys[i]
		at := path + "." + k.name
		switch {
		case slices.Contains(deviceIdle, k.name) || strings.HasPrefix(k.name, "x-"):
		case !slices.Contains(deviceKeywordSet, k.name):
			if slices.Contains(schemaKeywords, k.name) {
				c.at(k.line, k.col, at, "a device does not run this keyword", "docs/schemas.md lists those that it does")
			}
		default:
			c.deviceKeyword(n, k, at, depth)
		}
	}
}

// deviceKeyword looks at the value of a keyword that devices run.
func (c *compiler) deviceKeyword(n *docNode, k *docKey, at string, depth int) {
	v := k.value
	switch k.name {
	case "properties":
		for i := range v.keys {
			p := &v.keys[i]
			if len(p.name) > DeviceName {
				c.at(p.line, p.col, at+"."+p.name, fmt.Sprintf("a name of %d bytes; a device takes %d", len(p.name), DeviceName), "")
			}
			if p.value.kind == docMap {
				c.deviceSchema(p.value, at+"."+p.name, depth+1)
			}
		}
	case "items":
		if v.kind == docMap {
			c.deviceSchema(v, at, depth+1)
		}
	case "additionalProperties":
		if v.kind != docBool {
			c.problem(v, at, "a device takes true or false here", "")
		}
	case "enum", "const":
		c.deviceEnum(n, k, at)
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum":
		c.deviceNumber(v, at)
		for _, other := range [][2]string{{"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}} {
			if k.name == other[1] && n.get(other[0]) != nil {
				c.at(k.line, k.col, at, "stands beside "+other[0]+"; a device takes one of them", "the closer one decides alone")
			}
		}
	case "multipleOf":
		d := parseDecimal(v.text)
		if m, ok := newMultiple(d); !ok || m.mant > deviceDivisor || max(m.exp, -m.exp) > deviceExponent {
			c.problem(v, at, "a device divides by at most 9 digits", "")
		}
	case "minLength", "maxLength", "minItems", "maxItems":
		d := parseDecimal(v.text)
		if count, ok := d.integer(maxCount); !ok || count > deviceCount {
			c.problem(v, at, fmt.Sprintf("a device counts to %d", deviceCount), "")
		}
	case "required":
		for _, item := range v.items {
			if len(item.text) > DeviceName {
				c.problem(item, at, fmt.Sprintf("a name of %d bytes; a device takes %d", len(item.text), DeviceName), "")
			}
		}
	}
}

func (c *compiler) deviceEnum(n *docNode, k *docKey, at string) {
	values := []*docNode{k.value}
	if k.name == "enum" {
		values = k.value.items
		if n.get("const") != nil {
			c.at(k.line, k.col, at, "stands beside const; a device takes one of them", "")
		}
	}
	if len(values) > DeviceEntries {
		c.problem(k.value, at, fmt.Sprintf("%d values; a device takes %d", len(values), DeviceEntries), "")
	}
	for _, item := range values {
		if constant, ok := constantOf(item); ok {
			c.deviceConstant(item, at, &constant)
		} else {
			c.problem(item, at, "a device compares no lists or objects", "")
		}
	}
}

// deviceNumber refuses a number of the document that a device cannot hold.
func (c *compiler) deviceNumber(v *docNode, at string) {
	if v.kind != docNumber {
		return
	}
	if d := parseDecimal(v.text); len(d.digits) > DeviceDigits || max(d.exp, -d.exp) > deviceExponent {
		c.problem(v, at, fmt.Sprintf("a device compares numbers of up to %d digits", DeviceDigits), "")
	}
}

// deviceConstant refuses a constant that a device cannot compare with.
func (c *compiler) deviceConstant(n *docNode, at string, k *constant) {
	switch {
	case k.kind == typeNumber && (len(k.num.digits) > DeviceDigits || max(k.num.exp, -k.num.exp) > deviceExponent):
		c.problem(n, at, fmt.Sprintf("a device compares numbers of up to %d digits", DeviceDigits), "")
	case k.kind == typeString && len(k.text) > DeviceName:
		c.problem(n, at, fmt.Sprintf("a text of %d bytes; a device compares %d", len(k.text), DeviceName), "")
	}
}

// deviceLimits notes where the table or the payload's shape is beyond a device.
func (c *compiler) deviceLimits() {
	t := c.table
	if n := c.plan.payloadTags + len(t.Columns); n > DeviceFields {
		c.at(1, 1, "payload", fmt.Sprintf("%d tags and columns; a record has %d", n, DeviceFields), "columns: {name: false} leaves one out")
	}
	if n := len(c.doc.captures); n > DeviceCaptures {
		c.problem(c.tree.get("topic"), "topic", fmt.Sprintf("%d captures; a record has %d", n, DeviceCaptures), "")
	}
	if least := c.leastTopic(); least > DeviceTopic {
		c.problem(c.tree.get("topic"), "topic", fmt.Sprintf("topics of at least %d bytes; a device takes %d", least, DeviceTopic), "")
	}
	for i, p := range c.columnPlaces {
		if t.Columns[i].Type == telemetry.String {
			p.checked.checks |= checkText
		}
		if t.Columns[i].Type == telemetry.JSON {
			line, col := c.columnAt(t.Columns[i].Name, p)
			c.at(line, col, "columns."+t.Columns[i].Name, "would hold JSON; a record holds numbers, texts and booleans", "give it one type, or leave it out: columns: {"+t.Columns[i].Name+": false}")
		}
	}
	for i := range c.doc.columns {
		k := &c.doc.columns[i]
		for j := range k.mapped {
			c.deviceConstant(k.mapped[j].to, "columns."+k.name+".map", &k.mapped[j].from)
			if to, ok := constantOf(k.mapped[j].to); ok {
				c.deviceConstant(k.mapped[j].to, "columns."+k.name+".map", &to)
			}
		}
		if len(k.mapped) > DeviceEntries {
			c.at(k.line, k.col, "columns."+k.name+".map", fmt.Sprintf("%d entries; a device takes %d", len(k.mapped), DeviceEntries), "")
		}
	}
	c.devicePlace(c.root, 1)
}

// leastTopic is the length of the shortest topic that the pattern takes.
func (c *compiler) leastTopic() int {
	n := len(c.doc.pattern.levels) - 1
	for _, l := range c.doc.pattern.levels {
		if l.kind == levelText {
			n += len(l.text)
		}
	}
	return n
}

// columnAt is where a column's document or schema speaks of it.
func (c *compiler) columnAt(name string, p *place) (line, col int) {
	for i := range c.doc.columns {
		if c.doc.columns[i].name == name {
			return c.doc.columns[i].line, c.doc.columns[i].col
		}
	}
	if p.src != nil {
		return p.src.line, p.src.col
	}
	return 1, 1
}

// devicePlace looks through a place and those below it.
func (c *compiler) devicePlace(p *place, depth int) {
	line, col := 1, 1
	if p.src != nil {
		line, col = p.src.line, p.src.col
	}
	path := strings.TrimSuffix("payload."+p.path, ".")
	if depth > DeviceDepth && (len(p.props) > 0 || p.items != nil || len(p.at) > 0) {
		c.at(line, col, path, fmt.Sprintf("nested deeper than the %d levels of a device", DeviceDepth), "")
		return
	}
	names := slices.Clone(p.names)
	for _, r := range p.required {
		if !slices.Contains(names, r) {
			names = append(names, r)
		}
	}
	if len(names) > DeviceProperties {
		c.at(line, col, path, fmt.Sprintf("%d properties; an object of a device has %d", len(names), DeviceProperties), "")
	}
	for _, u := range p.uses {
		if u.kind == toTag && (p.types == 0 || p.types&(typeArray|typeObject) != 0) {
			c.at(line, col, path, "a tag of a device needs a type here", "type: string, number or boolean")
		}
	}
	for i, name := range p.names {
		if len(name) > DeviceName {
			c.at(line, col, path, fmt.Sprintf("a name of %d bytes; a device takes %d", len(name), DeviceName), "")
		}
		c.devicePlace(p.props[i], depth+1)
	}
	if p.items != nil {
		c.devicePlace(p.items, depth+1)
	}
	for i, e := range p.at {
		if i >= DeviceElements {
			c.at(line, col, path, fmt.Sprintf("element %d of a list; pointers of a device reach the first %d", i, DeviceElements), "")
		}
		c.devicePlace(e, depth+1)
	}
}

// DeviceKeywords are the keywords of a payload's schema that a device runs,
// beside annotations.
func DeviceKeywords() []string { return slices.Clone(deviceKeywordSet) }
