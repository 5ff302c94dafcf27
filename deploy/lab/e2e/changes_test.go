package e2e

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
	"routewatch/deploy/lab/topology"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// change is how a row of the table comes about.
type change struct {
	// from names the row whose change is made first, before the exporter starts.
	from string
	do   func(t *testing.T, n *node, f netstate.Family)
}

const (
	compat     = "net.ipv4.nexthop_compat_mode" // of both families
	skipNotify = "net.ipv6.route.skip_notify_on_dev_down"

	spare = "spare0" // a device that is none of flannel's; its other end is in the pod's namespace

	nextHop, otherNextHop, group uint32 = 10, 11, 12
)

var changes = map[string]change{
	// The device.
	"link down":             {"", linkDown},
	"link down, up":         {"", linkDownUp},
	"link deleted":          {"", linkDeleted},
	"link deleted and made": {"", func(t *testing.T, n *node, f netstate.Family) { n.remake(t, f, true) }},
	"link made, other MAC":  {"", func(t *testing.T, n *node, f netstate.Family) { n.remake(t, f, false) }},
	"link to another netns": {"", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.Move(device(f), n.Pod))
	}},
	"underlay deleted": {"", func(t *testing.T, n *node, _ netstate.Family) {
		netns.Must(t, n.NS.DelLink(topology.Underlay))
	}},
	"link down, silent":     {"", silently(linkDown)},
	"link down, up, silent": {"", silently(linkDownUp)},
	"link deleted, silent":  {"", silently(linkDeleted)},
	"mtu 1400":              {"", mtu(1400)},
	"mtu 1279":              {"", mtu(1279)},
	"mtu 1500":              {"", refused(1500)},
	"mtu 67":                {"", refused(67)},
	"underlay mtu 1400": {"", func(t *testing.T, n *node, _ netstate.Family) {
		netns.Must(t, n.NS.SetMTU(topology.Underlay, 1400))
	}},
	"mac changed": {"", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.SetMAC(device(f), netstate.MAC{2, 0xde, 0xad, 0, 0, 2}))
	}},
	"renamed": {"", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.Rename(device(f), "tunnel0"))
	}},
	"port of a bridge": {"", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.AddBridge("br1"))
		netns.Must(t, n.NS.SetMaster(device(f), "br1"))
	}},
	"vxlan local changed": {"", func(t *testing.T, n *node, f netstate.Family) {
		local := map[netstate.Family]string{netstate.IPv4: "192.168.1.99", netstate.IPv6: "fd00:192:168:1::99"}
		netns.Must(t, n.NS.SetVXLANLocal(device(f), netip.MustParseAddr(local[f])))
	}},

	// Addresses.
	"last address deleted": {"", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.DelAddr(device(f), own(f)))
	}},
	"addresses flushed": {"", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.AddAddr(device(f), second(f)))
		n.flushAddrs(t, f)
	}},
	"second address deleted": {"", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.AddAddr(device(f), second(f)))
		netns.Must(t, n.NS.DelAddr(device(f), second(f)))
	}},
	"own address replaced": {"", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.AddAddr(device(f), second(f)))
		netns.Must(t, n.NS.DelAddr(device(f), own(f)))
	}},
	"route with src": {"", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.AddAddr(topology.Underlay, source(f)))
		r := n.flannelRoute(t, f)
		r.PrefSrc = source(f).Addr()
		netns.Must(t, n.NS.RouteReplace(r))
	}},
	"its src deleted": {"route with src", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.DelAddr(topology.Underlay, source(f)))
	}},

	// Next-hop objects.
	"route by nexthop": {"", routeByNextHop},
	"nexthop deleted":  {"route by nexthop", nextHopDeleted},
	"nexthops flushed": {"route by nexthop", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.NextHopReplace(n.nextHopTo(t, f, otherNextHop, "10.244.2.0", "fd00:10:244:2::")))
		netns.Must(t, n.NS.NextHopDel(otherNextHop))
		netns.Must(t, n.NS.NextHopDel(nextHop))
	}},
	"nexthop replaced":         {"route by nexthop", nextHopReplaced},
	"link down, by nexthop":    {"route by nexthop", linkDown},
	"nexthop, no compat":       {"", withoutCompat(routeByNextHop)},
	"no compat: deleted":       {"nexthop, no compat", nextHopDeleted},
	"no compat: replaced":      {"nexthop, no compat", nextHopReplaced},
	"no compat: link down":     {"nexthop, no compat", linkDown},
	"nexthop group":            {"", nextHopGroup},
	"group loses wrong member": {"nexthop group", func(t *testing.T, n *node, _ netstate.Family) { netns.Must(t, n.NS.NextHopDel(otherNextHop)) }},
	"group loses right member": {"nexthop group", nextHopDeleted},
	"group, no compat":         {"", withoutCompat(nextHopGroup)},
	"no compat: wrong member":  {"group, no compat", func(t *testing.T, n *node, _ netstate.Family) { netns.Must(t, n.NS.NextHopDel(otherNextHop)) }},
	"no compat: right member":  {"group, no compat", nextHopDeleted},

	// Several hops.
	"multipath": {"", multipath},
	"leg down":  {"multipath", func(t *testing.T, n *node, _ netstate.Family) { netns.Must(t, n.NS.SetDown(spare)) }},
	"leg unplugged": {"multipath", func(t *testing.T, n *node, _ netstate.Family) {
		netns.Must(t, n.Pod.SetDown(spare))
	}},
	"leg deleted": {"multipath", func(t *testing.T, n *node, _ netstate.Family) { netns.Must(t, n.NS.DelLink(spare)) }},

	// The underlay.
	"underlay down": {"", underlayDown},
	"unplugged":     {"", unplug},
	"unplugged, linkdown ignored": {"", func(t *testing.T, n *node, f netstate.Family) {
		ignoreLinkDown(t, n)
		unplug(t, n, f)
	}},
	"direct route":             {"", directRoute},
	"direct: underlay down":    {"direct route", underlayDown},
	"direct: unplugged":        {"direct route", unplug},
	"direct, linkdown ignored": {"", func(t *testing.T, n *node, f netstate.Family) { ignoreLinkDown(t, n); directRoute(t, n, f) }},
	"ignored: unplugged":       {"direct, linkdown ignored", unplug},

	// Routes, rules, settings.
	"routes flushed": {"", func(t *testing.T, n *node, f netstate.Family) {
		for _, l := range n.peers {
			if l.Family == f {
				netns.Must(t, n.NS.RouteDel(netstate.Route{Dst: l.Subnet, Device: n.NS.MustIndex(t, device(f))}))
			}
		}
	}},
	"route expired": {"", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.Sysctl("net.ipv6.route.gc_interval", "1"))
		r := n.flannelRoute(t, f)
		netns.Must(t, n.NS.RouteReplaceFor(r, time.Second))
		within(t, 5*time.Second, "the route expires", func() bool { return !n.hasRoute(t, r.Dst) })
	}},
	"rule added": {"", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.RouteAdd(netstate.Route{Dst: everything(f), Gateway: router(f), Table: 100}))
		netns.Must(t, n.NS.RuleAdd(divertingRule(t, n, f)))
	}},
	"rule deleted": {"rule added", func(t *testing.T, n *node, f netstate.Family) { netns.Must(t, n.NS.RuleDel(divertingRule(t, n, f))) }},
	"rule of main deleted": {"", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.RuleDel(netstate.Rule{Family: f, Priority: 32766, Table: netstate.TableMain}))
	}},
	"disable_ipv6 device": {"", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.Sysctl("net/ipv6/conf/"+device(f)+"/disable_ipv6", "1"))
	}},
	"disable_ipv6 all": {"", func(t *testing.T, n *node, _ netstate.Family) {
		netns.Must(t, n.NS.Sysctl("net.ipv6.conf.all.disable_ipv6", "1"))
	}},
	"forwarding off": {"", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.Sysctl(map[netstate.Family]string{netstate.IPv4: "net.ipv4.ip_forward", netstate.IPv6: "net.ipv6.conf.all.forwarding"}[f], "0"))
	}},
	"forwarding off on cni0": {"", func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.Sysctl("net."+f.String()+".conf.cni0.forwarding", "0"))
	}},
	"rp_filter strict": {"", strictFilter},
	"rp_filter strict, pods elsewhere": {"", func(t *testing.T, n *node, f netstate.Family) {
		n.addSpare(t)
		netns.Must(t, n.NS.RouteAdd(netstate.Route{Dst: netip.MustParsePrefix("10.244.1.0/25"), Device: n.NS.MustIndex(t, spare)}))
		strictFilter(t, n, f)
	}},
}

