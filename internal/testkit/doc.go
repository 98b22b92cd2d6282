// Package testkit helps tests that need things from outside the module: a real
// Mosquitto on a free port, certificates of a throw-away authority, and waiting
// for a condition instead of sleeping, and the emulated board that the firmware runs
// on.
//
// Where a binary is missing, a helper skips the test loudly; with CI=true it
// fails instead, so that a runner cannot lose coverage unnoticed.
package testkit
