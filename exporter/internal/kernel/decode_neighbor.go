package kernel

import (
	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// decodeNeighbor reads struct ndmsg and its attributes as an entry of the ARP
// or NDP table. ok is false for other families and for multicast addresses,
// which the kernel adds and drops on its own and announces to nobody.
func decodeNeighbor(b []byte) (n netstate.Neighbor, ok bool, err error) {
	if len(b) < unix.SizeofNdMsg {
		return n, false, errShort
	}
	if _, known := familyOf(b[0]); !known {
		return n, false, nil
	}
	n.Device = int(int32(native.Uint32(b[4:])))
	n.State = native.Uint16(b[8:])
	for rest := b[unix.SizeofNdMsg:]; len(rest) > 0; {
		var typ uint16
		var v []byte
		if typ, v, rest, err = nextAttr(rest); err != nil {
			return n, false, err
		}
		switch typ {
		case unix.NDA_DST:
			if n.IP, err = attrAddr(v); err != nil {
				return n, false, err
			}
		case unix.NDA_LLADDR:
			n.MAC = attrMAC(v)
		}
	}
	return n, n.IP.IsValid() && !n.IP.IsMulticast(), nil
}

// decodeFDB reads struct ndmsg and its attributes as an entry of a vxlan
// device's own forwarding database (NTF_SELF). ok is false for the entries that
// a bridge has for its ports.
func decodeFDB(b []byte) (f netstate.FDBEntry, ok bool, err error) {
	if len(b) < unix.SizeofNdMsg {
		return f, false, errShort
	}
	if b[0] != unix.AF_BRIDGE || b[10]&unix.NTF_SELF == 0 {
		return f, false, nil
	}
	f.Device = int(int32(native.Uint32(b[4:])))
	f.State = native.Uint16(b[8:])
	for rest := b[unix.SizeofNdMsg:]; len(rest) > 0; {
		var typ uint16
		var v []byte
		if typ, v, rest, err = nextAttr(rest); err != nil {
			return f, false, err
		}
		switch typ {
		case unix.NDA_DST:
			f.Dst, err = attrAddr(v)
		case unix.NDA_LLADDR:
			f.MAC = attrMAC(v)
		case unix.NDA_PORT:
			f.Port, err = attrPort(v)
		case unix.NDA_VNI:
			f.VNI, err = attr32(v)
		}
		if err != nil {
			return f, false, err
		}
	}
	return f, true, nil
}
