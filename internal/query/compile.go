package query

// compile makes the node of a bound expression, for one worker.
func (w *worker) compile(e *expr) node {
	switch e.op {
	case opConst:
		return constNode{constVec(e.val)}
	case opColumn:
		return w.columnNode(&w.plan.rel.columns[e.index])
	case opEq, opNe, opLt, opLe, opGt, opGe, opIs, opIsNot:
		return w.compareNode(e)
	case opAdd, opSub, opMul, opDiv:
		return &arithNode{e: e, a: w.compile(e.args[0]), b: w.compile(e.args[1])}
	case opAnd, opOr:
		return &logicNode{or: e.op == opOr, a: w.compile(e.args[0]), b: w.compile(e.args[1])}
	case opLike, opNotLike, opGlob, opNotGlob, opIn, opNotIn:
		n := &textNode{e: e, a: w.compile(e.args[0])}
		for _, a := range e.args[1:] {
			if a.op != opConst {
				return w.valueNode(e)
			}
			n.rest = append(n.rest, constVec(a.val))
		}
		if len(n.rest) == 0 {
			return w.valueNode(e)
		}
		return n
	case opFunc:
		if b, t := w.plan.timeBucket(e); b != nil {
			return &bucketNode{b: b, a: w.columnNode(&w.plan.rel.columns[t.index])}
		}
	}
	return w.valueNode(e)
}

func (w *worker) compareNode(e *expr) node {
	n := &compareNode{e: e}
	a, b := e.args[0], e.args[1]
	if a.op == opConst && b.op != opConst && (b.op == opColumn) {
		// Put the constant to the right, where the loops look for it.
		c := *e
		c.op, c.args = mirror(e.op), []*expr{b, a}
		n.e, a, b = &c, b, a
	}
	if exprAffinity(a) == affText && b.op == opConst && !b.val.IsNull() && a.op == opColumn {
		if w.plan.rel.columns[a.index].isTime() && b.val.Kind != Blob {
			n.bound, n.exact = timeBound(string(b.val.AppendText(nil)))
			n.timed = true
		}
	}
	if b.op == opConst && a.op == opColumn {
		// What the affinity does to a constant can be done once.
		if f := comparisonAffinity(exprAffinity(a), exprAffinity(b)); f != affNone {
			k := *b
			k.val = applyAffinity(b.val, f)
			b = &k
		}
	}
	n.a, n.b = w.compile(a), w.compile(b)
	return n
}

func (w *worker) valueNode(e *expr) node {
	n := &valueNode{e: e, leaves: map[*expr]node{}, at: map[*expr]*vec{}}
	e.walk(func(x *expr) bool {
		if x.op == opColumn {
			n.leaves[x] = w.compile(x)
		}
		return true
	})
	return n
}

func (w *worker) columnNode(c *relationColumn) node {
	switch c.source {
	case fromTime:
		return &timeNode{}
	case fromReceived:
		return &timeNode{received: true}
	case fromVersion:
		return &versionNode{}
	case fromField:
		return &fieldNode{column: w.fieldAt(c.field.Name)}
	}
	return &tagNode{text: w.seriesText(c)}
}

// fieldAt returns where the named column stands in the sections that are read.
func (w *worker) fieldAt(name string) int {
	for i, n := range w.columns {
		if n == name {
			return i
		}
	}
	return -1
}
