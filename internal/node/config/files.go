package config

import (
	"fmt"
	"reflect"
	"strings"
)

// NamedFile is a file that the configuration names.
type NamedFile struct {
	Key    string // as broker.password_file or sources[0].mqtt.key_file
	Path   string
	Line   int  // where the configuration file names it; 0: elsewhere
	Secret bool // key material: whoever has it can read or pretend
}

// Files returns the files that the configuration names.
func (l *Loaded) Files() []NamedFile {
	var out []NamedFile
	l.filesOf(reflect.ValueOf(l.Config).Elem(), "", &out)
	return out
}

func (l *Loaded) filesOf(v reflect.Value, path string, out *[]NamedFile) {
	for _, f := range fieldsOf(v.Type()) {
		fv, p := v.Field(f.index), join(path, f.key)
		switch {
		case f.isList():
			for i := range fv.Len() {
				l.filesOf(fv.Index(i), fmt.Sprintf("%s[%d]", p, i), out)
			}
		case f.typ.Kind() == reflect.Struct && !isScalar(f.typ):
			l.filesOf(fv, p, out)
		case (f.kind == "file" || f.kind == "keyfile") && fv.String() != "":
			*out = append(*out, NamedFile{Key: p, Path: fv.String(), Line: l.LineOf(p), Secret: isKey(p)})
		}
	}
}

// isKey is the one place that says which of the files are key material.
func isKey(key string) bool { return strings.HasSuffix(key, "key_file") }

// LineOf returns the line of the configuration file that gives a key, 0 where
// something else does or nothing.
func (l *Loaded) LineOf(path string) int {
	if o := l.origins[path]; o.File == l.File && o.File != "" {
		return o.Line
	}
	return 0
}
