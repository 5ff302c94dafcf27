package judge

import (
	"fmt"
	"net/netip"
	"slices"

	"routewatch/shared/expect"
	"routewatch/shared/lease"
	"routewatch/shared/mend"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// nodeProblems holds the node's own side against its own lease. What is not
// known is not judged.
func (f *fold) nodeProblems() {
	if !f.state.Complete || !expect.Judged(f.next.Backend) {
		return
	}
	f.next.NodeJudged = f.view.ownKnown
	for _, own := range f.set.Own {
		if own.Malformed != "" {
			continue
		}
		if link, ok := f.view.device(own.Family); ok {
			f.device(own, link)
		} else if f.next.Backend == "vxlan" {
			f.deviceVNI(own)
		}
		f.ownSubnet(own)
		f.ownSubnetDiverted(own)
		f.forwarding(own)
	}
}

// rememberNodeProblems keeps what was found last while nothing can be judged.
func (f *fold) rememberNodeProblems() {
	f.next.KnownNodeProblems = f.prev.KnownNodeProblems
	if f.next.NodeJudged {
		f.next.KnownNodeProblems = f.next.NodeProblems
	}
}

func (f *fold) problem(p wire.NodeProblem) {
	p.Since = f.in.Now
	for _, q := range slices.Concat(f.prev.NodeProblems, f.prev.KnownNodeProblems) {
		if q.Problem == p.Problem && q.Family == p.Family && q.Device == p.Device {
			p.Since = q.Since
			break
		}
	}
	f.next.NodeProblems = append(f.next.NodeProblems, p)
}

func (f *fold) device(own lease.Lease, link *netstate.Link) {
	restart := wire.Advice(mend.RestartFlannel(f.opts.Node, f.set.Source))
	at := func(problem verdict.NodeProblem, message string, advice ...wire.Advice) {
		f.problem(wire.NodeProblem{Problem: problem, Family: own.Family, Device: link.Name, Message: message, Advice: advice})
	}
	if !own.MAC.IsZero() && own.MAC != link.MAC {
		at(verdict.DeviceMAC,
			fmt.Sprintf("%s has the MAC %s, but this node published %s: what peers send to it is dropped", link.Name, link.MAC, own.MAC),
			wire.Advice{
				Command: mend.Step{Verb: mend.LinkAddress, Device: link.Name, MAC: own.MAC}.String(),
				Why:     "removes the neighbors of the device as well: what is then missing is shown next",
			}, restart)
	}
	if port := f.opts.Flannel.Port; port != 0 && link.VXLAN.Port != port {
		at(verdict.DevicePort, fmt.Sprintf("%s uses UDP port %d, flannel is configured for %d", link.Name, link.VXLAN.Port, port), restart)
	}
	if local := link.VXLAN.Local; local.IsValid() && !f.isOwn(local) {
		at(verdict.DeviceLocal,
			fmt.Sprintf("%s sends from %s, which this node does not have any more: the kernel drops what it encapsulates", link.Name, local),
			restart)
	}
	want := netip.PrefixFrom(own.Subnet.Addr(), own.Family.Bits())
	if link.Up && want.IsValid() && !f.hasAddr(link.Index, want.Addr()) {
		at(verdict.DeviceAddress, fmt.Sprintf("%s does not have the address %s", link.Name, want),
			wire.Advice{Command: mend.Step{Verb: mend.AddressReplace, Prefix: want, Device: link.Name}.String()}, restart)
	}
	lower, ok := f.state.Link(link.Lower)
	if !ok { // only a vxlan device knows what it sends by
		lower, ok = f.view.external[own.Family]
	}
	if carries := lower.MTU - overhead[f.next.Backend]; ok && link.MTU > carries {
		at(verdict.DeviceMTU, fmt.Sprintf("%s has MTU %d, but %s only carries %d with %d bytes of encapsulation",
			link.Name, link.MTU, lower.Name, carries, overhead[f.next.Backend]))
	}
}

// overhead is what encapsulation adds, as each backend takes it: with vxlan IP,
// UDP, VXLAN and the inner Ethernet header over IPv4 (vxlan/device.go), for
// both families, so the IPv6 device is 20 bytes too large by design; that is
// not reported. The others are of ipip.go, udp.go and wireguard.go.
var overhead = map[string]int{"vxlan": 50, "ipip": 20, "udp": 28, "wireguard": 80}

func (f *fold) hasAddr(device int, a netip.Addr) bool {
	for p := range f.state.AddrsOf(device) {
		if p.Addr() == a {
			return true
		}
	}
	return false
}

// isOwn reports whether any device of this node has the address.
func (f *fold) isOwn(a netip.Addr) bool {
	return slices.ContainsFunc(f.state.Addrs, func(own netstate.Addr) bool { return own.Prefix.Addr() == a })
}

// deviceVNI: the device is missing, but another vxlan device has the node's own
// flannel address.
func (f *fold) deviceVNI(own lease.Lease) {
	for _, link := range f.state.Links {
		if own.VNI == 0 {
			return // flannel before v0.14 published none
		}
		if link.Kind != "vxlan" || !f.hasAddr(link.Index, own.Subnet.Addr()) || link.VXLAN.VNI == own.VNI {
			continue
		}
		f.problem(wire.NodeProblem{
			Problem: verdict.DeviceVNI, Family: own.Family, Device: link.Name,
			Message: fmt.Sprintf("%s has the VNI %d, but this node published %d", link.Name, link.VXLAN.VNI, own.VNI),
			Advice:  []wire.Advice{wire.Advice(mend.RestartFlannel(f.opts.Node, f.set.Source))},
		})
	}
}

// ownSubnet: a route for the own subnet that leads off the node takes the
// node's pods away from it. cni0's connected route and a blackhole are normal.
func (f *fold) ownSubnet(own lease.Lease) {
	exact := f.state.RoutesTo(own.Subnet)
	for _, r := range slices.Concat(exact, f.state.RoutesInside(own.Subnet)) {
		if r.Type != netstate.Unicast || r.Table != netstate.TableMain || r.Protocol == protocolKernel {
			continue
		}
		if !r.Gateway.IsValid() && !f.view.isFlannel(r.Device) {
			continue
		}
		if r.Dst == own.Subnet && outranked(r, exact) {
			continue
		}
		s := deletion(r, f.state.LinkName(r.Device))
		f.problem(wire.NodeProblem{
			Problem: verdict.OwnSubnetShadowed, Family: own.Family, Device: s.Device,
			Message: fmt.Sprintf("the route %s leads this node's own subnet away from it", mend.RouteText(s)),
			Advice:  []wire.Advice{{Command: s.String()}},
		})
	}
}

// ownSubnetDiverted: the node has a route of its own for its pods, and the
// kernel takes another for them, which a policy rule chose.
func (f *fold) ownSubnetDiverted(own lease.Lease) {
	out, asked := f.state.Answer(netstate.Query{Dst: expect.PodAddress(own.Subnet)})
	if !asked || out.Errno != 0 || out.Route.Type != netstate.Unicast {
		return
	}
	switch out.Route.Table {
	case netstate.TableLocal, netstate.TableMain, netstate.TableDefault:
		return
	}
	toPods := func(r *netstate.Route) bool {
		return r.Type == netstate.Unicast && r.Table == netstate.TableMain && !r.Gateway.IsValid() && !f.view.isFlannel(r.Device)
	}
	for _, r := range f.state.RoutesTo(own.Subnet) {
		if !toPods(r) || r.Device == out.Route.Device {
			continue
		}
		device := f.state.LinkName(out.Route.Device)
		var advice []wire.Advice
		for _, s := range ruleAhead(f.state, out, own.Subnet) {
			advice = append(advice, wire.Advice{Command: s.String()})
		}
		f.problem(wire.NodeProblem{
			Problem: verdict.OwnSubnetShadowed, Family: own.Family, Device: device,
			Message: fmt.Sprintf("a policy rule leads packets for this node's own pods to %s by the route %s of table %d",
				device, out.Route.Dst, out.Route.Table),
			Advice: append(advice, wire.Advice(mend.ShowRules(own.Family == netstate.IPv6))),
		})
		return
	}
}

// protocolKernel marks the routes that come with an address (RTPROT_KERNEL), as
// that of flannel-v6.1 for its own.
const protocolKernel = 2

// outranked reports whether another route for the same destination wins over r:
// of those in one table the one with the lowest metric does, and the first of several.
func outranked(r *netstate.Route, exact []*netstate.Route) bool {
	for _, o := range exact {
		if *o == *r {
			return false
		}
		if o.Table == r.Table && o.Priority <= r.Priority {
			return true
		}
	}
	return false
}

// forwarding asks why a packet from a pod would not be forwarded although the
// node's own would go: the lookup as from a pod (I) fails alone, and the device
// settings confirm it. IPv6 forwards after its lookup, which therefore shows
// nothing: there the setting alone tells.
func (f *fold) forwarding(own lease.Lease) {
	link, ok := f.view.device(own.Family)
	if len(f.opts.Flannel.DevicesOf(f.set, own.Family, own.VNI)) == 0 { // pods' packets leave as they are
		var external netstate.Link
		external, ok = f.view.external[own.Family]
		link = &external
	}
	if !ok || !own.Subnet.IsValid() {
		return
	}
	forPods := &f.mem.forPods
	forPods.sift(f.state.Lookups, func(l *netstate.Lookup) bool { return l.Query.IIF != 0 })
	for _, i := range forPods.picked {
		in := forPods.list[i]
		if netstate.FamilyOf(in.Query.Dst) != own.Family {
			continue
		}
		pods, _ := f.state.Link(in.Query.IIF)
		if own.Family == netstate.IPv6 {
			f.forwardingIPv6(pods)
			return
		}
		if in.Errno != 0 && f.isOK(in.Query.Dst) {
			f.forwardingIPv4(&pods, link)
			return
		}
	}
}

// isOK reports whether the lease that the pod address stands for is ok.
func (f *fold) isOK(pod netip.Addr) bool {
	return slices.ContainsFunc(f.mem.index.holding(pod), func(i int) bool { return f.next.Leases[i].State == verdict.OK })
}

// forwardingIPv6 goes by the setting of all devices: a device's own says only
// whether it is a router's. Linux 6.17 lets a device forward all the same
// (force_forwarding), which netconf does not tell of.
func (f *fold) forwardingIPv6(bridge netstate.Link) {
	all, known := f.state.NetConfOf(netstate.IPv6, netstate.NetConfAll)
	if !known || all.Forwarding {
		return
	}
	f.problem(wire.NodeProblem{
		Problem: verdict.ForwardingOff, Family: netstate.IPv6, Device: bridge.Name,
		Message: "forwarding is off for IPv6: the kernel does not pass packets of pods on",
		Advice:  []wire.Advice{{Command: "sysctl -w net.ipv6.conf.all.forwarding=1"}},
	})
}

func (f *fold) forwardingIPv4(bridge, flannel *netstate.Link) {
	all, _ := f.state.NetConfOf(netstate.IPv4, netstate.NetConfAll)
	for _, dev := range []*netstate.Link{bridge, flannel} {
		c, ok := f.state.NetConfOf(netstate.IPv4, dev.Index)
		if !ok {
			continue
		}
		if !c.Forwarding {
			f.problem(wire.NodeProblem{
				Problem: verdict.ForwardingOff, Family: netstate.IPv4, Device: dev.Name,
				Message: fmt.Sprintf("forwarding is off on %s: the kernel does not pass packets of pods on", dev.Name),
				Advice:  []wire.Advice{{Command: fmt.Sprintf("sysctl -w net.ipv4.conf.%s.forwarding=1", sysctlName(dev.Name))}},
			})
		}
		// The kernel takes the larger of the device's setting and that of all.
		if dev.Index == bridge.Index && max(c.RPFilter, all.RPFilter) == 1 {
			f.problem(wire.NodeProblem{
				Problem: verdict.RPFilter, Family: netstate.IPv4, Device: dev.Name,
				Message: fmt.Sprintf("the strict reverse path filter on %s drops packets of pods", dev.Name),
				Advice:  []wire.Advice{{Command: fmt.Sprintf("sysctl -w net.ipv4.conf.%s.rp_filter=2", sysctlName(dev.Name))}},
			})
		}
	}
}

// sysctlName spells a device name for sysctl(8), where a dot in it is a slash.
func sysctlName(device string) string {
	b := []byte(device)
	for i := range b {
		if b[i] == '.' {
			b[i] = '/'
		}
	}
	return string(b)
}
