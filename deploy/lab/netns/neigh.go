//go:build linux

package netns

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// NeighReplace adds a neighbor or changes the one with the same address and
// device. A State of 0 is permanent.
func (ns *NS) NeighReplace(n netstate.Neighbor) error {
	if n.State == 0 {
		n.State = netstate.NUDPermanent
	}
	return ns.neighbor("replace", unix.RTM_NEWNEIGH, replace, n)
}

// NeighDel deletes the neighbor with the address on the device.
func (ns *NS) NeighDel(n netstate.Neighbor) error {
	return ns.neighbor("delete", unix.RTM_DELNEIGH, change, n)
}

func (ns *NS) neighbor(verb string, typ netlink.HeaderType, flags netlink.HeaderFlags, n netstate.Neighbor) error {
	header := neighborHeader(familyOf(n.IP), n.Device, n.State, 0)
	return ns.message(fmt.Sprintf("%s neighbor %s", verb, n.IP), typ, flags, header, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.NDA_DST, n.IP.AsSlice())
		if !n.MAC.IsZero() {
			ae.Bytes(unix.NDA_LLADDR, n.MAC[:])
		}
	})
}

// FDBReplace adds a forwarding entry to a vxlan device or changes the one with
// the same MAC. A State of 0 is permanent.
func (ns *NS) FDBReplace(e netstate.FDBEntry) error {
	if e.State == 0 {
		e.State = netstate.NUDPermanent
	}
	return ns.fdb("replace", unix.RTM_NEWNEIGH, replace, e)
}

// FDBDel deletes the forwarding entry of a MAC; if Dst is set only where it matches.
func (ns *NS) FDBDel(e netstate.FDBEntry) error {
	return ns.fdb("delete", unix.RTM_DELNEIGH, change, e)
}

func (ns *NS) fdb(verb string, typ netlink.HeaderType, flags netlink.HeaderFlags, e netstate.FDBEntry) error {
	header := neighborHeader(unix.AF_BRIDGE, e.Device, e.State, unix.NTF_SELF)
	return ns.message(fmt.Sprintf("%s fdb entry %s", verb, e.MAC), typ, flags, header, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.NDA_LLADDR, e.MAC[:])
		if e.Dst.IsValid() {
			ae.Bytes(unix.NDA_DST, e.Dst.AsSlice())
		}
		uint32IfSet(ae, unix.NDA_VNI, e.VNI)
		if e.Port != 0 {
			ae.Bytes(unix.NDA_PORT, binary.BigEndian.AppendUint16(nil, e.Port))
		}
	})
}

// neighborHeader is struct ndmsg.
func neighborHeader(family byte, device int, state uint16, flags byte) []byte {
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = family
	binary.NativeEndian.PutUint32(b[4:], uint32(device))
	binary.NativeEndian.PutUint16(b[8:], state)
	b[10] = flags
	return b
}
