package query

// opcode says what an expr computes.
type opcode uint8

const (
	opConst  opcode = iota
	opColumn        // name, qualified by table where given
	opFunc          // name(args), with distinct and star
	opNeg
	opPos
	opNot
	opBitNot
	opAdd
	opSub
	opMul
	opDiv
	opMod
	opBitAnd
	opBitOr
	opShl
	opShr
	opEq
	opNe
	opLt
	opLe
	opGt
	opGe
	opIs
	opIsNot
	opAnd
	opOr
	opIn         // args[0] in args[1:]
	opNotIn      //
	opBetween    // args[0] between args[1] and args[2]
	opNotBetween //
	opLike       // args[0] like args[1]
	opNotLike    //
	opGlob       //
	opNotGlob    //
	opCase       // hasOperand, pairs of when and then, hasElse
	opCastInt    // CAST(args[0] AS INTEGER)
	opCastFloat  // CAST(args[0] AS REAL)
	opSlot       // a value computed by grouping: index is its slot
)

// expr is a parsed expression. After binding, index says which column, slot or
// function it means.
type expr struct {
	op         opcode
	name       string
	table      string
	val        Value
	args       []*expr
	distinct   bool
	star       bool
	hasOperand bool
	hasElse    bool
	index      int
	aff        affinity // of a column, in comparisons
	quoted     bool     // the column name stood in double quotes
	start, end int      // where it stands in the statement
}

// resultColumn is one term of the select list.
type resultColumn struct {
	expr  *expr
	alias string
	star  bool
	table string // of table.*
}

// orderTerm is one term of ORDER BY.
type orderTerm struct {
	expr       *expr
	desc       bool
	nullsFirst bool
}

// selectStmt is a select of one table.
type selectStmt struct {
	distinct bool
	columns  []resultColumn
	table    string
	alias    string
	where    *expr
	groupBy  []*expr
	having   *expr
	orderBy  []orderTerm
	limit    *expr
	offset   *expr
}

// walk calls f for e and everything below it, until f returns false.
func (e *expr) walk(f func(*expr) bool) bool {
	if e == nil {
		return true
	}
	if !f(e) {
		return false
	}
	for _, a := range e.args {
		if !a.walk(f) {
			return false
		}
	}
	return true
}
