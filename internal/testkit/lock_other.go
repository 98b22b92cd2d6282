//go:build !unix

package testkit

// lockFile does nothing: the firmware's programs are not built here.
func lockFile(string) (unlock func(), err error) { return func() {}, nil }
