package command

import (
	"context"
	"fmt"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// DeleteOptions say what is deleted, and how sure the caller is.
type DeleteOptions struct {
	Table, Where string
	DryRun       bool
	Yes          bool
}

// Delete deletes the readings that a condition selects, after it has said how many
// they are and was told to.
func Delete(ctx context.Context, e *Env, o DeleteOptions) error {
	return e.withBackend(ctx, func(b control.Backend) error {
		d := control.Delete{Table: o.Table, Where: o.Where, DryRun: true}
		found, err := b.Delete(ctx, d)
		if err != nil {
			return err
		}
		if err := e.printf("%d readings of %s match\n", found.Readings, o.Table); err != nil {
			return err
		}
		if f := found.Final; f != nil {
			const day = "2006-01-02"
			if _, err := fmt.Fprintf(e.Err, "note: days from %s to %s have rollups alone, their readings are gone by age. A deletion does not reach into\n"+
				"rollups: queries that they answer go on counting what matched there. Rollups go by their own age: weir retention shows it.\n",
				f.From.Format(day), f.To.Add(-1).Format(day)); err != nil {
				return err
			}
		}
		if o.DryRun || found.Readings == 0 {
			return nil
		}
		if !o.Yes {
			if err := e.confirm("delete", "They cannot be brought back but from a backup. Delete them?", "nothing was deleted"); err != nil {
				return err
			}
		}
		d.DryRun = false
		done, err := b.Delete(ctx, d)
		if err != nil {
			return err
		}
		if err := e.printf("%d readings of %s are deleted\n", done.Readings, o.Table); err != nil {
			return err
		}
		if done.Unreadable > 0 {
			return telemetry.Errorf(telemetry.CodeDamaged, "delete", "%d readings are damaged and could not be looked at: they stay", done.Unreadable)
		}
		return nil
	})
}
