package kernel

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
)

// TestRandomChanges: whatever happens, the picture becomes what a fresh read
// gives, by events alone. Each step makes a burst of changes, then compares.
func TestRandomChanges(t *testing.T) {
	const steps, burst = 25, 6
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			n := newNode(t, 3)
			w := n.watch(t, n.config())
			r := rand.New(rand.NewPCG(seed, 0))
			for range steps {
				for range 1 + r.IntN(burst) {
					n.randomChange(t, r)
				}
				w.inSync()
			}
			if got := w.last.Counters.AuditDrift; got != 0 {
				t.Errorf("drift %d without an audit", got)
			}
		})
	}
}

// randomChange does one thing; that it may not be possible just then is no error.
func (n *node) randomChange(t *testing.T, r *rand.Rand) {
	p := n.peers[r.IntN(len(n.peers))]
	dev := device(p.family())
	index, err := n.LinkIndex(dev)
	ul0 := n.MustIndex(t, "ul0")
	if err != nil {
		n.flannelDevice(t, p.family())
		index = n.MustIndex(t, dev)
	}
	own := flannel4
	if p.family() == netstate.IPv6 {
		own = flannel6
	}
	rule := netstate.Rule{Family: p.family(), Priority: 50, Table: 100, Dst: p.subnet}
	changes := []func() error{
		func() error { return n.SetDown(dev) },
		func() error { return n.SetUp(dev) },
		func() error { return n.DelLink(dev) },
		func() error { return n.DelAddr(dev, own) },
		func() error { return n.AddAddr(dev, own) },
		func() error { return n.SetMAC(dev, netstate.MAC{2, 3, 4, 5, 6, byte(r.Uint32())}) },
		func() error { return n.SetMTU(dev, 1400+r.IntN(50)) },
		func() error { return n.RouteDel(netstate.Route{Dst: p.subnet}) },
		func() error { return n.RouteReplace(n.route(t, p)) },
		func() error { return n.RouteReplace(n.route(t, p)) },
		func() error { return n.RouteReplace(netstate.Route{Dst: p.subnet, Type: netstate.Blackhole}) },
		func() error { return n.RouteAppend(netstate.Route{Dst: p.subnet, Device: ul0}) },
		func() error { return n.RouteAdd(netstate.Route{Dst: p.subnet, Device: ul0, Priority: 5}) },
		func() error { return n.RouteAdd(netstate.Route{Dst: upper(p.subnet), Device: ul0}) },
		func() error { return n.RouteDel(netstate.Route{Dst: upper(p.subnet)}) },
		func() error { return n.RouteReplace(netstate.Route{Dst: p.subnet, Device: ul0, Table: 100}) },
		func() error {
			return n.RouteReplace(netstate.Route{Dst: upper(p.subnet)}, netns.Hop{Device: ul0}, netns.Hop{Device: index})
		},
		func() error {
			return n.NextHopReplace(netns.NextHop{ID: nextHopID(p.family()), Family: p.family(), Device: ul0})
		},
		func() error { return n.RouteReplace(netstate.Route{Dst: p.subnet, NextHopID: nextHopID(p.family())}) },
		func() error { return n.NextHopDel(nextHopID(p.family())) },
		func() error { return n.RuleAdd(rule) },
		func() error { return n.RuleDel(rule) },
		func() error { return n.NeighReplace(n.neighbor(t, p)) },
		func() error { return n.NeighDel(n.neighbor(t, p)) },
		func() error { return n.FDBReplace(n.entry(t, p)) },
		func() error { return n.FDBDel(n.entry(t, p)) },
		func() error { return n.SetDown("ul0") },
		func() error { return n.SetUp("ul0") },
		func() error { return n.RouteAdd(netstate.Route{Dst: host(p.publicIP), Type: netstate.Unreachable}) },
		func() error { return n.RouteDel(netstate.Route{Dst: host(p.publicIP)}) },
		func() error { return n.defaults(t) },
		func() error { return n.program(t, p) },
	}
	i := r.IntN(len(changes))
	if err := changes[i](); err != nil {
		t.Logf("change %d: %v", i, err)
	}
}

func prefixes() *rapid.Generator[netip.Prefix] {
	return rapid.Custom(func(t *rapid.T) netip.Prefix {
		a := netip.AddrFrom4([4]byte{10, rapid.ByteRange(0, 3).Draw(t, "b"), rapid.Byte().Draw(t, "c"), 0})
		if rapid.Bool().Draw(t, "v6") {
			a = netip.AddrFrom16([16]byte{0: 0xfd, 15: rapid.Byte().Draw(t, "last")})
			return netip.PrefixFrom(a, rapid.IntRange(0, 128).Draw(t, "bits")).Masked()
		}
		return netip.PrefixFrom(a, rapid.IntRange(0, 32).Draw(t, "bits")).Masked()
	})
}

// TestPrefixSet compares the search with asking each member.
func TestPrefixSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.SliceOf(prefixes()).Draw(t, "members")
		p := prefixes().Draw(t, "p")
		want := slices.ContainsFunc(members, func(m netip.Prefix) bool { return m.Overlaps(p) })
		if got := newPrefixSet(members).overlaps(p); got != want {
			t.Errorf("%s overlaps %v: %v, want %v", p, members, got, want)
		}
	})
}

// TestDifferences compares the merge with looking for each in the other list.
func TestDifferences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lists := rapid.SliceOfDistinct(rapid.IntRange(0, 20), rapid.ID[int])
		a, b := lists.Draw(t, "a"), lists.Draw(t, "b")
		slices.Sort(a)
		slices.Sort(b)
		var want []int
		for v := range 21 {
			if slices.Contains(a, v) != slices.Contains(b, v) {
				want = append(want, v)
			}
		}
		var got []int
		differences(netstate.Refs(a), netstate.Refs(b), func(a, b *int) int { return *a - *b }, func(v *int) { got = append(got, *v) })
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%v and %v differ in %v, want %v", a, b, got, want)
		}
	})
}
