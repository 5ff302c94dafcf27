package judge

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"routewatch/shared/netstate"
)

const many = 5000

// BenchmarkNext judges 5,000 leases: all of them, one whose route goes and comes
// back, one while all are broken, and none.
func BenchmarkNext(b *testing.B) {
	w := newWorld(many, ip4)
	in := w.input()
	b.Run("all", func(b *testing.B) {
		judge := New(opts)
		s, _ := judge.Next(nil, in)
		if !s.Healthy {
			b.Fatal("not healthy")
		}
		b.ReportAllocs()
		for b.Loop() {
			s, _ = judge.Next(s, in)
		}
	})
	b.Run("one", func(b *testing.B) {
		const n = 7
		states := [2]*netstate.State{without(in.State, w.peers[n].Subnet), in.State}
		in.Touched = []netip.Prefix{w.peers[n].Subnet}
		judge := New(opts)
		s, _ := judge.Next(nil, in)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			in.State = states[i%2]
			s, _ = judge.Next(s, in)
			if s.Healthy != (i%2 == 1) {
				b.Fatal(s.Summary)
			}
		}
	})
	b.Run("one amid a flap", func(b *testing.B) {
		judge := New(opts)
		s, _ := judge.Next(nil, w.input())
		flapped := *w
		flapped.routes, flapped.neighbors = slices.Clone(w.routes), slices.Clone(w.neighbors)
		flapped.flap(ip4)
		in := flapped.input()
		s, _ = judge.Next(s, in)
		in.Touched = []netip.Prefix{w.peers[7].Subnet}
		b.ReportAllocs()
		for b.Loop() {
			if s, _ = judge.Next(s, in); s.Summary.Missing != many {
				b.Fatal(s.Summary)
			}
		}
	})
	b.Run("none", func(b *testing.B) {
		in.Touched = []netip.Prefix{}
		judge := New(opts)
		s, _ := judge.Next(nil, in)
		b.ReportAllocs()
		for b.Loop() {
			s, _ = judge.Next(s, in)
		}
	})
}

// without is a picture that lacks the route for a subnet, and shares the rest.
func without(s *netstate.State, subnet netip.Prefix) *netstate.State {
	o := *s
	o.Routes = slices.DeleteFunc(slices.Clone(s.Routes), func(r *netstate.Route) bool { return r.Dst == subnet })
	o.Lookups = slices.Clone(s.Lookups)
	for i, l := range o.Lookups {
		if l.Route.Dst == subnet {
			o.Lookups[i] = &netstate.Lookup{Query: l.Query, Route: *s.Routes[0]}
		}
	}
	o.Hints = []netstate.Hint{{At: s.At, Kind: netstate.RouteDeleted, Family: ip4, Index: ifVX4, Prefix: subnet, PortID: 4711}}
	return &o
}

// BenchmarkNext_Flap judges a flap of 5,000 leases amid other events.
func BenchmarkNext_Flap(b *testing.B) {
	w := newWorld(many, ip4)
	healthy := w.input()
	device := func(n int) netstate.Hint {
		return netstate.Hint{At: w.at, Kind: netstate.LinkChanged, Device: "veth" + string(rune('a'+n%26)), Index: 99 + n, Up: true}
	}
	neighbor := func(n int) netstate.Hint {
		return netstate.Hint{
			At: w.at, Kind: netstate.NeighborDeleted, Family: ip4, Index: ifVX4, Prefix: netip.PrefixFrom(w.peers[n].Subnet.Addr(), 32),
		}
	}
	w.later(time.Second).flap(ip4)
	in := w.input()
	flap := in.State.Hints
	for _, test := range []struct {
		name   string
		events int
		event  func(n int) netstate.Hint
	}{
		{"1000 device events", 1000, device}, {"5000 neighbors deleted", many, neighbor},
	} {
		b.Run(test.name, func(b *testing.B) {
			state := *in.State
			state.Hints = nil
			for n := range test.events {
				state.Hints = append(state.Hints, test.event(n))
			}
			state.Hints = append(state.Hints, flap...)
			in.State = &state
			prev, _ := Next(opts, nil, healthy)
			b.ReportAllocs()
			for b.Loop() {
				if s, _ := Next(opts, prev, in); s.Summary.Missing != many {
					b.Fatal(s.Summary)
				}
			}
		})
	}
}
