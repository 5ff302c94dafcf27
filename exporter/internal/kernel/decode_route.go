package kernel

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

const (
	rtaNHID   = 30 // RTA_NH_ID of linux/rtnetlink.h
	rtnhBytes = 8  // struct rtnexthop
)

// decodeRoute reads struct rtmsg and its attributes. ok is false for what is no
// routing table entry of IPv4 or IPv6: another family, or a cached clone of an
// entry. It allocates nothing.
func decodeRoute(b []byte) (r netstate.Route, ok bool, err error) {
	if len(b) < unix.SizeofRtMsg {
		return r, false, errShort
	}
	family, known := familyOf(b[0])
	flags := native.Uint32(b[8:])
	if !known || flags&unix.RTM_F_CLONED != 0 {
		return r, false, nil
	}
	r.TOS, r.Table, r.Protocol, r.Scope = b[3], uint32(b[4]), b[5], b[6]
	r.Type = netstate.RouteType(b[7])
	setHopFlags(&r, flags)

	dst := netip.IPv4Unspecified()
	if family == netstate.IPv6 {
		dst = netip.IPv6Unspecified()
	}
	for rest := b[unix.SizeofRtMsg:]; len(rest) > 0; {
		var typ uint16
		var v []byte
		if typ, v, rest, err = nextAttr(rest); err != nil {
			return r, false, err
		}
		if typ == unix.RTA_DST {
			dst, err = attrAddr(v)
		} else {
			err = decodeRouteAttr(&r, typ, v)
		}
		if err != nil {
			return r, false, err
		}
	}
	if netstate.FamilyOf(dst) != family || int(b[1]) > family.Bits() {
		return r, false, errShort
	}
	r.Dst = netip.PrefixFrom(dst, int(b[1])).Masked()
	return r, true, nil
}

func decodeRouteAttr(r *netstate.Route, typ uint16, v []byte) (err error) {
	switch typ {
	case unix.RTA_TABLE: // rtm_table holds 8 bits only
		r.Table, err = attr32(v)
	case unix.RTA_PRIORITY:
		r.Priority, err = attr32(v)
	case unix.RTA_OIF:
		r.Device, err = attrIndex(v)
	case unix.RTA_GATEWAY:
		r.Gateway, err = attrAddr(v)
	case unix.RTA_VIA:
		r.Gateway, err = attrVia(v)
	case unix.RTA_PREFSRC:
		r.PrefSrc, err = attrAddr(v)
	case rtaNHID:
		r.NextHopID, err = attr32(v)
	case unix.RTA_MULTIPATH:
		err = decodeMultipath(r, v)
	}
	return err
}

// decodeMultipath takes device and gateway from the first struct rtnexthop. The
// route is dead or without a carrier only if every hop is.
func decodeMultipath(r *netstate.Route, v []byte) error {
	var dead uint32 = unix.RTNH_F_DEAD | unix.RTNH_F_LINKDOWN
	hops := 0
	for ; len(v) > 0; hops++ {
		n, err := hopBytes(v)
		if err != nil {
			return err
		}
		dead &= uint32(v[2])
		if hops == 0 {
			setHopFlags(r, uint32(v[2]))
			r.Device = int(int32(native.Uint32(v[4:])))
			for rest := v[rtnhBytes:n]; len(rest) > 0; {
				typ, value, next, err := nextAttr(rest)
				if err != nil {
					return err
				}
				if typ == unix.RTA_GATEWAY || typ == unix.RTA_VIA {
					if err := decodeRouteAttr(r, typ, value); err != nil {
						return err
					}
				}
				rest = next
			}
		}
		v = v[min(align4(n), len(v)):]
	}
	r.Multipath = hops > 1
	r.Dead, r.LinkDown = dead&unix.RTNH_F_DEAD != 0, dead&unix.RTNH_F_LINKDOWN != 0
	return nil
}

// hopBytes is the length of the first struct rtnexthop with its attributes.
func hopBytes(v []byte) (int, error) {
	if len(v) < rtnhBytes {
		return 0, errShort
	}
	n := int(native.Uint16(v))
	if n < rtnhBytes || n > len(v) {
		return 0, errShort
	}
	return n, nil
}

// noteHops remembers the devices of all hops of a multipath route.
func (r *requests) noteHops(b []byte) error {
	for rest := b[unix.SizeofRtMsg:]; len(rest) > 0; {
		typ, v, next, err := nextAttr(rest)
		if err != nil {
			return err
		}
		for typ == unix.RTA_MULTIPATH && len(v) > 0 {
			n, err := hopBytes(v)
			if err != nil {
				return err
			}
			set(&r.hops, int(int32(native.Uint32(v[4:]))))
			v = v[min(align4(n), len(v)):]
		}
		rest = next
	}
	return nil
}

// setHopFlags reads RTNH_F_*, which a route with one next hop has in rtm_flags.
func setHopFlags(r *netstate.Route, flags uint32) {
	r.OnLink = flags&unix.RTNH_F_ONLINK != 0
	r.Dead = flags&unix.RTNH_F_DEAD != 0
	r.LinkDown = flags&unix.RTNH_F_LINKDOWN != 0
}

// attrVia reads struct rtvia: a gateway of another family than the route's.
func attrVia(v []byte) (netip.Addr, error) {
	if len(v) < 2 {
		return netip.Addr{}, errShort
	}
	return attrAddr(v[2:])
}

func attrIndex(v []byte) (int, error) {
	n, err := attr32(v)
	return int(int32(n)), err
}
