package node

import (
	"sync"
	"testing"

	"github.com/weir-telemetry/weir/internal/node/control"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// A card may come at any time, to a node without uplink too. The race detector says
// more of this than the result.
func TestACardThatComesWhileTheNodeEndsIsStoredOrRefused(t *testing.T) {
	n, err := Open(t.Context(), testConfig(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	part := &control.CardPart{Device: "d1", Epoch: 1, Records: []control.CardRecord{{Sequence: 1, Kind: 2, Body: make([]byte, 21)}}}
	var tasks sync.WaitGroup
	tasks.Go(func() {
		done, err := n.ImportCard(t.Context(), part)
		if err == nil && done.Stored != 1 || err != nil && telemetry.CodeOf(err) != telemetry.CodeUnavailable {
			t.Errorf("%+v, %v", done, err)
		}
	})
	stop(t, n)
	tasks.Wait()
	if _, err := n.ImportCard(t.Context(), part); telemetry.CodeOf(err) != telemetry.CodeUnavailable {
		t.Errorf("an ended node says %v", err)
	}
}
