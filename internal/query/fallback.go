package query

import "github.com/weir-telemetry/weir/internal/telemetry"

func (q *queryRun) runSQLite(why string) (*Rows, error) {
	return nil, telemetry.Errorf(telemetry.CodeInvalid, "query", "not supported: %s", why)
}
func (q *queryRun) explain() (*Rows, error) { return nil, nil }
func (c *catalog) union(_ any, t string) (*relation, error) { return nil, nil }
func systemRelation(name string) *relation { return nil }
