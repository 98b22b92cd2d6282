package uplink

import (
	"context"
	"encoding/binary"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/weir-telemetry/weir/internal/telemetry"
)

// fullSink is a sink that has no room for one session.
type fullSink struct {
	key     string
	waiting chan struct{} // told when it waits for room
}

func (s *fullSink) OpenSession(_ context.Context, _, key string, _ telemetry.Acker) (telemetry.Session, error) {
	return &fullSession{sink: s, full: key == s.key, marks: marks{}}, nil
}

type fullSession struct {
	telemetry.MarkSession // what the test does not call
	marks
	sink *fullSink
	full bool
}

func (s *fullSession) Begin(ctx context.Context) error {
	if s.full {
		s.sink.waiting <- struct{}{}
		<-ctx.Done()
	}
	return ctx.Err()
}

func (s *fullSession) End()                         {}
func (s *fullSession) Close()                       {}
func (s *fullSession) Token(uint64)                 {}
func (s *fullSession) Marks() []telemetry.Mark      { return nil }
func (s *fullSession) Mark(id uint16, value uint64) { s.marks.Mark(id, value) }
func (s *fullSession) Unmark(id uint16)             { s.marks.Unmark(id) }

func helloMessage(epoch, last uint64) []byte {
	m := binary.LittleEndian.AppendUint64([]byte{kindHello, form}, epoch)
	m = binary.AppendUvarint(m, last)
	m = binary.AppendUvarint(m, 1)
	return seal(append(m, 0, 0, 0, cardNone))
}

// TestAGatewayTellsOfItsDevicesWhileTheStoreIsFull: metrics are asked for most when
// nothing goes on.
func TestAGatewayTellsOfItsDevicesWhileTheStoreIsFull(t *testing.T) {
	sink := &fullSink{key: SessionPrefix + "d2", waiting: make(chan struct{})}
	g := New(Config{Sink: sink, Logger: slog.New(slog.DiscardHandler), Now: func() int64 { return 1 }, Publish: func(string, string, []byte) {}})
	ctx, end := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { g.Run(ctx) })
	defer run.Wait()
	defer end()

	g.queue <- heard{device: "d1", source: "s", message: helloMessage(7, 5)}
	g.queue <- heard{device: "d2", source: "s", message: helloMessage(8, 9)}
	<-sink.waiting // d1 was heard, and d2 waits
	told := make(chan []DeviceStats, 1)
	go func() { told <- g.Status() }()
	var all []DeviceStats
	select {
	case all = <-told:
	case <-time.After(30 * time.Second):
		t.Error("it waits for the store as well")
	}
	if len(all) != 1 || all[0].Device != "d1" || all[0].Hellos != 1 || all[0].Lag != 5 {
		t.Errorf("it tells of %+v", all)
	}
}
