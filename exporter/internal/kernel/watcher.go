package kernel

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"routewatch/exporter/internal/enter"
	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// maxRepeats is how often a read is repeated because something changed under it.
const maxRepeats = 3

// watcher owns the picture. Only one goroutine, in run, touches it.
type watcher struct {
	cfg    Config
	netns  *os.File
	states chan<- *netstate.State

	reader  *reader
	events  *events
	waiting sync.WaitGroup // for the goroutine of events

	picture  *netstate.State // the last good one; never modified
	sent     *netstate.State // the last one sent
	accepted []netstate.Query
	work     work // to be read
	pace     pace
	counters netstate.Counters
	reads    int // repeats included
}

func newWatcher(cfg Config, states chan<- *netstate.State) (*watcher, error) {
	cfg.setDefaults()
	netns, err := enter.Open(cfg.NetNS)
	if err != nil {
		return nil, err
	}
	w := &watcher{cfg: cfg, netns: netns, states: states, picture: &netstate.State{}, sent: &netstate.State{}}
	w.counters.Resyncs = map[string]uint64{}
	w.reader = &reader{in: newInterest(expect.Interest{}), peers: &wireGuards{netns: netns}}
	if err := w.open(); err != nil {
		w.close()
		return nil, err
	}
	w.work.needSweep(resyncStart)
	w.pace.audited(time.Now(), 0, cfg.AuditInterval)
	return w, nil
}

// open makes the sockets that are not there: at the start, and after a failure.
func (w *watcher) open() (err error) {
	if w.events == nil {
		if w.events, err = subscribe(w.netns, w.cfg, w.unread(), w.counters); err != nil {
			return err
		}
		w.waiting.Go(w.events.run)
	}
	if w.reader.req == nil {
		w.reader.req, err = dialRequests(w.netns)
	}
	return err
}

// unread is the scope before the first picture of an interest: every table may
// be consulted.
func (w *watcher) unread() *scope { return newScope(w.reader.in, w.picture, nil) }

func (w *watcher) closeEvents() {
	if w.events != nil {
		w.events.close()
		w.waiting.Wait()
		w.events.count(&w.counters)
		w.events = nil
	}
}

func (w *watcher) closeRequests() {
	if w.reader.req != nil {
		w.reader.req.close()
		w.reader.req = nil
	}
}

func (w *watcher) close() {
	w.closeEvents()
	w.closeRequests()
	if w.netns != nil {
		_ = w.netns.Close()
	}
}

// run is the loop: wait, read, send.
func (w *watcher) run(ctx context.Context, interests <-chan expect.Interest) {
	select { // if there is one already, the first picture is for it
	case in, ok := <-interests:
		if ok {
			w.setInterest(in)
		}
	default:
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case in, ok := <-interests:
			if !ok {
				interests = nil // no more will come: go on with the last
				continue
			}
			w.setInterest(in)
			w.work.needSweep(resyncLeases)
		case <-w.nudge():
		case <-timer.C:
		}
		if s := w.step(ctx, time.Now()); s != nil {
			w.send(ctx, s)
		}
		if ctx.Err() != nil {
			return
		}
		timer.Reset(time.Until(w.pace.next(!w.work.empty())))
	}
}

func (w *watcher) send(ctx context.Context, s *netstate.State) {
	w.sent = s
	select {
	case w.states <- s:
	case <-ctx.Done():
	}
}

func (w *watcher) setInterest(in expect.Interest) {
	w.reader.in = newInterest(in)
	w.pace.poll = time.Time{}
	if len(in.WireGuard) > 0 {
		w.pace.poll = time.Now().Add(w.cfg.pollInterval)
	}
	if w.events != nil {
		w.events.setScope(w.unread())
	}
}

func (w *watcher) nudge() <-chan struct{} {
	if w.events == nil {
		return nil
	}
	return w.events.nudge
}

// step reads what is due and returns the State to send, or nil.
func (w *watcher) step(ctx context.Context, now time.Time) *netstate.State {
	if w.events != nil {
		made, err := w.events.take()
		w.work.merge(made)
		if err != nil {
			w.closeEvents()
			return w.fail(fmt.Errorf("wait for rtnetlink events: %w", err))
		}
	}
	if w.pace.auditDue(now, w.cfg.AuditInterval) {
		w.work.needSweep(resyncAudit)
	}
	if w.pace.pollDue(now, w.cfg.pollInterval) && slices.ContainsFunc(w.picture.Links, w.reader.in.wireGuard) {
		w.work.peers = true
	}
	if w.pace.followDue(now) {
		w.work.recheck = true
	}
	if w.work.empty() || !w.pace.ready(now) {
		return nil
	}
	if err := w.open(); err != nil {
		return w.fail(err)
	}
	job := w.work
	w.work = work{}
	s, cost, err := w.read(ctx, &job)
	if err != nil {
		w.work = job // with its hints, for when reading works again
		w.closeRequests()
		return w.fail(err)
	}
	end := time.Now()
	w.pace.read(end)
	if job.sweep != "" {
		w.counters.Resyncs[job.sweep]++
		w.counters.LastAudit = end
		w.pace.audited(end, cost, w.cfg.AuditInterval)
	}
	if job.peers {
		w.pace.polled(end, end.Sub(now), w.cfg.pollInterval)
	}
	if job.moved() {
		w.pace.settle(end, w.cfg.followUps)
	}
	return w.accept(s, &job)
}

