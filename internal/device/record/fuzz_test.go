package record

import (
	"encoding/json"
	"os"
	"testing"
)

// FuzzOneVerdict gives any bytes as a payload of the schemas of
// conformance/verdicts.json to the server's plan and to the firmware.
func FuzzOneVerdict(f *testing.F) {
	data, err := os.ReadFile(verdictsFile)
	if err != nil {
		f.Fatal(err)
	}
	var s suite
	if err := json.Unmarshal(data, &s); err != nil {
		f.Fatal(err)
	}
	for i, g := range s.Schemas {
		for j := range g.Cases {
			f.Add(uint8(i), []byte(g.Cases[j].Payload), uint32(j))
		}
	}
	device := startFirmware(f)
	pairs := make([]*pair, len(s.Schemas))
	last := -1
	f.Fuzz(func(t *testing.T, which uint8, payload []byte, split uint32) {
		if len(payload) > 1<<16 {
			t.Skip()
		}
		i := int(which) % len(pairs)
		if pairs[i] == nil {
			pairs[i] = newPair(t, device, string(s.Schemas[i].Schema))
		} else if i != last && !device.plan(t, pairs[i].bin) {
			t.Fatal("the firmware does not take a plan a second time")
		}
		last = i
		topic := s.Schemas[i].Cases[0].Topic
		if d := pairs[i].differ(t, topic, payload, split); d != "" {
			t.Fatalf("schema %d, payload %q: %s", i, payload, d)
		}
	})
}
