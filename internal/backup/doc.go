// Package backup writes snapshots of files into a backup directory, checks them
// and restores them. docs/format/backup.md describes the directory. The package
// knows nothing of stores: a Source says which files a snapshot holds.
package backup
