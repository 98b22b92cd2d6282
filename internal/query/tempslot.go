package query

import "context"

type tempSlot struct{}

func acquireTemp(context.Context, int64) (*tempSlot, error) { return &tempSlot{}, nil }
func (*tempSlot) dsn() string                               { return "file::memory:?_dqs=0&_pragma=temp_store(2)" }
func (*tempSlot) release()                                  {}
func (*tempSlot) full() bool                                { return false }
