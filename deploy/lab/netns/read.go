//go:build linux

package netns

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/jsimonetti/rtnetlink/v2/driver"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// LinkIndex returns the interface index of a device.
func (ns *NS) LinkIndex(name string) (int, error) {
	link, err := ns.Link(name)
	return link.Index, err
}

// Link returns a device by name.
func (ns *NS) Link(name string) (netstate.Link, error) {
	req := &rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{Name: name}}
	links, err := dump[rtnetlink.LinkMessage](ns, "device "+name, unix.RTM_GETLINK, 0, req)
	if err != nil {
		return netstate.Link{}, err
	}
	return link(links[0]), nil
}

// Links returns all devices.
func (ns *NS) Links() ([]netstate.Link, error) {
	links, err := dump[rtnetlink.LinkMessage](ns, "devices", unix.RTM_GETLINK, netlink.Dump, &rtnetlink.LinkMessage{})
	return convert(links, link), err
}

// Addrs returns all addresses.
func (ns *NS) Addrs() ([]netstate.Addr, error) {
	addrs, err := dump[rtnetlink.AddressMessage](ns, "addresses", unix.RTM_GETADDR, netlink.Dump, &rtnetlink.AddressMessage{})
	return convert(addrs, func(m *rtnetlink.AddressMessage) netstate.Addr {
		return netstate.Addr{Device: int(m.Index), Prefix: netip.PrefixFrom(addr(m.Attributes.Address), int(m.PrefixLength))}
	}), err
}

// Routes returns the routes of a family, of all tables, in the kernel's order.
// Only the first leg of a multipath route is read.
func (ns *NS) Routes(f netstate.Family) ([]netstate.Route, error) {
	routes, err := dump[rtnetlink.RouteMessage](ns, "routes", unix.RTM_GETROUTE, netlink.Dump, &rtnetlink.RouteMessage{Family: afOf(f)})
	return convert(routes, route), err
}

// Neighbors returns the neighbors of a family.
func (ns *NS) Neighbors(f netstate.Family) ([]netstate.Neighbor, error) {
	req := &rtnetlink.NeighMessage{Family: uint16(afOf(f))}
	neighbors, err := dump[rtnetlink.NeighMessage](ns, "neighbors", unix.RTM_GETNEIGH, netlink.Dump, req)
	return convert(neighbors, func(m *rtnetlink.NeighMessage) netstate.Neighbor {
		return netstate.Neighbor{Device: int(m.Index), IP: addr(m.Attributes.Address), MAC: mac(m.Attributes.LLAddress), State: m.State}
	}), err
}

// FDB returns the forwarding entries of a vxlan device.
func (ns *NS) FDB(device string) ([]netstate.FDBEntry, error) {
	index, err := ns.LinkIndex(device)
	if err != nil {
		return nil, err
	}
	req := &rtnetlink.NeighMessage{Family: unix.AF_BRIDGE}
	entries, err := dump[rtnetlink.NeighMessage](ns, "forwarding entries", unix.RTM_GETNEIGH, netlink.Dump, req)
	var fdb []netstate.FDBEntry
	for _, m := range entries { // of all devices
		if int(m.Index) == index {
			fdb = append(fdb, netstate.FDBEntry{Device: index, MAC: mac(m.Attributes.LLAddress), Dst: addr(m.Attributes.Address), State: m.State})
		}
	}
	return fdb, err
}

// dump sends a request and decodes each reply.
func dump[M any, P interface {
	*M
	rtnetlink.Message
}](ns *NS, what string, typ netlink.HeaderType, flags netlink.HeaderFlags, req P) ([]P, error) {
	data, err := req.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	replies, err := ns.conn.Execute(netlink.Message{Header: netlink.Header{Type: typ, Flags: flags | netlink.Request}, Data: data})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	out := make([]P, len(replies))
	for i, reply := range replies {
		out[i] = P(new(M))
		if err := out[i].UnmarshalBinary(reply.Data); err != nil {
			return nil, fmt.Errorf("read %s: %w", what, err)
		}
	}
	return out, nil
}

func convert[M, V any](in []M, f func(M) V) []V {
	out := make([]V, len(in))
	for i, m := range in {
		out[i] = f(m)
	}
	return out
}

func link(m *rtnetlink.LinkMessage) netstate.Link {
	a := m.Attributes
	l := netstate.Link{
		Index: int(m.Index), Name: a.Name, MTU: int(a.MTU), MAC: mac(a.Address), Lower: int(a.Type), // rtnetlink calls IFLA_LINK Type
		Up: m.Flags&unix.IFF_UP != 0, LowerUp: m.Flags&unix.IFF_LOWER_UP != 0,
	}
	if a.Master != nil {
		l.Master = int(*a.Master)
	}
	if a.Info == nil {
		return l
	}
	l.Kind = a.Info.Kind
	if v, ok := a.Info.Data.(*driver.Vxlan); ok && v.ID != nil && v.Port != nil {
		l.VXLAN = netstate.VXLAN{VNI: *v.ID, Port: *v.Port, Local: addr(v.Local)}
		if v.Local6 != nil {
			l.VXLAN.Local = addr(v.Local6)
		}
		if v.Link != nil {
			l.Lower = int(*v.Link) // a vxlan device has no IFLA_LINK
		}
	}
	return l
}

func route(m *rtnetlink.RouteMessage) netstate.Route {
	a := m.Attributes
	r := netstate.Route{
		Table: a.Table, Type: netstate.RouteType(m.Type), Priority: a.Priority, TOS: m.Tos, Protocol: m.Protocol, Scope: m.Scope,
		Device: int(a.OutIface), Gateway: addr(a.Gateway), PrefSrc: addr(a.Src), OnLink: m.Flags&unix.RTNH_F_ONLINK != 0,
		Dead: m.Flags&unix.RTNH_F_DEAD != 0, LinkDown: m.Flags&unix.RTNH_F_LINKDOWN != 0, Multipath: len(a.Multipath) > 0,
	}
	dst := addr(a.Dst)
	switch {
	case dst.IsValid():
	case m.Family == unix.AF_INET:
		dst = netip.IPv4Unspecified()
	default:
		dst = netip.IPv6Unspecified()
	}
	r.Dst = netip.PrefixFrom(dst, int(m.DstLength))
	if r.Multipath {
		r.Device, r.Gateway = int(a.Multipath[0].Hop.IfIndex), addr(a.Multipath[0].Gateway)
	}
	return r
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a
}

func mac(hw net.HardwareAddr) netstate.MAC {
	if len(hw) != len(netstate.MAC{}) {
		return netstate.MAC{}
	}
	return netstate.MAC(hw)
}
