package backup

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Format is the version of the directory and its manifests.
const Format = 1

const (
	markFile    = "weir-backup.json"
	lockName    = "LOCK"
	snapshotDir = "snapshots"
	objectDir   = "objects"
	tmpDir      = "tmp"
	partialFile = "partial.ndjson"
)

// Manifest describes a snapshot.
type Manifest struct {
	Format     int         `json:"format"`
	ID         string      `json:"id"`
	Created    time.Time   `json:"created"`
	Weir       string      `json:"weir"`
	Node       string      `json:"node"`
	Encrypted  bool        `json:"encrypted"`
	Keys       bool        `json:"keys"`
	Readings   int64       `json:"readings"`
	Missing    []string    `json:"missing,omitempty"`
	References []Reference `json:"references,omitempty"`
	Files      []File      `json:"files"`
}

// File is one file of a snapshot.
type File struct {
	Path      string `json:"path"`
	Size      int64  `json:"size"`
	SHA256    string `json:"sha256"`
	MTime     int64  `json:"mtime"`
	Immutable bool   `json:"immutable,omitempty"`
}

// Reference is a path that the configuration named.
type Reference struct {
	Key   string `json:"key"`
	Line  int    `json:"line,omitempty"` // 0: not given in the file
	Value string `json:"value"`
	Path  string `json:"path,omitempty"` // "": not in the snapshot
}

// Bytes is the sum of the files' sizes.
func (m *Manifest) Bytes() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

var idPattern = regexp.MustCompile(`^\d{8}T\d{9}Z-[0-9a-f]{6}$`)

// newID returns an id that sorts behind all others of the directory, also where
// the clock was set back.
func newID(dir string, now time.Time) (string, error) {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	all, err := ids(dir)
	if err != nil {
		return "", err
	}
	if len(all) > 0 {
		last, err := time.Parse("20060102T150405.000Z", all[len(all)-1][:15]+"."+all[len(all)-1][15:19])
		if err == nil && !now.Truncate(time.Millisecond).After(last) {
			now = last.Add(time.Millisecond)
		}
	}
	return strings.Replace(now.UTC().Format("20060102T150405.000Z"), ".", "", 1) + "-" + hex.EncodeToString(b[:]), nil
}

// IsDirectory reports whether a directory is one that Write wrote.
func IsDirectory(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, markFile))
	return err == nil
}

// notBackup says why a directory without a mark is none.
func notBackup(dir string) string {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return "there is no directory " + dir
	}
	for below := range 2 { // the snapshots or the objects were named instead of what holds them
		above := filepath.Join(dir, []string{"..", "../.."}[below])
		if IsDirectory(above) {
			return dir + " is a part of the backup directory " + above
		}
	}
	return fmt.Sprintf("%s is not a backup directory: it has no %s", dir, markFile)
}

// checkMark refuses what is no backup directory, or one of a newer format.
func checkMark(dir string) error {
	if err := notFile("open backup", dir); err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, markFile))
	if errors.Is(err, fs.ErrNotExist) {
		return telemetry.Errorf(telemetry.CodeNotFound, "open backup", "%s", notBackup(dir)).
			WithHint("name the directory that weir backup was given; weir backup --list DIR says what one holds")
	}
	var mark struct {
		Format int `json:"format"`
	}
	if err == nil {
		err = json.Unmarshal(data, &mark)
	}
	if err != nil {
		return telemetry.Errorf(telemetry.CodeDamaged, "open backup", "%s: %v", filepath.Join(dir, markFile), err).
			WithHint(fmt.Sprintf(`write {"format": %d} into it if the directory is one of this version`, Format))
	}
	if mark.Format != Format {
		return telemetry.Errorf(telemetry.CodeInvalid, "open backup", "%s has format %d, this program knows %d", dir, mark.Format, Format).
			WithHint("use the version of weir that wrote it, or a later one")
	}
	return nil
}

// ids lists the snapshots, oldest first.
func ids(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, snapshotDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var out []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".json"); ok && idPattern.MatchString(id) {
			out = append(out, id)
		}
	}
	sort.Strings(out)
	return out, nil
}

func manifestPath(dir, id string) string { return filepath.Join(dir, snapshotDir, id+".json") }
func sumPath(dir, id string) string      { return filepath.Join(dir, snapshotDir, id+".sha256") }

// readManifest reads and checks a manifest.
func readManifest(dir, id string) (*Manifest, error) {
	damaged := func(format string, args ...any) error {
		return telemetry.Errorf(telemetry.CodeDamaged, "read snapshot "+id, format, args...).
			WithHint("the other snapshots of the directory are not concerned")
	}
	data, err := os.ReadFile(manifestPath(dir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, telemetry.Errorf(telemetry.CodeNotFound, "read snapshot", "there is no snapshot %s in %s", id, dir).
			WithHint("weir backup --list " + dir + " lists those that are there")
	}
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	want, err := os.ReadFile(sumPath(dir, id))
	if err != nil {
		return nil, damaged("its checksum cannot be read: %v", err)
	}
	sum := sha256.Sum256(data)
	if got, _, _ := bytes.Cut(want, []byte(" ")); string(got) != hex.EncodeToString(sum[:]) {
		return nil, damaged("%s does not fit its checksum", manifestPath(dir, id))
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, damaged("%v", err)
	}
	if m.Format != Format {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, "read snapshot "+id, "format %d is not known", m.Format)
	}
	for _, f := range m.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) || path.Clean(f.Path) != f.Path || len(f.SHA256) != 64 || strings.Trim(f.SHA256, "0123456789abcdef") != "" || f.Size < 0 {
			return nil, damaged("it has a file %q that no snapshot can have", f.Path)
		}
	}
	return &m, nil
}

// List returns the snapshots, oldest first, and what is wrong with those that
// cannot be read.
func List(dir string) ([]*Manifest, []error, error) {
	if err := checkMark(dir); err != nil {
		return nil, nil, err
	}
	all, err := ids(dir)
	if err != nil {
		return nil, nil, err
	}
	var out []*Manifest
	var broken []error
	for _, id := range all {
		m, err := readManifest(dir, id)
		if err != nil {
			broken = append(broken, err)
			continue
		}
		out = append(out, m)
	}
	return out, broken, nil
}

func objectPath(dir, sum string) string { return filepath.Join(dir, objectDir, sum[:2], sum) }
