package kernel

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// queued reports whether the kernel has put an event into the socket's buffer.
// The caller holds the lock of events, so that nobody else takes it.
func (w *stepped) queued() bool {
	w.tb.Helper()
	var events int
	var err error
	netns.Must(w.tb, w.events.sock.raw.Control(func(fd uintptr) {
		events, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	}))
	netns.Must(w.tb, err)
	return events > 0
}

// storm makes 10,000 events that have nothing to do with flannel.
func (n *node) storm(tb testing.TB) {
	tb.Helper()
	ul0 := n.MustIndex(tb, "ul0")
	for i := range 1250 {
		b := [2]byte{byte(i >> 8), byte(i)}
		v4 := netstate.Route{Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16 + b[0], b[1], 0}), 24), Device: ul0}
		v6 := netstate.Route{Dst: netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0xff, 2: b[0], 3: b[1]}), 64), Device: ul0}
		foreign := netstate.Route{Dst: n.peers[0].subnet, Device: ul0, Table: 1000} // a table that no rule selects
		neighbor := netstate.Neighbor{Device: ul0, IP: netip.AddrFrom4([4]byte{192, 0, 2, 200}), MAC: netstate.MAC{2, 0, 0, 0, b[0], b[1]}}
		for _, r := range []netstate.Route{v4, v6, foreign} {
			netns.Must(tb, n.RouteAdd(r))
			netns.Must(tb, n.RouteDel(r))
		}
		netns.Must(tb, n.NeighReplace(neighbor))
		netns.Must(tb, n.NeighDel(neighbor))
	}
}

// TestFilter_Storm: events that cannot matter take no room in the receive buffer
// and wake nobody, so that the one which matters is there even in the smallest.
func TestFilter_Storm(t *testing.T) {
	for _, unfiltered := range []bool{false, true} {
		t.Run(map[bool]string{false: "filtered", true: "unfiltered"}[unfiltered], func(t *testing.T) {
			n := newNode(t, 2)
			cfg := n.config()
			cfg.ReceiveBuffer = 1 // the kernel makes it the least it allows
			cfg.Unfiltered = unfiltered
			w := n.stepped(t, cfg)
			before := w.sent.Counters
			if before.Filtered == unfiltered {
				t.Errorf("filtered: %v", before.Filtered)
			}
			w.events.mu.Lock()
			n.storm(t)
			if w.queued() != unfiltered {
				t.Errorf("events are queued: %v, want %v", !unfiltered, unfiltered)
			}
			p := n.peers[0]
			netns.Must(t, n.RouteDel(netstate.Route{Dst: p.subnet}))
			n.storm(t)
			w.events.mu.Unlock()
			s := w.until("the route that matters", func(s *netstate.State) bool { return !hasRoute(s, p) })
			if lost := s.Counters.Overruns > before.Overruns; lost != unfiltered {
				t.Errorf("events were lost: %v, want %v", lost, unfiltered)
			}
			if !unfiltered && (len(s.Hints) != 1 || s.Hints[0].Prefix != p.subnet) {
				t.Errorf("hints %+v, want one for %s", s.Hints, p.subnet)
			}
		})
	}
}

// TestFilter_NewLease: the filter follows the interest, and lets the events of a
// lease come that is new, and no longer those of one that is gone.
func TestFilter_NewLease(t *testing.T) {
	n := newNode(t, 2)
	all := n.interest()
	few := all
	few.Subnets, few.Peers = append(slices.Clone(ownSubnets), n.peers[0].subnet), all.Peers[:1]
	n.in = &few
	w := n.stepped(t, n.config())
	late := n.peers[2]
	// ul0 is no device of flannel's: the event is known by its destination alone.
	change := func() bool {
		w.idle()
		w.events.mu.Lock()
		defer w.events.mu.Unlock()
		r := netstate.Route{Dst: upper(late.subnet), Device: n.MustIndex(t, "ul0")}
		netns.Must(t, n.RouteAdd(r))
		netns.Must(t, n.RouteDel(r))
		return w.queued()
	}
	if change() {
		t.Error("an event of what is no lease was let through")
	}
	set := func(in expect.Interest) {
		in.Generation++
		w.setInterest(in)
		w.work.needSweep(resyncLeases)
	}
	set(all)
	w.until("the new leases", func(s *netstate.State) bool { return s.Generation == 2 })
	if !change() {
		t.Error("an event of the new lease was refused")
	}
	w.until("its hints", func(s *netstate.State) bool { return len(s.Hints) == 2 && s.Hints[0].Prefix == upper(late.subnet) })
	set(few)
	w.idle()
	if change() {
		t.Error("an event of what is no lease anymore was let through")
	}
}

// TestFilter_Rule: a table that a rule selects from now on matters.
func TestFilter_Rule(t *testing.T) {
	n := newNode(t, 1)
	w := n.stepped(t, n.config())
	p := n.peers[0]
	rule := netstate.Rule{Family: p.family(), Priority: 50, Table: 1 << 20, Dst: p.subnet}
	netns.Must(t, n.RuleAdd(rule))
	w.until("the rule", func(s *netstate.State) bool {
		return slices.ContainsFunc(s.Rules, func(r netstate.Rule) bool { return r.Table == rule.Table })
	})
	w.idle()
	netns.Must(t, n.RouteAdd(netstate.Route{Dst: p.subnet, Device: n.MustIndex(t, "ul0"), Table: rule.Table}))
	w.until("the route", func(s *netstate.State) bool { return answer(s, p).Route.Table == rule.Table })
}

