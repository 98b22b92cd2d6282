package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weir-telemetry/weir/internal/source/wire"
	"github.com/weir-telemetry/weir/internal/telemetry"
)

// Source is one subscription to one broker. New makes it, Run works.
type Source struct {
	cfg      Config
	end      endpoint
	sink     telemetry.Sink
	log      *slog.Logger
	clientID string
	ring     *ring
	stats    counters
	stalled  atomic.Bool
	subs     subscriptions
	state    *state // under subs.mu once Run works

	// Run's goroutine only.
	session   telemetry.Session
	noAliases bool
	fallback  bool // the broker was found to speak 3.1.1 only
	shortRun  int  // accepted connections in turn that did not last

	mu     sync.Mutex
	status Status // without what Status reads elsewhere
}

// New checks the configuration and draws or reads the client identifier. Nothing
// connects before Run.
func New(cfg Config, sink telemetry.Sink, logger *slog.Logger) (*Source, error) {
	cfg.fill()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	end, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Source{cfg: cfg, end: end, sink: sink, log: logger.With("source", cfg.Name), ring: newRing(), clientID: cfg.ClientID}
	if s.state, err = loadState(cfg.StateDir, cfg.Name, cfg.Box); err != nil {
		return nil, err
	}
	if s.clientID == "" {
		if s.state.DrawnID == "" {
			s.state.DrawnID = drawClientID()
			if err := s.state.save(cfg.StateDir, cfg.Name); err != nil {
				return nil, err
			}
		}
		s.clientID = s.state.DrawnID
	}
	s.subs.held = map[string]bool{}
	for _, f := range s.state.Subscribed[s.clientID] {
		s.subs.held[f] = true
	}
	s.subs.wanted = cfg.filters(cfg.Topics)
	slices.Sort(s.subs.wanted)
	s.subs.wanted = slices.Compact(s.subs.wanted)
	s.subs.keep = cfg.KeepHeld
	s.status = Status{Name: cfg.Name, URL: cfg.URL, ClientID: s.clientID, Since: time.Now(), Reason: "not started"}
	return s, nil
}

// Name returns the source's name.
func (s *Source) Name() string { return s.cfg.Name }

// Status may be called at any time.
func (s *Source) Status() Status {
	s.mu.Lock()
	st := s.status
	s.mu.Unlock()
	var amiss string
	st.Filters, st.Subscribed, amiss = s.filterStatus()
	st.Subscribed = st.Subscribed && st.Connected
	if st.Connected && st.Reason == "" {
		st.Reason = amiss
	}
	st.Counts = s.stats.read()
	if next, sent := s.stats.received.Load(), s.ring.sent.Load(); next > sent {
		st.InFlight = next - sent
	}
	st.Stalled = s.stalled.Load()
	return st
}

func (s *Source) update(change func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.status)
}

// Run connects, and connects again whenever the connection ends, until ctx is
// cancelled; then it waits for the acknowledgements of what it handed on, no
// longer than DrainTimeout, takes its leave of the broker and returns nil.
//
// Where another client took the session over it does not connect again, because
// the two would evict each other without end: Status says so, and Run waits for
// ctx. It returns an error only if the sink takes nothing any more.
func (s *Source) Run(ctx context.Context) error {
	defer s.update(func(st *Status) { st.Connected, st.Since = false, time.Now() })

	usual := backoff{min: s.cfg.BackoffMin, max: s.cfg.BackoffMax}
	slow := backoff{min: s.cfg.RefusedMin, max: s.cfg.RefusedMax}
	var pause time.Duration
	for {
		lasted, err := s.connectAndServe(ctx)
		if ctx.Err() != nil {
			s.update(func(st *Status) { st.Reason = "stopped" })
			return nil
		}
		if stop := new(sinkStopped); errors.As(err, &stop) {
			s.disconnected(stop.Error())
			return fmt.Errorf("source %q: %w", s.cfg.Name, stop.err)
		}
		// Two nodes of one identifier that evict each other at long pauses must not
		// take those for stability.
		if lasted >= max(s.cfg.StableAfter, 4*pause) {
			usual.reset()
			slow.reset()
			s.shortRun = 0
		}
		switch s.judge(err) {
		case atOnce:
			s.disconnected(err.Error())
			continue
		case never:
			return s.takenOver(ctx)
		case slowly:
			pause = slow.draw()
		default:
			pause = usual.draw()
		}
		reason := s.explain(err, lasted)
		s.disconnected(reason)
		s.log.Warn("not connected to the broker", "reason", reason, "retry_in", pause)
		if !wait(ctx, pause) {
			return nil
		}
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Source) disconnected(reason string) {
	s.update(func(st *Status) {
		if st.Connected {
			st.Since = time.Now()
		}
		st.Connected, st.Reason = false, reason
		st.LastFailure, st.FailedAt = reason, time.Now()
	})
}

func (s *Source) takenOver(ctx context.Context) error {
	reason := fmt.Sprintf("another client connected with the client identifier %q (reason 0x8E, session taken over): "+
		"not connecting again, because both would evict each other without end; give each node its own client_id and restart this one", s.clientID)
	s.disconnected(reason)
	s.update(func(st *Status) { st.Stopped = true })
	s.log.Error("stopped", "reason", reason)
	<-ctx.Done()
	return nil
}

// verdict says when to connect again.
type verdict int

const (
	soon   verdict = iota // after the usual backoff
	slowly                // a person must act first
	atOnce                // something about the next attempt differs
	never
)

func (s *Source) judge(err error) verdict {
	s.stats.failures.Add(1)
	var (
		ref  *refused
		dis  *disconnected
		bad  *wire.Error
		cert *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &ref):
		return s.judgeRefusal(ref)
	case errors.As(err, &dis):
		switch dis.reason {
		case wire.SessionTakenOver:
			return never
		case wire.NotAuthorized, wire.Banned, wire.UseAnotherServer, wire.ServerMoved:
			return slowly
		}
	case errors.As(err, &bad):
		s.stats.malformed.Add(1)
	case errors.Is(err, errNoConnack):
		if s.canFallBack() && !s.state.Version5 {
			s.fallback = true
			return soon
		}
		// It may have been a passing trouble after all.
		s.fallback = false
	case errors.Is(err, errAliasBytes):
		s.noAliases = true
	case errors.As(err, &cert):
		return slowly
	}
	return soon
}

