package node

// syncDir is nothing on Windows: NTFS journals names, and a directory handle
// cannot be flushed.
func syncDir(string) error { return nil }
