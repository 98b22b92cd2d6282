// Package filelock locks files between processes. A lock ends with the file, and so
// with the process.
package filelock
