//go:build !linux

package node

// machineMemory is 0, unknown, where no portable call tells it.
func machineMemory() int64 { return 0 }
