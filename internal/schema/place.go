package schema

import (
	"math"
	"slices"
	"strconv"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// place is a location of the payload while its plan is being built: what the
// schema says of it, and what the document takes from it. Places become nodes.
type place struct {
	path      string   // "dev.temp", for people and for the names of columns
	schemaAt  []string // tokens of the schema's own location in the document
	src       *docNode // that schema; nil where the schema does not speak of the place
	declared  bool     // the schema's properties name it
	described bool     // the schema names its properties
	types     typeMask // what the schema's types and enums leave; 0 before it spoke
	unit      string

	checked node // types and checks of the fast set
	refuse  bool // additionalProperties: false, for the plan to check
	closed  bool // the same, whoever checks it: no unknown property can stand here

	props    []*place
	names    []string
	required []string
	items    *place
	at       map[int]*place
	rows     bool

	uses   []use
	raw    bool // a column takes the whole of an object or list
	nulled bool // null_values hold here
}

func newPlace(path string) *place {
	return &place{path: path, checked: node{types: typeAny, path: path}}
}

// prop returns the place of a property, making it if it is not there.
func (p *place) prop(name string) *place {
	if i := slices.Index(p.names, name); i >= 0 {
		return p.props[i]
	}
	path := name
	if p.path != "" {
		path = p.path + "." + name
	}
	child := newPlace(path)
	p.props = append(p.props, child)
	p.names = append(p.names, name)
	return child
}

// element returns the place of one element of a list.
func (p *place) element(i int) *place {
	if e := p.at[i]; e != nil {
		return e
	}
	if p.at == nil {
		p.at = map[int]*place{}
	}
	var e *place
	path := p.path + "." + strconv.Itoa(i)
	if p.items != nil {
		e = p.items.clone()
		e.path, e.checked.path = path, path
	} else {
		e = newPlace(path)
	}
	p.at[i] = e
	return e
}

func (p *place) clone() *place {
	q := *p
	q.props, q.at = nil, nil
	for _, c := range p.props {
		q.props = append(q.props, c.clone())
	}
	if p.items != nil {
		q.items = p.items.clone()
	}
	return &q
}

// isList says whether a pointer's number is the index of a list here.
func (p *place) isList() bool {
	switch {
	case p.items != nil || p.at != nil:
		return true
	case len(p.props) > 0:
		return false
	case p.types != 0:
		return p.types&typeArray != 0 && p.types&typeObject == 0
	}
	return true
}

// columnType is the type that holds every value the schema allows here.
func (p *place) columnType() telemetry.ColumnType {
	switch t := p.types &^ typeNull; {
	case t == typeInteger:
		return telemetry.Int
	case t != 0 && t&^typeNumber == 0:
		return telemetry.Float
	case t == typeString:
		return telemetry.String
	case t == typeBool:
		return telemetry.Bool
	}
	return telemetry.JSON
}

// finish makes the node of a place, or nil where a value need only be parsed.
// keep and strict are what `unknown` asks for.
func (p *place) finish(keep, strict bool) *node {
	if p == nil {
		return nil
	}
	n := new(node)
	*n = p.checked
	n.low, n.high = math.Inf(-1), math.Inf(1)
	if n.checks&checkMin != 0 {
		n.low = n.min.float
	}
	if n.checks&checkMax != 0 {
		n.high = n.max.float
	}
	if p.raw {
		keep = false
	}
	if p.rows {
		n.rows = true
		n.types &= typeArray | typeNull
	}
	if p.items != nil {
		n.items = p.items.finish(keep && p.rows, strict)
	}
	if len(p.at) > 0 {
		last := 0
		for i := range p.at {
			last = max(last, i)
		}
		n.at = make([]*node, last+1)
		for i, e := range p.at {
			if n.at[i] = e.finish(false, strict); n.at[i] == nil {
				n.at[i] = &node{types: typeAny, path: e.path} // not nil, so that items does not take its place
			}
		}
	}
	if len(p.props) > 0 || p.described || p.refuse || len(p.required) > 0 {
		n.object = p.finishObject(keep, strict)
	}
	p.finishUses(n)
	if n.types == typeAny && n.use == useNone && n.checks == 0 && n.object == nil && n.items == nil && n.at == nil && !n.rows {
		return nil
	}
	return n
}

func (p *place) finishObject(keep, strict bool) *object {
	o := &object{refuse: p.refuse, keep: keep && !p.closed, strict: strict && p.described}
	for i, child := range p.props {
		o.props = append(o.props, newProp(p.names[i], child.finish(keep, strict), child.declared))
	}
	for _, name := range p.required {
		i := slices.Index(p.names, name)
		if i < 0 {
			if i = slices.IndexFunc(o.props, func(k prop) bool { return k.name == name }); i < 0 {
				i = len(o.props)
				k := newProp(name, nil, false)
				k.rest = true
				o.props = append(o.props, k)
			}
		}
		if i < 64 {
			o.required |= 1 << i
		} else if !slices.Contains(o.wide, i) {
			o.wide = append(o.wide, i)
		}
	}
	for i := range o.props {
		k := &o.props[i]
		k.plain = k.node != nil && k.node.object == nil && (k.declared || !o.refuse)
	}
	o.seal()
	return o
}

// finishUses picks the shortest way to what is taken from the place.
func (p *place) finishUses(n *node) {
	n.slot = -1
	switch {
	case len(p.uses) == 0:
		return
	case len(p.uses) > 1:
		n.use, n.uses = useMany, p.uses
	default:
		switch u := p.uses[0]; {
		case u.kind == toColumn && u.mapped == nil:
			n.use, n.slot, n.colType = useColumn, u.slot, u.colType
			simple := n.checks&(checkNumbers&^(checkMin|checkMax)) == 0
			n.floats = simple && u.colType == telemetry.Float && n.types&typeNumber == typeNumber
			n.ints = simple && u.colType == telemetry.Int && n.types&typeInteger != 0
		case u.kind == toTime && u.numeric:
			n.use = useTime
		default:
			n.use, n.uses = useMany, p.uses
		}
	}
}

// setNulls lets null_values stand in for what the schema allows here.
func (p *place) setNulls(nulls []constant) {
	if len(nulls) == 0 || p.nulled {
		return
	}
	p.nulled = true
	p.checked.nulls = nulls
	p.checked.checks |= checkNulls
	for i := range nulls {
		if nulls[i].kind == typeNumber {
			p.checked.checks |= checkNullNumbers
		}
	}
}
