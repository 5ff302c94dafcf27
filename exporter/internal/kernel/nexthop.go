package kernel

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// nextHop is a next-hop object. Routes say only its number while the sysctl
// net.ipv4.nexthop_compat_mode is 0.
type nextHop struct {
	id      uint32
	device  int // 0 for a group or a blackhole
	gateway netip.Addr
	flags   uint32 // RTNH_F_*
	members []uint32
}

// decodeNextHop reads struct nhmsg and its attributes.
func decodeNextHop(b []byte) (n nextHop, err error) {
	if len(b) < unix.SizeofNhmsg {
		return n, errShort
	}
	n.flags = native.Uint32(b[4:])
	for rest := b[unix.SizeofNhmsg:]; len(rest) > 0; {
		var typ uint16
		var v []byte
		if typ, v, rest, err = nextAttr(rest); err != nil {
			return n, err
		}
		switch typ {
		case unix.NHA_ID:
			n.id, err = attr32(v)
		case unix.NHA_OIF:
			n.device, err = attrIndex(v)
		case unix.NHA_GATEWAY:
			n.gateway, err = attrAddr(v)
		case unix.NHA_GROUP:
			n.members = decodeGroup(v)
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// decodeGroup reads an array of struct nexthop_grp, each of which begins with an id.
func decodeGroup(v []byte) []uint32 {
	var members []uint32
	for ; len(v) >= unix.SizeofNexthopGrp; v = v[unix.SizeofNexthopGrp:] {
		members = append(members, native.Uint32(v))
	}
	return members
}

// nexthopMessage is struct nhmsg.
type nexthopMessage struct{}

func (nexthopMessage) MarshalBinary() ([]byte, error) { return make([]byte, unix.SizeofNhmsg), nil }

// nextHops reads all next-hop objects by their numbers.
func (r *requests) nextHops() (map[uint32]nextHop, error) {
	all, err := collect(r, "next-hop objects", unix.RTM_GETNEXTHOP, nexthopMessage{}, nil, func(b []byte) (nextHop, bool, error) {
		n, err := decodeNextHop(b)
		return n, true, err
	})
	if err != nil {
		return nil, err
	}
	byID := make(map[uint32]nextHop, len(all))
	for _, n := range all {
		byID[n.id] = n
	}
	return byID, nil
}

// unresolved reports whether the kernel said no more of the route's way than the
// number of its next-hop object.
func unresolved(r *netstate.Route) bool {
	return r.NextHopID != 0 && r.Device == 0 && !r.Type.Discards()
}

// resolve fills in what the next-hop objects of routes stand for. One that is
// gone by now leaves its route without a device; its event has it read again.
func (r *reader) resolve(routes []*netstate.Route) error {
	if len(routes) == 0 {
		return nil
	}
	known, err := r.req.nextHops()
	if err != nil {
		return fmt.Errorf("resolve next-hop objects: %w", err)
	}
	for _, rt := range routes {
		hops := []nextHop{known[rt.NextHopID]}
		if members := hops[0].members; len(members) > 0 {
			hops = hops[:0]
			for _, id := range members {
				hops = append(hops, known[id])
			}
		}
		setHops(rt, hops)
		for _, h := range hops[1:] {
			set(&r.req.hops, h.device)
		}
	}
	return nil
}

// setHops does as decodeMultipath: the first hop is shown, and the route is dead
// or without a carrier only if every hop is.
func setHops(r *netstate.Route, hops []nextHop) {
	flags := ^uint32(0)
	for _, h := range hops {
		flags &= h.flags
	}
	r.Device, r.Gateway, r.Multipath = hops[0].device, hops[0].gateway, len(hops) > 1
	setHopFlags(r, hops[0].flags)
	r.Dead, r.LinkDown = flags&unix.RTNH_F_DEAD != 0, flags&unix.RTNH_F_LINKDOWN != 0
}
