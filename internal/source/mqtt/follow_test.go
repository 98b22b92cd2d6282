package mqtt

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// fullDisk makes directories' names impossible to make durable, until over is
// called. It is called before anything runs.
func fullDisk(t *testing.T) (begin, over func()) {
	t.Helper()
	works := syncDir
	var full atomic.Bool
	syncDir = func(dir string) error {
		if full.Load() {
			return errors.New("no space left on device")
		}
		return works(dir)
	}
	t.Cleanup(func() { syncDir = works })
	return func() { full.Store(true) }, func() { full.Store(false) }
}

func TestTopicsThatCouldNotBeKeptAreSubscribedLater(t *testing.T) {
	begin, over := fullDisk(t)
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		cfg := f.config()
		cfg.StateDir, cfg.Topics = t.TempDir(), []string{"a"}
		s, _ := start(t, cfg, &recorder{})
		p := f.accept(wire.Connack{})
		begin()
		if err := s.SetTopics([]string{"a", "b"}, false); err == nil {
			t.Fatal("no error")
		}
		if err := s.SetTopics([]string{"a", "b"}, false); err == nil {
			t.Fatal("the same topics again are said to be subscribed")
		}
		time.Sleep(3 * alignAgain)
		if got := p.filters(wire.SUBSCRIBE); !slices.Equal(got, []string{"a"}) {
			t.Fatalf("subscribed %v, which the state file may forget", got)
		}
		over()
		time.Sleep(2 * alignAgain)
		if got := p.filters(wire.SUBSCRIBE); !slices.Equal(got, []string{"a", "b"}) {
			t.Fatalf("subscribed %v", got)
		}
		if st := s.Status(); len(st.Filters) != 2 || st.Filters[1].Granted != 1 {
			t.Errorf("filters %+v", st.Filters)
		}
		kept, err := loadState(cfg.StateDir, s.Name(), nil)
		if err != nil || !slices.Equal(kept.Subscribed["node"], []string{"a", "b"}) {
			t.Errorf("kept %+v, %v", kept, err)
		}
	})
}

func TestWhatASessionHoldsStaysWhileTheTopicsAreInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		cfg := f.config()
		cfg.StateDir, cfg.Topics = t.TempDir(), []string{"a", "b"}
		_, stop := start(t, cfg, &recorder{})
		f.accept(wire.Connack{}).hangUp()
		stop()

		cfg.Topics, cfg.KeepHeld = []string{"b"}, true
		s, _ := start(t, cfg, &recorder{})
		p := f.resume()
		if err := s.SetTopics([]string{"b", "c"}, true); err != nil {
			t.Fatal(err)
		}
		if err := s.SetTopics([]string{"b"}, true); err != nil {
			t.Fatal(err)
		}
		if got := p.filters(wire.UNSUBSCRIBE); len(got) != 0 {
			t.Fatalf("unsubscribed %v", got)
		}
		if err := s.SetTopics([]string{"b"}, false); err != nil {
			t.Fatal(err)
		}
		if got := p.filters(wire.UNSUBSCRIBE); !slices.Equal(got, []string{"a", "c"}) {
			t.Fatalf("unsubscribed %v", got)
		}
	})
}

func TestTheStateFilesNameIsMadeDurableAfterTheFile(t *testing.T) {
	works := syncDir
	defer func() { syncDir = works }()
	dir := t.TempDir()
	synced := 0
	syncDir = func(d string) error {
		if _, err := os.Stat(stateFile(dir, "plant")); err != nil || filepath.Clean(d) != dir {
			t.Errorf("%s is synced before the file has its name: %v", d, err)
		}
		synced++
		return works(d)
	}
	if err := (&state{DrawnID: "x"}).save(dir, "plant"); err != nil || synced != 1 {
		t.Errorf("%d directories were synced, %v", synced, err)
	}
}

func TestMessagesAreStampedByTheClockThatIsGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		cfg := f.config()
		now := int64(1_000)
		cfg.Now = func() int64 { return now }
		r := &recorder{}
		start(t, cfg, r)
		p := f.accept(wire.Connack{})
		for i, at := range []int64{5, 3, 7_000_000_000} {
			now = at
			p.publish(message(uint16(i+1), "x"))
			if got := r.messages()[i].Received; got != at {
				t.Errorf("message %d is stamped %d, want %d", i, got, at)
			}
		}
	})
}
