package schema

import (
	"encoding/binary"
	"regexp"
	"sync/atomic"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// typeMask is a set of JSON types.
type typeMask uint8

const (
	typeNull typeMask = 1 << iota
	typeBool
	typeInteger // numbers that are integers
	typeFraction
	typeString
	typeArray
	typeObject

	typeNumber = typeInteger | typeFraction
	typeAny    = typeNull | typeBool | typeNumber | typeString | typeArray | typeObject
	typeScalar = typeBool | typeNumber | typeString
)

// nodeChecks are the keywords of a node beyond its types.
type nodeChecks uint16

const (
	checkMin nodeChecks = 1 << iota
	checkMax
	checkMultiple
	checkEnum
	checkLength
	checkPattern
	checkItems       // minItems, maxItems
	checkNulls       // null_values
	checkText        // the device profile bounds what is recorded
	checkNullNumbers // a number among them
	checkNumbers     = checkMin | checkMax | checkMultiple | checkEnum | checkNullNumbers
	checkStrings     = checkEnum | checkLength | checkPattern | checkNulls | checkText
)

// node is one place of the payload in a compiled plan: what is allowed there and
// what is taken from it. A node with neither is left out (nil), and the place is
// only parsed.
type node struct {
	types  typeMask
	use    useKind
	checks nodeChecks

	slot    int32 // of useColumn and useText: the place in Row.Values
	colType telemetry.ColumnType
	uses    []use // of useMany

	floats    bool    // numbers go to a float column, and only bounds are checked
	ints      bool    // the same for an int column
	low, high float64 // between these every number is within bounds

	min, max       bound
	multiple       multiple
	enum           []constant
	texts          map[string]struct{} // the strings of a long enum
	nulls          []constant
	minLen, maxLen int
	pattern        *regexp.Regexp

	object   *object
	items    *node   // of every element, unless at names it
	at       []*node // of the first elements; nil elements are as items
	rows     bool    // every element is a reading
	minItems int
	maxItems int
	path     string // where it is, for people: "dev.temp"
}

// bound is a minimum or maximum.
type bound struct {
	float     float64
	exclusive bool
	short     bool // at most 15 digits, and no extreme: float64 tells it from all others of 15 digits
	exact     decimal
}

// constant is a scalar of enum, const, null_values, when or map.
type constant struct {
	kind  typeMask // one type; typeNumber for numbers
	text  string   // of strings; "true" or "false"
	num   decimal
	float float64
	short uint64 // the text of a string of up to eight bytes, padded with zeros
}

// useKind says what is taken from a place, so that the usual cases are one jump.
type useKind uint8

const (
	useNone   useKind = iota
	useColumn         // one column without a map
	useTime           // the time, as a number of an integer unit
	useMany           // anything else
)

// use is one thing that is taken from a place.
type use struct {
	kind    useTarget
	slot    int32
	colType telemetry.ColumnType
	mapped  []mapping
	when    constant
	numeric bool // toTime: the time is a number
}

type useTarget uint8

const (
	toColumn useTarget = iota
	toTag
	toTime
	toWhen
)

// mapping is one entry of a column's map.
type mapping struct {
	from constant
	to   constant // as the document has it
	null bool
	bits uint64
	text []byte
}

// object is the object part of a node.
type object struct {
	props    []prop
	quick    []quick         // parallel to props; empty where there are more than 64
	follow   []atomic.Uint32 // which property came after property i-1 last time
	table    []uint16        // open addressing over names: index+1
	shift    uint
	required uint64 // by index of the first 64 properties
	wide     []int  // required properties beyond
	refuse   bool   // additionalProperties: false
	strict   bool   // unknown: refuse
	keep     bool   // unknown: keep
}

// prop is one property that the plan knows by name.
type prop struct {
	mask       uint64 // of the key's first eight bytes
	head, tail uint64 // the key's first and last eight bytes
	key        string // "name": as it stands in a payload without spaces; empty if its name needs escapes
	node       *node
	plain      bool // its value goes to its node without further ado
	declared   bool // in the schema's properties
	rest       bool // named only as required: what stands there goes to _rest
	name       string
	restKey    string // as key, with escapes if need be
}

func newProp(name string, n *node, declared bool) prop {
	p := prop{name: name, node: n, declared: declared}
	quoted := string(appendQuoted(nil, name))
	p.restKey = quoted + ":"
	if quoted != `"`+name+`"` {
		return p
	}
	p.key = p.restKey
	var b [8]byte
	copy(b[:], p.key)
	p.head = binary.LittleEndian.Uint64(b[:])
	p.mask = ^uint64(0)
	if len(p.key) < 8 {
		p.mask = 1<<(8*len(p.key)) - 1
	} else if len(p.key) <= 16 {
		p.tail = binary.LittleEndian.Uint64([]byte(p.key[len(p.key)-8:]))
	}
	return p
}

// at reports whether the property's name and colon stand at pos.
func (k *prop) at(p []byte, pos int) bool {
	n := len(k.key)
	if uint(pos)+uint(max(n, 8)) > uint(len(p)) || n == 0 {
		return false
	}
	if binary.LittleEndian.Uint64(p[pos:])&k.mask != k.head {
		return false
	}
	switch {
	case n <= 8:
		return true
	case n <= 16:
		return binary.LittleEndian.Uint64(p[pos+n-8:]) == k.tail
	}
	return string(p[pos:pos+n]) == k.key
}

// seal makes the object ready for look-ups; its properties are complete.
func (o *object) seal() {
	o.follow = make([]atomic.Uint32, len(o.props)+1)
	for i := range o.follow {
		o.follow[i].Store(uint32(i))
	}
	if len(o.props) <= 64 {
		o.quick = make([]quick, len(o.props))
		for i := range o.props {
			o.quick[i] = newQuick(&o.props[i])
		}
	}
	size := uint(2)
	o.shift = 63
	for size < 2*uint(len(o.props)) {
		size *= 2
		o.shift--
	}
	o.table = make([]uint16, size)
	for i := range o.props {
		h := nameHash([]byte(o.props[i].name)) >> o.shift
		for o.table[h] != 0 {
			h = (h + 1) & uint64(size-1)
		}
		o.table[h] = uint16(i + 1)
	}
}

// find returns the index of a name, or -1.
func (o *object) find(name []byte) int {
	h := nameHash(name) >> o.shift
	for o.table[h] != 0 {
		i := int(o.table[h]) - 1
		if string(name) == o.props[i].name {
			return i
		}
		h = (h + 1) & uint64(len(o.table)-1)
	}
	return -1
}

// nameHash only spreads the names of a schema; payloads cannot make it slow,
// because they add nothing to the table.
func nameHash(s []byte) uint64 {
	h := uint64(len(s)) * 0x9E3779B97F4A7C15
	for len(s) >= 8 {
		h = (h ^ binary.LittleEndian.Uint64(s)) * 0xD6E8FEB86659FD93
		h ^= h >> 32
		s = s[8:]
	}
	var last uint64
	for i, c := range s {
		last |= uint64(c) << (8 * i)
	}
	h = (h ^ last) * 0xD6E8FEB86659FD93
	return (h ^ h>>32) * 0x9E3779B97F4A7C15
}