func linkDown(t *testing.T, n *node, f netstate.Family) { netns.Must(t, n.NS.SetDown(device(f))) }

func linkDownUp(t *testing.T, n *node, f netstate.Family) {
	linkDown(t, n, f)
	netns.Must(t, n.NS.SetUp(device(f)))
}

func linkDeleted(t *testing.T, n *node, f netstate.Family) { netns.Must(t, n.NS.DelLink(device(f))) }

// needsRoot are the changes that set a sysctl which the kernel hides in a user
// namespace. There they are left out.
var needsRoot = []string{"link down, silent", "link down, up, silent", "link deleted, silent", "route expired"}

// silently keeps the kernel from announcing IPv6 routes that go with a device.
func silently(do func(*testing.T, *node, netstate.Family)) func(*testing.T, *node, netstate.Family) {
	return func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.Sysctl(skipNotify, "1"))
		do(t, n, f)
	}
}

// withoutCompat keeps the kernel from saying in routes what their next-hop objects are.
func withoutCompat(do func(*testing.T, *node, netstate.Family)) func(*testing.T, *node, netstate.Family) {
	return func(t *testing.T, n *node, f netstate.Family) {
		netns.Must(t, n.NS.Sysctl(compat, "0"))
		do(t, n, f)
	}
}

func mtu(bytes int) func(*testing.T, *node, netstate.Family) {
	return func(t *testing.T, n *node, f netstate.Family) { netns.Must(t, n.NS.SetMTU(device(f), bytes)) }
}

