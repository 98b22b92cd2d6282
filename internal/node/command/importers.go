package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-telemetry/weir/internal/telemetry"
	"github.com/weir-telemetry/weir/internal/transfer"
)

// importer is one kind of thing that weir import takes.
type importer struct {
	name string // as --format and --from name it
	// sniff reports whether something is of the kind, by its name and its first
	// bytes. nil: only by name.
	sniff func(p *candidate) bool
	run   func(ctx context.Context, e *Env, o ImportOptions) error
}

// importers are asked in this order; the first that knows a thing takes it.
func importers() []importer {
	return []importer{
		{"card", isCard, importCard},
		{"directory", func(p *candidate) bool { return p.info.IsDir() }, importDirectory},
		{"parquet", func(p *candidate) bool { return bytes.HasPrefix(p.head, []byte("PAR1")) }, importFiles},
		{"influx", func(p *candidate) bool {
			return p.isText() && bytes.HasPrefix(p.head, []byte("# INFLUXDB EXPORT")) || p.ext() == ".lp"
		}, importInflux},
		{"timescale", func(p *candidate) bool {
			return bytes.Contains(p.head[:min(len(p.head), 512)], []byte("-- PostgreSQL database dump"))
		}, importTimescale},
		{"csv", func(p *candidate) bool { return !p.info.IsDir() && p.ext() == ".csv" }, importFiles},
		{"ndjson", func(p *candidate) bool {
			return !p.info.IsDir() && (p.ext() == ".ndjson" || p.ext() == ".jsonl" || p.isText() && bytes.HasPrefix(bytes.TrimSpace(p.head), []byte("{")))
		}, importFiles},
	}
}

// ImportOptions are the flags of weir import.
type ImportOptions struct {
	Paths   []string
	Format  string // "": by what it is
	Table   string
	Schema  string // a document to record first
	Again   bool   // forget what an earlier run stored
	Device  string // that wrote a card which does not say it
	CardKey string // a file with the key that the card's blocks are sealed with
	Rejects string // a file for rows that cannot be imported

	// Of dumps of PostgreSQL.
	SourceTable string   // only this table
	Columns     []string // of rows without a COPY statement
	TimeColumn  string
	Tags        []string
}

// candidate is what is known of a thing before it is opened.
type candidate struct {
	path string
	info fs.FileInfo // of standard input: nil
	head []byte      // up to 64 KiB; nothing of a directory
}

const probeBytes = 64 << 10

func probePath(path string) (*candidate, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeNotFound, "import", "%v", err)
	}
	defer f.Close()
	p := &candidate{path: path}
	if p.info, err = f.Stat(); err != nil {
		return nil, err
	}
	if p.info.IsDir() {
		return p, nil
	}
	p.head = make([]byte, probeBytes)
	n, err := io.ReadFull(f, p.head)
	if p.head = p.head[:n]; err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, telemetry.Errorf(telemetry.CodeUnavailable, "import", "%s cannot be read: %v", path, err)
	}
	return p, nil
}

// ext is the end of the name without that of a compression.
func (p *candidate) ext() string {
	name := strings.ToLower(p.path)
	for _, z := range []string{".gz", ".zst"} {
		name = strings.TrimSuffix(name, z)
	}
	return filepath.Ext(name)
}

// isText reports whether it may be text, compressed or not.
func (p *candidate) isText() bool {
	if p.info.IsDir() {
		return false
	}
	compressed := bytes.HasPrefix(p.head, []byte{0x1f, 0x8b}) || bytes.HasPrefix(p.head, []byte("\x28\xb5\x2f\xfd"))
	return compressed || bytes.IndexByte(p.head, 0) < 0
}

// Import brings readings from files into the store.
func Import(ctx context.Context, e *Env, o ImportOptions) error {
	im, err := chooseImporter(&o)
	if err != nil {
		return err
	}
	return im.run(ctx, e, o)
}

func chooseImporter(o *ImportOptions) (*importer, error) {
	if o.Format != "" {
		for _, im := range importers() {
			if im.name == o.Format {
				return &im, nil
			}
		}
		return nil, telemetry.Errorf(telemetry.CodeInvalid, "import", "unknown format %q", o.Format).WithHint("the formats are " + importerNames())
	}
	var chosen *importer
	for _, path := range o.Paths {
		if path == transfer.Stdin {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, "import", "what standard input is cannot be told").
				WithHint("say it: --format csv or --format ndjson, with --table")
		}
		p, err := probePath(path)
		if err != nil {
			return nil, err
		}
		im := sniff(p)
		if im == nil && len(p.head) == 0 {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, "import", "%s is empty", path)
		}
		if im == nil {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, "import", "%s: what it is cannot be told", path).
				WithHint("say it with --format: " + importerNames())
		}
		if chosen != nil && chosen.name != im.name {
			return nil, telemetry.Errorf(telemetry.CodeInvalid, "import", "%s is %s, and the files before it are %s", path, im.name, chosen.name).
				WithHint("import one kind at a time")
		}
		chosen = im
	}
	o.Format = chosen.name
	return chosen, nil
}

func sniff(p *candidate) *importer {
	for _, im := range importers() {
		if im.sniff != nil && im.sniff(p) {
			return &im
		}
	}
	return nil
}

func importerNames() string {
	var names []string
	for _, im := range importers() {
		names = append(names, im.name)
	}
	return strings.Join(names, ", ")
}
