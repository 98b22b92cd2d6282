package seal

// syncDir does nothing: Windows makes names durable by itself.
func syncDir(string) error { return nil }
