// Package command is what the commands of the weir binary do once their flags
// are read. A command asks the running node over its control socket; where none
// runs, it opens the data directory itself.
package command
