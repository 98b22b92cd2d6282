package command

import (
	"context"

	"github.com/weir-telemetry/weir/internal/node"
	"github.com/weir-telemetry/weir/internal/store/embedded"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Upgrade brings the data directory to this program's format, or only says what
// that would take.
func Upgrade(ctx context.Context, e *Env, check bool) error {
	plan, err := node.CheckUpgrade(e.Config.Config, e.quiet())
	if err != nil {
		return err
	}
	if err := e.printPlan(plan); err != nil || check || len(plan.Steps) == 0 {
		return err
	}
	if m := node.LookAtDisk(plan.Dir); m.FreeKnown && m.Free < plan.Space() {
		return telemetry.Errorf(telemetry.CodeUnavailable, "upgrade", "about %s are needed and %s are free", bytesText(plan.Space()), bytesText(m.Free)).
			WithHint("nothing was changed; make room and call it again")
	}
	if _, err := node.Upgrade(ctx, e.Config.Config, e.quiet()); err != nil {
		return err
	}
	return e.printf("done: %s has format %d\n", plan.Dir, plan.To)
}

func (e *Env) printPlan(plan *embedded.UpgradePlan) error {
	if len(plan.Steps) == 0 {
		return e.printf("%s has format %d, this program's: nothing to do\n", plan.Dir, plan.From)
	}
	if err := e.printf("%s has format %d, this program's is %d\n", plan.Dir, plan.From, plan.To); err != nil {
		return err
	}
	for _, s := range plan.Steps {
		if err := e.printf("  %d to %d: %s (%s more on disk)\n", s.From, s.To, s.What, bytesText(s.Space)); err != nil {
			return err
		}
	}
	if m := node.LookAtDisk(plan.Dir); m.FreeKnown {
		if err := e.printf("about %s are needed, %s are free\n", bytesText(plan.Space()), bytesText(m.Free)); err != nil {
			return err
		}
	}
	return e.printf("it can be stopped at any moment and goes on later; it cannot be undone, because older programs do not know\n" +
		"the new format: a copy of the directory, or a backup, made before is the way back\n")
}
