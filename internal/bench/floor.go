package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/weir-telemetry/weir/internal/source/wire"
)

// RunFloor is the minimal program that a node is compared with: it subscribes,
// parses PUBLISH packets, appends them to a file, syncs, acknowledges, and does
// nothing else. While one batch is synced the next is read.
func RunFloor(ctx context.Context, url, file string) error {
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "mqtt://"))
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()

	hello := wire.AppendConnect(nil, &wire.Connect{Version: wire.V5, ClientID: "floor", KeepAlive: 0})
	hello = wire.AppendSubscribe(hello, wire.V5, &wire.Subscribe{
		PacketID: 1, Subscriptions: []wire.Subscription{{Filter: "#", QoS: 1}},
	})
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	var b floorBatches
	b.filled.L = &b.mu
	synced := make(chan error, 1)
	go func() { synced <- b.sync(conn, f) }()

	err = func() error {
		buf := make([]byte, 256<<10)
		have := 0
		for {
			n, err := conn.Read(buf[have:])
			have += n
			if err != nil {
				if ctx.Err() != nil || errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
			used, err := b.take(buf[:have])
			if err != nil {
				return err
			}
			have = copy(buf, buf[used:have])
		}
	}()
	b.close()
	return errors.Join(err, <-synced)
}

// floorBatches holds packets as they came and the acknowledgements that wait
// for them: what the reader fills and the syncing goroutine takes.
type floorBatches struct {
	mu         sync.Mutex
	filled     sync.Cond
	data, acks []byte
	closed     bool
	publish    wire.Publish
}

func (b *floorBatches) take(buf []byte) (used int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		h, size, err := wire.ReadHeader(buf[used:])
		if err != nil {
			return used, err
		}
		if size == 0 || used+size+h.Remaining > len(buf) {
			break
		}
		packet := buf[used : used+size+h.Remaining]
		used += len(packet)
		if h.Type() != wire.PUBLISH {
			continue
		}
		if err := wire.ParsePublish(&b.publish, wire.V5, h.First, packet[size:]); err != nil {
			return used, err
		}
		b.data = append(b.data, packet...)
		b.acks = wire.AppendAck(b.acks, wire.PUBACK, b.publish.PacketID)
	}
	b.filled.Signal()
	return used, nil
}

func (b *floorBatches) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.filled.Signal()
}

func (b *floorBatches) sync(conn net.Conn, f *os.File) error {
	var data, acks []byte
	for {
		b.mu.Lock()
		for len(b.data) == 0 && !b.closed {
			b.filled.Wait()
		}
		if len(b.data) == 0 {
			b.mu.Unlock()
			return nil
		}
		data, b.data = b.data, data[:0]
		acks, b.acks = b.acks, acks[:0]
		b.mu.Unlock()
		if _, err := f.Write(data); err != nil {
			return fmt.Errorf("append: %w", err)
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		_, _ = conn.Write(acks) // a closed connection ends the reader
	}
}
