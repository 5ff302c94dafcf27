package kernel

import (
	"encoding"
	"errors"
	"fmt"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// rtextFilterSkipStats is RTEXT_FILTER_SKIP_STATS: the counters are most of a
// link's message and of no use here.
const rtextFilterSkipStats = 1 << 3

// tableKey names a routing table: each family has its own.
type tableKey struct {
	family netstate.Family
	table  uint32
}

// collect dumps into a new slice the entries that decode accepts.
func collect[T any](r *requests, what string, typ netlink.HeaderType, m encoding.BinaryMarshaler, attrs []byte,
	decode func([]byte) (T, bool, error)) ([]T, error) {
	var all []T
	err := again(func() { all = nil }, func() error {
		return r.dump(typ, m, attrs, func(body []byte) error {
			v, ok, err := decode(body)
			if ok && err == nil {
				all = append(all, v)
			}
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read %s from the kernel: %w", what, err)
	}
	return all, nil
}

func (r *requests) links() ([]netstate.Link, error) {
	attrs := appendAttr32(nil, unix.IFLA_EXT_MASK, rtextFilterSkipStats)
	return collect(r, "links", unix.RTM_GETLINK, &rtnetlink.LinkMessage{}, attrs, decodeLink)
}

func (r *requests) addrs() ([]netstate.Addr, error) {
	var all []netstate.Addr
	for _, f := range families() {
		m := rtnetlink.AddressMessage{Family: addressFamily(f)}
		some, err := collect(r, "addresses", unix.RTM_GETADDR, &m, nil, decodeAddr)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func (r *requests) rules() ([]netstate.Rule, error) {
	var all []netstate.Rule
	for _, f := range families() {
		m := rtnetlink.RuleMessage{Family: addressFamily(f)}
		some, err := collect(r, "rules", unix.RTM_GETRULE, &m, nil, decodeRule)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// netconfMessage is struct netconfmsg.
type netconfMessage struct{ family uint8 }

func (m netconfMessage) MarshalBinary() ([]byte, error) { return []byte{m.family, 0, 0, 0}, nil }

// netconf reads the settings of the devices that wanted accepts.
func (r *requests) netconf(wanted func(device int) bool) ([]netstate.NetConf, error) {
	var all []netstate.NetConf
	for _, f := range families() {
		var some []netstate.NetConf
		err := again(func() { some = nil }, func() error {
			return r.dump(unix.RTM_GETNETCONF, netconfMessage{addressFamily(f)}, nil, func(body []byte) error {
				c, ok, err := decodeNetConf(body)
				if ok && err == nil && wanted(c.Device) {
					some = append(some, c)
				}
				return err
			})
		})
		if err != nil {
			return nil, fmt.Errorf("read device settings (netconf) from the kernel: %w", err)
		}
		all = append(all, some...)
	}
	return all, nil
}

// routes streams one table, or with a device only its routes through it. A
// table or device that is not there has no routes. each says whether it keeps
// the route, which is valid until it returns. It is not asked about foreign ones.
func (r *requests) routes(t tableKey, device int, f *foreigns, each func(*netstate.Route) bool) error {
	m := rtnetlink.RouteMessage{Family: addressFamily(t.family), Attributes: rtnetlink.RouteAttributes{
		Table: t.table, OutIface: uint32(device),
	}}
	var route netstate.Route // one for all: there can be a million
	err := r.dump(unix.RTM_GETROUTE, &m, nil, func(body []byte) (err error) {
		if f.foreign(body) {
			return nil
		}
		var ok bool
		route, ok, err = decodeRoute(body)
		if ok && err == nil && each(&route) && route.Multipath {
			return r.noteHops(body)
		}
		return err
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s routes of table %d from the kernel: %w", t.family, t.table, err)
	}
	return nil
}

// neighbors reads the neighbor tables of one device.
func (r *requests) neighbors(device int) ([]netstate.Neighbor, error) {
	attrs := appendAttr32(nil, unix.NDA_IFINDEX, uint32(device))
	var all []netstate.Neighbor
	for _, f := range families() {
		m := rtnetlink.NeighMessage{Family: uint16(addressFamily(f))}
		some, err := collect(r, "neighbors", unix.RTM_GETNEIGH, &m, attrs, func(b []byte) (netstate.Neighbor, bool, error) {
			n, ok, err := decodeNeighbor(b)
			return n, ok && n.Device == device, err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// fdb reads the forwarding database of one vxlan device.
func (r *requests) fdb(device int) ([]netstate.FDBEntry, error) {
	attrs := appendAttr32(nil, unix.NDA_IFINDEX, uint32(device))
	m := rtnetlink.NeighMessage{Family: unix.AF_BRIDGE}
	all, err := collect(r, "forwarding entries", unix.RTM_GETNEIGH, &m, attrs, func(b []byte) (netstate.FDBEntry, bool, error) {
		e, ok, err := decodeFDB(b)
		return e, ok && e.Device == device, err
	})
	if errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	return all, err
}

func (r *reader) neighbors(devices []int) (all []netstate.Neighbor, err error) {
	for _, d := range devices {
		some, err := r.req.neighbors(d)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func (r *reader) fdb(devices []int) (all []netstate.FDBEntry, err error) {
	for _, d := range devices {
		some, err := r.req.fdb(d)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}