func refused(bytes int) func(*testing.T, *node, netstate.Family) {
	return func(t *testing.T, n *node, f netstate.Family) {
		if err := n.NS.SetMTU(device(f), bytes); !errors.Is(err, unix.EINVAL) {
			t.Errorf("mtu %d: %v, want it refused", bytes, err)
		}
	}
}

func underlayDown(t *testing.T, n *node, _ netstate.Family) {
	netns.Must(t, n.NS.SetDown(topology.Underlay))
}

func unplug(t *testing.T, n *node, _ netstate.Family) { netns.Must(t, n.Unplug()) }

func ignoreLinkDown(t *testing.T, n *node) {
	for _, f := range []string{"ipv4", "ipv6"} {
		netns.Must(t, n.NS.Sysctl("net."+f+".conf.all.ignore_routes_with_linkdown", "1"))
	}
}

func strictFilter(t *testing.T, n *node, _ netstate.Family) {
	netns.Must(t, n.NS.Sysctl("net.ipv4.conf.all.rp_filter", "1"))
}

func routeByNextHop(t *testing.T, n *node, f netstate.Family) {
	netns.Must(t, n.NS.NextHopReplace(n.nextHopTo(t, f, nextHop, "10.244.3.0", "fd00:10:244:3::")))
	n.routeBy(t, f, nextHop)
}

func nextHopReplaced(t *testing.T, n *node, f netstate.Family) {
	netns.Must(t, n.NS.NextHopReplace(n.nextHopTo(t, f, nextHop, "10.244.2.0", "fd00:10:244:2::")))
}

func nextHopDeleted(t *testing.T, n *node, _ netstate.Family) {
	netns.Must(t, n.NS.NextHopDel(nextHop))
}

func nextHopGroup(t *testing.T, n *node, f netstate.Family) {
	netns.Must(t, n.NS.NextHopReplace(n.nextHopTo(t, f, nextHop, "10.244.3.0", "fd00:10:244:3::")))
	netns.Must(t, n.NS.NextHopReplace(n.nextHopTo(t, f, otherNextHop, "10.244.2.0", "fd00:10:244:2::")))
	netns.Must(t, n.NS.NextHopReplace(netns.NextHop{ID: group, Group: []uint32{nextHop, otherNextHop}}))
	n.routeBy(t, f, group)
}

// nextHopTo is a next-hop object of flannel's form.
func (n *node) nextHopTo(t *testing.T, f netstate.Family, id uint32, gateway4, gateway6 string) netns.NextHop {
	gateway := map[netstate.Family]string{netstate.IPv4: gateway4, netstate.IPv6: gateway6}[f]
	return netns.NextHop{ID: id, Family: f, Device: n.NS.MustIndex(t, device(f)), Gateway: netip.MustParseAddr(gateway), OnLink: true}
}

// routeBy replaces node-3's route by one that a next-hop object leads.
func (n *node) routeBy(t *testing.T, f netstate.Family, id uint32) {
	t.Helper()
	r := n.flannelRoute(t, f)
	netns.Must(t, n.NS.RouteReplace(netstate.Route{Dst: r.Dst, NextHopID: id, Priority: r.Priority}))
}

func multipath(t *testing.T, n *node, f netstate.Family) {
	n.addSpare(t)
	r := n.flannelRoute(t, f)
	gateway := map[netstate.Family]string{netstate.IPv4: "192.0.2.2", netstate.IPv6: "2001:db8::2"}[f]
	netns.Must(t, n.NS.RouteReplace(netstate.Route{Dst: r.Dst, Priority: r.Priority},
		netns.Hop{Device: r.Device, Gateway: r.Gateway, OnLink: true},
		netns.Hop{Device: n.NS.MustIndex(t, spare), Gateway: netip.MustParseAddr(gateway)}))
}

