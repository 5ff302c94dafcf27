package kernel

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// TestDisagreements: a lookup and the routes of the same picture contradict each
// other, or have a reason to differ.
func TestDisagreements(t *testing.T) {
	peer := netip.MustParsePrefix("10.244.3.0/24")
	dst := expect.PodAddress(peer)
	route := netstate.Route{Table: netstate.TableMain, Dst: peer, Type: netstate.Unicast, Device: 5, Gateway: peer.Addr()}
	with := func(change func(*netstate.Route)) netstate.Route {
		r := route
		change(&r)
		return r
	}
	wide := netstate.Route{Table: netstate.TableMain, Dst: netip.MustParsePrefix("0.0.0.0/0"), Type: netstate.Unicast, Device: 2}
	up := netstate.Link{Index: 5, Up: true, LowerUp: true}
	rule := netstate.Rule{Family: netstate.IPv4, Priority: 5, Table: 100, Action: ruleToTable}
	tests := []struct {
		name   string
		routes []netstate.Route
		answer netstate.Lookup
		link   netstate.Link
		rules  []netstate.Rule
		want   bool
	}{
		{name: "the same", routes: []netstate.Route{route}, answer: netstate.Lookup{Route: route}, link: up},
		{name: "the answer has flags that a dump has not", routes: []netstate.Route{route}, answer: netstate.Lookup{Route: with(func(r *netstate.Route) { r.LinkDown = true })}, link: up},
		{name: "an answer that was not dumped", routes: []netstate.Route{wide}, answer: netstate.Lookup{Route: route}, link: up, want: true},
		{name: "an answer through another device", routes: []netstate.Route{route}, answer: netstate.Lookup{Route: with(func(r *netstate.Route) { r.Device = 2 })}, link: up, want: true},
		{name: "an answer from a table that was not read", routes: []netstate.Route{wide}, answer: netstate.Lookup{Route: with(func(r *netstate.Route) { r.Table = 100 })}, link: up, want: true},
		{name: "a dumped route that should have answered", routes: []netstate.Route{wide, route}, answer: netstate.Lookup{Route: wide}, link: up, want: true},
		{name: "or prevented an error", routes: []netstate.Route{route}, answer: netstate.Lookup{Errno: int(unix.ENETUNREACH)}, link: up, want: true},
		{name: "whose device is down", routes: []netstate.Route{wide, route}, answer: netstate.Lookup{Route: wide}, link: netstate.Link{Index: 5}},
		{name: "that is dead", routes: []netstate.Route{wide, with(func(r *netstate.Route) { r.Dead = true })}, answer: netstate.Lookup{Route: wide}, link: up},
		{name: "a rule may be the reason", routes: []netstate.Route{wide, route}, answer: netstate.Lookup{Route: wide}, link: up, rules: []netstate.Rule{rule}},
		{name: "discarded", routes: []netstate.Route{wide, route}, answer: netstate.Lookup{Errno: int(unix.EINVAL)}, link: up},
		{name: "local, which lives in main while there are no rules", routes: []netstate.Route{with(func(r *netstate.Route) { r.Table = netstate.TableLocal })}, answer: netstate.Lookup{Route: route}, link: up},
	}
	in := newInterest(expect.Interest{Subnets: []netip.Prefix{peer}, Peers: []netip.Prefix{peer}})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.answer.Query = netstate.Query{Dst: dst}
			s := &netstate.State{Links: []netstate.Link{test.link}, Routes: netstate.Refs(test.routes), Rules: test.rules, Lookups: []*netstate.Lookup{&test.answer}}
			if got := in.disagreements(s); (len(got) > 0) != test.want {
				t.Errorf("disagreements %v, want any: %v", got, test.want)
			}
		})
	}
}

// TestLearn: a table that answered is read from then on, though no rule names
// it: that of a VRF.
func TestLearn(t *testing.T) {
	r := &reader{}
	s := &netstate.State{Lookups: []*netstate.Lookup{
		{Route: netstate.Route{Table: 100, Dst: netip.MustParsePrefix("10.244.3.0/24")}},
		{Errno: int(unix.ENETUNREACH)},
	}}
	r.learn(s)
	got := r.consulted(s)
	if !got[tableKey{netstate.IPv4, 100}] || len(got) != 7 {
		t.Errorf("tables %v, want the six usual ones and 100", got)
	}
}

// TestQueries: what is asked for which interest.
func TestQueries(t *testing.T) {
	p := netip.MustParsePrefix
	in := newInterest(expect.Interest{
		Subnets:   []netip.Prefix{p("10.244.0.0/24"), p("10.244.1.0/24"), p("10.244.2.0/24"), p("10.244.3.0/24"), p("10.244.4.0/24")},
		Peers:     []netip.Prefix{p("10.244.1.0/24"), p("10.244.2.0/24"), p("10.244.3.0/24"), p("10.244.4.0/24")},
		PublicIPs: []netip.Addr{netip.MustParseAddr("192.0.2.9")},
		Sources:   []netip.Addr{netip.MustParseAddr("10.244.0.0")},
		Devices:   []string{"cni0"},
	})
	s := &netstate.State{
		Links:  []netstate.Link{{Index: 7, Name: "cni0", Up: true}},
		Addrs:  []netstate.Addr{{Device: 7, Prefix: p("10.244.0.1/24")}},
		Routes: []*netstate.Route{{Dst: p("10.244.1.128/25")}},
	}
	q := func(dst, src string, iif int) netstate.Query {
		query := netstate.Query{Dst: netip.MustParseAddr(dst), IIF: iif}
		if src != "" {
			query.Src = netip.MustParseAddr(src)
		}
		return query
	}
	want := []netstate.Query{
		q("10.244.1.2", "", 0), q("10.244.1.2", "10.244.0.0", 0), q("10.244.1.2", "10.244.0.2", 7),
		q("10.244.1.128", "", 0), q("10.244.1.128", "10.244.0.0", 0),
		q("10.244.2.2", "", 0), q("10.244.2.2", "10.244.0.0", 0), q("10.244.2.2", "10.244.0.2", 7),
		q("10.244.3.2", "", 0), q("10.244.3.2", "10.244.0.0", 0), q("10.244.3.2", "10.244.0.2", 7),
		q("10.244.4.2", "", 0), q("10.244.4.2", "10.244.0.0", 0), // the fourth peer is not asked as forwarded
		q("192.0.2.9", "", 0),
		q("10.244.0.2", "", 0), // the node's own pods
	}
	slices.SortFunc(want, netstate.Query.Compare)
	if got := in.queries(s); !slices.Equal(got, want) {
		t.Errorf("queries\n%v, want\n%v", got, want)
	}
	s.Links[0].Up = false
	if got := in.queries(s); slices.ContainsFunc(got, func(q netstate.Query) bool { return q.IIF != 0 }) {
		t.Errorf("with cni0 down forwarded packets are asked for: %v", got)
	}
}
