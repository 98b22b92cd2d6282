// Package filelock locks files between processes and makes the names in a
// directory durable. A lock ends with the file, and so with the process.
package filelock
