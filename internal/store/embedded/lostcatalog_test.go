package embedded

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// A start without the catalog knows none of the segments. It must not take them for
// leftovers, nor begin a new catalog beside them.
func TestSegmentsWithoutTheirCatalogAreLeftAlone(t *testing.T) {
	for name, lose := range map[string]func(catalog string) error{
		"Missing": os.Remove,
		"Empty":   func(catalog string) error { return os.Truncate(catalog, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fillCatalogue(t, dir)
			before := contentOf(t, filepath.Join(dir, segmentDir))
			if len(before) == 0 {
				t.Fatal("there are no segments")
			}
			if err := lose(filepath.Join(dir, catalogFile)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				for _, readOnly := range []bool{false, true} {
					if s, err := Open(context.Background(), Options{Dir: dir, ReadOnly: readOnly, ManualCompaction: true}); telemetry.CodeOf(err) != telemetry.CodeDamaged {
						t.Errorf("it opens (read only: %v): %v", readOnly, err)
						if err == nil {
							_ = s.Close()
						}
					}
				}
			}
			if _, err := CheckUpgrade(Options{Dir: dir}); name == "Missing" && telemetry.CodeOf(err) != telemetry.CodeDamaged {
				t.Errorf("an upgrade would do: %v", err)
			}
			after := contentOf(t, filepath.Join(dir, segmentDir))
			if len(after) != len(before) {
				t.Errorf("%d files are left of %d", len(after), len(before))
			}
			for file, data := range before {
				if after[file] != data {
					t.Errorf("%s is another", file)
				}
			}
			if info, err := os.Stat(filepath.Join(dir, catalogFile)); name == "Missing" && err == nil {
				t.Errorf("a catalog of %d bytes was made", info.Size())
			}
			if !Exists(dir) || Exists(t.TempDir()) {
				t.Error("what there is of a store is not seen")
			}
		})
	}
}

func contentOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(data)
	}
	return out
}
