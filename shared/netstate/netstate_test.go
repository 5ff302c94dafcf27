package netstate

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func r(dst string, table uint32) *Route {
	return &Route{Table: table, Dst: netip.MustParsePrefix(dst), Type: Unicast}
}

func TestState_Routes(t *testing.T) {
	s := State{Routes: []*Route{
		r("10.244.4.0/24", 254), r("10.244.3.128/25", 254), r("10.244.3.0/24", 100), r("0.0.0.0/0", 254), r("10.244.3.0/25", 254),
		r("10.244.3.0/24", 254), r("10.244.0.0/16", 254), r("10.244.2.255/32", 254), r("fd00::/64", 254), r("10.244.3.0/32", 255),
	}}
	s.Sort()
	subnet := netip.MustParsePrefix("10.244.3.0/24")
	if got, want := s.RoutesTo(subnet), []*Route{r("10.244.3.0/24", 100), r("10.244.3.0/24", 254)}; !reflect.DeepEqual(got, want) {
		t.Errorf("RoutesTo: %v, want %v", got, want)
	}
	want := []*Route{r("10.244.3.0/25", 254), r("10.244.3.0/32", 255), r("10.244.3.128/25", 254)}
	if got := s.RoutesInside(subnet); !reflect.DeepEqual(got, want) {
		t.Errorf("RoutesInside: %v, want %v", got, want)
	}
	if got := s.RoutesTo(netip.MustParsePrefix("10.9.0.0/16")); len(got) != 0 {
		t.Errorf("RoutesTo of a prefix without route: %v", got)
	}
}

// The finders are binary searches; they must agree with a plain walk.
func TestProperty_RoutesAgreeWithAWalk(t *testing.T) {
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
		a := netip.AddrFrom4([4]byte{10, 0, rapid.Byte().Draw(t, "c") & 3, rapid.Byte().Draw(t, "d")})
		p, _ := a.Prefix(rapid.IntRange(20, 32).Draw(t, "bits"))
		return p
	})
	rapid.Check(t, func(t *rapid.T) {
		var s State
		for _, p := range rapid.SliceOf(prefix).Draw(t, "routes") {
			s.Routes = append(s.Routes, &Route{Dst: p, Table: TableMain})
		}
		s.Sort()
		p := prefix.Draw(t, "prefix")
		var to, in []*Route
		for _, r := range s.Routes {
			switch {
			case r.Dst == p:
				to = append(to, r)
			case p.Bits() < r.Dst.Bits() && p.Contains(r.Dst.Addr()):
				in = append(in, r)
			}
		}
		if got := s.RoutesTo(p); len(got) != len(to) {
			t.Fatalf("RoutesTo(%s): %v, want %v", p, got, to)
		}
		if got := s.RoutesInside(p); len(got) != len(in) {
			t.Fatalf("RoutesInside(%s): %v, want %v", p, got, in)
		}
	})
}

func TestState_Finders(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	s := State{
		Links:     []Link{{Index: 7, Name: "flannel.1"}, {Index: 2, Name: "ens33"}},
		Addrs:     []Addr{{7, netip.PrefixFrom(b, 128)}, {2, netip.PrefixFrom(a, 24)}, {7, netip.PrefixFrom(a, 32)}},
		Neighbors: []Neighbor{{Device: 7, IP: b}, {Device: 7, IP: a, State: NUDPermanent}, {Device: 2, IP: a}},
		FDB:       []FDBEntry{{Device: 7, MAC: MAC{2}, Dst: b}, {Device: 7, MAC: MAC{1}, Dst: a}, {Device: 7, MAC: MAC{2}, Dst: a}},
		Lookups:   []*Lookup{{Query: Query{Dst: b}}, {Query: Query{Dst: a, Src: a}}, {Query: Query{Dst: a}, Errno: ErrnoNoRoute}},
		NetConf:   []NetConf{{Family: IPv6, Device: 2}, {Family: IPv4, Device: 2, Forwarding: true}, {Family: IPv4, Device: NetConfAll}},
	}
	s.Sort()
	if s.LinkName(7) != "flannel.1" || s.LinkName(0) != "" {
		t.Errorf("links %+v", s.Links)
	}
	n := 0
	for range s.AddrsOf(7) {
		n++
	}
	if n != 2 {
		t.Errorf("%d addresses of device 7, want 2", n)
	}
	if got, ok := s.Neighbor(7, a); !ok || !got.Permanent() {
		t.Errorf("neighbor %+v, %v", got, ok)
	}
	if got := s.FDBOf(7, MAC{2}); len(got) != 2 {
		t.Errorf("FDB of 02: %v, want two", got)
	}
	if got, ok := s.Lookup(Query{Dst: a}); !ok || got.Errno != ErrnoNoRoute {
		t.Errorf("lookup %+v, %v", got, ok)
	}
	if _, ok := s.Lookup(Query{Dst: b, Src: b}); ok {
		t.Error("found a lookup that was not made")
	}
	if got, ok := s.NetConfOf(IPv4, 2); !ok || !got.Forwarding {
		t.Errorf("netconf %+v, %v", got, ok)
	}
}

