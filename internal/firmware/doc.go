// Package firmware holds the tests of the recorder's image for the emulated
// board: drivers, budgets of memory and instructions, recording, power cuts,
// watchdog and uplink, with a real network stack, a real broker and a card
// image that other programs read. The firmware itself is C, in firmware/ at the
// top of the repository.
package firmware
