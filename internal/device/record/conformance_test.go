package record

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-telemetry/weir/internal/schema"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

var update = flag.Bool("update", false, "write conformance/verdicts.json anew from what the server's plan says")

const (
	profileFile  = "../../../conformance/device-profile.json"
	verdictsFile = "../../../conformance/verdicts.json"
)

// TestProfile holds the limits of server and firmware against the file that
// everybody reads.
func TestProfile(t *testing.T) {
	data, err := os.ReadFile(profileFile)
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]any
	if err := json.Unmarshal(data, &raw); err != nil {
		t.Fatal(err)
	}
	// In the order of limits[] in firmware/tests/go/checker.c.
	limits := []struct {
		name   string
		server int // 0: only the device has it
	}{
		{"plan_bytes", schema.DevicePlan},
		{"plans", 0},
		{"depth", schema.DeviceDepth},
		{"names", schema.DeviceNames},
		{"name_bytes", schema.DeviceName},
		{"text_bytes", schema.DeviceText},
		{"number_digits", schema.DeviceDigits},
		{"properties", schema.DeviceProperties},
		{"fields", schema.DeviceFields},
		{"captures", schema.DeviceCaptures},
		{"topic_bytes", schema.DeviceTopic},
		{"record_bytes", schema.DeviceRecord},
		{"list_entries", schema.DeviceEntries},
		{"when", schema.DeviceWhen},
		{"elements", schema.DeviceElements},
	}
	got := startFirmware(t).ask(t, []byte{'L'}, 2*len(limits))
	for i, l := range limits {
		want, ok := raw[l.name].(float64)
		device := int(binary.LittleEndian.Uint16(got[2*i:]))
		if !ok || device != int(want) || l.server != 0 && l.server != int(want) {
			t.Errorf("%s: file %v, server %d, device %d", l.name, raw[l.name], l.server, device)
		}
	}
	var lists struct{ Keywords []string }
	if err := json.Unmarshal(data, &lists); err != nil {
		t.Fatal(err)
	}
	if want := schema.DeviceKeywords(); fmt.Sprint(lists.Keywords) != fmt.Sprint(want) {
		t.Errorf("keywords: file %v, compiler %v", lists.Keywords, want)
	}
}

// suite is conformance/verdicts.json.
type suite struct {
	About   string       `json:"about"`
	Schemas []suiteGroup `json:"schemas"`
}

type suiteGroup struct {
	Name   string          `json:"name"`
	Schema json.RawMessage `json:"schema"`
	Plan   string          `json:"plan"` // hex
	Cases  []suiteCase     `json:"cases"`
}

// suiteCase is one payload and what everybody says of it.
type suiteCase struct {
	Topic   string         `json:"topic"`
	Payload string         `json:"payload,omitempty"`
	Hex     string         `json:"payload_hex,omitempty"` // where the payload is not UTF-8
	Verdict string         `json:"verdict"`
	Code    int            `json:"code,omitempty"`
	Offset  *int           `json:"offset,omitempty"`
	Pointer string         `json:"pointer,omitempty"`
	Record  string         `json:"record,omitempty"` // the body in hex, slot 3
	Time    string         `json:"time_ns,omitempty"`
	Tags    []any          `json:"tags,omitempty"`
	Values  map[string]any `json:"values,omitempty"` // floats as the hex of their bits
}

