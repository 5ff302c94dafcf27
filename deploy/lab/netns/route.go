//go:build linux

package netns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// rtaNHID is RTA_NH_ID of linux/rtnetlink.h, which x/sys does not name.
const rtaNHID = 30

// protoBoot is the protocol that `ip route add` and flannel give a route (RTPROT_BOOT).
const protoBoot = unix.RTPROT_BOOT

// Hop is one leg of a multipath route.
type Hop struct {
	Device  int // ifindex
	Gateway netip.Addr
	OnLink  bool
	Weight  int // 0 and 1: one share
}

// RouteAdd adds a route; it is an error if one with the same destination, TOS and metric exists.
func (ns *NS) RouteAdd(r netstate.Route, hops ...Hop) error {
	return ns.newRoute("add", create, r, hops)
}

// RouteReplace adds a route or replaces the one with the same destination, TOS and metric.
func (ns *NS) RouteReplace(r netstate.Route, hops ...Hop) error {
	return ns.newRoute("replace", replace, r, hops)
}

// RouteAppend adds a route after those with the same destination, TOS and metric.
func (ns *NS) RouteAppend(r netstate.Route, hops ...Hop) error {
	return ns.newRoute("append", appendAfter, r, hops)
}

// RouteReplaceFor is RouteReplace of an IPv6 route that the kernel drops after
// some whole seconds, once it looks (net.ipv6.route.gc_interval).
func (ns *NS) RouteReplaceFor(r netstate.Route, life time.Duration) error {
	r.Type, r.Protocol = netstate.Unicast, protoBoot
	return ns.route("replace", unix.RTM_NEWROUTE, replace, r, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.RTA_EXPIRES, uint32(life.Seconds()))
	})
}

func (ns *NS) newRoute(verb string, flags netlink.HeaderFlags, r netstate.Route, hops []Hop) error {
	if r.Type == 0 {
		r.Type = netstate.Unicast
	}
	if r.Protocol == 0 {
		r.Protocol = protoBoot
	}
	return ns.route(verb, unix.RTM_NEWROUTE, flags, r, func(ae *netlink.AttributeEncoder) {
		if len(hops) > 0 {
			ae.Do(unix.RTA_MULTIPATH, func() ([]byte, error) { return encodeHops(familyOf(r.Dst.Addr()), hops) })
		}
	})
}

// RouteDel deletes the first route that matches the fields which are set.
func (ns *NS) RouteDel(r netstate.Route) error {
	if r.Scope == 0 {
		r.Scope = unix.RT_SCOPE_NOWHERE // of a deletion: any scope
	}
	return ns.route("delete", unix.RTM_DELROUTE, change, r, func(*netlink.AttributeEncoder) {})
}

func (ns *NS) route(verb string, typ netlink.HeaderType, flags netlink.HeaderFlags, r netstate.Route, more encode) error {
	if r.Table == 0 {
		r.Table = netstate.TableMain
	}
	header := make([]byte, unix.SizeofRtMsg)
	header[0], header[1], header[3] = familyOf(r.Dst.Addr()), byte(r.Dst.Bits()), r.TOS
	header[4], header[5], header[6], header[7] = unix.RT_TABLE_UNSPEC, r.Protocol, r.Scope, byte(r.Type) // RTA_TABLE holds the table
	if r.OnLink {
		binary.NativeEndian.PutUint32(header[8:], unix.RTNH_F_ONLINK)
	}
	return ns.message(fmt.Sprintf("%s route %s", verb, r.Dst), typ, flags, header, func(ae *netlink.AttributeEncoder) {
		if r.Dst.Bits() > 0 {
			ae.Bytes(unix.RTA_DST, r.Dst.Masked().Addr().AsSlice())
		}
		ae.Uint32(unix.RTA_TABLE, r.Table)
		uint32IfSet(ae, unix.RTA_OIF, uint32(r.Device))
		uint32IfSet(ae, unix.RTA_PRIORITY, r.Priority)
		uint32IfSet(ae, rtaNHID, r.NextHopID)
		encodeGateway(ae, familyOf(r.Dst.Addr()), r.Gateway)
		if r.PrefSrc.IsValid() {
			ae.Bytes(unix.RTA_PREFSRC, r.PrefSrc.AsSlice())
		}
		more(ae)
	})
}

