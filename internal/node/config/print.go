package config

import (
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
)

// Print writes the effective configuration as a YAML file that Load reads back
// to the same values. With origins, each line says where its value came from.
func (l *Loaded) Print(w io.Writer, origins bool) error {
	p := printer{w: w, l: l, origins: origins}
	p.block(reflect.ValueOf(l.Config).Elem(), "", "")
	return p.err
}

type printer struct {
	w       io.Writer
	l       *Loaded
	origins bool
	err     error
}

func (p *printer) line(path, text string) {
	if p.err != nil {
		return
	}
	if p.origins && path != "" {
		origin := "default"
		if o, given := p.l.origins[path]; given {
			origin = o.String()
		}
		text = fmt.Sprintf("%-56s # %s", text, origin)
	}
	_, p.err = fmt.Fprintln(p.w, text)
}

func (p *printer) block(v reflect.Value, path, indent string) {
	for _, f := range fieldsOf(v.Type()) {
		fv, at := v.Field(f.index), join(path, f.key)
		switch {
		case f.isList():
			if fv.Len() == 0 {
				p.line("", indent+f.key+": []")
				continue
			}
			p.line("", indent+f.key+":")
			for i := range fv.Len() {
				element := fv.Index(i)
				for _, kind := range fieldsOf(element.Type()) {
					p.line("", indent+"  - "+kind.key+":")
					p.block(element.Field(kind.index), fmt.Sprintf("%s[%d].%s", at, i, kind.key), indent+"      ")
				}
			}
		case f.typ.Kind() == reflect.Struct && !isScalar(f.typ):
			p.line("", indent+f.key+":")
			p.block(fv, at, indent+"  ")
		default:
			p.line(at, indent+f.key+": "+literal(fv))
		}
	}
}

func literal(v reflect.Value) string {
	switch t := v.Interface().(type) {
	case string:
		return strconv.Quote(t)
	case []string:
		quoted := make([]string, len(t))
		for i, s := range t {
			quoted[i] = strconv.Quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case fmt.Stringer:
		return t.String()
	}
	return fmt.Sprint(v.Interface())
}
