//go:build !unix

package testkit

import "os"

var pauseSignal, resumeSignal os.Signal
