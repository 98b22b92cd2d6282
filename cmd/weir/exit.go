package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/weir-telemetry/weir/internal/node/config"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// The exit codes of the binary. docs/configuration.md lists them.
const (
	exitOK          = 0
	exitInternal    = 1   // something that nobody foresaw; for weir verify, damage was found
	exitUsage       = 2   // flags, configuration, SQL or a document are wrong
	exitNotFound    = 3   // what was named does not exist
	exitConflict    = 4   // it contradicts what is stored, or the data directory is in use
	exitUnavailable = 5   // a part is away or full; the same call may succeed later
	exitDamaged     = 6   // bytes on disk fail their checksum or format
	exitLimit       = 7   // a configured limit was reached
	exitForced      = 130 // a signal ended a command, or a second one the node before it had drained
)

func exitCode(err error) int {
	var problems config.Problems
	if errors.As(err, &problems) {
		return exitUsage
	}
	if errors.Is(err, context.Canceled) {
		return exitForced
	}
	switch telemetry.CodeOf(err) {
	case "":
		return exitOK
	case telemetry.CodeInvalid, telemetry.CodeRefused:
		return exitUsage
	case telemetry.CodeNotFound:
		return exitNotFound
	case telemetry.CodeConflict:
		return exitConflict
	case telemetry.CodeUnavailable:
		return exitUnavailable
	case telemetry.CodeDamaged:
		return exitDamaged
	case telemetry.CodeLimit, telemetry.CodeCardinality:
		return exitLimit
	}
	if errors.Is(err, syscall.ENOSPC) { // where the output goes, as a file that it was redirected to
		return exitUnavailable
	}
	return exitInternal
}

// report prints an error for a person, its hint on a line of its own.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if foundDamage(err) {
		return exitInternal
	}
	var problems config.Problems
	var e *telemetry.Error
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(w, "weir: interrupted")
	case errors.As(err, &problems):
		fmt.Fprintln(w, problems.Error())
		fmt.Fprintf(w, "weir: %d mistake(s) in the configuration\n", len(problems))
	case errors.As(err, &e):
		text, hint := err.Error(), e.Hint
		if hint != "" { // it stands in the text as well
			text = strings.Replace(text, " ("+hint+")", "", 1)
		}
		fmt.Fprintf(w, "weir: %s\n", text)
		if hint != "" {
			fmt.Fprintf(w, "hint: %s\n", hint)
		}
	default:
		fmt.Fprintf(w, "weir: %v\n", err)
	}
	return exitCode(err)
}