// A State is recorded and replayed as JSON: nothing may be lost.
func TestState_JSON(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	want := State{
		At: time.Date(2026, 11, 23, 3, 4, 5, 6, time.UTC), Generation: 3, Complete: true, Problem: "p",
		Links:     []Link{{Index: 7, Name: "flannel.1", Kind: "vxlan", Up: true, LowerUp: true, MTU: 1450, MAC: MAC{1, 2, 3, 4, 5, 6}, Master: 1, Lower: 2, VXLAN: VXLAN{1, 8472, a}}},
		Addrs:     []Addr{{7, netip.PrefixFrom(b, 128)}},
		Rules:     []Rule{{Family: IPv6, Priority: 5, Table: 52, Action: 1, Src: netip.PrefixFrom(b, 64), Dst: netip.PrefixFrom(b, 128), IIF: "a", OIF: "b", Mark: 1, Invert: true}},
		Routes:    []*Route{{Table: 100, Dst: netip.PrefixFrom(a, 32), Type: Blackhole, Priority: 1, TOS: 2, Protocol: 3, Scope: 253, Device: 7, Gateway: b, PrefSrc: a, OnLink: true, Dead: true, LinkDown: true, NextHopID: 9, Multipath: true}},
		Neighbors: []Neighbor{{7, a, MAC{1}, NUDPermanent}},
		FDB:       []FDBEntry{{7, MAC{1}, a, 1, 2, 3}},
		Lookups:   []*Lookup{{Query: Query{Dst: a, Src: b, IIF: 3}, Route: Route{Type: RouteType(77)}, Errno: 113}},
		NetConf:   []NetConf{{IPv4, NetConfAll, true, 2}},
		Hints:     []Hint{{At: time.Unix(1, 0).UTC(), Kind: RouteDeleted, Family: IPv4, Device: "d", Index: 1, Up: true, Prefix: netip.PrefixFrom(a, 32), Table: 254, PortID: 5, Seq: 6}},
		Counters: Counters{
			IPv4Routes: RouteEvents{1, 2, 3}, IPv6Routes: RouteEvents{4, 5, 6}, Overruns: 7, Undecodable: 8,
			Resyncs: map[string]uint64{"start": 1}, AuditDrift: 9, ReceiveBytes: 10, Filtered: true, LastAudit: time.Unix(2, 0).UTC(),
		},
		Touched: []netip.Prefix{}, Triggered: time.Unix(3, 0).UTC(),
	}
	j, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got State
	if err := json.Unmarshal(j, &got); err != nil {
		t.Fatalf("%v in %s", err, j)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.Touched == nil {
		t.Error("an empty Touched came back as nil, which means all")
	}
}

func TestText(t *testing.T) {
	var f Family
	if f.UnmarshalText([]byte("ipx")) == nil {
		t.Error("ipx is accepted as a family")
	}
	var m MAC
	for _, bad := range []string{"x", "00:11:22:33:44", "00:11:22:33:44:55:66:77"} {
		if m.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q is accepted as a MAC", bad)
		}
	}
	var rt RouteType
	if rt.UnmarshalText([]byte("sideways")) == nil {
		t.Error("sideways is accepted as a route type")
	}
}
