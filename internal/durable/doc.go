// Package durable makes files and directories survive a power cut: a file whose
// bytes are on the disk is lost all the same while its name is not.
package durable
