package embedded

import (
	"context"
	"database/sql/driver"
	"fmt"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// TestClientsWithEverNewIdentifiersLeaveNothing while the node runs; sessions with
// entries, and those in use, stay.
func TestClientsWithEverNewIdentifiersLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, ManualCompaction: true})
	session := func(key string) (telemetry.SessionID, []telemetry.LedgerEntry) {
		t.Helper()
		id, entries, err := s.OpenSession(context.Background(), key)
		if err != nil {
			t.Fatal(err)
		}
		return id, entries
	}
	put := func(id telemetry.SessionID, kind telemetry.LedgerOpKind) {
		t.Helper()
		st, err := s.Stage(context.Background(), &telemetry.Commit{Ledger: []telemetry.LedgerOp{{Session: id, PacketID: 7, QoS: 2, Kind: kind, Hash: 5}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Commit(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	holder, _ := session("holder")
	put(holder, telemetry.LedgerPut)
	user, _ := session("user")
	for i := range 5 * recentSessions {
		session(fmt.Sprintf("client %d", i))
		if i%(recentSessions/2) == 0 {
			put(user, telemetry.LedgerPut)
			put(user, telemetry.LedgerDrop)
		}
	}
	put(user, telemetry.LedgerDrop)
	l := s.ledger
	if n := len(l.ids); n > 5*recentSessions/2 {
		t.Errorf("%d sessions are held", n)
	}
	if n := len(l.unsaved); n > 5*recentSessions/2 {
		t.Errorf("%d sessions wait to be saved", n)
	}
	err := s.w.query("SELECT count(*) FROM sessions", func(row []driver.Value) error {
		if n := asInt(row[0]); n > 5*recentSessions/2 {
			t.Errorf("%d sessions stand in the catalog", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if id, entries := session("holder"); id != holder || len(entries) != 1 {
		t.Errorf("the session with an entry is %d with %v, it was %d", id, entries, holder)
	}
	if id, _ := session("user"); id != user {
		t.Errorf("the session in use is %d, it was %d", id, user)
	}
}
