package kernel

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// TestWatch: the exported function from beginning to end: without an interest,
// with one, with a newer one, stopped.
func TestWatch(t *testing.T) {
	n := newNode(t, 2)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx, cancel := context.WithCancel(context.Background())
	interests, states, done := make(chan expect.Interest, 1), make(chan *netstate.State), make(chan error)
	go func() { done <- Watch(ctx, Config{NetNS: n.Path()}, interests, states) }()

	if s := <-states; !s.Complete || s.Generation != 0 || len(s.Links) == 0 || len(s.Neighbors) != 0 {
		t.Errorf("without an interest: %s", summary(s))
	}
	in := n.interest()
	waitFor := func(generation uint64) *netstate.State {
		for s := range states {
			if s.Generation == generation {
				return s
			}
		}
		return nil
	}
	interests <- in
	if s := waitFor(1); !healthy(s, n.peers[0]) || s.Counters.Resyncs["leases"] != 1 || s.Touched != nil {
		t.Errorf("with an interest: %s", summary(s))
	}
	in.Generation, in.Peers, in.PublicIPs = 2, in.Peers[:1], in.PublicIPs[:1]
	in.Subnets = append(slices.Clone(ownSubnets), in.Peers...)
	interests <- in
	s := waitFor(2)
	asked := map[netip.Addr]bool{}
	for _, l := range s.Lookups {
		asked[l.Query.Dst] = true
	}
	if len(asked) != 4 || s.Counters.Resyncs["leases"] != 2 {
		t.Errorf("with a smaller interest: lookups of %v, resyncs %v", asked, s.Counters.Resyncs)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("after the end: %v", err)
	}
}

// TestSlowReader: while nobody takes the States, events are kept.
func TestSlowReader(t *testing.T) {
	n := newNode(t, 2)
	w := n.watch(t, n.config())
	for _, p := range n.peers {
		netns.Must(t, n.RouteDel(netstate.Route{Dst: p.subnet}))
		time.Sleep(5 * time.Millisecond) // so that they are not all in the State that waits to be taken
	}
	var deleted []netip.Prefix
	w.until("all are gone", func(s *netstate.State) bool {
		for _, h := range s.Hints {
			if h.Kind == netstate.RouteDeleted {
				deleted = append(deleted, h.Prefix)
			}
		}
		return len(deleted) == len(n.peers) && !slices.ContainsFunc(n.peers, func(p peer) bool { return hasRoute(s, p) })
	})
	w.inSync()
}

// TestPublishedIsImmutable: a State does not change once it was sent.
func TestPublishedIsImmutable(t *testing.T) {
	n := newNode(t, 2)
	w := n.stepped(t, n.config())
	first := w.sent
	before := clone(first)
	for _, p := range n.peers[:2] { // one of each family
		netns.Must(t, n.RouteDel(netstate.Route{Dst: p.subnet}))
		w.until("the route", func(s *netstate.State) bool { return !hasRoute(s, p) })
		netns.Must(t, n.NeighDel(n.neighbor(t, p)))
		w.until("the neighbor", func(s *netstate.State) bool { return !hasNeighbor(s, p) })
		netns.Must(t, n.SetDown(device(p.family())))
		w.until("the link", func(s *netstate.State) bool { return len(s.Hints) > 0 })
		w.idle()
		netns.Must(t, n.SetUp(device(p.family())))
		w.idle()
	}
	if diff := stateDiff(before, first); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
}

func clone(s *netstate.State) *netstate.State {
	c := *s
	c.Links, c.Addrs, c.Rules, c.Routes = slices.Clone(s.Links), slices.Clone(s.Addrs), slices.Clone(s.Rules), slices.Clone(s.Routes)
	c.Neighbors, c.FDB, c.Lookups = slices.Clone(s.Neighbors), slices.Clone(s.FDB), slices.Clone(s.Lookups)
	c.NetConf = slices.Clone(s.NetConf)
	return &c
}

// TestHintLog: of a flood the oldest, the newest and all that tells why are kept.
func TestHintLog(t *testing.T) {
	var l hintLog
	for i := range 10 * hintsKept {
		h := netstate.Hint{Kind: netstate.RouteDeleted, Seq: uint32(i)}
		if i%1000 == 999 {
			h.Kind = netstate.LinkChanged
		}
		l.add(h)
	}
	l.trim()
	links := 0
	for i, h := range l {
		if h.Kind == netstate.LinkChanged {
			links++
		}
		if i > 0 && l[i-1].Seq >= h.Seq {
			t.Fatalf("out of order at %d", i)
		}
	}
	if l[0].Seq != 0 || l[hintsKept-1].Seq != hintsKept-1 || l[len(l)-1].Seq != 10*hintsKept-1 || links != 10 || len(l) > 3*hintsKept {
		t.Errorf("%d kept, %d links, from %d to %d", len(l), links, l[0].Seq, l[len(l)-1].Seq)
	}
}

// TestPace: at once, then each 10 ms, backing off to 50, and at once again after a quiet time.
func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	p.audited(now, 0, time.Hour)
	if !p.ready(now) {
		t.Error("not ready at first")
	}
	for i, want := range []int64{10, 20, 40, 50, 50} {
		p.read(now)
		if got := p.next(true).Sub(now); got.Milliseconds() != want || p.ready(now) {
			t.Errorf("read %d: the next after %s, want %d ms", i, got, want)
		}
		now = p.next(true)
	}
	if got := p.next(false); got != p.audit {
		t.Errorf("without work the next look is at %s, want the audit's %s", got, p.audit)
	}
	now = now.Add(time.Second)
	p.read(now)
	if got := p.notBefore.Sub(now); got != gapMin {
		t.Errorf("after a quiet time the gap is %s", got)
	}
	for i, want := range []int64{100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		p.failed(now)
		if got := p.notBefore.Sub(now); got.Milliseconds() != want {
			t.Errorf("failure %d: again after %s, want %d ms", i, got, want)
		}
	}
}

// TestAuditPause: an audit takes a thousandth of the time at most, but a slow one
// does not put off the next for hours.
func TestAuditPause(t *testing.T) {
	for cost, want := range map[time.Duration]time.Duration{
		0:                      30 * time.Second,
		30 * time.Millisecond:  30 * time.Second,
		100 * time.Millisecond: 100 * time.Second,
		time.Second:            300 * time.Second,
		7 * time.Second:        300 * time.Second,
	} {
		var p pace
		now := time.Unix(1000, 0)
		p.audited(now, cost, 30*time.Second)
		if got := p.audit.Sub(now); got != want {
			t.Errorf("after an audit of %s the next one comes after %s, want %s", cost, got, want)
		}
	}
}
