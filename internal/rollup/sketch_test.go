package rollup

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func drawValue(t *rapid.T) float64 {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		return rapid.SampledFrom([]float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 1, -1}).Draw(t, "edge")
	case 1:
		return rapid.Float64().Draw(t, "any")
	}
	return rapid.Float64Range(-1e6, 1e6).Draw(t, "x")
}

// isNear reports whether got is within the promised accuracy of want, which is
// one of values.
func isNear(got, want float64, values []float64) bool {
	if got == want {
		return true
	}
	top := 0.0 // the greatest magnitude on the side of want
	for _, v := range values {
		if v > 0 == (want > 0) && !math.IsInf(v, 0) {
			top = max(top, math.Abs(v))
		}
	}
	slack := max(math.Abs(want)/100, top*0x1p-31, 0x1p-1022)
	return math.Abs(got-want) <= slack
}

func TestSketchQuantilesAreWithinOnePercent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Custom(drawValue), 1, 300).Draw(t, "values")
		var s Sketch
		for _, v := range values {
			s.Add(v)
		}
		s.Add(math.NaN())
		if s.Count() != uint64(len(values)) {
			t.Fatalf("%d values, counted %d", len(values), s.Count())
		}
		slices.Sort(values)
		for _, p := range []float64{0, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1, rapid.Float64Range(0, 1).Draw(t, "p")} {
			got, ok := s.Quantile(p)
			want := values[int(math.Floor(p*float64(len(values)-1)))]
			if !ok || !isNear(got, want, values) {
				t.Fatalf("quantile %v is %v, the value is %v", p, got, want)
			}
		}
		if lo, _ := s.Quantile(0); lo != values[0] {
			t.Fatalf("quantile 0 is %v, the minimum is %v", lo, values[0])
		}
		if hi, _ := s.Quantile(1); hi != values[len(values)-1] {
			t.Fatalf("quantile 1 is %v, the maximum is %v", hi, values[len(values)-1])
		}
	})
}

// Any order and any way of merging gives the same sketch.
func TestSketchesMergeToTheSketchOfAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Custom(drawValue), 1, 200).Draw(t, "values")
		var whole Sketch
		for _, v := range values {
			whole.Add(v)
		}
		parts := make([]Sketch, rapid.IntRange(1, 5).Draw(t, "parts"))
		for _, v := range rapid.Permutation(values).Draw(t, "order") {
			parts[rapid.IntRange(0, len(parts)-1).Draw(t, "part")].Add(v)
		}
		var merged, decoded Sketch
		for i := range parts {
			merged.Merge(&parts[i])
			if parts[i].Count() == 0 {
				continue
			}
			if err := decoded.MergeEncoded(parts[i].Append(nil), parts[i].min, parts[i].max); err != nil {
				t.Fatal(err)
			}
		}
		want := whole.Append(nil)
		for name, s := range map[string]*Sketch{"merged": &merged, "decoded": &decoded} {
			if got := s.Append(nil); !slices.Equal(got, want) || s.Count() != whole.Count() || s.min != whole.min || s.max != whole.max {
				t.Fatalf("%s: %x instead of %x", name, got, want)
			}
		}
	})
}

func TestSketchIsBounded(t *testing.T) {
	var s Sketch
	for e := -1074; e < 1024; e++ {
		for m := range 64 {
			s.Add(math.Ldexp(1+float64(m)/64, e))
			s.Add(-math.Ldexp(1+float64(m)/64, e))
		}
	}
	if n := len(s.pos.counts) + len(s.neg.counts); n > 2*MaxBins {
		t.Errorf("%d bins", n)
	}
	if n := s.pos.used(); n != MaxBins {
		t.Errorf("%d bins are used instead of %d", n, MaxBins)
	}
}

func FuzzSketch(f *testing.F) {
	var s Sketch
	for _, v := range []float64{1, 2, 3, -5, 0, 1e9, math.Inf(1)} {
		s.Add(v)
	}
	f.Add(s.Append(nil))
	f.Add([]byte{})
	f.Add([]byte{1, 1, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		var s Sketch
		if s.MergeEncoded(data, -1, 1) != nil {
			return
		}
		again := s.Append(nil)
		var o Sketch
		if err := o.MergeEncoded(again, -1, 1); err != nil {
			t.Fatalf("%x, which came from %x: %v", again, data, err)
		}
		if got := o.Append(nil); !slices.Equal(got, again) {
			t.Fatalf("%x reads back as %x", again, got)
		}
	})
}

func BenchmarkSketchAdd(b *testing.B) {
	var s Sketch
	for i := range b.N {
		s.Add(20 + float64(i%1000)/100)
	}
}
