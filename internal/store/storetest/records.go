package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/weir-telemetry/weir/internal/store"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

func testLedger(_ *testing.T, h *harness) {
	open := func(key string) (telemetry.SessionID, []telemetry.LedgerEntry) {
		id, entries, err := h.OpenSession(h.ctx, key)
		h.must(err)
		return id, entries
	}
	a, entries := open("a")
	b, _ := open("b")
	h.want("new session", len(entries), 0)
	op := func(kind telemetry.LedgerOpKind, s telemetry.SessionID, packet uint16, qos uint8, hash uint64) telemetry.LedgerOp {
		return telemetry.LedgerOp{Session: s, PacketID: packet, QoS: qos, Kind: kind, Hash: hash}
	}
	commit := func(ops ...telemetry.LedgerOp) {
		st, err := h.Stage(h.ctx, &telemetry.Commit{Ledger: ops})
		h.must(err)
		h.must(st.Commit(h.ctx))
	}
	put, drop, reset := telemetry.LedgerPut, telemetry.LedgerDrop, telemetry.LedgerReset
	commit(op(put, a, 1, 1, 11), op(put, a, 2, 1, 12), op(put, a, 65535, 2, 13), op(put, b, 1, 2, 21), op(drop, a, 9, 0, 0))
	commit(op(drop, a, 2, 0, 0), op(put, a, 1, 1, 14), op(put, b, 7, 1, 22))
	st, err := h.Stage(h.ctx, &telemetry.Commit{Ledger: []telemetry.LedgerOp{op(reset, a, 0, 0, 0)}})
	h.must(err)
	st.Abort()
	for range 2 {
		id, got := open("a")
		h.want("a", got, "[{1 1 14} {65535 2 13}]")
		h.want("id of a session with entries", id, a)
		_, got = open("b")
		h.want("b", got, "[{1 2 21} {7 1 22}]")
		h.compact()
		h.reopen()
	}
	commit(op(reset, a, 0, 0, 0), op(put, a, 5, 1, 15), op(drop, b, 1, 0, 0), op(drop, b, 7, 0, 0))
	h.reopen()
	_, got := open("a")
	h.want("a after the reset", got, "[{5 1 15}]")
	_, got = open("b")
	h.want("b after all ended", len(got), 0)
}

func quarantined(h *harness, tenant telemetry.Tenant, f store.QuarantineFilter) []telemetry.Quarantined {
	h.Helper()
	var out []telemetry.Quarantined
	h.must(h.Quarantined(h.ctx, tenant, f, func(q *telemetry.Quarantined) bool {
		c := *q
		c.Payload = slices.Clone(q.Payload)
		out = append(out, c)
		return true
	}))
	return out
}

func testQuarantine(_ *testing.T, h *harness) {
	record := func(i int) telemetry.Quarantined {
		return telemetry.Quarantined{
			Received: int64(100 * i), Source: "mqtt:x", Topic: fmt.Sprintf("plant/%d/env", i), Payload: []byte(fmt.Sprintf(`{"bad":%d}`, i)),
			Size: 1000 + i, Reason: []telemetry.Reason{telemetry.ReasonInvalid, telemetry.ReasonMalformed}[i%2], Detail: "is bad",
			Pointer: "/bad", Offset: i - 1, Schema: []string{"env", ""}[i%2], Version: i,
		}
	}
	commit := func(resolved []int64, records ...telemetry.Quarantined) {
		st, err := h.Stage(h.ctx, &telemetry.Commit{Batches: []*telemetry.Batch{
			{Tenant: telemetry.DefaultTenant, Quarantine: records, Resolved: resolved},
		}})
		h.must(err)
		h.must(st.Commit(h.ctx))
	}
	versions := func(f store.QuarantineFilter) (out []int) {
		for _, q := range quarantined(h, telemetry.DefaultTenant, f) {
			out = append(out, q.Version)
		}
		return out
	}
	commit(nil, record(0), record(1), record(2))
	commit(nil, record(3))
	h.reopen()
	commit(nil, record(4), record(5))
	got := quarantined(h, telemetry.DefaultTenant, store.QuarantineFilter{})
	h.want("newest first", versions(store.QuarantineFilter{}), "[5 4 3 2 1 0]")
	for i := range got {
		want := record(5 - i)
		want.ID = got[i].ID
		h.want("record", got[i], want)
	}
	h.want("by schema", versions(store.QuarantineFilter{Schema: "env"}), "[4 2 0]")
	h.want("by reason", versions(store.QuarantineFilter{Reason: telemetry.ReasonMalformed}), "[5 3 1]")
	h.want("by topic", versions(store.QuarantineFilter{Topic: "plant/+/env"}), "[5 4 3 2 1 0]")
	h.want("by another topic", versions(store.QuarantineFilter{Topic: "plant/2/#"}), "[2]")
	h.want("since", versions(store.QuarantineFilter{Since: 300}), "[5 4 3]")
	h.want("limit", versions(store.QuarantineFilter{Limit: 2}), "[5 4]")
	h.want("before", versions(store.QuarantineFilter{BeforeID: got[2].ID, Limit: 2}), "[2 1]")

	env := h.put(table("env", 1, telemetry.IdentityTimeValues))
	a := h.series(env, "a", "1")
	st, err := h.Stage(h.ctx, &telemetry.Commit{Batches: []*telemetry.Batch{{
		Tenant: telemetry.DefaultTenant, Sections: []*telemetry.Section{rowsOf(env, a, []int64{1}, 1)}, Resolved: []int64{got[3].ID, got[0].ID, 999_999},
	}}})
	h.must(err)
	h.want("before the commit", len(versions(store.QuarantineFilter{})), 6)
	h.must(st.Commit(h.ctx))
	h.want("after the commit", versions(store.QuarantineFilter{}), "[4 3 1 0]")
	h.reopen()
	h.want("after reopening", versions(store.QuarantineFilter{}), "[4 3 1 0]")
	commit(nil, record(6))
	h.want("ids are not issued again", quarantined(h, telemetry.DefaultTenant, store.QuarantineFilter{Limit: 1})[0].ID > got[0].ID, true)
	n := 0
	h.must(h.Quarantined(h.ctx, telemetry.DefaultTenant, store.QuarantineFilter{}, func(*telemetry.Quarantined) bool { n++; return false }))
	h.want("calls after false", n, 1)
}
