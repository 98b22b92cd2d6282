package embedded

import "context"

// start begins the background work.
func (s *Store) start() error {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.worker.Go(func() { s.background(ctx) })
	return nil
}

// nudge wakes the background work after a commit.
func (s *Store) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Store) background(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
	}
}
