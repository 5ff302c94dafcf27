package engine_test

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"routewatch/exporter/internal/engine"
	"routewatch/shared/expect"
	"routewatch/shared/judge"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeJudge records what it is asked and answers what it is told to.
type fakeJudge struct {
	mu    sync.Mutex
	calls []call
	wake  func(now time.Time) time.Time // nil: never
	edit  func(next *wire.Snapshot)     // nil: leave it
}

type call struct {
	previous *wire.Snapshot
	in       judge.Input
}

func (j *fakeJudge) next(previous *wire.Snapshot, in judge.Input) (*wire.Snapshot, time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.calls = append(j.calls, call{previous, in})
	s := &wire.Snapshot{Node: "alpha", Time: in.Now}
	if in.State != nil {
		s.Triggered = in.State.Triggered
	}
	if j.edit != nil {
		j.edit(s)
	}
	if j.wake == nil {
		return s, time.Time{}
	}
	return s, j.wake(in.Now)
}

// seen returns the calls since New made the first one.
func (j *fakeJudge) seen() []call {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.calls[1:]
}

// harness is an engine that runs in a synctest bubble until the test ends.
type harness struct {
	*engine.Engine
	judge    *fakeJudge
	sets     chan lease.Set
	states   chan *netstate.State
	observed []time.Duration
	stop     func() error
}

func start(t *testing.T, j *fakeJudge) *harness {
	h := &harness{judge: j, sets: make(chan lease.Set), states: make(chan *netstate.State)}
	h.Engine = engine.New(engine.Config{
		Next:       j.next,
		InterestOf: func(s *lease.Set) expect.Interest { return expect.Interest{Generation: s.Generation} },
		Observe:    func(d time.Duration) { h.observed = append(h.observed, d) },
		Log:        slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx, h.sets, h.states) }()
	h.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := h.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return h
}

func TestLatest_BeforeAnything(t *testing.T) {
	e := engine.New(engine.Config{Next: (&fakeJudge{}).next, Log: slog.New(slog.DiscardHandler)})
	snapshot, superseded := e.Latest()
	if snapshot == nil || snapshot.Complete {
		t.Errorf("got snapshot %+v, want one that is not complete", snapshot)
	}
	select {
	case <-superseded:
		t.Error("the first snapshot is superseded before anything happened")
	default:
	}
}

func TestRun_EachInputIsAnImmutableSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, &fakeJudge{})
		first, superseded := h.Latest()
		h.sets <- lease.Set{Generation: 1}
		<-superseded
		second, superseded := h.Latest()
		h.states <- &netstate.State{Generation: 1}
		<-superseded
		third, _ := h.Latest()

		if first == second || second == third {
			t.Error("two inputs share a snapshot")
		}
		calls := h.judge.seen()
		if len(calls) != 2 || calls[0].previous != first || calls[1].previous != second {
			t.Errorf("judge was not given the previous snapshot: %+v", calls)
		}
		if set := calls[1].in.Set; set == nil || set.Generation != 1 {
			t.Errorf("the state was judged with set %+v, want generation 1", set)
		}
	})
}

func TestRun_Touched(t *testing.T) {
	subnet := []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")}
	synctest.Test(t, func(t *testing.T) {
		h := start(t, &fakeJudge{})
		h.states <- &netstate.State{Touched: subnet}                // no state before it
		h.sets <- lease.Set{Generation: 1}                          // new leases
		h.states <- &netstate.State{Generation: 1, Touched: subnet} // read for other leases than the one before
		h.states <- &netstate.State{Generation: 1, Touched: subnet}
		h.states <- &netstate.State{Generation: 1}
		h.states <- &netstate.State{Generation: 1, Complete: true, Touched: subnet} // could not be read before
		h.states <- &netstate.State{Generation: 1, Touched: subnet}                 // cannot be read now
		h.sets <- lease.Set{Generation: 1, Problem: "lost"}                         // the same leases
		h.sets <- lease.Set{Generation: 2}
		synctest.Wait()

		var got [][]netip.Prefix
		for _, c := range h.judge.seen() {
			got = append(got, c.in.Touched)
		}
		want := [][]netip.Prefix{nil, nil, nil, subnet, nil, nil, nil, {}, nil}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("Touched of each call (-want +got):\n%s", diff)
		}
	})
}

func TestInterests_OnlyTheNewestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, &fakeJudge{})
		for g := range uint64(5) {
			h.sets <- lease.Set{Generation: g}
			h.sets <- lease.Set{Generation: g, Problem: "lost"}
		}
		synctest.Wait()
		if got := (<-h.Interests()).Generation; got != 4 {
			t.Errorf("got the interest of generation %d, want 4", got)
		}
		h.sets <- lease.Set{Generation: 4}
		synctest.Wait()
		select {
		case in := <-h.Interests():
			t.Errorf("got an interest of generation %d, want none: the leases are the same", in.Generation)
		default:
		}
	})
}

func TestRun_WakesWhenAGraceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		end := began.Add(time.Minute)
		h := start(t, &fakeJudge{wake: func(now time.Time) time.Time {
			if now.Before(end) {
				return end
			}
			return time.Time{}
		}})
		h.states <- &netstate.State{Touched: []netip.Prefix{}}
		time.Sleep(time.Hour)

		calls := h.judge.seen()
		if len(calls) != 2 {
			t.Fatalf("judge was called %d times, want 2: for the state and at the end of the grace", len(calls))
		}
		if got := calls[1].in.Now.Sub(began); got != time.Minute {
			t.Errorf("woke after %s, want 1m0s", got)
		}
		if calls[1].in.Touched != nil {
			t.Errorf("Touched is %v at the end of a grace, want nil", calls[1].in.Touched)
		}
	})
}

