// Package engine turns what the lease source and the kernel layer deliver into
// one immutable snapshot after the other. One goroutine owns the state and is
// the only one that judges; readers load a pointer and never lock.
//
// It is also the only place that reads the clock for a judgment.
package engine

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"routewatch/shared/expect"
	"routewatch/shared/judge"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/wire"
)

// Heartbeat is how often the loop turns at least, also when nothing happens.
const Heartbeat = time.Second

// minWake keeps a judge that asks for a time in the past from spinning the loop.
const minWake = 10 * time.Millisecond

// Config is what an Engine needs. Next, InterestOf and Log are required.
type Config struct {
	// Next is that of a judge.Judge.
	Next func(previous *wire.Snapshot, in judge.Input) (next *wire.Snapshot, wake time.Time)
	// InterestOf is expect.InterestOf with its configuration bound.
	InterestOf func(*lease.Set) expect.Interest
	// Observe, if set, is told how long a change took from the event that
	// announced it to the published snapshot.
	Observe func(time.Duration)
	// Changed, if set, is given each snapshot and the one before it. It must not wait.
	Changed func(old, next *wire.Snapshot)
	// Record, if set, is given all that Next is given, before it. It must not wait.
	Record func(previous *wire.Snapshot, in judge.Input)
	// Past, if set, is what an earlier process knew that judging goes on from.
	Past *wire.Snapshot
	Log  *slog.Logger
}

// Engine owns the state. Latest, Evidence, Idle and Interests may be used from any
// goroutine; Run only once.
type Engine struct {
	cfg       Config
	log       *slog.Logger
	latest    atomic.Pointer[published]
	turned    atomic.Pointer[time.Time]
	interests chan expect.Interest
	in        judge.Input // owned by Run
}

type published struct {
	snapshot   *wire.Snapshot
	in         judge.Input // of which it was made
	superseded chan struct{}
}

// New returns an engine whose snapshot says that nothing was read yet.
func New(cfg Config) *Engine {
	e := &Engine{cfg: cfg, interests: make(chan expect.Interest, 1)}
	now := time.Now().UTC()
	first, _ := e.judge(cfg.Past, judge.Input{Now: now})
	e.log = cfg.Log.With("node", first.Node)
	e.latest.Store(&published{first, judge.Input{Now: now}, make(chan struct{})})
	e.turned.Store(&now)
	return e
}

func (e *Engine) judge(previous *wire.Snapshot, in judge.Input) (next *wire.Snapshot, wake time.Time) {
	if e.cfg.Record != nil {
		e.cfg.Record(previous, in)
	}
	return e.cfg.Next(previous, in)
}

// Latest returns the current snapshot, never nil and never to be modified, and
// a channel that is closed when a newer one is there.
func (e *Engine) Latest() (*wire.Snapshot, <-chan struct{}) {
	p := e.latest.Load()
	return p.snapshot, p.superseded
}

// Evidence returns the current snapshot and what it was made of. Neither must
// be modified.
func (e *Engine) Evidence() (*wire.Snapshot, judge.Input) {
	p := e.latest.Load()
	return p.snapshot, p.in
}

// Idle returns how long ago the loop turned last. More than a few Heartbeats
// means that it hangs.
func (e *Engine) Idle() time.Duration { return time.Since(*e.turned.Load()) }

// Interests delivers what the kernel layer has to look at. Only the newest one
// waits to be received.
func (e *Engine) Interests() <-chan expect.Interest { return e.interests }

// Run folds sets and states into snapshots until ctx ends, which is no error.
// The channels must not be closed.
func (e *Engine) Run(ctx context.Context, sets <-chan lease.Set, states <-chan *netstate.State) error {
	heartbeat := time.NewTicker(Heartbeat)
	defer heartbeat.Stop()
	wake := time.NewTimer(0)
	wake.Stop()
	defer wake.Stop()

	for {
		now := time.Now()
		e.turned.Store(&now)
		select {
		case <-ctx.Done():
			return nil
		case <-heartbeat.C:
			continue
		case set := <-sets:
			e.takeSet(&set)
		case state := <-states:
			e.takeState(state)
		case <-wake.C:
			e.in.Touched = nil
		}
		setTimer(wake, e.publish())
	}
}

// takeSet makes the set the one to judge by. One that only says that the source
// was lost, or is still the same, leaves every lease as it was judged.
func (e *Engine) takeSet(set *lease.Set) {
	same := e.in.Set != nil && e.in.Set.Generation == set.Generation
	e.in.Set = set
	if same {
		e.in.Touched = []netip.Prefix{}
		return
	}
	e.in.Touched = nil
	e.offer(e.cfg.InterestOf(set))
}

// offer replaces an interest that nobody received yet. It never blocks: this
// goroutine is the only sender.
func (e *Engine) offer(interest expect.Interest) {
	select {
	case <-e.interests:
	default:
	}
	e.interests <- interest
}

// takeState makes the state the one to judge. Its Touched compares it with the
// state before it, which says nothing if that was read for other leases, or if
// one of the two could not be read.
func (e *Engine) takeState(state *netstate.State) {
	e.in.Touched = state.Touched
	if e.in.State == nil || e.in.State.Generation != state.Generation || e.in.State.Complete != state.Complete {
		e.in.Touched = nil
	}
	e.in.State = state
}

// publish judges the input, makes the result the latest snapshot and returns
// when the judge wants to be called again.
func (e *Engine) publish() (wake time.Time) {
	old := e.latest.Load()
	e.in.Now = time.Now().UTC()
	next, wake := e.judge(old.snapshot, e.in)
	e.latest.Store(&published{next, e.in, make(chan struct{})})
	close(old.superseded)

	if e.cfg.Observe != nil && !next.Triggered.IsZero() {
		e.cfg.Observe(time.Since(next.Triggered))
	}
	if e.cfg.Changed != nil {
		e.cfg.Changed(old.snapshot, next)
	}
	e.forgetEvents()
	logTransitions(e.log, old.snapshot, next)
	return wake
}

// forgetEvents keeps events from being counted twice: a state that is judged
// again, because of a new set or the end of a grace, has none.
func (e *Engine) forgetEvents() {
	if e.in.State == nil || (len(e.in.State.Hints) == 0 && e.in.State.Triggered.IsZero()) {
		return
	}
	quiet := *e.in.State
	quiet.Hints, quiet.Triggered = nil, time.Time{}
	e.in.State = &quiet
}

func setTimer(t *time.Timer, at time.Time) {
	if at.IsZero() {
		t.Stop()
		return
	}
	t.Reset(max(time.Until(at), minWake))
}
