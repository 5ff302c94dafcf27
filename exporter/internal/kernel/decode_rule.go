package kernel

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

const fibRuleHdrBytes = 12 // struct fib_rule_hdr of linux/fib_rules.h

// decodeRule reads struct fib_rule_hdr and its attributes.
func decodeRule(b []byte) (r netstate.Rule, ok bool, err error) {
	if len(b) < fibRuleHdrBytes {
		return r, false, errShort
	}
	family, known := familyOf(b[0])
	if !known {
		return r, false, nil
	}
	r.Family, r.Table, r.Action = family, uint32(b[4]), b[7]
	r.Invert = native.Uint32(b[8:])&unix.FIB_RULE_INVERT != 0
	for rest := b[fibRuleHdrBytes:]; len(rest) > 0; {
		var typ uint16
		var v []byte
		if typ, v, rest, err = nextAttr(rest); err != nil {
			return r, false, err
		}
		switch typ {
		case unix.FRA_DST:
			r.Dst, err = attrPrefix(v, b[1])
		case unix.FRA_SRC:
			r.Src, err = attrPrefix(v, b[2])
		case unix.FRA_IIFNAME:
			r.IIF = attrString(v)
		case unix.FRA_OIFNAME:
			r.OIF = attrString(v)
		case unix.FRA_PRIORITY:
			r.Priority, err = attr32(v)
		case unix.FRA_FWMARK:
			r.Mark, err = attr32(v)
		case unix.FRA_TABLE:
			r.Table, err = attr32(v)
		}
		if err != nil {
			return r, false, err
		}
	}
	return r, true, nil
}

func attrPrefix(v []byte, bits uint8) (netip.Prefix, error) {
	a, err := attrAddr(v)
	if err != nil || int(bits) > a.BitLen() {
		return netip.Prefix{}, errShort
	}
	return netip.PrefixFrom(a, int(bits)), nil
}

// NETCONFA_* of linux/netconf.h.
const (
	netconfIfindex    = 1
	netconfForwarding = 2
	netconfRPFilter   = 3

	netconfmsgBytes = 4 // struct netconfmsg, padded
)

// decodeNetConf reads struct netconfmsg and its attributes. An event holds only
// the setting that changed, so only its device is of use there.
func decodeNetConf(b []byte) (c netstate.NetConf, ok bool, err error) {
	if len(b) < netconfmsgBytes {
		return c, false, errShort
	}
	family, known := familyOf(b[0])
	if !known {
		return c, false, nil
	}
	c.Family = family
	for rest := b[netconfmsgBytes:]; len(rest) > 0; {
		var typ uint16
		var v []byte
		if typ, v, rest, err = nextAttr(rest); err != nil {
			return c, false, err
		}
		var n int
		if n, err = attrIndex(v); err != nil {
			return c, false, err
		}
		switch typ {
		case netconfIfindex:
			c.Device = n
		case netconfForwarding:
			c.Forwarding = n != 0
		case netconfRPFilter:
			c.RPFilter = n
		}
	}
	return c, true, nil
}