// directRoute is what flannel sets with DirectRouting, and its host-gw backend always.
func directRoute(t *testing.T, n *node, _ netstate.Family) {
	for _, f := range []netstate.Family{netstate.IPv4, netstate.IPv6} {
		l, r := n.victim(t, f), n.flannelRoute(t, f)
		r.Gateway, r.Device, r.OnLink = l.PublicIP, n.NS.MustIndex(t, topology.Underlay), false
		netns.Must(t, n.NS.RouteReplace(r))
	}
}

func divertingRule(t *testing.T, n *node, f netstate.Family) netstate.Rule {
	return netstate.Rule{Family: f, Priority: 100, Table: 100, Dst: n.victim(t, f).Subnet}
}

// addSpare adds a device with a carrier and an address of each family.
func (n *node) addSpare(t *testing.T) {
	t.Helper()
	netns.Must(t, n.NS.AddVeth(spare, n.Pod, spare))
	netns.Must(t, n.Pod.SetUp(spare))
	for _, a := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
		netns.Must(t, n.NS.AddAddr(spare, netip.MustParsePrefix(a)))
	}
	netns.Must(t, n.NS.SetUp(spare))
}

// remake deletes flannel's device and makes it again, with its MAC and address.
func (n *node) remake(t *testing.T, f netstate.Family, sameMAC bool) {
	t.Helper()
	link, err := n.NS.Link(device(f))
	netns.Must(t, err)
	v := netns.VXLAN{
		Name: link.Name, VNI: link.VXLAN.VNI, Port: link.VXLAN.Port, Lower: topology.Underlay, Local: link.VXLAN.Local, MTU: link.MTU,
	}
	if sameMAC {
		v.MAC = link.MAC
	}
	netns.Must(t, n.NS.DelLink(v.Name))
	netns.Must(t, n.NS.AddVXLAN(v))
	netns.Must(t, n.NS.AddAddr(v.Name, own(f)))
	netns.Must(t, n.NS.SetUp(v.Name))
}

func (n *node) flushAddrs(t *testing.T, f netstate.Family) {
	t.Helper()
	addrs, err := n.NS.Addrs()
	netns.Must(t, err)
	index := n.NS.MustIndex(t, device(f))
	for _, a := range addrs {
		if a.Device == index && netstate.FamilyOf(a.Prefix.Addr()) == f {
			netns.Must(t, n.NS.DelAddr(device(f), a.Prefix))
		}
	}
}

func (n *node) hasRoute(t *testing.T, dst netip.Prefix) bool {
	t.Helper()
	routes, err := n.NS.Routes(netstate.FamilyOf(dst.Addr()))
	netns.Must(t, err)
	return slices.ContainsFunc(routes, func(r netstate.Route) bool { return r.Dst == dst })
}

// victim is the lease of node-3 in a family.
func (n *node) victim(t *testing.T, f netstate.Family) lease.Lease {
	t.Helper()
	i := slices.IndexFunc(n.peers, func(l lease.Lease) bool { return l.Peer == "node-3" && l.Family == f })
	if i < 0 {
		t.Fatalf("the NodeList has no %s lease of node-3", f)
	}
	return n.peers[i]
}

// flannelRoute is node-3's route as flannel sets it.
func (n *node) flannelRoute(t *testing.T, f netstate.Family) netstate.Route {
	t.Helper()
	l := n.victim(t, f)
	r := netstate.Route{Dst: l.Subnet, Gateway: l.Subnet.Addr(), Device: n.NS.MustIndex(t, device(f)), OnLink: true}
	if f == netstate.IPv6 {
		r.Priority = 1024
	}
	return r
}

func device(f netstate.Family) string {
	return map[netstate.Family]string{netstate.IPv4: "flannel.1", netstate.IPv6: "flannel-v6.1"}[f]
}

// own is the address that flannel gives its device.
func own(f netstate.Family) netip.Prefix {
	return netip.MustParsePrefix(map[netstate.Family]string{netstate.IPv4: "10.244.1.0/32", netstate.IPv6: "fd00:10:244:1::/128"}[f])
}

// second is an address that somebody else gives it.
func second(f netstate.Family) netip.Prefix {
	return netip.MustParsePrefix(map[netstate.Family]string{netstate.IPv4: "198.51.100.1/32", netstate.IPv6: "2001:db8:1::1/128"}[f])
}

// source is a second address of the underlay device.
func source(f netstate.Family) netip.Prefix {
	return netip.MustParsePrefix(map[netstate.Family]string{netstate.IPv4: "192.168.1.99/24", netstate.IPv6: "fd00:192:168:1::99/64"}[f])
}

func router(f netstate.Family) netip.Addr {
	return netip.MustParseAddr(map[netstate.Family]string{netstate.IPv4: "192.168.1.1", netstate.IPv6: "fd00:192:168:1::1"}[f])
}

func everything(f netstate.Family) netip.Prefix { return netip.PrefixFrom(router(f), 0).Masked() }

func hostRoute(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
