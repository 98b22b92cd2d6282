package command

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"path/filepath"
	"strings"
	"time"

	"github.com/weir-telemetry/weir/internal/card"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// CardFormat prepares a card, or the image of one, for a recorder.
func CardFormat(e *Env, path, size, budget string, yes bool) error {
	o := card.FormatOptions{Now: time.Now()}
	var bytes int64
	var err error
	if size != "" {
		if bytes, err = card.ParseSize(size); err != nil {
			return err
		}
	}
	if budget != "" {
		if o.Budget, err = card.ParseSize(budget); err != nil {
			return err
		}
	}
	t, err := card.Examine(path)
	if err != nil {
		return err
	}
	if len(t.Doubts) > 0 && !yes {
		if err := e.confirmCard(t); err != nil {
			return err
		}
	}
	for o.ID == 0 {
		var id [4]byte
		_, _ = rand.Read(id[:]) // never fails
		o.ID = binary.LittleEndian.Uint32(id[:])
	}
	bar := newProgress(e.Err, filepath.Base(path))
	o.Progress = func(done, total int64) { bar.show(done, total, "") }
	l, err := t.Format(bytes, o)
	bar.end()
	if err != nil {
		return err
	}
	if err := e.printf("%s: FAT32, card %08x, %s\n", path, o.ID, l); err != nil {
		return err
	}
	if bytes == 0 {
		bytes = t.Size
	}
	if !t.Device && bits.OnesCount64(uint64(bytes)) != 1 {
		return e.printf("The emulated board takes only images whose size is a power of two, as 64M or 128M.\n")
	}
	return nil
}

// confirmCard lets a person type the name of what will be destroyed.
func (e *Env) confirmCard(t *card.Target) error {
	name := filepath.Base(t.Path)
	fmt.Fprintf(e.Err, "%s\nEverything on it will be lost. Type %s to format it: ", strings.Join(t.Doubts, " "), name)
	line, err := bufio.NewReader(e.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the confirmation: %w", err)
	}
	if typed := strings.TrimSpace(line); typed != name && typed != t.Path {
		return telemetry.Errorf(telemetry.CodeRefused, "format card", "%s was not confirmed; nothing was changed", t.Path).
			WithHint("type its name, or say --yes if you are sure")
	}
	return nil
}
