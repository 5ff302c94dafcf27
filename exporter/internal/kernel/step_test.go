package kernel

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
)

// stepped is a watcher that the test itself drives, so that it may look inside.
type stepped struct {
	*watcher
	tb testing.TB
}

func (n *node) stepped(tb testing.TB, cfg Config) *stepped {
	tb.Helper()
	w, err := newWatcher(cfg, nil)
	netns.Must(tb, err)
	tb.Cleanup(w.close)
	w.setInterest(n.interest())
	s := &stepped{w, tb}
	s.until("the first picture", func(s *netstate.State) bool { return s.Complete })
	s.idle()
	return s
}

// step does what run does once.
func (w *stepped) step() *netstate.State {
	s := w.watcher.step(w.tb.Context(), time.Now())
	if s != nil {
		w.sent = s
	}
	return s
}

func (w *stepped) until(what string, ok func(*netstate.State) bool) *netstate.State {
	w.tb.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if s := w.step(); s != nil && ok(s) {
			return s
		}
	}
	w.tb.Fatalf("%s: not seen; %s", what, summary(w.sent))
	return nil
}

// idle steps until nothing has happened for a while: an address becomes usable
// some time after it was added.
func (w *stepped) idle() {
	for last := time.Now(); time.Since(last) < 100*time.Millisecond; time.Sleep(time.Millisecond) {
		if w.step() != nil {
			last = time.Now()
		}
	}
}

// TestIrrelevant: what has nothing to do with flannel costs no read.
func TestIrrelevant(t *testing.T) {
	n := newNode(t, 2)
	w := n.stepped(t, n.config())
	ul0 := n.MustIndex(t, "ul0")
	before := w.reads

	churn := func(i int) {
		dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), 0}), 24)
		netns.Must(t, n.RouteAdd(netstate.Route{Dst: dst, Device: ul0}))
		dst6 := netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0xff, 2: byte(i)}), 64)
		netns.Must(t, n.RouteAdd(netstate.Route{Dst: dst6, Device: ul0}))
		netns.Must(t, n.NeighReplace(netstate.Neighbor{Device: ul0, IP: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), MAC: netstate.MAC{2}}))
		netns.Must(t, n.RouteDel(netstate.Route{Dst: dst}))
		netns.Must(t, n.RouteDel(netstate.Route{Dst: dst6}))
	}
	for i := range 250 {
		churn(i)
		if i%10 == 0 { // a pod comes and goes
			netns.Must(t, n.AddVeth("veth1", n.other, "veth2"))
			netns.Must(t, n.SetMaster("veth1", "cni0"))
			netns.Must(t, n.SetUp("veth1"))
			netns.Must(t, n.DelLink("veth1"))
		}
		if s := w.step(); s != nil {
			t.Fatalf("a State with hints %+v", s.Hints)
		}
	}
	// A foreign table that no rule selects may hold anything.
	p := n.peers[0]
	netns.Must(t, n.RouteAdd(netstate.Route{Dst: p.subnet, Device: ul0, Table: 4711}))
	w.idle()
	if w.reads != before {
		t.Errorf("%d reads, want none", w.reads-before)
	}
	netns.Must(t, n.RouteDel(netstate.Route{Dst: p.subnet}))
	s := w.until("the route that matters", func(s *netstate.State) bool { return !hasRoute(s, p) })
	if len(s.Hints) != 1 || s.Hints[0].Kind != netstate.RouteDeleted || s.Hints[0].Prefix != p.subnet {
		t.Errorf("hints %+v, want one for %s", s.Hints, p.subnet)
	}
	if want := []netip.Prefix{p.subnet}; !slices.Equal(s.Touched, want) {
		t.Errorf("touched %v, want %v", s.Touched, want)
	}
	if c := s.Counters.IPv4Routes; c.Deleted != 1 || c.Replaced != 0 {
		t.Errorf("route events %+v, want one deleted", c)
	}
}

