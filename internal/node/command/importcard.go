package command

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/weir-telemetry/weir/internal/card"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// isCard knows the card of a recorder: a device or an image with a partition table
// or a boot sector, a segment file, or a directory with segment files.
func isCard(p *candidate) bool {
	if p.info == nil {
		return false
	}
	if p.info.IsDir() {
		entries, err := os.ReadDir(p.path)
		for _, e := range entries {
			if err == nil && card.IsSegmentName(e.Name()) {
				return true
			}
		}
		return false
	}
	signed := len(p.head) >= card.Sector && p.head[510] == 0x55 && p.head[511] == 0xAA
	_, err := card.OpenBlock(p.head)
	return signed || err == nil || card.IsSegmentName(filepath.Base(p.path))
}

// cardPart is how many records go to the node at once.
const cardPart = 4000

// importCard imports the cards of recorders.
func importCard(ctx context.Context, e *Env, o ImportOptions) error {
	return e.withTransfer(ctx, func(b control.Transfer) error {
		node, ok := b.(control.Cards)
		if !ok {
			return telemetry.Errorf(telemetry.CodeInternal, "import card", "the node takes no cards")
		}
		for _, path := range o.Paths {
			c := &cardImport{e: e, o: o, node: node, path: path}
			if err := c.run(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// cardImport is the import of one card.
type cardImport struct {
	e    *Env
	o    ImportOptions
	node control.Cards
	path string

	part    *control.CardPart
	of      *card.Run
	results map[*card.Run]*control.CardStored
}

func (c *cardImport) run(ctx context.Context) error {
	src, err := card.Open(c.path)
	if err != nil {
		return err
	}
	defer src.Close()
	keys, err := cardKeys(c.o.CardKey)
	if err != nil {
		return err
	}
	bar := newProgress(c.e.Err, filepath.Base(c.path))
	defer bar.end()
	what := "looking through"
	s := &card.Scan{Parts: src.Parts, Keys: keys, Progress: func(done, total int64) { bar.show(done, total, what) }}
	runs := s.Survey()
	if s.Report.Blocks == 0 {
		return telemetry.Errorf(telemetry.CodeInvalid, "import card", "%s holds no block that a recorder wrote", c.path).
			WithHint("an import takes a card, its image, a directory with WEIRnnnn.SEG files, or one of them")
	}
	what = "storing"
	c.results = map[*card.Run]*control.CardStored{}
	err = s.Records(func(r *card.Run, records []card.Record) error { return c.take(ctx, r, records) })
	if err == nil {
		err = c.flush(ctx)
	}
	bar.end()
	if err != nil {
		return err
	}
	return c.tell(src, s, runs)
}

// cardKeys reads a key of 32 bytes, as they are or as 64 hexadecimal digits.
func cardKeys(file string) ([]card.Key, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, telemetry.Errorf(telemetry.CodeNotFound, "read the card's key", "%v", err)
	}
	if raw, err := hex.DecodeString(strings.TrimSpace(string(data))); err == nil && len(raw) == len(card.Key{}) {
		data = raw
	}
	if len(data) != len(card.Key{}) {
		return nil, telemetry.Errorf(telemetry.CodeInvalid, "read the card's key", "%s is no key", file).WithHint("a key has 32 bytes, or 64 hexadecimal digits")
	}
	return []card.Key{card.Key(data)}, nil
}

func (c *cardImport) take(ctx context.Context, r *card.Run, records []card.Record) error {
	if c.of != r || c.part != nil && len(c.part.Records) >= cardPart {
		if err := c.flush(ctx); err != nil {
			return err
		}
	}
	if c.part == nil {
		device := c.o.Device
		if device == "" {
			device = r.Device
		}
		if device == "" {
			return telemetry.Errorf(telemetry.CodeInvalid, "import card", "%s does not say which device wrote it: its segments' first blocks are damaged", c.path).
				WithHint("say it with --device NAME")
		}
		c.of = r
		c.part = &control.CardPart{Device: device, Epoch: r.Epoch, Plans: r.Plans, Times: r.Times}
	}
	for _, rec := range records {
		c.part.Records = append(c.part.Records, control.CardRecord{Sequence: rec.Sequence, Uptime: rec.Uptime, Kind: rec.Kind, Body: rec.Body})
	}
	return nil
}

func (c *cardImport) flush(ctx context.Context) error {
	if c.part == nil {
		return nil
	}
	done, err := c.node.ImportCard(ctx, c.part)
	if err != nil {
		return err
	}
	sum := c.results[c.of]
	if sum == nil {
		sum = &control.CardStored{}
		c.results[c.of] = sum
	}
	sum.Stored += done.Stored
	sum.Duplicate += done.Duplicate
	sum.Refused += done.Refused
	sum.Waiting += done.Waiting
	c.part = nil
	return nil
}

// tell says what came of it, and what was left out and why.
func (c *cardImport) tell(src *card.Source, s *card.Scan, runs []*card.Run) error {
	out := func(format string, args ...any) { fmt.Fprintf(c.e.Err, format+"\n", args...) }
	for _, n := range append(src.Notes, s.Report.Notes...) {
		out("%s", n)
	}
	if n := s.Report.Damaged; n > 0 {
		out("%d blocks are torn or damaged; a power cut leaves a few", n)
	}
	if n := s.Report.Payloads; n > 0 {
		out("%d blocks are whole, and their records do not decode to the end", n)
	}
	var sum control.CardStored
	for _, r := range runs {
		done := c.results[r]
		if done == nil {
			done = &control.CardStored{}
		}
		sum.Stored += done.Stored
		sum.Duplicate += done.Duplicate
		sum.Refused += done.Refused
		sum.Waiting += done.Waiting
		for _, l := range r.Lost {
			out("run %016x: the device had overwritten the records %d to %d", r.Epoch, l.First, l.Next-1)
		}
		if first, ok := r.Unaccounted(); ok {
			out("run %016x: the records before %d are not on the card: overwritten earlier, or in damaged blocks", r.Epoch, first)
		}
		for _, m := range r.Missing() {
			out("run %016x: the records %d to %d are missing", r.Epoch, m.First, m.Next-1)
		}
		if done.Refused == 0 {
			continue
		}
		out("run %016x: %d records are in quarantine: weir quarantine list says why", r.Epoch, done.Refused)
		if len(r.Plans) == 0 {
			out("run %016x: no record says which schema its readings are of: it stood in a block that is damaged or overwritten", r.Epoch)
		}
		if len(r.Times) == 0 {
			out("run %016x: the device never learnt the time; what has no time of its own is quarantined", r.Epoch)
		}
	}
	err := c.e.printf("%s: %d records of %d runs: %d are new (%d of them in quarantine), %d had been taken before, %d are left out\n",
		c.path, sum.Stored+sum.Duplicate+sum.Waiting, len(runs), sum.Stored, sum.Refused, sum.Duplicate, sum.Waiting)
	if n := s.Report.Sealed; err == nil && n > 0 {
		return c.sealed(n)
	}
	if err == nil && sum.Waiting > 0 {
		return telemetry.Errorf(telemetry.CodeInvalid, "import card", "%d records were left out: no active schema is what they were recorded with", sum.Waiting).
			WithHint("put the schema (profile: device) with that version into the directory of schemas and import the card again")
	}
	return err
}

// sealed says that blocks were left out because no key opened them.
func (c *cardImport) sealed(n int) error {
	if c.o.CardKey == "" {
		return telemetry.Errorf(telemetry.CodeInvalid, "import card", "%d blocks are sealed and were left out", n).
			WithHint("--card-key FILE names the device's key; import the card again with it")
	}
	return telemetry.Errorf(telemetry.CodeInvalid, "import card", "%d blocks are sealed with another key than that of %s, and were left out", n, c.o.CardKey).
		WithHint("the key must be that of the device that wrote the card; import the card again with it")
}
