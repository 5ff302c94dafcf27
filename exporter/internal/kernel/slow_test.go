package kernel

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// hung stands for a kernel that holds each read up while it is told to.
type hung struct {
	hold chan bool      // what each next read has to do
	held chan *requests // a read that is held up has begun
	free chan struct{}  // lets it go on
}

func hang() *hung {
	return &hung{hold: make(chan bool, 1), held: make(chan *requests), free: make(chan struct{})}
}

func (h *hung) read(r *reader, old *netstate.State, job *work) (*netstate.State, error) {
	select {
	case <-h.hold:
		h.held <- r.req
		<-h.free
	default:
	}
	return r.perform(old, job)
}

// TestSlowRead: a read that hangs is told of once, with the last picture, while
// events are still received; when it returns, all is as ever.
func TestSlowRead(t *testing.T) {
	n := newNode(t, 2)
	h, cfg := hang(), n.config()
	cfg.read, cfg.patience = h.read, 50*time.Millisecond
	w := n.watch(t, cfg)
	before := w.last

	h.hold <- true
	netns.Must(t, n.RouteDel(netstate.Route{Dst: n.peers[0].subnet}))
	<-h.held
	s := w.until("that the kernel does not answer", func(s *netstate.State) bool { return !s.Complete })
	if !strings.Contains(s.Problem, "not done after 50ms") || !strings.Contains(s.Problem, "RTNL") || s.Touched != nil {
		t.Errorf("problem %q, touched %v", s.Problem, s.Touched)
	}
	if !slices.Equal(s.Routes, before.Routes) || s.Generation != 1 || !s.At.Equal(before.At) {
		t.Errorf("not the last picture: %s", summary(s))
	}
	for _, p := range n.peers[1:] {
		netns.Must(t, n.RouteDel(netstate.Route{Dst: p.subnet}))
	}
	waitUntil(t, "the events are received meanwhile", func() bool {
		e := w.watcher.events
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(n.deleted(e.work.hints)) >= len(n.peers)-1
	})
	if s := w.next(150 * time.Millisecond); s != nil {
		t.Errorf("told again: %s", summary(s))
	}

	h.free <- struct{}{}
	s = w.until("the routes are gone", func(s *netstate.State) bool {
		return s.Complete && !slices.ContainsFunc(n.peers, func(p peer) bool { return hasRoute(s, p) })
	})
	if s.Problem != "" || s.Touched != nil || s.Counters.Overruns != 0 {
		t.Errorf("problem %q, touched %v, counters %+v", s.Problem, s.Touched, s.Counters)
	}
	if got := n.deleted(w.hints); len(got) != len(n.peers) {
		t.Errorf("hints that %v are deleted, want one for each of %d routes", got, len(n.peers))
	}
	w.inSync()
}

// deleted returns the peers' routes that hints call deleted. There may be other
// hints: an IPv6 address becomes usable some time after it was added.
func (n *node) deleted(hints []netstate.Hint) (routes []netip.Prefix) {
	for _, h := range hints {
		if h.Kind == netstate.RouteDeleted && slices.ContainsFunc(n.peers, func(p peer) bool { return p.subnet == h.Prefix }) {
			routes = append(routes, h.Prefix)
		}
	}
	return routes
}

// TestStopWhileSlow: the end is not put off by a read that hangs, and nothing is
// left of that when it returns.
func TestStopWhileSlow(t *testing.T) {
	n := newNode(t, 1)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	h, cfg := hang(), n.config()
	cfg.read = h.read
	ctx, cancel := context.WithCancel(t.Context())
	h.hold <- true
	interests, states, done := make(chan expect.Interest), make(chan *netstate.State), make(chan error, 1)
	go func() { done <- Watch(ctx, cfg, interests, states) }()
	req := <-h.held
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("error %v", err)
		}
	case <-time.After(patience / 2):
		t.Fatal("Watch waits for the read")
	}
	if _, err := req.conn.ReadBuffer(); err != nil {
		t.Errorf("the read has lost its socket: %v", err)
	}
	h.free <- struct{}{}
	closed(t, req)
}

// TestReadOnceSlow: a read that hangs is an error, and so is the end of ctx.
func TestReadOnceSlow(t *testing.T) {
	n := newNode(t, 1)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name     string
		ctx      context.Context
		patience time.Duration
		want     error
	}{
		{"patience", t.Context(), time.Millisecond, slowError{time.Millisecond}},
		{"canceled", canceled, patience, context.Canceled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h, cfg := hang(), n.config()
			cfg.read, cfg.patience = h.read, test.patience
			h.hold <- true
			done := make(chan error, 1)
			go func() {
				_, err := ReadOnce(test.ctx, cfg, n.interest())
				done <- err
			}()
			req := <-h.held
			if err := <-done; !errors.Is(err, test.want) || !strings.HasPrefix(err.Error(), "read the kernel: ") {
				t.Errorf("error %v, want %v", err, test.want)
			}
			h.free <- struct{}{}
			closed(t, req)
		})
	}
}

func closed(t *testing.T, req *requests) {
	t.Helper()
	waitUntil(t, "the socket is closed", func() bool {
		_, err := req.conn.ReadBuffer()
		return err != nil
	})
}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not seen: %s", what)
		}
	}
}

// TestWaited: the wait for the lock is known after a read, a part of it.
func TestWaited(t *testing.T) {
	n := newNode(t, 1)
	r := n.reader(t)
	start := time.Now()
	_, err := r.sweep(nil, &work{})
	netns.Must(t, err)
	if took := time.Since(start); r.waited <= 0 || r.waited >= took {
		t.Errorf("waited %s of %s", r.waited, took)
	}
}

// TestPerform_Times: what is told when, and what a read is said to have cost.
func TestPerform_Times(t *testing.T) {
	tests := []struct {
		name         string
		waits, reads time.Duration
		told         []time.Duration
	}{
		{name: "quick", reads: 3 * time.Millisecond},
		{name: "the lock is held for a while", waits: 4 * time.Second, reads: 3 * time.Millisecond},
		{name: "and for long", waits: 7150 * time.Millisecond, reads: 3 * time.Millisecond, told: []time.Duration{5 * time.Second}},
		{name: "a large table", reads: 2 * time.Second},
		{name: "it hangs for a minute", waits: time.Minute, told: []time.Duration{5 * time.Second}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := Config{read: func(r *reader, _ *netstate.State, _ *work) (*netstate.State, error) {
					time.Sleep(test.waits + test.reads)
					r.waited = test.waits
					return &netstate.State{Complete: true}, nil
				}}
				cfg.setDefaults()
				states := make(chan *netstate.State, 9)
				w := &watcher{cfg: cfg, states: states, reader: &reader{}, picture: &netstate.State{Complete: true}, sent: &netstate.State{}}
				start := time.Now()
				var told []time.Duration
				go func() {
					for s := range states {
						if s.Complete || !strings.HasPrefix(s.Problem, "cannot read the kernel: not done after 5s: ") {
							t.Errorf("problem %q", s.Problem)
						}
						told = append(told, time.Since(start))
					}
				}()
				s, cost, err := w.perform(t.Context(), &work{})
				close(states)
				synctest.Wait()
				if err != nil || !s.Complete || cost != test.reads {
					t.Errorf("state %s, cost %s, error %v; want a cost of %s", summary(s), cost, err, test.reads)
				}
				if !slices.Equal(told, test.told) {
					t.Errorf("told after %s, want %s", told, test.told)
				}
			})
		})
	}
}