// encodeGateway writes RTA_GATEWAY, or RTA_VIA for a gateway of the other family.
func encodeGateway(ae *netlink.AttributeEncoder, family byte, gw netip.Addr) {
	switch {
	case !gw.IsValid():
	case familyOf(gw) == family:
		ae.Bytes(unix.RTA_GATEWAY, gw.AsSlice())
	default:
		via := binary.NativeEndian.AppendUint16(nil, uint16(familyOf(gw)))
		ae.Bytes(unix.RTA_VIA, append(via, gw.AsSlice()...))
	}
}

// encodeHops writes an array of struct rtnexthop, each with its attributes.
func encodeHops(family byte, hops []Hop) ([]byte, error) {
	var b []byte
	for _, h := range hops {
		ae := netlink.NewAttributeEncoder()
		encodeGateway(ae, family, h.Gateway)
		attrs, err := ae.Encode()
		if err != nil {
			return nil, err
		}
		var flags byte
		if h.OnLink {
			flags = unix.RTNH_F_ONLINK
		}
		b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtNexthop+len(attrs)))
		b = append(b, flags, byte(max(h.Weight, 1)-1))
		b = binary.NativeEndian.AppendUint32(b, uint32(h.Device))
		b = append(b, attrs...)
	}
	return b, nil
}

// RuleAdd adds a policy rule; an Action of 0 looks up r.Table.
func (ns *NS) RuleAdd(r netstate.Rule) error {
	return ns.rule("add", unix.RTM_NEWRULE, create, r)
}

// RuleDel deletes the first rule that matches the fields which are set.
func (ns *NS) RuleDel(r netstate.Rule) error {
	return ns.rule("delete", unix.RTM_DELRULE, change, r)
}

func (ns *NS) rule(verb string, typ netlink.HeaderType, flags netlink.HeaderFlags, r netstate.Rule) error {
	if r.Action == 0 && typ == unix.RTM_NEWRULE {
		r.Action = unix.FR_ACT_TO_TBL
	}
	header := make([]byte, 12) // struct fib_rule_hdr
	header[0], header[7] = afOf(r.Family), r.Action
	header[1], header[2] = prefixBits(r.Dst), prefixBits(r.Src)
	if r.Invert {
		binary.NativeEndian.PutUint32(header[8:], unix.FIB_RULE_INVERT)
	}
	return ns.message(fmt.Sprintf("%s rule %d", verb, r.Priority), typ, flags, header, func(ae *netlink.AttributeEncoder) {
		uint32IfSet(ae, unix.FRA_PRIORITY, r.Priority)
		uint32IfSet(ae, unix.FRA_TABLE, r.Table)
		uint32IfSet(ae, unix.FRA_FWMARK, r.Mark)
		if r.Dst.Bits() > 0 {
			ae.Bytes(unix.FRA_DST, r.Dst.Addr().AsSlice())
		}
		if r.Src.Bits() > 0 {
			ae.Bytes(unix.FRA_SRC, r.Src.Addr().AsSlice())
		}
		if r.IIF != "" {
			ae.String(unix.FRA_IIFNAME, r.IIF)
		}
		if r.OIF != "" {
			ae.String(unix.FRA_OIFNAME, r.OIF)
		}
	})
}

func uint32IfSet(ae *netlink.AttributeEncoder, typ uint16, v uint32) {
	if v != 0 {
		ae.Uint32(typ, v)
	}
}

func familyOf(a netip.Addr) byte { return afOf(netstate.FamilyOf(a)) }

func afOf(f netstate.Family) byte {
	if f == netstate.IPv4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// prefixBits is 0 for the zero prefix, whose Bits are -1.
func prefixBits(p netip.Prefix) byte { return byte(max(p.Bits(), 0)) }
