package judge

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// explainWorld explains an address, with the kernel's answers of now.
func explainWorld(w *world, s *wire.Snapshot, opts Options, address string) wire.Explanation {
	a, in := netip.MustParseAddr(address), w.input()
	var live Live
	for _, q := range ExplainQueries(opts, s, in, a) {
		live.Lookups = append(live.Lookups, w.lookup(in.State, q))
	}
	return Explain(opts, s, in, a, live)
}

func TestExplain(t *testing.T) {
	w := newWorld(3, ip4, ip6)
	w.routes = remove(w.routes, func(r netstate.Route) bool { return r.Dst == w.peers[1].Subnet })
	s, _ := Next(opts, nil, w.input())
	networked := opts
	networked.Flannel.Network = []netip.Prefix{netip.MustParsePrefix("10.100.0.0/16")}
	for _, tt := range []struct {
		address string
		opts    Options
		place   wire.Place
		answer  string
		lookup  string // the first
	}{
		{"10.100.20.7", opts, wire.PlacePeer, "10.100.20.7 belongs to node-0020 (10.100.20.0/24): all that it needs is there, packets are delivered",
			"10.100.20.7 via 10.100.20.0 dev flannel.1 by route 10.100.20.0/24"},
		{"10.100.21.7", opts, wire.PlacePeer, "10.100.21.7 belongs to node-0021 (10.100.21.0/24): route missing, packets are leaking, cause unknown",
			"10.100.21.7 via 192.168.1.1 dev ens33 by the default route"},
		{"fd00:10:14::7", opts, wire.PlacePeer, "fd00:10:14::7 belongs to node-0020 (fd00:10:14::/64): all that it needs is there, packets are delivered",
			"fd00:10:14::7 via fd00:10:14:: dev flannel-v6.1 by route fd00:10:14::/64"},
		{"10.100.10.9", opts, wire.PlaceOwn, "10.100.10.9 is in this node's own subnet 10.100.10.0/24: its pods are reached without flannel",
			"10.100.10.9 dev cni0 by route 10.100.10.0/24"},
		{"192.168.1.21", opts, wire.PlaceUnder, "192.168.1.21 is the public IP of node-0021: packets to its pods are sent there; of their subnet 10.100.21.0/24 this node says: route missing, packets are leaking, cause unknown",
			"192.168.1.21 dev ens33 by route 192.168.0.0/16"},
		{selfIP, opts, wire.PlaceUnder, "192.168.1.10 is this node's own public IP: other nodes send flannel's packets to it", "192.168.1.10 is local by route 192.168.1.10/32"},
		{"10.100.99.1", networked, wire.PlaceFree, "10.100.99.1 is in the pod network 10.100.0.0/16, but no lease holds it: no node has such pods, or its Node is no lease (see skipped in /api/v1/status)",
			"10.100.99.1 via 192.168.1.1 dev ens33 by the default route"},
		{"8.8.8.8", networked, wire.PlaceOutside, "8.8.8.8 is not in the pod network 10.100.0.0/16: flannel has nothing to do with it", "8.8.8.8 via 192.168.1.1 dev ens33 by the default route"},
		{"8.8.8.8", opts, wire.PlaceUnknown, "no lease holds 8.8.8.8; whether it is in the pod network is not known: give the exporter --flannel.network, or flannel's configuration with --flannel.net-conf",
			"8.8.8.8 via 192.168.1.1 dev ens33 by the default route"},
		{"2001:db8::1", networked, wire.PlaceUnknown, "no lease holds 2001:db8::1;", "2001:db8::1 via fd00:192::1 dev ens33 by the default route"},
	} {
		t.Run(tt.address, func(t *testing.T) {
			x := explainWorld(w, s, tt.opts, tt.address)
			if x.Place != tt.place || !strings.HasPrefix(x.Answer, tt.answer) {
				t.Errorf("got %s, %s\nwant %s, %s", x.Place, x.Answer, tt.place, tt.answer)
			}
			if len(x.Lookups) != 2 || x.Lookups[0].Answer != tt.lookup || !x.Lookups[0].Live || !x.Lookups[1].From.IsValid() {
				t.Errorf("lookups %+v, want first %s", x.Lookups, tt.lookup)
			}
		})
	}
}

