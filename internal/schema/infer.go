package schema

// Infer proposes a schema document (YAML) from sample payloads.
func Infer(samples [][]byte) ([]byte, error) { return nil, nil }
