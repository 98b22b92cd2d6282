package demo

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed schemas/*.yaml
var documents embed.FS

// Schemas returns the documents that the fleet obeys, by file name.
func Schemas() map[string][]byte {
	all := map[string][]byte{}
	entries, err := documents.ReadDir("schemas")
	if err != nil {
		panic(err) // the directory is part of the program
	}
	for _, e := range entries {
		data, err := documents.ReadFile("schemas/" + e.Name())
		if err != nil {
			panic(err)
		}
		all[e.Name()] = data
	}
	return all
}

// WriteSchemas writes the documents into the directory unless it holds schema
// documents already, and returns how many it wrote.
func WriteSchemas(dir string) (int, error) {
	for _, pattern := range []string{"*.yaml", "*.yml", "*.json"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err == nil && len(found) > 0 {
			return 0, nil
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("make the directory of schemas: %w", err)
	}
	n := 0
	for name, data := range Schemas() {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return n, fmt.Errorf("write demo schema: %w", err)
		}
		_, err = f.Write(data)
		if err := errors.Join(err, f.Close()); err != nil {
			return n, fmt.Errorf("write demo schema %s: %w", name, err)
		}
		n++
	}
	return n, nil
}
