package judge

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"pgregory.net/rapid"

	"routewatch/shared/expect"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// story is what happens to a world, told by random: faults, repairs, events,
// leases that come, change and go, and times when nothing can be read.
type story struct {
	*rapid.T
	w    *world
	opts Options
	next int    // number of the next new peer
	last *Input // what was told before
	// read is the generation that the kernel's picture was read for: it may be behind.
	read uint64
}

func (s *story) peer() *lease.Lease {
	return &s.w.peers[rapid.IntRange(0, len(s.w.peers)-1).Draw(s.T, "peer")]
}

func (s *story) hint(h netstate.Hint) {
	h.At = s.w.at
	s.w.hints = append(s.w.hints, h)
}

// changed is a hint of something of a lease that a process or the kernel did.
func (s *story) changed(kind netstate.HintKind, l lease.Lease, p netip.Prefix) {
	h := netstate.Hint{Kind: kind, Family: l.Family, Index: vxlanOf(l.Family), Prefix: p}
	if port := rapid.IntRange(0, 3).Draw(s.T, "port"); port > 0 {
		h.PortID, h.Process = uint32(port), netstate.Process{PID: 100 + port%2, Comm: "ip"}
	}
	s.hint(h)
}

// unlearn removes all that is there for a lease, and what is in its way.
func (s *story) unlearn(l lease.Lease) {
	w := s.w
	w.routes = remove(w.routes, func(r netstate.Route) bool {
		return l.Subnet.Overlaps(r.Dst) && r.Dst.Bits() >= l.Subnet.Bits() || r.Dst == netip.PrefixFrom(l.PublicIP, l.Family.Bits())
	})
	w.neighbors = remove(w.neighbors, func(n netstate.Neighbor) bool { return n.IP == l.Subnet.Addr() })
	w.fdb = remove(w.fdb, func(e netstate.FDBEntry) bool { return e.MAC == l.MAC })
	w.rules = remove(w.rules, func(r netstate.Rule) bool { return r.Dst == l.Subnet })
}

// learn programs a lease as flannel does.
func (s *story) learn(l lease.Lease) {
	s.unlearn(l)
	s.w.join(l)
	s.w.peers = s.w.peers[:len(s.w.peers)-1]
}

// newcomer is a lease that was not there before.
func (s *story) newcomer() lease.Lease {
	s.next++
	l := leaseOf(rapid.SampledFrom(s.w.families).Draw(s.T, "family"), s.next)
	l.Peer = fmt.Sprintf("node-%02d-%d", rapid.IntRange(0, 40).Draw(s.T, "name"), s.next) // anywhere among the others
	return l
}

type event struct {
	name string
	do   func(*story)
}

