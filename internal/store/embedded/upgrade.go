package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// An upgrade brings a data directory from an older format to this program's, one
// step for each format between. A node does it when it opens the directory, and
// `weir upgrade` without one. A kill at any moment leaves a directory that the
// same program goes on with: the change of the catalog and its new format number
// are one transaction, and what a step does to files before it can be repeated.

// readableFormats is how many formats before the current one are upgraded.
const readableFormats = 4

// upgradeStep brings the catalog from one format to the next.
type upgradeStep struct {
	from int64
	// what the step does, for a person.
	what string
	// readable says that this program's readers read the older format as it is.
	readable bool
	// space is how many bytes the step needs besides what is there, while it runs
	// and afterwards; nil: next to none.
	space func(u *upgrader) (int64, error)
	// prepare does what one transaction cannot, as writing files anew. It may be
	// killed, and runs again from its beginning then; nil: nothing.
	prepare func(ctx context.Context, u *upgrader) error
	// apply changes the catalog, inside the transaction that enters the format.
	apply func(ctx context.Context, u *upgrader) error
}

// upgrader is what the steps work with.
type upgrader struct {
	opt Options
	c   *conn
}

// upgradeSteps stand in the order of their formats, one for each of the
// readableFormats before formatVersion. A landing that raises formatVersion adds
// its step here, and testdata/format-N (see TestWriteTestdata).
var upgradeSteps = []upgradeStep{toPacks, toDeletions, toRollups, toLosses}

// UpgradeStep is a step of an upgrade, as a person reads it.
type UpgradeStep struct {
	From, To int64
	What     string
	Space    int64 // bytes needed while it runs; about
}

// UpgradePlan says what an upgrade of a data directory would do.
type UpgradePlan struct {
	Dir      string
	From, To int64
	Steps    []UpgradeStep // empty: nothing is to be done
}

// Space is the most bytes that the upgrade needs besides what is there.
func (p *UpgradePlan) Space() int64 {
	var n int64
	for _, s := range p.Steps {
		n += s.Space
	}
	return n
}

// stepsFrom returns the steps from a format to the target, or why there are none.
func stepsFrom(steps []upgradeStep, from, target int64) ([]upgradeStep, error) {
	if from > target {
		return nil, versionError(from)
	}
	at := 0
	for at < len(steps) && steps[at].from < from {
		at++
	}
	for i, want := at, from; want < target; i, want = i+1, want+1 {
		if i >= len(steps) || steps[i].from != want {
			return nil, telemetry.Errorf(telemetry.CodeConflict, "open store", "catalog.db has format %d; this program upgrades formats from %d on to %d", from, max(1, target-readableFormats), target).
				WithHint("upgrade it first with a version of weir between them")
		}
	}
	return steps[at:], nil
}

// upgradeCatalog runs the steps from a format to the target.
func upgradeCatalog(ctx context.Context, u *upgrader, from, target int64, steps []upgradeStep) error {
	todo, err := stepsFrom(steps, from, target)
	if err != nil {
		return err
	}
	for _, step := range todo {
		if err := ctx.Err(); err != nil {
			return err
		}
		u.opt.Logger.Info("upgrading the data directory", "from", step.from, "to", step.from+1, "what", step.what)
		if err := step.run(ctx, u); err != nil {
			code := telemetry.CodeOf(err)
			if code == telemetry.CodeInternal {
				code = telemetry.CodeUnavailable
			}
			return (&telemetry.Error{
				Code: code, Op: "upgrade", Err: err,
				Message: fmt.Sprintf("from format %d to %d: %v", step.from, step.from+1, err),
			}).WithHint("nothing is lost: the next start goes on from here")
		}
	}
	return nil
}

func (step *upgradeStep) run(ctx context.Context, u *upgrader) error {
	if step.prepare != nil {
		if err := step.prepare(ctx, u); err != nil {
			return err
		}
	}
	return u.c.transaction(func() error {
		if step.apply != nil {
			if err := step.apply(ctx, u); err != nil {
				return err
			}
		}
		_, sealed, err := catalogState(u.c)
		if err != nil {
			return err
		}
		return setCatalogVersion(u.c, step.from+1, sealed)
	})
}

// readableAsItIs returns nil where readers of this program read the format.
func readableAsItIs(format int64) error {
	steps, err := stepsFrom(upgradeSteps, format, formatVersion)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if !step.readable {
			return telemetry.Errorf(telemetry.CodeConflict, "open store", "catalog.db has format %d and must be upgraded to %d before it is read", format, formatVersion).
				WithHint("weir upgrade does it, and so does the next start of the node; weir upgrade --check says what would be done")
		}
	}
	return nil
}

// CheckUpgrade says what an upgrade of the data directory would do, and changes
// nothing. A directory that a node has open was upgraded when it started.
func CheckUpgrade(opt Options) (plan *UpgradePlan, err error) {
	opt = opt.withDefaults()
	path := filepath.Join(opt.Dir, catalogFile)
	if _, err := os.Stat(path); err != nil {
		return nil, noStore(opt.Dir, err)
	}
	lock, err := lockDir(opt.Dir, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	c, err := openConn(path, !hasLog(path), "busy_timeout=10000", "query_only=1", "temp_store=MEMORY")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	from, err := catalogVersion(c)
	if err != nil {
		return nil, err
	}
	steps, err := stepsFrom(upgradeSteps, from, formatVersion)
	if err != nil {
		return nil, err
	}
	plan = &UpgradePlan{Dir: opt.Dir, From: from, To: formatVersion}
	for _, step := range steps {
		s := UpgradeStep{From: step.from, To: step.from + 1, What: step.what}
		if step.space != nil {
			if s.Space, err = step.space(&upgrader{opt: opt, c: c}); err != nil {
				return nil, err
			}
		}
		plan.Steps = append(plan.Steps, s)
	}
	return plan, nil
}

// hasLog reports whether a crash left a write-ahead log, which only a connection
// that may write can read.
func hasLog(path string) bool { return fileSize(path+"-wal") > 0 }

func noStore(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		if err := lostCatalog(dir); err != nil {
			return err
		}
		return telemetry.Errorf(telemetry.CodeNotFound, "open store", "there is no store in %s", dir).
			WithHint("name the directory with --data-dir or the configuration with --config; weir serve makes a new one")
	}
	return telemetry.Errorf(telemetry.CodeUnavailable, "open store", "no store in %s: %v", dir, err)
}

// Upgrade brings the data directory to this program's format and returns what was
// done. No node may have it open.
func Upgrade(ctx context.Context, opt Options) (*UpgradePlan, error) {
	opt.ReadOnly = false
	plan, err := CheckUpgrade(opt)
	if err != nil || len(plan.Steps) == 0 {
		return plan, err
	}
	opt.ManualCompaction = true
	s, err := Open(ctx, opt) // which also shows that the result can be read
	if err != nil {
		return plan, err
	}
	return plan, s.Close()
}
