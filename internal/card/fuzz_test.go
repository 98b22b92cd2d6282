package card

import (
	"hash/crc32"
	"testing"
)

// FuzzBlock: no sector makes a reader fail, and none gives more than it holds.
func FuzzBlock(f *testing.F) {
	f.Add([]byte{0x57, 0x62, 2, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		s := make([]byte, Sector)
		copy(s, data)
		s[0], s[1] = 0x57, 0x62
		le.PutUint32(s[4:], crc32.Update(crc32.ChecksumIEEE(s[8:]), crc32.IEEETable, s[:4]))
		b, err := OpenBlock(s)
		if err != nil {
			return
		}
		_, _ = b.ReadHeader()
		records, sequence := 0, b.First
		_ = b.Records(func(r Record) {
			records++
			if len(r.Body) > MaxRecord || r.Sequence != sequence || records > Sector {
				t.Fatalf("%+v as record %d", r, records)
			}
			if r.Kind < unsequenced {
				sequence++
			}
		})
	})
}