var events = []event{
	{"a fault", func(s *story) { rapid.SampledFrom(faults).Draw(s.T, "fault").do(s.w, *s.peer()) }},
	{"two faults", func(s *story) {
		for range 2 {
			rapid.SampledFrom(faults).Draw(s.T, "fault").do(s.w, *s.peer())
		}
	}},
	{"a route is deleted", func(s *story) {
		l := *s.peer()
		s.w.routes = remove(s.w.routes, func(r netstate.Route) bool { return r.Dst == l.Subnet })
		s.changed(netstate.RouteDeleted, l, l.Subnet)
	}},
	{"a neighbor is replaced", func(s *story) {
		l := *s.peer()
		for i, n := range s.w.neighbors {
			if n.IP == l.Subnet.Addr() {
				s.w.neighbors[i].MAC[5]++
			}
		}
		s.changed(netstate.NeighborChanged, l, netip.PrefixFrom(l.Subnet.Addr(), l.Family.Bits()))
	}},
	{"an FDB entry leads elsewhere", func(s *story) {
		l := *s.peer()
		for i, e := range s.w.fdb {
			if e.MAC == l.MAC {
				s.w.fdb[i].Dst = e.Dst.Next()
			}
		}
		s.changed(netstate.FDBChanged, l, netip.PrefixFrom(l.PublicIP, l.Family.Bits()))
	}},
	{"a route goes another way", func(s *story) {
		l := *s.peer()
		for i, r := range s.w.routes {
			if r.Dst == l.Subnet {
				s.w.routes[i].Device, s.w.routes[i].Gateway = ifVPN, netip.Addr{}
			}
		}
		s.changed(netstate.RouteReplaced, l, l.Subnet)
	}},
	{"a repair", func(s *story) { s.learn(*s.peer()) }},
	{"all is repaired", func(s *story) {
		for _, l := range s.w.peers {
			s.learn(l)
		}
	}},
	{"a device flaps", func(s *story) { s.w.flap(rapid.SampledFrom(s.w.families).Draw(s.T, "family")) }},
	{"a device is up or down", func(s *story) {
		device := rapid.SampledFrom([]int{ifEth, ifCNI, ifVX4, ifVX6}).Draw(s.T, "device")
		for i, l := range s.w.links {
			if l.Index == device {
				s.w.links[i].Up = !l.Up
				s.hint(netstate.Hint{Kind: netstate.LinkChanged, Device: l.Name, Index: device, Up: !l.Up})
			}
		}
	}},
	{"an address comes or goes", func(s *story) {
		own := rapid.SampledFrom(s.w.own).Draw(s.T, "own")
		a := netstate.Addr{Device: vxlanOf(own.Family), Prefix: netip.PrefixFrom(own.Subnet.Addr(), own.Family.Bits())}
		h := netstate.Hint{Kind: netstate.AddrDeleted, Family: own.Family, Device: s.w.link(a.Device).Name, Index: a.Device, Prefix: a.Prefix}
		if i := slices.Index(s.w.addrs, a); i >= 0 {
			s.w.addrs = slices.Delete(s.w.addrs, i, i+1)
		} else {
			s.w.addrs = append(s.w.addrs, a)
			h.Kind = netstate.AddrAdded
		}
		s.hint(h)
	}},
	{"events of others", func(s *story) {
		for n := range rapid.IntRange(1, 4).Draw(s.T, "events") {
			s.hint(netstate.Hint{
				Kind:   rapid.SampledFrom([]netstate.HintKind{netstate.LinkChanged, netstate.RuleAdded, netstate.NextHopDeleted, netstate.NetConfChanged}).Draw(s.T, "kind"),
				Device: "veth0", Index: 90 + n, Up: rapid.Bool().Draw(s.T, "up"),
			})
		}
	}},
	{"objects of no lease", func(s *story) {
		l := s.newcomer()
		s.learn(l)
	}},
	{"a route via a node for no lease", func(s *story) {
		l := s.newcomer()
		s.w.routes = append(s.w.routes, netstate.Route{
			Table: 254, Dst: l.Subnet, Type: netstate.Unicast, Protocol: 3, Device: ifEth, Gateway: l.PublicIP,
		})
	}},
	{"what no lease explains goes", func(s *story) {
		known := func(a netip.Addr) bool {
			return slices.ContainsFunc(s.w.peers, func(l lease.Lease) bool { return l.Subnet.Addr() == a })
		}
		s.w.neighbors = remove(s.w.neighbors, func(n netstate.Neighbor) bool { return !known(n.IP) })
		s.w.routes = remove(s.w.routes, func(r netstate.Route) bool {
			return r.OnLink && !known(r.Gateway) || r.Device == ifEth && r.Protocol == 3
		})
	}},
	{"a lease comes", func(s *story) { s.comes(s.newcomer()) }},
	{"a lease comes and works", func(s *story) {
		l := s.newcomer()
		s.comes(l)
		s.learn(l)
	}},
	{"a lease of the same subnet comes", func(s *story) {
		l := s.newcomer()
		l.Subnet, l.Family = s.peer().Subnet, s.peer().Family
		if netstate.FamilyOf(l.Subnet.Addr()) == l.Family {
			s.comes(l)
		}
	}},
	{"a lease goes", func(s *story) {
		if n := len(s.w.peers); n > 1 {
			i := rapid.IntRange(0, n-1).Draw(s.T, "peer")
			s.w.peers = slices.Delete(slices.Clone(s.w.peers), i, i+1)
			s.w.generation++
		}
	}},
	{"a lease changes", func(s *story) {
		l := s.peer()
		switch rapid.SampledFrom([]string{"mac", "vni", "malformed", "backend"}).Draw(s.T, "attribute") {
		case "mac":
			l.MAC[4]++
		case "vni":
			l.VNI++
		case "malformed":
			l.Malformed = "broken"
		case "backend":
			l.BackendType = "host-gw"
		}
		s.w.generation++
	}},
	{"the kernel's picture is behind", func(s *story) { s.read = s.w.generation - 1 }},
	{"pods are not forwarded", func(s *story) { s.w.pods, s.w.forwards = true, false }},
	{"pods are forwarded", func(s *story) { s.w.pods, s.w.forwards = true, true }},
	{"nothing", func(*story) {}},
}

