package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// DefaultFile is read where no other file is named and it exists.
const DefaultFile = "weir.yaml"

// Override sets one key; it wins over file and environment.
type Override struct {
	Path  string // as in Key.Path, with indexes: "sources[0].mqtt.url"
	Value string
	Flag  string // how a person gave it, as "--data-dir"
}

// Options say what Load reads.
type Options struct {
	File      string   // empty: WEIR_CONFIG, else ./weir.yaml where it exists
	Environ   []string // as os.Environ gives it
	Overrides []Override
	// CheckFiles asks whether the files that keys name are there. Commands that
	// only ask a node do without: they may run where its certificates are not.
	CheckFiles bool
}

// Loaded is a configuration with where it came from.
type Loaded struct {
	*Config
	File     string // the file that was read; empty for none
	Warnings []string
	origins  map[string]Origin

	checkFiles bool
}

// Origin returns where a key was given; the zero Origin where it has its default.
func (l *Loaded) Origin(path string) Origin { return l.origins[path] }

// Given reports whether a key was given at all.
func (l *Loaded) Given(path string) bool { _, ok := l.origins[path]; return ok }

// Load reads the configuration. The error is Problems where the content is at
// fault; all that is wrong is in it.
func Load(o Options) (*Loaded, error) {
	l := &Loaded{Config: Default(), origins: map[string]Origin{}}
	env := environment(o.Environ)
	file, required := o.File, o.File != ""
	if file == "" {
		if file = env["WEIR_CONFIG"]; file != "" {
			required = true
		} else {
			file = DefaultFile
		}
	}
	var problems Problems
	data, err := os.ReadFile(file)
	switch {
	case err == nil:
		l.File = file
		d := &decoder{file: file, origins: l.origins, anchors: newAnchors()}
		d.decode(data, l.Config)
		problems = d.problems
	case required || !errors.Is(err, fs.ErrNotExist):
		code := telemetry.CodeInvalid
		if errors.Is(err, fs.ErrNotExist) {
			code = telemetry.CodeNotFound
		}
		return nil, telemetry.Errorf(code, "read the configuration", "%w", err)
	}
	l.checkFiles = o.CheckFiles
	if l.File != "" {
		l.resolvePaths(filepath.Dir(l.File))
	}
	envProblems, unknown := l.applyEnvironment(env)
	problems = append(problems, envProblems...)
	for _, ov := range o.Overrides {
		if p := l.set(ov.Path, ov.Value, Origin{Name: ov.Flag}); p != nil {
			problems = append(problems, *p)
		}
	}
	for _, name := range unknown {
		if name != l.Encryption.KeyEnv {
			l.Warnings = append(l.Warnings, unknownVariable(name))
		}
	}
	if len(problems) == 0 {
		problems = l.validate()
	} else {
		problems = append(problems, l.validateGiven(problems)...)
	}
	if len(problems) > 0 {
		problems.sort()
		return nil, problems
	}
	return l, nil
}

// resolvePaths makes relative paths relative to the directory of the file that
// named them, so that a command finds the same data from any directory.
func (l *Loaded) resolvePaths(dir string) {
	resolve := func(path *string) {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	resolve(&l.DataDir)
	resolve(&l.Schemas)
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		for _, f := range fieldsOf(v.Type()) {
			fv := v.Field(f.index)
			switch {
			case f.kind == "file" || f.kind == "keyfile": // which weir key init makes
				resolve(fv.Addr().Interface().(*string))
			case f.isList():
				for i := range fv.Len() {
					walk(fv.Index(i))
				}
			case f.typ.Kind() == reflect.Struct && !isScalar(f.typ):
				walk(fv)
			}
		}
	}
	walk(reflect.ValueOf(l.Config).Elem())
}

func environment(environ []string) map[string]string {
	env := map[string]string{}
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, EnvPrefix) {
			env[name] = value
		}
	}
	return env
}

