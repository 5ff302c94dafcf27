//go:build linux

package netns

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// NextHop is a next-hop object (ip nexthop): a way, or a group of others.
type NextHop struct {
	ID      uint32
	Family  netstate.Family
	Device  int // ifindex
	Gateway netip.Addr
	OnLink  bool
	Group   []uint32 // ids of other objects, one share each; all else is then zero
}

// NextHopReplace makes a next-hop object or changes it.
func (ns *NS) NextHopReplace(nh NextHop) error {
	header := make([]byte, 8) // struct nhmsg: family, scope, protocol, reserved, flags
	header[2] = protoBoot
	if len(nh.Group) == 0 {
		header[0] = afOf(nh.Family)
	}
	if nh.OnLink {
		binary.NativeEndian.PutUint32(header[4:], unix.RTNH_F_ONLINK)
	}
	return ns.message(fmt.Sprintf("replace nexthop %d", nh.ID), unix.RTM_NEWNEXTHOP, replace, header, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NHA_ID, nh.ID)
		uint32IfSet(ae, unix.NHA_OIF, uint32(nh.Device))
		if nh.Gateway.IsValid() {
			ae.Bytes(unix.NHA_GATEWAY, nh.Gateway.AsSlice())
		}
		if len(nh.Group) > 0 {
			ae.Bytes(unix.NHA_GROUP, encodeGroup(nh.Group))
		}
	})
}

// encodeGroup writes an array of struct nexthop_grp: id, weight-1, reserved.
func encodeGroup(ids []uint32) []byte {
	var b []byte
	for _, id := range ids {
		b = binary.NativeEndian.AppendUint32(b, id)
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

// NextHopDel deletes a next-hop object and, silently, the routes that use it.
func (ns *NS) NextHopDel(id uint32) error {
	return ns.message(fmt.Sprintf("delete nexthop %d", id), unix.RTM_DELNEXTHOP, change, make([]byte, 8), func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.NHA_ID, id)
	})
}
