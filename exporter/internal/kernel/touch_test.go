package kernel

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// TestNear: what is looked at near a change, and shared with the picture before
// it, is together what would be looked at everywhere.
func TestNear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := expect.Interest{Sources: []netip.Addr{netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("fd00::")}}
		set.Peers = rapid.SliceOfN(prefixes(), 1, 20).Draw(t, "peers") // some inside others
		set.Subnets = append(slices.Clone(set.Peers), netip.MustParsePrefix("192.0.2.0/24"))
		for _, p := range rapid.SliceOf(prefixes()).Draw(t, "publicIPs") {
			set.PublicIPs = append(set.PublicIPs, p.Addr())
		}
		in := newInterest(set)
		s := &netstate.State{
			Links: []netstate.Link{{Index: 7, Name: "cni0", Up: true}},
			Addrs: []netstate.Addr{{Device: 7, Prefix: netip.MustParsePrefix("192.0.2.1/24")}},
		}
		for _, p := range rapid.SliceOf(prefixes()).Draw(t, "routes") {
			s.Routes = append(s.Routes, &netstate.Route{Dst: p})
		}
		s.Sort()
		changed := newPrefixSet(rapid.SliceOfN(prefixes(), 1, 3).Draw(t, "changed"))
		near, ok := in.near(changed)
		if !ok {
			t.Skip()
		}
		after := *s
		after.Routes = slices.DeleteFunc(slices.Clone(s.Routes), func(r *netstate.Route) bool {
			return changed.overlaps(r.Dst) && slices.ContainsFunc(changed, func(p netip.Prefix) bool { return p.Contains(r.Dst.Addr()) })
		})
		got := in.queriesNear(&after, &near)
		for _, q := range in.queries(s) {
			if !near.area.covers(q.Dst) {
				got = append(got, q)
			} else if !slices.ContainsFunc(near.area, func(p netip.Prefix) bool { return p.Contains(q.Dst) }) {
				t.Errorf("%s is covered by %v, and in none of it", q.Dst, near.area)
			}
		}
		slices.SortFunc(got, netstate.Query.Compare)
		if diff := cmp.Diff(in.queries(&after), got, compareNetip); diff != "" {
			t.Errorf("near %v (-everywhere +near):\n%s", near.area, diff)
		}
	})
}

// TestPrefixList compares the search with asking each member.
func TestPrefixList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.SliceOf(prefixes()).Draw(t, "members")
		set := newPrefixSet(rapid.SliceOf(prefixes()).Draw(t, "set"))
		want := slices.DeleteFunc(slices.Clone(members), func(m netip.Prefix) bool { return !set.overlaps(m) })
		slices.SortFunc(want, netip.Prefix.Compare)
		want = slices.Compact(want)
		if got := newPrefixList(members).overlapping(set); !slices.Equal(got, want) {
			t.Errorf("%v overlap %v, want %v", got, set, want)
		}
	})
}

// TestReplay: whatever happens to routes, replaying the events gives what a fresh
// read gives, without a resync and without a disagreement.
func TestReplay(t *testing.T) {
	const steps, burst = 40, 8
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			n := newNode(t, 3)
			w := n.watch(t, n.config())
			w.inSync()
			before := w.last.Counters.Resyncs
			r := rand.New(rand.NewPCG(seed, 1))
			for range steps {
				for range 1 + r.IntN(burst) {
					n.randomRoute(t, r)
				}
				w.inSync()
			}
			if diff := cmp.Diff(before, w.last.Counters.Resyncs); diff != "" {
				t.Errorf("resyncs (-before +after):\n%s", diff)
			}
		})
	}
}

// randomRoute does one thing to a route for a peer's subnet, a part of it, or more.
func (n *node) randomRoute(t *testing.T, r *rand.Rand) {
	p := n.peers[r.IntN(len(n.peers))]
	ul0, dev := n.MustIndex(t, "ul0"), n.MustIndex(t, device(p.family()))
	wider, _ := p.subnet.Addr().Prefix(p.subnet.Bits() - 4)
	rt := n.route(t, p)
	rt.Dst = []netip.Prefix{p.subnet, p.subnet, p.subnet, upper(p.subnet), wider}[r.IntN(5)]
	rt.Priority = []uint32{0, 0, 0, 7}[r.IntN(4)]
	switch r.IntN(6) {
	case 0:
		rt.Gateway = rt.Gateway.Next()
	case 1:
		rt.Gateway, rt.OnLink, rt.Device = netip.Addr{}, false, ul0
	case 2:
		rt = netstate.Route{Dst: rt.Dst, Priority: rt.Priority, Type: netstate.Blackhole}
	}
	var hops []netns.Hop
	if r.IntN(10) == 0 && rt.Type != netstate.Blackhole {
		rt = netstate.Route{Dst: rt.Dst, Priority: rt.Priority}
		hops = []netns.Hop{{Device: ul0}, {Device: dev}}
	}
	changes := []func() error{
		func() error { return n.RouteDel(netstate.Route{Dst: rt.Dst}) },
		func() error { return n.RouteDel(netstate.Route{Dst: rt.Dst}) },
		func() error { return n.RouteReplace(rt, hops...) },
		func() error { return n.RouteReplace(rt, hops...) },
		func() error { return n.RouteAdd(rt) },
		func() error { return n.RouteAppend(rt) },
	}
	_ = changes[r.IntN(len(changes))]() // that it may not be possible just then is no error
}