func (s *story) comes(l lease.Lease) {
	s.w.peers = append(slices.Clone(s.w.peers), l)
	s.w.generation++
}

// goOn lets something happen, and returns what the judge is told of it, as the
// engine tells it. due is when the judge wants to be called.
func (s *story) goOn(due time.Time) Input {
	w := s.w
	w.later(time.Duration(rapid.SampledFrom([]int{1, 1, 7, 45, 90}).Draw(s.T, "seconds")) * time.Second)
	w.hints, w.peers = nil, slices.Clone(w.peers)
	w.links, w.addrs, w.rules = slices.Clone(w.links), slices.Clone(w.addrs), slices.Clone(w.rules)
	w.routes, w.neighbors, w.fdb = slices.Clone(w.routes), slices.Clone(w.neighbors), slices.Clone(w.fdb)
	s.read = w.generation
	for range rapid.IntRange(1, 2).Draw(s.T, "events") {
		e := rapid.SampledFrom(events).Draw(s.T, "event")
		s.Log(e.name)
		e.do(s)
	}
	in := w.input()
	if in.State.Generation = min(s.read, w.generation); s.read < w.generation {
		behind := expect.PodAddress(w.peers[len(w.peers)-1].Subnet)
		in.State.Lookups = remove(in.State.Lookups, func(l *netstate.Lookup) bool { return l.Query.Dst == behind })
	}
	switch rapid.IntRange(0, 19).Draw(s.T, "lack") {
	case 0:
		in.State.Complete, in.State.Problem = false, "not read"
	case 1:
		in.Set.Complete, in.Set.Problem = false, "lost"
	}
	if s.last != nil {
		share(in.State, s.last.State)
		in.Touched = s.touched(*s.last, in)
	}
	if !due.IsZero() && !w.at.Before(due) {
		in.Touched = nil
	}
	s.last = &in
	return in
}

// share gives a picture the objects of the one before it that did not change, as
// the kernel layer does.
func share(next, last *netstate.State) {
	next.Routes, next.Lookups = sameRefs(next.Routes, last.Routes), sameRefs(next.Lookups, last.Lookups)
	if slices.Equal(next.Neighbors, last.Neighbors) {
		next.Neighbors = last.Neighbors
	}
	if slices.Equal(next.FDB, last.FDB) {
		next.FDB = last.FDB
	}
	if slices.Equal(next.Links, last.Links) {
		next.Links = last.Links
	}
	if slices.Equal(next.Addrs, last.Addrs) {
		next.Addrs = last.Addrs
	}
}

func sameRefs[T netstate.Route | netstate.Lookup](next, last []*T) []*T {
	was := map[T]*T{}
	for _, p := range last {
		was[*p] = p
	}
	for i, p := range next {
		if same := was[*p]; same != nil {
			next[i] = same
		}
	}
	return next
}

// touched are the subnets whose evidence is not what it was, and sometimes
// others; nil, as the kernel layer says, where it is of more than single leases.
func (s *story) touched(last, in Input) []netip.Prefix {
	if last.State.Generation != in.State.Generation || last.Set.Generation != in.Set.Generation || last.State.Complete != in.State.Complete ||
		!slices.Equal(last.State.Rules, in.State.Rules) || rapid.IntRange(0, 4).Draw(s.T, "all") == 0 {
		return nil
	}
	touched := []netip.Prefix{}
	was := newView(s.opts.Flannel, last.Set, last.State, peerVNIs(last.Set))
	is := newView(s.opts.Flannel, in.Set, in.State, peerVNIs(in.Set))
	for _, l := range in.Set.Leases {
		chain := expect.ChainOf(s.opts.Flannel, in.Set, l)
		if !reflect.DeepEqual(bare(was.evidence(&chain)), bare(is.evidence(&chain))) || rapid.IntRange(0, 9).Draw(s.T, "also") == 0 {
			touched = append(touched, l.Subnet)
		}
	}
	return touched
}

// bare is evidence without what differs though it says the same.
func bare(e *evidence) *evidence {
	s := *e.side
	s.state, s.isFlannel, s.hints = nil, nil, nil
	e.side = &s
	return e
}