// TestTouched: what a change of one object makes to be judged again.
func TestTouched(t *testing.T) {
	n := newNode(t, 3)
	p := n.peers[0]
	tests := []struct {
		name   string
		change func() error
		want   []netip.Prefix // nil: all
	}{
		{"route replaced", func() error {
			r := n.route(t, p)
			r.Gateway = r.Gateway.Next()
			return n.RouteReplace(r)
		}, []netip.Prefix{p.subnet}},
		{"more specific route", func() error {
			return n.RouteAdd(netstate.Route{Dst: upper(p.subnet), Device: n.MustIndex(t, "ul0")})
		}, []netip.Prefix{p.subnet}},
		{"route over two subnets", func() error {
			return n.RouteAdd(netstate.Route{Dst: netip.MustParsePrefix("10.244.2.0/23"), Device: n.MustIndex(t, "ul0")})
		}, []netip.Prefix{n.peers[2].subnet, n.peers[4].subnet}},
		{"neighbor", func() error { return n.NeighDel(n.neighbor(t, p)) }, []netip.Prefix{p.subnet}},
		{"FDB entry", func() error { return n.FDBDel(n.entry(t, p)) }, nil},
		{"route to a tunnel endpoint", func() error {
			return n.RouteAdd(netstate.Route{Dst: host(p.publicIP), Device: n.MustIndex(t, "ul0")})
		}, nil},
		{"default route", func() error { return n.RouteDel(netstate.Route{Dst: netip.MustParsePrefix("0.0.0.0/0")}) }, nil},
		{"stale route", func() error {
			r := n.route(t, p)
			r.Dst = netip.MustParsePrefix("10.99.0.0/24")
			return n.RouteAdd(r)
		}, []netip.Prefix{}},
	}
	w := n.stepped(t, n.config())
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			netns.Must(t, test.change())
			s := w.until(test.name, func(s *netstate.State) bool { return len(s.Hints) > 0 })
			if !slices.Equal(s.Touched, test.want) || (s.Touched == nil) != (test.want == nil) {
				t.Errorf("touched %v, want %v", s.Touched, test.want)
			}
		})
	}
	if got := w.counters.Resyncs; len(got) != 1 {
		t.Errorf("resyncs %v, want none after the start", got)
	}
}

// TestAudit: what no event told of is found, counted and sent; what is the same is no drift.
func TestAudit(t *testing.T) {
	n := newNode(t, 2)
	w := n.stepped(t, n.config())
	w.pace.audit = time.Now()
	s := w.until("an audit", func(s *netstate.State) bool { return s.Counters.Resyncs["audit"] == 1 })
	if s.Counters.AuditDrift != 0 || s.Counters.Resyncs["audit"] != 1 || time.Since(s.Counters.LastAudit) > patience {
		t.Fatalf("counters %+v, want one audit without drift", s.Counters)
	}

	forged := *w.picture // as if the events of these had been lost
	forged.Routes = slices.DeleteFunc(slices.Clone(forged.Routes), func(r *netstate.Route) bool { return r.Dst == n.peers[0].subnet })
	forged.FDB = nil
	w.picture, w.pace.audit = &forged, time.Now()
	s = w.until("an audit", func(s *netstate.State) bool { return s.Counters.Resyncs["audit"] == 2 })
	if want := uint64(1 + len(n.peers)); s.Counters.AuditDrift != want || s.Touched != nil {
		t.Errorf("drift %d, touched %v; want %d, all", s.Counters.AuditDrift, s.Touched, want)
	}
	if !healthy(s, n.peers[0]) {
		t.Error("the audit did not mend the picture")
	}
	if next := time.Until(w.pace.audit); next < w.cfg.AuditInterval-patience {
		t.Errorf("the next audit comes in %s", next)
	}
}

// TestFollowUps: after a link event the kernel is read again, and a State is sent
// only if that shows something new.
func TestFollowUps(t *testing.T) {
	n := newNode(t, 1)
	cfg := n.config()
	w := n.stepped(t, cfg)
	w.cfg.followUps = []time.Duration{time.Millisecond, 5 * time.Millisecond}
	netns.Must(t, n.SetMTU("flannel.1", 1400))
	w.until("the event", func(s *netstate.State) bool { return len(s.Hints) > 0 })
	reads := w.reads
	w.idle()
	if w.reads < reads+1 || len(w.pace.follow) != 0 {
		t.Errorf("%d reads afterwards, %d still to come", w.reads-reads, len(w.pace.follow))
	}
	if len(w.sent.Hints) == 0 {
		t.Errorf("a State was sent that shows nothing new: %s", summary(w.sent))
	}
}