func TestRun_ANewerAnswerReplacesTheWakeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ask := time.Now().Add(time.Minute)
		h := start(t, &fakeJudge{wake: func(time.Time) time.Time { return ask }})
		h.states <- &netstate.State{}
		synctest.Wait()
		ask = time.Time{}
		h.states <- &netstate.State{}
		time.Sleep(time.Hour)
		if n := len(h.judge.seen()); n != 2 {
			t.Errorf("judge was called %d times, want 2: it took its wish back", n)
		}
	})
}

// A judge that always wants to be woken in the past must not eat a core.
func TestRun_AWakeUpInThePastDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, &fakeJudge{wake: func(now time.Time) time.Time { return now.Add(-time.Hour) }})
		h.states <- &netstate.State{}
		time.Sleep(time.Second)
		if n := len(h.judge.seen()); n > 101 {
			t.Errorf("judge was called %d times in a second", n)
		}
	})
}

func TestRun_EventsAreJudgedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, &fakeJudge{})
		state := &netstate.State{Hints: []netstate.Hint{{Kind: netstate.RouteDeleted}}, Triggered: time.Now()}
		time.Sleep(3 * time.Millisecond)
		h.states <- state
		time.Sleep(time.Second)
		h.sets <- lease.Set{Generation: 1}
		synctest.Wait()

		calls := h.judge.seen()
		if n := len(calls[0].in.State.Hints); n != 1 {
			t.Errorf("first judgment saw %d hints, want 1", n)
		}
		if again := calls[1].in.State; len(again.Hints) != 0 || !again.Triggered.IsZero() {
			t.Errorf("second judgment of the same state saw %v, triggered %s; want no event", again.Hints, again.Triggered)
		}
		if len(state.Hints) != 1 || state.Triggered.IsZero() {
			t.Error("the engine modified the state, which is not its own")
		}
		if diff := cmp.Diff([]time.Duration{3 * time.Millisecond}, h.observed); diff != "" {
			t.Errorf("observed (-want +got):\n%s", diff)
		}
	})
}

func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		j := &fakeJudge{}
		h := start(t, j)
		time.Sleep(time.Hour + engine.Heartbeat/2)
		if got := h.Idle(); got > engine.Heartbeat {
			t.Errorf("idle for %s though nothing but time passed, want at most %s", got, engine.Heartbeat)
		}
		j.mu.Lock()
		j.edit = func(*wire.Snapshot) { <-hang }
		j.mu.Unlock()
		h.states <- &netstate.State{}
		time.Sleep(time.Minute)
		if got := h.Idle(); got < 59*time.Second {
			t.Errorf("idle for %s while the judge hangs, want about a minute", got)
		}
		close(hang)
		synctest.Wait()
		time.Sleep(engine.Heartbeat)
		if got := h.Idle(); got > engine.Heartbeat {
			t.Errorf("idle for %s after the judge came back, want at most %s", got, engine.Heartbeat)
		}
	})
}

func TestRun_StopsWhenTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, &fakeJudge{wake: func(now time.Time) time.Time { return now.Add(time.Second) }})
		h.states <- &netstate.State{}
		if err := h.stop(); err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
		if s, _ := h.Latest(); s == nil {
			t.Error("the last snapshot is gone")
		}
	})
}

// Readers follow the chain of snapshots without a lock, whatever their speed.
func TestLatest_ManyReaders(t *testing.T) {
	const inputs = 200
	j := &fakeJudge{}
	j.edit = func(s *wire.Snapshot) { s.Generation = uint64(len(j.calls)) }
	h := start(t, j)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			last := uint64(0)
			for last < inputs {
				s, superseded := h.Latest()
				if s.Generation < last {
					t.Errorf("snapshot %d came after %d", s.Generation, last)
					return
				}
				if last = s.Generation; last < inputs {
					<-superseded
				}
			}
		})
	}
	for range inputs {
		h.states <- &netstate.State{}
	}
	readers.Wait()
}

// What is recorded is what is judged, from the first input on.
func TestEngine_RecordsWhatItJudges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, tape := &fakeJudge{}, []call(nil)
		past := &wire.Snapshot{Node: "past"}
		e := engine.New(engine.Config{
			Next:       j.next,
			InterestOf: func(*lease.Set) expect.Interest { return expect.Interest{} },
			Record:     func(previous *wire.Snapshot, in judge.Input) { tape = append(tape, call{previous, in}) },
			Past:       past,
			Log:        slog.New(slog.DiscardHandler),
		})
		ctx, cancel := context.WithCancel(t.Context())
		sets, done := make(chan lease.Set), make(chan error)
		go func() { done <- e.Run(ctx, sets, nil) }()
		sets <- lease.Set{Generation: 1}
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(tape) != 2 || tape[0].previous != past || tape[1].in.Set.Generation != 1 {
			t.Fatalf("recorded %+v, want the start and a set", tape)
		}
		for i, c := range j.calls {
			if c.previous != tape[i].previous || c.in.Set != tape[i].in.Set || !c.in.Now.Equal(tape[i].in.Now) {
				t.Errorf("judged %+v, recorded %+v", c, tape[i])
			}
		}
	})
}
