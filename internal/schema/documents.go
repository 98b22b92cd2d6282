package schema

// IsDocument says which files of a directory are read as schema documents.
func IsDocument(name string) bool { return isDocument(name) }
