package house

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// files returns the text of the repository's files of these names, by path from its
// root. What is built or fetched is left out.
func files(t *testing.T, is func(name string) bool) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "bin" || path != root && strings.HasPrefix(e.Name(), ".")):
			return filepath.SkipDir
		case e.IsDir() || !is(e.Name()):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		all[filepath.ToSlash(rel)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func pages(t *testing.T) map[string]string {
	t.Helper()
	return files(t, func(name string) bool { return filepath.Ext(name) == ".md" })
}

const root = "../.."

var (
	fenced  = regexp.MustCompile("(?ms)^```.*?^```$")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+?)\s*$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	named   = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9_]*)(…?)`")
)

// anchors are the places in a page that a link can lead to.
func anchors(page string) map[string]bool {
	out := map[string]bool{"": true}
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		out[strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return out
}

func TestEveryLinkOfThePagesLeadsSomewhere(t *testing.T) {
	all, links := pages(t), 0
	for path, text := range all {
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "://") {
				continue // other people's pages are not this repository's to test
			}
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			to := path
			if file != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(path), file))
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s links to %s, which is not there", path, m[1])
			} else if page, ok := all[to]; ok && !anchors(page)[anchor] {
				t.Errorf("%s links to %s, and %s has no such heading", path, m[1], to)
			}
		}
	}
	if links < 50 {
		t.Errorf("only %d links were found", links)
	}
}

func TestThePagesNameTestsThatAreThere(t *testing.T) {
	var funcs strings.Builder
	for _, text := range files(t, func(name string) bool { return strings.HasSuffix(name, "_test.go") }) {
		funcs.WriteString("\n" + text)
	}
	all := funcs.String()
	for path, text := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			end := "("
			if m[2] != "" {
				end = "" // the page gives its beginning
			}
			if !strings.Contains(all, "\nfunc "+m[1]+end) {
				t.Errorf("%s names %s, and there is no such test", path, m[1])
			}
		}
	}
}