// TestFailure: a kernel that cannot be read is said so, with the last picture,
// and read again when it works.
func TestFailure(t *testing.T) {
	tests := []struct {
		name   string
		damage func(w *watcher)
	}{
		{"requests", func(w *watcher) { w.reader.req.close(); w.work.needSweep(resyncEvents) }},
		{"events", func(w *watcher) { w.events.close(); w.waiting.Wait() }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n := newNode(t, 1)
			w := n.stepped(t, n.config())
			events := w.counters.IPv4Routes
			test.damage(w.watcher)
			s := w.until("the failure", func(s *netstate.State) bool { return !s.Complete })
			if s.Problem == "" || s.Touched != nil || !hasRoute(s, n.peers[0]) || s.Generation != 1 {
				t.Errorf("want the last picture with a problem, got %s", summary(s))
			}
			netns.Must(t, n.RouteDel(netstate.Route{Dst: n.peers[0].subnet})) // unseen, if it was the event socket
			s = w.until("the recovery", func(s *netstate.State) bool { return s.Complete })
			if s.Problem != "" || s.Touched != nil || hasRoute(s, n.peers[0]) {
				t.Errorf("want a new picture, got %s", summary(s))
			}
			if c := s.Counters.IPv4Routes; c.Added < events.Added {
				t.Errorf("the counters went back: %+v, before %+v", c, events)
			}
		})
	}
}

// TestOverrun: when the kernel drops events, they are counted and everything is
// read again.
func TestOverrun(t *testing.T) {
	n := newNode(t, 2)
	cfg := n.config()
	cfg.ReceiveBuffer = 1 // the kernel makes it the least it allows
	w := n.stepped(t, cfg)
	// Nobody reads the socket meanwhile: events.run needs the lock.
	w.events.mu.Lock()
	p := n.peers[0]
	for range 50 {
		netns.Must(t, n.RouteDel(netstate.Route{Dst: p.subnet}))
		netns.Must(t, n.RouteAdd(n.route(t, p)))
	}
	netns.Must(t, n.RouteDel(netstate.Route{Dst: p.subnet}))
	w.events.mu.Unlock()
	s := w.until("the overrun", func(s *netstate.State) bool { return s.Counters.Overruns > 0 })
	if s.Counters.Resyncs["overrun"] == 0 || s.Touched != nil {
		t.Errorf("counters %+v, touched %v; want a sweep", s.Counters, s.Touched)
	}
	if hasRoute(s, p) || !hasRoute(s, n.peers[1]) {
		t.Error("the picture is not what the kernel has")
	}
	if !slices.ContainsFunc(s.Hints, func(h netstate.Hint) bool { return h.Kind == netstate.Overrun }) {
		t.Errorf("no hint says so: %+v", s.Hints)
	}
	if s.Counters.ReceiveBytes <= 1 {
		t.Errorf("receive buffer of %d bytes", s.Counters.ReceiveBytes)
	}
	// And events come again.
	netns.Must(t, n.RouteAdd(n.route(t, p)))
	w.until("the route", func(s *netstate.State) bool { return hasRoute(s, p) })
}

// TestUndecodable: a message that cannot be read is counted, and everything is read again.
func TestUndecodable(t *testing.T) {
	n := newNode(t, 1)
	w := n.stepped(t, n.config())
	broken := native.AppendUint32(nil, unix.NLMSG_HDRLEN)
	broken = native.AppendUint32(broken, unix.RTM_NEWROUTE)
	w.events.mu.Lock()
	w.events.datagram(append(broken, make([]byte, 8)...), time.Now())
	w.events.mu.Unlock()
	s := w.until("the hint", func(s *netstate.State) bool { return len(s.Hints) > 0 })
	if s.Hints[0].Kind != netstate.Undecodable || s.Counters.Undecodable != 1 || s.Counters.Resyncs["events"] != 1 {
		t.Errorf("hints %+v, counters %+v", s.Hints, s.Counters)
	}
}

// TestNoNamespace: sockets that cannot be opened are an error at once.
func TestNoNamespace(t *testing.T) {
	for _, path := range []string{"/nonexistent", "/dev/null"} {
		if err := Watch(t.Context(), Config{NetNS: path}, nil, nil); err == nil {
			t.Errorf("%s: no error", path)
		}
		if _, err := ReadOnce(t.Context(), Config{NetNS: path}, (&node{}).interest()); err == nil || errors.Is(err, unix.EFAULT) {
			t.Errorf("%s: error %v", path, err)
		}
	}
}