// notKeys are variables with the prefix that are no keys.
var notKeys = map[string]bool{"WEIR_CONFIG": true, "WEIR_SOAK": true}

// applyEnvironment sets keys from WEIR_ variables, and returns those that set none.
func (l *Loaded) applyEnvironment(env map[string]string) (Problems, []string) {
	var problems Problems
	var unknown []string
	names := make([]string, 0, len(env))
	for name := range env {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if notKeys[name] {
			continue
		}
		path := pathOfEnv(name)
		if path == "" {
			unknown = append(unknown, name)
			continue
		}
		if p := l.set(path, env[name], Origin{Name: name}); p != nil {
			problems = append(problems, *p)
		}
	}
	return problems, unknown
}

// unknownVariable is what is said of a variable that sets no key: a warning and not
// an error, because Kubernetes puts WEIR_PORT and WEIR_SERVICE_HOST into every
// container beside a service called weir.
func unknownVariable(name string) string {
	w := "the environment variable " + name + " sets no key"
	if near := Suggest(name, envNames()); near != "" {
		w += "; did you mean " + near + "?"
	}
	return w
}

func envNames() []string {
	var names []string
	for _, k := range Keys() {
		names = append(names, strings.ReplaceAll(k.Env, "<n>", "0"))
	}
	return append(names, "WEIR_CONFIG")
}

var envIndex = regexp.MustCompile(`^(WEIR_[A-Z]+)_([0-9]{1,3})_(.+)$`)

// pathOfEnv returns the key path that a variable sets, or "".
func pathOfEnv(name string) string {
	index, general := "", name
	if m := envIndex.FindStringSubmatch(name); m != nil {
		index, general = m[2], m[1]+"_<n>_"+m[3]
	}
	for _, k := range Keys() {
		if k.Env == general {
			return strings.ReplaceAll(k.Path, "[]", "["+index+"]")
		}
	}
	return ""
}

// set writes one key by its path.
func (l *Loaded) set(path, value string, origin Origin) *Problem {
	v := reflect.ValueOf(l.Config).Elem()
	walked := ""
	parts := strings.Split(path, ".")
	for i, part := range parts {
		name, index, indexed := cutIndex(part)
		fields := fieldsOf(v.Type())
		at := indexOf(fields, name)
		if at < 0 {
			return unknownPath(path, origin)
		}
		f := fields[at]
		fv := v.Field(f.index)
		walked = join(walked, part)
		switch {
		case f.isList():
			if !indexed {
				return unknownPath(path, origin)
			}
			if index > fv.Len() {
				return &Problem{Origin: origin, Key: path, Message: fmt.Sprintf("the list has %d elements, so the next index is %d", fv.Len(), fv.Len())}
			}
			if index == fv.Len() {
				fv.Set(reflect.Append(fv, newElement(fv)))
				l.origins[walked] = origin
			}
			v = fv.Index(index)
		case f.typ.Kind() == reflect.Struct && !isScalar(f.typ):
			v = fv
		default:
			if i != len(parts)-1 || indexed {
				return unknownPath(path, origin)
			}
			l.origins[path] = origin
			if err := f.set(fv, value); err != nil {
				return &Problem{Origin: origin, Key: path, Message: err.Error()}
			}
			return nil
		}
	}
	return &Problem{Origin: origin, Key: path, Message: "is a block of keys, not a key"}
}

func unknownPath(path string, origin Origin) *Problem {
	p := &Problem{Origin: origin, Message: "unknown key " + strconv.Quote(path)}
	var paths []string
	for _, k := range Keys() {
		paths = append(paths, k.Path)
	}
	if near := Suggest(path, paths); near != "" {
		p.Hint = "did you mean " + strconv.Quote(near) + "?"
	}
	return p
}

func cutIndex(part string) (name string, index int, indexed bool) {
	name, rest, ok := strings.Cut(part, "[")
	if !ok {
		return part, 0, false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
	return name, n, err == nil && n >= 0
}