// TestFilter_BecomesFlannel: the device that is flannel's from now on by its name
// was known as another. Its link event came while the kernel was read, and so did
// the route's, which the filter refused: the read must not pass for consistent.
func TestFilter_BecomesFlannel(t *testing.T) {
	n := newNode(t, 1)
	netns.Must(t, n.AddVeth("ul1", n.other, "ul1"))
	netns.Must(t, n.other.SetUp("ul1"))
	netns.Must(t, n.SetUp("ul1"))
	// As a device to watch it is in the scope already.
	in := n.interest()
	in.Devices, in.Tunnels = append(in.Devices, "ul1"), []string{"flannel0"}
	n.in = &in
	w := n.stepped(t, n.config())
	index := n.MustIndex(t, "ul1")
	stale := netstate.Route{Dst: netip.MustParsePrefix("10.99.0.0/24"), Device: index}
	reads := 0
	w.cfg.read = func(r *reader, old *netstate.State, job *work) (*netstate.State, error) {
		s, err := r.perform(old, job)
		if reads++; reads == 1 {
			netns.Must(t, n.RouteAdd(stale)) // after the dump of its table, and through a device that is not flannel's in the filter
		}
		return s, err
	}
	netns.Must(t, n.Rename("ul1", "flannel0"))
	w.until("the route", func(s *netstate.State) bool { return len(s.RoutesTo(stale.Dst)) == 1 })
}

// TestFilter_Refused: if the kernel refuses the filter, the old one goes, events
// come unfiltered, and Counters say so, until the next filter works.
func TestFilter_Refused(t *testing.T) {
	n := newNode(t, 1)
	w := n.stepped(t, n.config())
	if !w.sent.Counters.Filtered {
		t.Fatal("not filtered to begin with")
	}
	w.events.mu.Lock()
	w.events.attach([]bpf.RawInstruction{{Op: 0xffff}})
	netns.Must(t, w.events.failed)
	netns.Must(t, n.RouteAdd(netstate.Route{Dst: netip.MustParsePrefix("172.16.0.0/24"), Device: n.MustIndex(t, "ul0")}))
	if !w.queued() {
		t.Error("events are still filtered")
	}
	w.events.mu.Unlock()
	var c netstate.Counters
	if w.events.count(&c); c.Filtered {
		t.Error("the Counters say that events are filtered")
	}
	netns.Must(t, n.RouteDel(netstate.Route{Dst: n.peers[0].subnet}))
	w.until("the route", func(s *netstate.State) bool { return !hasRoute(s, n.peers[0]) && s.Counters.Filtered })
}

// TestFilter_Stuck: a filter that can be neither replaced nor removed is the end
// of the socket, as it may hide events.
func TestFilter_Stuck(t *testing.T) {
	n := newNode(t, 1)
	w := n.stepped(t, n.config())
	var err error
	netns.Must(t, w.events.sock.raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1)
	}))
	netns.Must(t, err)
	in := n.interest()
	in.Generation, in.Subnets = 2, in.Subnets[:2]
	w.setInterest(in)
	s := w.until("the failure", func(s *netstate.State) bool { return !s.Complete })
	if s.Problem == "" {
		t.Error("it is not said")
	}
	w.until("a new socket", func(s *netstate.State) bool { return s.Complete && s.Generation == 2 && s.Counters.Filtered })
}

// manyPeers is the interest in 5,000 peers of two families, so that there are more
// gaps between their subnets than the filter can tell apart.
func manyPeers() *interest {
	n := &node{}
	for i := range 2500 {
		v4 := netip.AddrFrom4([4]byte{10, byte(i >> 7), byte(i << 1), 0})
		v6 := netip.AddrFrom16([16]byte{0xfd, 0, 0, 0x10, 0, 0, byte(i >> 7), byte(i << 1)})
		n.peers = append(n.peers,
			peer{subnet: netip.PrefixFrom(v4, 24), publicIP: netip.AddrFrom4([4]byte{192, 0, byte(i >> 7), byte(i << 1)})},
			peer{subnet: netip.PrefixFrom(v6, 64), publicIP: netip.AddrFrom16([16]byte{0x20, 1, 13: byte(i >> 8), 15: byte(i)})})
	}
	return newInterest(n.interest())
}

// TestFilter_OptionMemory: the filter for many peers, and the one that replaces
// it, together find room where Linux before 6.8 gives the options of a socket 20 KiB.
func TestFilter_OptionMemory(t *testing.T) {
	n := newHost(t)
	if err := n.Sysctl("net.core.optmem_max", "20480"); err != nil {
		t.Skipf("of this kernel the limit is not one of the namespace: %v", err)
	}
	in := manyPeers()
	e, err := subscribe(mustOpen(t, n.Path()), Config{}, newScope(in, &netstate.State{Links: filterLinks}, nil), netstate.Counters{})
	netns.Must(t, err)
	defer e.close()
	for i := range 4 {
		tables := consulted([]netstate.Rule{{Family: netstate.IPv4, Action: ruleToTable, Table: uint32(100 + i)}}, nil)
		before := e.filter
		e.setScope(newScope(in, &netstate.State{Links: filterLinks}, tables))
		if e.filter == nil || slices.Equal(before, e.filter) {
			t.Fatalf("filter %d of %d instructions was refused", i, len(before))
		}
	}
	t.Logf("%d instructions", len(e.filter))
}

// BenchmarkFilter makes the filter for 5,000 peers: its part of a new interest, and
// the rest for a picture whose devices or tables are new.
func BenchmarkFilter(b *testing.B) {
	in := manyPeers()
	b.Run("interest", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			in.destinationTests()
		}
	})
	b.Run("scope", func(b *testing.B) {
		s := newScope(in, &netstate.State{Links: filterLinks}, consulted(nil, nil))
		b.ReportAllocs()
		for b.Loop() {
			raw, err := bpf.Assemble(s.filter())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(raw)), "instructions")
		}
	})
}