func (c *suiteCase) payload(t *testing.T) []byte {
	if c.Hex == "" {
		return []byte(c.Payload)
	}
	b, err := hex.DecodeString(c.Hex)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestVerdicts runs conformance/verdicts.json through the server's plan and the
// firmware. With -update the file's verdicts are written anew from the server's.
func TestVerdicts(t *testing.T) {
	data, err := os.ReadFile(verdictsFile)
	if err != nil {
		t.Fatal(err)
	}
	var s suite
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	f := startFirmware(t)
	cases := 0
	for i := range s.Schemas {
		g := &s.Schemas[i]
		p := newPair(t, f, string(g.Schema))
		if bin := hex.EncodeToString(p.bin); *update {
			g.Plan = bin
		} else if bin != g.Plan {
			t.Errorf("%s: the plan is %s, not %s", g.Name, bin, g.Plan)
		}
		for j := range g.Cases {
			c := &g.Cases[j]
			payload := c.payload(t)
			for seed := range uint32(4) {
				if d := p.differ(t, c.Topic, payload, seed); d != "" {
					t.Errorf("%s, case %d, %q: %s", g.Name, j, payload, d)
				}
			}
			got := p.result(t, c, payload)
			if *update {
				*c = got
			} else if a, b := marshal(t, got), marshal(t, *c); a != b {
				t.Errorf("%s, case %d, %q:\ngot  %s\nwant %s", g.Name, j, payload, a, b)
			}
			cases++
		}
	}
	if cases < 150 {
		t.Errorf("only %d cases", cases)
	}
	if *update {
		out, err := json.MarshalIndent(s, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(verdictsFile, append(out, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func marshal(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// result is what server and firmware, who agree, say of a payload.
func (p *pair) result(t *testing.T, c *suiteCase, payload []byte) suiteCase {
	r := suiteCase{Topic: c.Topic, Payload: c.Payload, Hex: c.Hex, Verdict: "ok"}
	route := p.set.Route([]byte(c.Topic))
	if route == nil {
		r.Verdict = "no_topic"
		return r
	}
	_, rows, fail := p.checker.Check(route, payload)
	if fail != nil {
		r.Verdict, r.Code, r.Pointer = string(fail.Reason), fail.Code(), fail.Pointer()
		if at := fail.Offset; at >= 0 {
			r.Offset = &at
		}
		return r
	}
	r.Record = hex.EncodeToString(p.device.check(t, c.Topic, payload, 0).body)
	if rows[0].HasTime {
		r.Time = fmt.Sprint(rows[0].Time)
	}
	for _, tag := range rows[0].Tags {
		if tag.Null {
			r.Tags = append(r.Tags, nil)
		} else {
			r.Tags = append(r.Tags, string(tag.Text))
		}
	}
	r.Values = map[string]any{}
	for i, v := range rows[0].Values {
		column := p.plan.Table().Columns[i]
		r.Values[column.Name] = plainValue(column.Type, v)
	}
	return r
}

func plainValue(kind telemetry.ColumnType, v telemetry.Value) any {
	switch {
	case v.Null:
		return nil
	case kind == telemetry.Float:
		return map[string]any{"bits": fmt.Sprintf("%016x", v.Bits), "about": fmt.Sprint(math.Float64frombits(v.Bits))}
	case kind == telemetry.Int:
		return fmt.Sprint(int64(v.Bits))
	case kind == telemetry.Bool:
		return v.Bits != 0
	}
	return string(v.Text)
}

// seedDir holds what libFuzzer begins from.
const seedDir = firmwareDir + "/fuzz"

// TestFuzzSeeds holds the seeds of firmware/fuzz to what the vectors say; -update
// writes them anew.
func TestFuzzSeeds(t *testing.T) {
	data, err := os.ReadFile(verdictsFile)
	if err != nil {
		t.Fatal(err)
	}
	var s suite
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for i, g := range s.Schemas {
		bin, err := hex.DecodeString(g.Plan)
		if err != nil {
			t.Fatal(err)
		}
		for j, c := range g.Cases {
			payload := c.payload(t)
			if j == 1 {
				files[fmt.Sprintf("seeds/plan/%d", i)] = append(append(binary.LittleEndian.AppendUint16(nil, uint16(len(bin))), bin...), payload...)
			}
			if i == 0 && j%7 == 0 {
				files[fmt.Sprintf("seeds/json/%d", j)] = append([]byte{byte(j)}, payload...)
			}
			if body, _ := hex.DecodeString(c.Record); i == 0 && j < 12 && len(body) > 0 {
				files[fmt.Sprintf("seeds/record/%d", j)] = body
			}
		}
		if i == 0 {
			files["fuzz_env_plan.c"] = envSource(bin)
		}
	}
	for name, want := range files {
		name = filepath.Join(seedDir, name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what conformance/verdicts.json says (%v): go test ./internal/device/record -update", name, err)
		}
	}
}

// envSource is the plan of the first workload as a C source.
func envSource(bin []byte) []byte {
	out := []byte("/* The plan of the first workload, from conformance/verdicts.json: go test ./internal/device/record -update writes it. */\n#include \"fuzz.h\"\n\n")
	out = fmt.Appendf(out, "const uint32_t weir_schema_env_size = %d;\nconst uint8_t weir_schema_env[] = {", len(bin))
	for i, b := range bin {
		if i%24 == 0 {
			out = append(out, "\n   "...)
		}
		out = fmt.Appendf(out, " %d,", b)
	}
	return append(out, "\n};\n"...)
}
