package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// EnvPrefix begins the name of every environment variable that sets a key.
const EnvPrefix = "WEIR_"

// Key describes one key of the configuration.
type Key struct {
	Path    string // as "store.commit_interval" or "sources[].mqtt.url"
	Env     string // as WEIR_STORE_COMMIT_INTERVAL; <n> stands for the index in a list
	Type    string // text, yes/no, number, size, duration, list
	Default string
	Allowed []string // where only these values are allowed
	Doc     string
}

// Keys lists every key in the order of Config.
func Keys() []Key {
	var keys []Key
	walkKeys(reflect.TypeFor[Config](), "", EnvPrefix, &keys)
	return keys
}

func walkKeys(t reflect.Type, path, env string, keys *[]Key) {
	for i := range t.NumField() {
		f := fieldOf(t.Field(i))
		p, e := join(path, f.key), env+strings.ToUpper(f.key)
		switch {
		case f.typ.Kind() == reflect.Struct && !isScalar(f.typ):
			walkKeys(f.typ, p, e+"_", keys)
		case f.isList():
			walkKeys(f.typ.Elem(), p+"[]", e+"_<n>_", keys)
		default:
			*keys = append(*keys, Key{Path: p, Env: e, Type: f.typeName(), Default: f.deflt, Allowed: f.oneof, Doc: f.doc})
		}
	}
}

// field is one struct field with its tags read.
type field struct {
	index    int
	key      string
	typ      reflect.Type
	deflt    string
	oneof    []string
	kind     string
	min, max string
	doc      string
}

func fieldOf(sf reflect.StructField) field {
	f := field{
		index: sf.Index[0], typ: sf.Type,
		key: sf.Tag.Get("key"), deflt: sf.Tag.Get("default"), kind: sf.Tag.Get("kind"),
		min: sf.Tag.Get("min"), max: sf.Tag.Get("max"), doc: sf.Tag.Get("doc"),
	}
	if o := sf.Tag.Get("oneof"); o != "" {
		f.oneof = strings.Fields(o)
	}
	return f
}

func fieldsOf(t reflect.Type) []field {
	fields := make([]field, t.NumField())
	for i := range fields {
		fields[i] = fieldOf(t.Field(i))
	}
	return fields
}

func (f field) isList() bool {
	return f.typ.Kind() == reflect.Slice && f.typ.Elem().Kind() == reflect.Struct
}

func (f field) typeName() string {
	switch f.typ {
	case reflect.TypeFor[Size]():
		return "size"
	case reflect.TypeFor[Duration]():
		return "duration"
	case reflect.TypeFor[[]string]():
		return "list"
	}
	switch f.typ.Kind() {
	case reflect.Bool:
		return "true/false"
	case reflect.Int:
		return "number"
	}
	return "text"
}

func isScalar(t reflect.Type) bool {
	return t == reflect.TypeFor[Size]() || t == reflect.TypeFor[Duration]()
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// set writes a value given as text; lists are split at commas.
func (f field) set(v reflect.Value, text string) error {
	if len(f.oneof) > 0 && !slices.Contains(f.oneof, text) {
		return f.notAllowed(text)
	}
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = text
		return nil
	case *bool:
		b, err := parseBool(text)
		*p = b
		return err
	case *int:
		n, err := strconv.Atoi(strings.ReplaceAll(strings.TrimSpace(text), "_", ""))
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		if f.min != "" {
			if least, _ := strconv.Atoi(f.min); n < least {
				return fmt.Errorf("%d is below the least value, %s", n, f.min)
			}
		}
		if f.max != "" {
			if most, _ := strconv.Atoi(f.max); n > most {
				return fmt.Errorf("%d is above the greatest value, %s", n, f.max)
			}
		}
		*p = n
		return nil
	case *Size:
		if text == "auto" && f.deflt == "auto" {
			*p = Size{Auto: true}
			return nil
		}
		n, err := ParseSize(text)
		if err != nil {
			return err
		}
		if least, err := ParseSize(f.min); err == nil && n < least {
			return fmt.Errorf("%s is below the least value, %s", text, f.min)
		}
		if most, err := ParseSize(f.max); err == nil && n > most {
			return fmt.Errorf("%s is above the greatest value, %s", text, f.max)
		}
		*p = Size{Bytes: n}
		return nil
	case *Duration:
		if text == "auto" && f.deflt == "auto" {
			*p = Duration{Auto: true}
			return nil
		}
		d, err := ParseDuration(text)
		if err != nil {
			return err
		}
		if least, err := ParseDuration(f.min); err == nil && d < least {
			return fmt.Errorf("%s is below the least value, %s", text, f.min)
		}
		if most, err := ParseDuration(f.max); err == nil && d > most {
			return fmt.Errorf("%s is above the greatest value, %s", text, f.max)
		}
		*p = Duration{D: d}
		return nil
	case *[]string:
		*p = nil
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*p = append(*p, part)
			}
		}
		return nil
	}
	return fmt.Errorf("key %s has the unsupported type %s", f.key, f.typ)
}

func (f field) notAllowed(text string) error {
	allowed := strings.Join(f.oneof, ", ")
	if near := Suggest(text, f.oneof); near != "" {
		return fmt.Errorf("%q is not one of %s; did you mean %q?", text, allowed, near)
	}
	return fmt.Errorf("%q is not one of %s", text, allowed)
}

// fillDefaults sets every field of the struct to its default.
func fillDefaults(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.Field(f.index)
		switch {
		case f.typ.Kind() == reflect.Struct && !isScalar(f.typ):
			fillDefaults(fv)
		case f.deflt != "":
			if err := f.set(fv, f.deflt); err != nil {
				panic("config: default of " + f.key + ": " + err.Error()) // a defect of the tags, held by a test
			}
		}
	}
}

// DefaultQoS is what a source asks for unless it is told otherwise.
const DefaultQoS = 1

// Default returns the configuration without a file, environment or flags.
func Default() *Config {
	c := new(Config)
	fillDefaults(reflect.ValueOf(c).Elem())
	return c
}