func (s *Source) judgeRefusal(ref *refused) verdict {
	switch ref.reason {
	case wire.UnsupportedProtocolVersion:
		if s.canFallBack() {
			s.fallback = true
			return atOnce
		}
		return slowly
	case wire.ClientIdentifierNotValid, wire.BadUserNameOrPassword, wire.NotAuthorized, wire.Banned,
		wire.BadAuthenticationMethod, wire.UseAnotherServer, wire.ServerMoved:
		return slowly
	}
	return soon
}

func (s *Source) canFallBack() bool { return s.cfg.Version == "auto" && !s.fallback }

func (s *Source) version() wire.Version {
	if s.cfg.Version == "3.1.1" || s.cfg.Version == "auto" && s.fallback {
		return wire.V311
	}
	return wire.V5
}

// explain adds what a person may want to know to why the connection ended.
func (s *Source) explain(err error, lasted time.Duration) string {
	if err == nil {
		err = errors.New("the connection ended")
	}
	reason := err.Error()
	if lasted > 0 {
		s.shortRun++
		if lasted < s.cfg.StableAfter {
			s.stats.shorts.Add(1)
		}
	}
	// Version 3.1.1 has no way to say that a session was taken over, and Mosquitto
	// 2.0.11 does not say it in version 5 either: it just closes.
	if s.shortRun >= 3 && lasted > 0 && closedByPeer(err) {
		reason += fmt.Sprintf(" (the broker has closed %d connections in turn: does another client use the client identifier %q?)", s.shortRun, s.clientID)
	}
	if ref := new(refused); errors.As(err, &ref) {
		switch ref.reason {
		case wire.BadUserNameOrPassword, wire.NotAuthorized:
			reason += fmt.Sprintf(" (user %q: check username and password_file)", s.cfg.Username)
		}
	}
	return reason
}

// closedByPeer reports whether a connection ended without a word.
func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// connectAndServe is one connection from dialling to its end. lasted is zero
// where the broker did not accept it.
func (s *Source) connectAndServe(ctx context.Context) (lasted time.Duration, err error) {
	s.ring.reset()
	// A session of the sink lasts as long as a connection: what the sink remembers
	// of an earlier one, it knows to be so, and it acknowledges nothing of that.
	s.session, err = s.sink.OpenSession(ctx, s.cfg.Name, "mqtt:"+s.cfg.Name+":"+s.clientID, s.ring)
	if err != nil {
		return 0, fmt.Errorf("open the session in the pipeline: %w", err)
	}
	defer s.session.Close()
	l, err := s.dial(ctx, s.version())
	if err != nil {
		return 0, err
	}
	s.accepted(l)
	if !l.connack.SessionPresent {
		s.session.Reset()
	}
	go l.w.run()
	if err = s.align(l); err == nil {
		// Cancelling ends the reading, not the writing: what is handed on is to be
		// acknowledged.
		stop := context.AfterFunc(ctx, func() { _ = l.nc.SetReadDeadline(time.Unix(1, 0)) })
		err = l.serve(ctx)
		stop()
	}
	s.unlink()
	reason := wire.Success
	if bad := new(wire.Error); errors.As(err, &bad) {
		reason = bad.Reason
	} else if errors.Is(err, errAliasBytes) {
		reason = wire.QuotaExceeded
	}
	if ctx.Err() != nil {
		l.drain(s.cfg.DrainTimeout)
	}
	l.close(reason)
	return time.Since(l.since), err
}

// remember notes that the broker speaks version 5; without a state file it
// costs at most a needless attempt later.
func (s *Source) remember(v wire.Version) {
	s.subs.mu.Lock()
	defer s.subs.mu.Unlock()
	if v < wire.V5 || s.state.Version5 {
		return
	}
	s.state.Version5 = true
	if err := s.state.save(s.cfg.StateDir, s.cfg.Name); err != nil {
		s.log.Warn("the source's state is not kept", "error", err)
	}
}

func (s *Source) accepted(l *link) {
	first := s.stats.connects.Add(1) == 1
	lost := !first && !l.connack.SessionPresent
	if lost {
		s.stats.sessionsLost.Add(1)
	}
	s.remember(l.version)
	s.subs.mu.Lock()
	s.subs.settled = false // of the connection before; it begins anew
	s.subs.mu.Unlock()
	s.update(func(st *Status) {
		st.Connected, st.Since, st.Reason, st.Version = true, l.since, "", l.version
		st.SessionPresent = l.connack.SessionPresent
		st.Limits = l.connack.Limits()
		st.KeepAlive = l.w.keepAlive
	})
	s.log.Info("connected to the broker", "url", s.cfg.URL, "version", l.version, "client_id", s.clientID,
		"session_present", l.connack.SessionPresent)
	if lost {
		s.log.Warn("the broker lost the session: what it had queued is gone")
	}
}