// TestEventByEvent: a change that is undone before anyone looks leaves both hints.
func TestEventByEvent(t *testing.T) {
	n := newNode(t, 1)
	w := n.stepped(t, n.config())
	w.events.mu.Lock() // nobody looks
	netns.Must(t, n.SetDown("flannel.1"))
	netns.Must(t, n.SetUp("flannel.1"))
	w.events.mu.Unlock()
	var ups []bool
	w.until("both", func(s *netstate.State) bool {
		for _, h := range s.Hints {
			if h.Kind == netstate.LinkChanged && h.Device == "flannel.1" {
				ups = append(ups, h.Up)
			}
		}
		return len(ups) > 1
	})
	if !slices.Equal(ups, []bool{false, true}) {
		t.Errorf("hints say up: %v, want down, then up", ups)
	}
}

// TestLateEvents: what happens while the kernel is read makes it be read again
// before anything is sent, and its hints go with the State that shows it. What
// happened before, or while it was waited for the network lock, is read at once.
func TestLateEvents(t *testing.T) {
	for name, want := range map[string]int{"before": 1, "meanwhile": 2} {
		t.Run(name, func(t *testing.T) { testLateEvents(t, want) })
	}
}

func testLateEvents(t *testing.T, reads int) {
	n := newNode(t, 1)
	cfg := n.config()
	happen := func() {}
	cfg.read = func(r *reader, old *netstate.State, job *work) (*netstate.State, error) {
		s, err := r.perform(old, job)
		happen()
		happen = func() {}
		return s, err
	}
	w := n.stepped(t, cfg)
	before := w.reads
	change := func() { netns.Must(t, n.RouteDel(netstate.Route{Dst: n.peers[0].subnet})) }
	if happen = change; reads == 1 { // its event is not taken before the read
		happen = func() {}
		change()
	}
	job := work{recheck: true}
	s, _, err := w.read(t.Context(), &job)
	netns.Must(t, err)
	if w.reads-before != reads || hasRoute(s, n.peers[0]) {
		t.Errorf("%d reads, route still there: %v; want %d", w.reads-before, hasRoute(s, n.peers[0]), reads)
	}
	if len(job.hints) != 1 || job.hints[0].Kind != netstate.RouteDeleted {
		t.Errorf("hints %+v", job.hints)
	}
}

// TestLateDevice: a device that matters only now is read, even if something else
// happened meanwhile. Its own events went by unread, and were never made up for.
func TestLateDevice(t *testing.T) {
	n := newNode(t, 2)
	netns.Must(t, n.AddVeth("ul1", n.other, "ul1"))
	netns.Must(t, n.SetUp("ul1"))
	w := n.stepped(t, n.config())
	netns.Must(t, n.SetMTU("ul1", 1234))
	w.idle()
	first := true
	w.cfg.read = func(r *reader, old *netstate.State, job *work) (*netstate.State, error) {
		s, err := r.perform(old, job)
		if first {
			first = false
			netns.Must(t, n.RouteDel(netstate.Route{Dst: n.peers[2].subnet}))
		}
		return s, err
	}
	p := n.peers[0]
	netns.Must(t, n.RouteReplace(netstate.Route{Dst: p.subnet, Device: n.MustIndex(t, "ul1")}))
	s := w.until("both", func(s *netstate.State) bool { return !hasRoute(s, p) && !hasRoute(s, n.peers[2]) })
	if l, _ := s.Link(n.MustIndex(t, "ul1")); l.MTU != 1234 {
		t.Errorf("ul1 is not as it is now: %+v", l)
	}
}

// TestLateOverrun: events that were lost while it was waited for the network lock
// make a recheck a sweep.
func TestLateOverrun(t *testing.T) {
	n := newNode(t, 1)
	w := n.stepped(t, n.config())
	forged := *w.picture // a route that a recheck would keep
	bogus := netstate.Route{Table: netstate.TableMain, Dst: upper(n.peers[0].subnet), Type: netstate.Unicast, Device: n.MustIndex(t, "ul0")}
	forged.Routes = append(slices.Clone(forged.Routes), &bogus)
	forged.Sort()
	w.picture = &forged
	w.events.mu.Lock()
	w.events.work.add(netstate.Hint{At: time.Now(), Kind: netstate.Overrun})
	w.events.mu.Unlock()
	before := w.reads
	job := work{recheck: true}
	s, _, err := w.read(t.Context(), &job)
	netns.Must(t, err)
	if job.sweep != resyncOverrun || w.reads != before+1 || len(s.RoutesTo(bogus.Dst)) != 0 {
		t.Errorf("sweep for %q, %d reads, the route is still there: %v", job.sweep, w.reads-before, s.RoutesTo(bogus.Dst))
	}
}
