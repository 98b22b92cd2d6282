//go:build !unix

package pipeline

import "testing"

func cpuTimer(*testing.B) (stop func()) { return func() {} }
