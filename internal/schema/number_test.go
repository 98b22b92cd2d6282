package schema

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// randomNumber draws a literal that is near the edges that parsers miss.
func randomNumber(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(3) == 0 {
		b.WriteByte('-')
	}
	digits := func(n int) {
		for range n {
			b.WriteByte('0' + byte(r.IntN(10)))
		}
	}
	switch r.IntN(6) {
	case 0:
		b.WriteByte('0')
	case 1:
		return strconv.FormatFloat(math.Float64frombits(r.Uint64()&^(0x7ff<<52)|uint64(r.IntN(2047))<<52), "gef"[r.IntN(3)], -1, 64)
	default:
		b.WriteByte('1' + byte(r.IntN(9)))
		digits(r.IntN(1 << r.IntN(6)))
	}
	if r.IntN(2) == 0 {
		b.WriteByte('.')
		digits(1 + r.IntN(1<<r.IntN(6)))
	}
	if r.IntN(4) == 0 {
		b.WriteByte("eE"[r.IntN(2)])
		b.WriteString([]string{"", "+", "-"}[r.IntN(3)])
		fmt.Fprint(&b, r.IntN(1<<r.IntN(10)))
	}
	return b.String()
}

func TestNumber(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))

	t.Run("IsBitExactWithStrconv", func(t *testing.T) {
		for range 100_000 {
			lit := randomNumber(r)
			padded := lit + ",\"next\":1}"[:r.IntN(10)]
			m, e, end, fl := scanNumber([]byte(padded), 0)
			if fl&numBad != 0 || end != len(lit) {
				t.Fatalf("%q: flags %d, end %d, want %d", padded, fl, end, len(lit))
			}
			got := toFloat(m, e, fl, []byte(lit))
			want, _ := strconv.ParseFloat(lit, 64)
			if math.Float64bits(got) != math.Float64bits(want) {
				t.Fatalf("%q: %v, strconv says %v", lit, got, want)
			}
		}
	})

	t.Run("ComparesAsExactDecimals", func(t *testing.T) {
		for range 50_000 {
			a, b := randomNumber(r), randomNumber(r)
			switch r.IntN(3) {
			case 0: // the same number, written otherwise
				b = a
				if strings.Contains(a, ".") && !strings.ContainsAny(a, "eE") {
					b += "000"
				}
			case 1: // a neighbour that float64 cannot tell apart
				if strings.Contains(a, ".") && !strings.ContainsAny(a, "eE") {
					b = a + "0000000000000000000001"
				}
			}
			d := parseDecimal(b)
			x, _ := new(big.Rat).SetString(a)
			y, _ := new(big.Rat).SetString(b)
			if got, want := d.compare([]byte(a)), x.Cmp(y); got != want {
				t.Fatalf("%s compared with %s: %d, big.Rat says %d", a, b, got, want)
			}
			m, e, _, fl := scanNumber([]byte(a), 0)
			if got, want := isInteger(m, e, fl, []byte(a)), x.IsInt(); got != want {
				t.Fatalf("%s is an integer: %v, big.Rat says %v", a, got, want)
			}
			if x.IsInt() {
				v, ok := toInt(m, e, fl)
				if want := x.Num().IsInt64(); ok != want || ok && v != x.Num().Int64() {
					t.Fatalf("%s as int64: %d %v", a, v, ok)
				}
			}
			if mul, ok := newMultiple(d); ok {
				if fast, slow := mul.divides(m, e, fl, []byte(a)), mul.dividesLong([]byte(a)); fast != slow {
					t.Fatalf("%s is a multiple of %s: %v and %v", a, b, fast, slow)
				}
				if got, want := mul.dividesLong([]byte(a)), new(big.Rat).Quo(x, y).IsInt(); got != want {
					t.Fatalf("%s is a multiple of %s: %v, big.Rat says %v", a, b, got, want)
				}
			}
		}
	})

	t.Run("RefusesWhatJSONRefuses", func(t *testing.T) {
		alphabet := "0123456789.eE+-01"
		for range 100_000 {
			n := 1 + r.IntN(12)
			var b strings.Builder
			for range n {
				b.WriteByte(alphabet[r.IntN(len(alphabet))])
			}
			lit := b.String()
			_, _, end, fl := scanNumber([]byte(lit+strings.Repeat(" ", r.IntN(9))), 0)
			if got, want := fl&numBad == 0 && end == len(lit), json.Valid([]byte(lit)); got != want {
				t.Fatalf("%q: %v, encoding/json says %v", lit, got, want)
			}
		}
	})
}