// accept makes s the picture and returns what to send: nothing if no event asked
// for the read and it shows the same as before.
func (w *watcher) accept(s *netstate.State, job *work) *netstate.State {
	silent := len(job.hints) == 0
	audit := job.sweep == resyncAudit && !job.recheck && !job.touched // and nothing else
	if silent && (audit || job.sweep == "") {
		changed := 0
		if !job.polls() {
			changed = drift(newScope(w.reader.in, s, nil), w.picture, s)
		}
		if audit {
			w.counters.AuditDrift += uint64(changed)
		} else if changed == 0 && samePeers(w.picture.WireGuard, s.WireGuard) && w.sent.Complete {
			w.picture = s
			return nil
		}
	}
	w.picture = s

	out := *s
	job.hints.trim()
	out.Hints, out.Triggered = job.hints, job.since
	if !w.sent.Complete {
		out.Touched = nil
	}
	w.count(&out)
	return &out
}

// fail returns the State that says so, nil if the last one does already.
func (w *watcher) fail(err error) *netstate.State {
	w.work.needSweep(resyncEvents)
	w.pace.failed(time.Now())
	return w.incomplete(err)
}

// incomplete is the last picture with what is wrong, nil if that was sent already.
func (w *watcher) incomplete(err error) *netstate.State {
	out := *w.picture
	out.Complete, out.Problem, out.Touched = false, "cannot read the kernel: "+err.Error(), nil
	if w.sent.Problem == out.Problem {
		return nil
	}
	w.count(&out)
	return &out
}

// count copies the counters into a State.
func (w *watcher) count(s *netstate.State) {
	if w.events != nil {
		w.events.count(&w.counters)
	}
	s.Counters = w.counters
	s.Counters.Resyncs = maps.Clone(w.counters.Resyncs)
}

// read makes a consistent picture: it reads again, up to maxRepeats times, when
// events came meanwhile or dump and lookups contradict each other. What came in
// during the last repeat is left to be read. cost is the time that it all took.
func (w *watcher) read(ctx context.Context, job *work) (s *netstate.State, cost time.Duration, err error) {
	for attempt := 0; ; attempt++ {
		w.reads++
		s, took, err := w.perform(ctx, job)
		if err != nil {
			return nil, 0, err
		}
		cost += took
		next := w.scope(s)
		late, quiet, err := w.events.settle(next, job.readsLinks())
		if err != nil {
			job.merge(late)
			return nil, 0, err
		}
		wrong := w.disagreements(s)
		agreed := len(wrong) == 0 || slices.Equal(wrong, w.accepted)
		if quiet && agreed || attempt == maxRepeats {
			if quiet || job.sweep != "" {
				w.accepted = wrong
			}
			job.hints.add(late.hints...)
			late.hints = nil
			w.work = late
			w.work.recheck = w.work.recheck || !quiet
			return s, cost, nil
		}
		job.merge(late)
		if quiet { // else what came late may be the reason
			w.reader.learn(s)
			job.needSweep(resyncDisagreement)
		}
	}
}

// scope is that of a picture that was read.
func (w *watcher) scope(s *netstate.State) *scope {
	if w.reader.near == nil {
		return w.reader.scope(s)
	}
	return w.events.scope.after(s, w.reader.near, w.reader.req.hops) // only this goroutine replaces it
}

// disagreements are those of a picture that was read: where it is like the one
// before it, those that are known.
func (w *watcher) disagreements(s *netstate.State) []netstate.Query {
	near := w.reader.near
	if near == nil {
		return w.reader.in.disagreements(s)
	}
	all := disagreements(s, near.peers)
	for _, q := range w.accepted {
		if !near.area.covers(q.Dst) {
			all = append(all, q)
		}
	}
	slices.SortFunc(all, netstate.Query.Compare)
	return all
}

// perform reads once, and says so if that takes long: the kernel takes the RTNL
// lock inside the system call that sends a request, which nothing can interrupt.
// Events are received meanwhile: events has a goroutine of its own. cost is without
// the wait for the lock.
func (w *watcher) perform(ctx context.Context, job *work) (s *netstate.State, cost time.Duration, err error) {
	r := w.reader
	r.waited, r.caughtUp = 0, w.events.catchUp
	told := make(chan struct{})
	slow := time.AfterFunc(w.cfg.patience, func() { // what it uses nobody else does while this goroutine reads
		defer close(told)
		if s := w.incomplete(slowError{w.cfg.patience}); s != nil {
			w.send(ctx, s)
		}
	})
	start := time.Now()
	s, err = w.cfg.read(r, w.picture, job)
	cost = time.Since(start) - r.waited
	if !slow.Stop() {
		<-told
	}
	return s, cost, err
}
