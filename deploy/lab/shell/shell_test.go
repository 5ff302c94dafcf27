//go:build linux

package shell

import (
	"net/netip"
	"slices"
	"testing"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/mend"
	"routewatch/shared/netstate"
)

func TestMain(m *testing.M) { netns.Main(m) }

// Every command is typed on a node, and its effect read back from the kernel.
func TestType(t *testing.T) {
	ns := netns.NewT(t)
	netns.Must(t, ns.AddVeth("ens33", ns, "cable"))
	netns.Must(t, ns.AddVXLAN(netns.VXLAN{Name: "flannel.1", VNI: 1, Port: 8472, Lower: "ens33", Local: netip.MustParseAddr("192.168.1.56")}))
	index := ns.MustIndex(t, "flannel.1")
	s4, s6 := netip.MustParsePrefix("10.244.3.0/24"), netip.MustParsePrefix("fd00:10:244:3::/64")
	mac := netstate.MAC{0x12, 0xc6, 0x65, 0x89, 0xb4, 0xe3}

	hasRoute := func(want netstate.Route) func() bool {
		want.Table, want.Protocol = netstate.TableMain, 3
		return func() bool {
			routes, err := ns.Routes(netstate.FamilyOf(want.Dst.Addr()))
			netns.Must(t, err)
			return slices.Contains(routes, want)
		}
	}
	hasNeighbor := func() bool {
		neighbors, err := ns.Neighbors(netstate.IPv4)
		netns.Must(t, err)
		return slices.Contains(neighbors, netstate.Neighbor{Device: index, IP: s4.Addr(), MAC: mac, State: netstate.NUDPermanent})
	}
	hasEntry := func() bool {
		fdb, err := ns.FDB("flannel.1")
		netns.Must(t, err)
		return slices.Contains(fdb, netstate.FDBEntry{Device: index, MAC: mac, Dst: netip.MustParseAddr("192.168.1.58"), State: netstate.NUDPermanent})
	}
	hasAddress := func() bool {
		addrs, err := ns.Addrs()
		netns.Must(t, err)
		return slices.Contains(addrs, netstate.Addr{Device: index, Prefix: netip.MustParsePrefix("10.244.1.0/32")})
	}
	link := func(is func(netstate.Link) bool) func() bool {
		return func() bool {
			l, err := ns.Link("flannel.1")
			netns.Must(t, err)
			return is(l)
		}
	}
	flannel4 := hasRoute(netstate.Route{Dst: s4, Gateway: s4.Addr(), Device: index, OnLink: true, Type: netstate.Unicast})
	flannel6 := hasRoute(netstate.Route{Dst: s6, Gateway: s6.Addr(), Device: index, OnLink: true, Type: netstate.Unicast, Priority: 1024})
	for _, step := range []struct {
		command string
		holds   func() bool
		want    bool
	}{
		{"ip link set flannel.1 address 02:00:00:00:00:01", link(func(l netstate.Link) bool { return l.MAC == netstate.MAC{2, 0, 0, 0, 0, 1} }), true},
		{"ip link set flannel.1 up", link(func(l netstate.Link) bool { return l.Up }), true},
		{"ip address replace 10.244.1.0/32 dev flannel.1", hasAddress, true},
		{"ip route replace 10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink", flannel4, true},
		{"ip route replace fd00:10:244:3::/64 via fd00:10:244:3:: dev flannel.1 metric 1024 onlink", flannel6, true},
		{"ip neigh replace 10.244.3.0 lladdr 12:c6:65:89:b4:e3 dev flannel.1 nud permanent", hasNeighbor, true},
		{"bridge fdb replace 12:c6:65:89:b4:e3 dev flannel.1 dst 192.168.1.58 self permanent", hasEntry, true},
		{"ip route del 10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink", flannel4, false},
		{"ip neigh del 10.244.3.0 dev flannel.1", hasNeighbor, false},
		{"bridge fdb del 12:c6:65:89:b4:e3 dev flannel.1 dst 192.168.1.58 self", hasEntry, false},
		{"ip address del 10.244.1.0/32 dev flannel.1", hasAddress, false},
		{"ip link set flannel.1 down", link(func(l netstate.Link) bool { return l.Up }), false},
	} {
		if step.holds() == step.want {
			t.Errorf("before %q: already as it must be after it", step.command)
		}
		if err := Type(ns, step.command); err != nil {
			t.Error(err)
		}
		if step.holds() != step.want {
			t.Errorf("%q had not the effect that it must have", step.command)
		}
	}
}

// A rule for the main table is undone by deleting it: the deletion finds it.
func TestType_Rule(t *testing.T) {
	ns := netns.NewT(t)
	for command, rule := range map[string]netstate.Rule{
		"ip rule add to 10.244.3.0/24 lookup main pref 50":         {Family: netstate.IPv4, Dst: netip.MustParsePrefix("10.244.3.0/24"), Priority: 50},
		"ip -6 rule add to fd00:10:244:3::/64 lookup main pref 50": {Family: netstate.IPv6, Dst: netip.MustParsePrefix("fd00:10:244:3::/64"), Priority: 50},
	} {
		if err := Type(ns, command); err != nil {
			t.Error(err)
		}
		if err := ns.RuleDel(rule); err != nil {
			t.Errorf("after %q: %v", command, err)
		}
	}
}

func TestType_RejectsWhatItDoesNotKnow(t *testing.T) {
	ns := netns.NewT(t)
	for _, command := range []string{
		"", "rm -rf /", "ip link set flannel.1 down now", "ip link set lo qlen 9000",
		"kubectl -n kube-flannel delete pod --field-selector spec.nodeName=node-1",
		"ip neigh del 10.244.3.0 dev no-such-device",
	} {
		if err := Type(ns, command); err == nil {
			t.Errorf("%q was accepted", command)
		}
	}
}

// The lab can do every step that routewatch can print.
func TestApply_KnowsEveryVerb(t *testing.T) {
	ns := netns.NewT(t)
	for _, v := range []mend.Verb{
		mend.RouteReplace, mend.RouteDelete, mend.NeighborReplace, mend.NeighborDelete, mend.FDBReplace, mend.FDBDelete,
		mend.LinkUp, mend.LinkAddress, mend.AddressReplace, mend.AddressDelete, mend.RuleAdd,
	} {
		err := apply(ns, mend.Step{Verb: v, Device: "lo", Prefix: netip.MustParsePrefix("127.0.0.2/32"), IP: netip.MustParseAddr("127.0.0.2")})
		if err != nil && err.Error() == `"`+string(v)+`": the lab cannot do that` {
			t.Error(err)
		}
	}
}
