package query

import (
	"database/sql/driver"
	"strings"
	"sync"

	"modernc.org/sqlite"

	"github.com/weir-telemetry/weir/internal/rollup"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// sqliteDriver is the driver of the connections that run statements. It is our
// own, so that nothing is registered on those of other packages. SQLite's
// binding never forgets a driver, so there is one for the process.
var sqliteDriver = sync.OnceValue(func() *sqlite.Driver {
	d := &sqlite.Driver{}
	must := func(err error) {
		if err != nil {
			panic(err) // a name registered twice in this function
		}
	}
	must(d.RegisterModule(scanModule, &module{}))
	must(d.RegisterModule(sinkModule, &sinkTable{}))
	scalar := func(name string, args int32, f func([]driver.Value) (Value, error)) {
		d.MustRegisterFunction(name, &sqlite.FunctionImpl{
			NArgs: args, Deterministic: true, VolatileArgs: true,
			Scalar: func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
				v, err := f(args)
				return driverValue(v), err
			},
		})
	}
	bucket := func(a []driver.Value) (Value, error) {
		if len(a) < 2 || len(a) > 3 {
			return Value{}, telemetry.Errorf(telemetry.CodeInvalid, "query", "bucket() has %d arguments", len(a)).
				WithHint("write bucket('5m', time) or bucket('1d', time, 'Europe/Berlin')")
		}
		var vals [3]Value
		for i := range a {
			vals[i] = fromDriver(a[i])
		}
		return bucketValue(vals[:len(a)])
	}
	scalar("bucket", -1, bucket) // the driver takes a name once only
	scalar("ago", 2, func(a []driver.Value) (Value, error) {
		d, base := fromDriver(a[0]), fromDriver(a[1])
		if d.IsNull() {
			return Value{}, nil
		}
		now, _ := parseTime(base.text)
		t, err := ago(now, d.String())
		return TextValue(string(appendTime(nil, t))), err
	})
	for name, n := range map[string]int32{"first": 2, "last": 2, "rate": 3, "stddev": 1, "quantile": 2, "median": 1} {
		d.MustRegisterFunction(name, &sqlite.FunctionImpl{
			NArgs: n, VolatileArgs: true,
			MakeAggregate: func(sqlite.FunctionContext) (sqlite.AggregateFunction, error) {
				return &sqlAggregate{name: name, series: map[Value][]ratePoint{}}, nil
			},
		})
	}
	return d
})

func driverValue(v Value) driver.Value {
	switch v.Kind {
	case Int:
		return v.Int()
	case Float:
		return v.Float()
	case Text:
		return v.text
	case Blob:
		return []byte(v.text)
	}
	return nil
}

// fromDriver converts a value of SQLite; its text is valid as long as that.
func fromDriver(v driver.Value) Value {
	switch v := v.(type) {
	case int64:
		return IntValue(v)
	case float64:
		return FloatValue(v)
	case string:
		return TextValue(v)
	case []byte:
		return BlobValue(string(v))
	case bool:
		return boolValue(v)
	}
	return Value{}
}

// sqlAggregate is first(x, time), last(x, time), rate(x, time, series),
// stddev(x), quantile(x, p) and median(x) in SQLite.
type sqlAggregate struct {
	name   string
	some   bool
	t      string
	v      Value
	m      moments
	sketch *rollup.Sketch
	p      float64
	series map[Value][]ratePoint
}

func (a *sqlAggregate) Step(_ *sqlite.FunctionContext, args []driver.Value) error {
	v := fromDriver(args[0])
	if v.IsNull() {
		return nil
	}
	switch a.name {
	case "stddev":
		a.m.add(v.asFloat())
		return nil
	case "quantile", "median":
		return a.addQuantile(v, args)
	case "rate":
		t, ok := parseTime(fromDriver(args[1]).text)
		if ok {
			k := fromDriver(args[2])
			a.series[k] = append(a.series[k], ratePoint{t, v.asFloat()})
		}
		return nil
	}
	t := fromDriver(args[1])
	if t.Kind != Text {
		return nil
	}
	if a.some {
		c := strings.Compare(t.text, a.t)
		if c == 0 {
			c = compareValues(v, a.v)
		}
		if c == 0 || c > 0 != (a.name == "last") {
			return nil
		}
	}
	v.text = strings.Clone(v.text)
	a.some, a.t, a.v = true, strings.Clone(t.text), v
	return nil
}

func (a *sqlAggregate) addQuantile(v Value, args []driver.Value) error {
	p := 0.5
	if a.name == "quantile" {
		var err error
		if p, err = quantileOf(fromDriver(args[1])); err != nil {
			return err
		}
	}
	if a.sketch == nil {
		a.sketch, a.p = &rollup.Sketch{}, p
	}
	if p != a.p {
		return telemetry.Errorf(telemetry.CodeInvalid, "run query", "quantile() has another second argument in one group").
			WithHint("write a constant, as quantile(x, 0.95)")
	}
	a.sketch.Add(v.asFloat())
	return nil
}

// WindowInverse implements sqlite.AggregateFunction.
func (a *sqlAggregate) WindowInverse(*sqlite.FunctionContext, []driver.Value) error {
	return telemetry.Errorf(telemetry.CodeInvalid, "run query", "%s() cannot be used over a frame that moves", a.name).
		WithHint("use first_value() or last_value()")
}

// WindowValue implements sqlite.AggregateFunction.
func (a *sqlAggregate) WindowValue(*sqlite.FunctionContext) (driver.Value, error) {
	switch a.name {
	case "stddev":
		return driverValue(a.m.stddev()), nil
	case "quantile", "median":
		return driverValue(quantileValue(a.sketch, a.p)), nil
	case "rate":
		acc := &rateAcc{series: map[rateKey]*rateState{}}
		for k, p := range a.series {
			ref := telemetry.SeriesRef(k.Int())
			acc.series[rateKey{0, ref}] = &rateState{points: p}
		}
		v, err := acc.result(0)
		return driverValue(v), err
	}
	return driverValue(a.v), nil
}

// Final implements sqlite.AggregateFunction.
func (a *sqlAggregate) Final(*sqlite.FunctionContext) {}
