package embedded

import (
	"context"
	"slices"
	"testing"
)

func TestAQuietStoreGivesBackTheSpaceOfItsCatalog(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, ManualCompaction: true})
	f := newFleet(t, s, 50)
	for range 40 {
		f.section(4000)
		commit(t, s, &f.sec)
	}
	if err := s.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	if s.quiet() {
		t.Error("a store with new commits is quiet")
	}
	if !s.quiet() {
		t.Error("a store without commits is not quiet")
	}
	want := scanAll(t, s, "env")
	before := fileSize(s.catalogPath()) + fileSize(s.catalogPath()+"-wal")
	if err := s.shrink(); err != nil {
		t.Fatal(err)
	}
	after := fileSize(s.catalogPath()) + fileSize(s.catalogPath()+"-wal")
	if after > 150_000 || before < 4*after {
		t.Errorf("catalog.db and its log took %d bytes, and take %d afterwards", before, after)
	}
	// The store goes on, and another process reads the same.
	if got := scanAll(t, s, "env"); !slices.Equal(got, want) {
		t.Fatal("the rows changed")
	}
	f.section(100)
	commit(t, s, &f.sec)
	want = scanAll(t, s, "env")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := scanAll(t, open(t, Options{Dir: dir, ManualCompaction: true}), "env"); !slices.Equal(got, want) {
		t.Fatal("the rows changed over a restart")
	}
}
