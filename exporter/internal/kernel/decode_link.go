package kernel

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// decodeLink reads struct ifinfomsg and its attributes. ok is false for the
// messages of a bridge about its port (AF_BRIDGE): that a port left its bridge
// comes as an RTM_DELLINK, and is no deletion of the device.
func decodeLink(b []byte) (l netstate.Link, ok bool, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return l, false, errShort
	}
	if b[0] != unix.AF_UNSPEC {
		return l, false, nil
	}
	l.Index = int(int32(native.Uint32(b[4:])))
	flags := native.Uint32(b[8:])
	l.Up, l.LowerUp, l.Running = flags&unix.IFF_UP != 0, flags&unix.IFF_LOWER_UP != 0, flags&unix.IFF_RUNNING != 0
	foreign := false
	for rest := b[unix.SizeofIfInfomsg:]; len(rest) > 0; {
		var typ uint16
		var v []byte
		if typ, v, rest, err = nextAttr(rest); err != nil {
			return l, false, err
		}
		switch typ {
		case unix.IFLA_IFNAME:
			l.Name = attrString(v)
		case unix.IFLA_ADDRESS:
			l.MAC = attrMAC(v)
		case unix.IFLA_MTU:
			l.MTU, err = attrIndex(v)
		case unix.IFLA_MASTER:
			l.Master, err = attrIndex(v)
		case unix.IFLA_LINK:
			l.Lower, err = attrIndex(v)
		case unix.IFLA_LINK_NETNSID:
			foreign = true
		case unix.IFLA_LINKINFO:
			err = decodeLinkInfo(&l, v)
		}
		if err != nil {
			return l, false, err
		}
	}
	if foreign { // the lower device's index is then one of another network namespace
		l.Lower = 0
	}
	return l, true, nil
}

func decodeLinkInfo(l *netstate.Link, b []byte) error {
	var data []byte
	for len(b) > 0 {
		typ, v, rest, err := nextAttr(b)
		if err != nil {
			return err
		}
		switch typ {
		case unix.IFLA_INFO_KIND:
			l.Kind = attrString(v)
		case unix.IFLA_INFO_DATA:
			data = v
		}
		b = rest
	}
	if l.Kind != kindVXLAN {
		return nil
	}
	return decodeVXLAN(l, data)
}

// decodeVXLAN takes the lower device from IFLA_VXLAN_LINK: a vxlan device has no IFLA_LINK.
func decodeVXLAN(l *netstate.Link, b []byte) error {
	for len(b) > 0 {
		typ, v, rest, err := nextAttr(b)
		if err != nil {
			return err
		}
		switch typ {
		case unix.IFLA_VXLAN_ID:
			l.VXLAN.VNI, err = attr32(v)
		case unix.IFLA_VXLAN_LINK:
			l.Lower, err = attrIndex(v)
		case unix.IFLA_VXLAN_PORT:
			l.VXLAN.Port, err = attrPort(v)
		case unix.IFLA_VXLAN_LOCAL, unix.IFLA_VXLAN_LOCAL6:
			l.VXLAN.Local, err = attrAddr(v)
		}
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// attrPort reads a port, which is in network byte order.
func attrPort(v []byte) (uint16, error) {
	if len(v) < 2 {
		return 0, errShort
	}
	return uint16(v[0])<<8 | uint16(v[1]), nil
}

// decodeAddr reads struct ifaddrmsg and its attributes.
func decodeAddr(b []byte) (a netstate.Addr, ok bool, err error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return a, false, errShort
	}
	family, known := familyOf(b[0])
	if !known {
		return a, false, nil
	}
	a.Device = int(int32(native.Uint32(b[4:])))
	var address, local netip.Addr
	for rest := b[unix.SizeofIfAddrmsg:]; len(rest) > 0; {
		var typ uint16
		var v []byte
		if typ, v, rest, err = nextAttr(rest); err != nil {
			return a, false, err
		}
		switch typ {
		case unix.IFA_ADDRESS: // of a point-to-point link the other end's
			address, err = attrAddr(v)
		case unix.IFA_LOCAL:
			local, err = attrAddr(v)
		}
		if err != nil {
			return a, false, err
		}
	}
	if local.IsValid() {
		address = local
	}
	if !address.IsValid() || netstate.FamilyOf(address) != family || int(b[1]) > family.Bits() {
		return a, false, errShort
	}
	a.Prefix = netip.PrefixFrom(address, int(b[1]))
	return a, true, nil
}
