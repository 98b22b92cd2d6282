package durable

// SyncDir is nothing on Windows: NTFS journals names, and a directory handle cannot
// be flushed.
func SyncDir(string) error { return nil }
