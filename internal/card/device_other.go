//go:build !linux

package card

import "github.com/weir-telemetry/weir/internal/telemetry"

// deviceDoubts refuses: whether a device is in use can only be told on Linux.
func deviceDoubts(path string) ([]string, error) {
	return nil, telemetry.Errorf(telemetry.CodeRefused, "format card", "%s: a device can only be formatted on Linux", path).
		WithHint("make an image with weir card format card.img --size …, and write it to the card with a program for images")
}
