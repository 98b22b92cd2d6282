package pipeline

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Quarantined lists as Memory does, and ends with the damage that a test chose.
func (s *tap) Quarantined(ctx context.Context, tenant telemetry.Tenant, f store.QuarantineFilter, yield func(*telemetry.Quarantined) bool) error {
	if err := s.Memory.Quarantined(ctx, tenant, f, yield); err != nil {
		return err
	}
	return s.damage
}

func TestReplayOfADamagedQuarantineStoresWhatCanBeReadAndNamesTheDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newTap()
		r := start(t, st, Config{}, envDoc)
		p := r.open("a")
		p.send(env(1, 1, 900), env(2, 1, 900))
		p.wait()
		r.use(envDoc, envLooseDoc)
		st.damage = telemetry.Errorf(telemetry.CodeDamaged, "read quarantine", "row 7 is damaged")
		got, err := r.Replay(context.Background(), store.QuarantineFilter{})
		if telemetry.CodeOf(err) != telemetry.CodeDamaged || got.Stored != 2 {
			t.Errorf("replay: %+v, %v", got, err)
		}
		if n := len(st.readings(t, "env")); n != 2 {
			t.Errorf("%d readings", n)
		}
	})
}