// Expected and actual objects are there also where all is well, and what is
// broken has its cause and advice.
func TestExplain_Objects(t *testing.T) {
	w := newWorld(2, ip4)
	s, _ := Next(opts, nil, w.input())
	x := explainWorld(w, s, opts, "10.100.20.7")
	want := []string{
		"10.100.20.0/24 via 10.100.20.0 dev flannel.1 onlink",
		"10.100.20.0 dev flannel.1 lladdr 02:04:00:00:00:14 PERMANENT",
		"02:04:00:00:00:14 dev flannel.1 dst 192.168.1.20 self permanent",
	}
	if diff := cmp.Diff(want, x.Lease.Expected); diff != "" {
		t.Errorf("expected (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, x.Lease.Actual); diff != "" {
		t.Errorf("actual (-want +got):\n%s", diff)
	}
	if s.Leases[0].Expected != nil {
		t.Error("the snapshot was changed")
	}
	w.later(time.Hour).flap(ip4)
	s, _ = Next(opts, s, w.input())
	x = explainWorld(w, s, opts, "10.100.20.7")
	if x.Lease.Cause != verdict.CauseLinkDown || len(x.Lease.Advice) == 0 || len(x.Incidents) != 1 || x.Incidents[0].ID != x.Lease.Incident {
		t.Errorf("lease %+v, incidents %v", x.Lease, x.Incidents)
	}
}

// A route for the very address came after the snapshot, or is not told apart by it.
func TestExplain_OneAddressGoesElsewhere(t *testing.T) {
	w := newWorld(2, ip4)
	s, _ := Next(opts, nil, w.input())
	in := w.input()
	a := netip.MustParseAddr("10.100.20.7")
	w.routes = append(w.routes, netstate.Route{Table: 254, Dst: netip.PrefixFrom(a, 32), Type: netstate.Unicast, Device: ifVPN})
	now := w.input().State
	var live Live
	for _, q := range ExplainQueries(opts, s, in, a) {
		live.Lookups = append(live.Lookups, w.lookup(now, q))
	}
	x := Explain(opts, s, in, a, live)
	if !strings.HasSuffix(x.Answer, "; but this very address takes another way now, see lookups") || x.Lookups[0].Answer != "10.100.20.7 dev tun0 by route 10.100.20.7/32" {
		t.Errorf("got %s, %+v", x.Answer, x.Lookups)
	}
}

func TestExplain_NotEverythingIsKnown(t *testing.T) {
	w := newWorld(1, ip4)
	a := netip.MustParseAddr("10.100.20.7")
	nothing, _ := Next(opts, nil, Input{Now: t0})
	x := Explain(opts, nothing, Input{}, a, Live{Problem: "no kernel"})
	if x.Place != wire.PlaceUnknown || x.Lookups == nil || !strings.HasPrefix(x.Answer, "nothing can be said of 10.100.20.7: the leases were not read yet; not everything is known now") {
		t.Errorf("before anything was read: %+v", x)
	}
	in := w.input()
	s, _ := Next(opts, nil, in)
	x = Explain(opts, s, in, a, Live{Problem: "busy"})
	i := slices.IndexFunc(x.Lookups, func(l wire.ExplainedLookup) bool { return !l.From.IsValid() })
	want := wire.ExplainedLookup{
		Address: netip.MustParseAddr("10.100.20.2"), Answer: "10.100.20.2 via 10.100.20.0 dev flannel.1 by route 10.100.20.0/24", Problem: "of the last snapshot: busy",
	}
	if diff := cmp.Diff(want, x.Lookups[max(i, 0)], alike...); diff != "" {
		t.Errorf("without an answer of now (-want +got):\n%s", diff)
	}
}
