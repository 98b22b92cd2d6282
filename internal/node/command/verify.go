package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/weir-telemetry/weir/internal/backup"
	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// ErrDamage is what Verify returns when it found damage, after it printed all.
var ErrDamage = errors.New("damage was found")

// VerifyReport is what weir verify --json prints.
type VerifyReport struct {
	What     string            `json:"what"` // the directory
	Damaged  bool              `json:"damaged"`
	Findings []control.Finding `json:"findings"`
	Checked  *backup.Checked   `json:"checked,omitempty"` // of a backup directory
}

// Verify checks the data directory, or the backup directory that is given.
func Verify(ctx context.Context, e *Env, dir, snapshot string, asJSON bool) error {
	report := VerifyReport{What: e.Config.DataDir, Findings: []control.Finding{}}
	var err error
	if dir != "" {
		report.What = dir
		err = verifyBackup(ctx, e, dir, snapshot, &report)
	} else {
		err = verifyData(ctx, e, &report)
	}
	if err != nil {
		return err
	}
	for _, f := range report.Findings {
		report.Damaged = report.Damaged || !f.Note
	}
	if asJSON {
		err = printJSON(e.Out, report)
	} else {
		err = e.printReport(&report)
	}
	if err == nil && report.Damaged {
		err = ErrDamage
	}
	return err
}

// damageHint says of an error about damaged bytes of the store what helps.
func damageHint(err error) error {
	var e *telemetry.Error
	if telemetry.CodeOf(err) != telemetry.CodeDamaged || errors.As(err, &e) && e.Hint != "" {
		return err
	}
	return &telemetry.Error{Code: telemetry.CodeDamaged, Message: err.Error(), Err: err, Hint: "weir verify lists all that is damaged, and what to do; what does not need it is answered"}
}

func (e *Env) printReport(r *VerifyReport) error {
	damaged := 0
	for _, f := range r.Findings {
		kind := "DAMAGED"
		if f.Note {
			kind = "note"
		} else {
			damaged++
		}
		if err := e.printf("%s %s\n  %s\n  what to do: %s\n", kind, f.Where, f.What, f.Do); err != nil {
			return err
		}
	}
	if damaged > 0 {
		return e.printf("%s: %d damaged places\n", r.What, damaged)
	}
	if c := r.Checked; c != nil {
		return e.printf("%s is whole: %d snapshots, %d files, %s read\n", r.What, c.Snapshots, c.Files, sizeText(c.Bytes))
	}
	return e.printf("%s is whole\n", r.What)
}

func verifyBackup(ctx context.Context, e *Env, dir, snapshot string, report *VerifyReport) error {
	bar := newProgress(e.Err, "verify")
	defer bar.end()
	damage, checked, err := backup.Verify(ctx, dir, snapshot, func(at, total int64) {
		bar.show(at, total, fmt.Sprintf("%s of %s", sizeText(at), sizeText(total)))
	})
	for _, d := range damage {
		report.Findings = append(report.Findings, control.Finding{Where: d.Where, What: d.What, Do: d.Do})
	}
	report.Checked = checked
	return err
}

func verifyData(ctx context.Context, e *Env, report *VerifyReport) error {
	bar := newProgress(e.Err, "verify")
	defer bar.end()
	found := func(f control.Finding) { report.Findings = append(report.Findings, f) }
	err := e.withKeeper(ctx, func(k control.Keeper) error {
		return k.Verify(ctx, found, func(at, total int64) {
			bar.show(at, total, fmt.Sprintf("%s of %s", sizeText(at), sizeText(total)))
		})
	})
	if telemetry.CodeOf(err) != telemetry.CodeDamaged {
		return err
	}
	// The store does not open at all.
	f := control.Finding{Where: e.Config.DataDir, What: err.Error(), Do: "copy the whole directory first; then restore a backup with weir restore"}
	var te *telemetry.Error
	if errors.As(err, &te) && te.Hint != "" {
		f.Do, f.What = te.Hint, strings.Replace(f.What, " ("+te.Hint+")", "", 1)
	}
	found(f)
	return nil
}
