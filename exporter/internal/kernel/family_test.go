package kernel

import (
	"encoding"
	"errors"
	"testing"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
)

// TestUnknownFamily: what no kernel has got any more, DECnet, stands for IPv6
// after ipv6.disable=1: it is empty, and neither an error nor all families.
func TestUnknownFamily(t *testing.T) {
	n := newNode(t, 1)
	req := n.requests(t)
	tests := []struct {
		name    string
		typ     netlink.HeaderType
		of      func(family uint8) encoding.BinaryMarshaler
		refuses bool // else the kernel answers for an unknown family with all of them
	}{
		{name: "addresses", typ: unix.RTM_GETADDR, of: func(f uint8) encoding.BinaryMarshaler { return &rtnetlink.AddressMessage{Family: f} }},
		{name: "routes", typ: unix.RTM_GETROUTE, of: func(f uint8) encoding.BinaryMarshaler {
			return &rtnetlink.RouteMessage{Family: f, Attributes: rtnetlink.RouteAttributes{Table: netstate.TableMain}}
		}},
		{name: "rules", typ: unix.RTM_GETRULE, refuses: true, of: func(f uint8) encoding.BinaryMarshaler { return &rtnetlink.RuleMessage{Family: f} }},
		{name: "netconf", typ: unix.RTM_GETNETCONF, of: func(f uint8) encoding.BinaryMarshaler { return netconfMessage{f} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			raw := 0 // what the kernel itself says
			data, err := test.of(unix.AF_DECnet).MarshalBinary()
			netns.Must(t, err)
			err = again(func() { raw = 0 }, func() error {
				return req.ask(test.typ, netlink.Dump, data, func([]byte) error { raw++; return nil })
			})
			if (err != nil) != test.refuses || (raw > 0) == test.refuses {
				t.Errorf("the kernel answers %d entries and error %v: this test no longer shows what it is for", raw, err)
			}
			for family, want := range map[uint8]bool{unix.AF_INET: true, unix.AF_INET6: true, unix.AF_DECnet: false} {
				got := 0
				err := again(func() { got = 0 }, func() error {
					return req.dump(test.typ, test.of(family), nil, func([]byte) error { got++; return nil })
				})
				if err != nil || (got > 0) != want {
					t.Errorf("family %d: %d entries, error %v; want any: %v", family, got, err, want)
				}
			}
		})
	}
	t.Run("neighbors", func(t *testing.T) {
		m := rtnetlink.NeighMessage{Family: unix.AF_DECnet}
		err := req.dump(unix.RTM_GETNEIGH, &m, nil, func([]byte) error { return errors.New("there is one") })
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("lookup", func(t *testing.T) { // which is no error of the picture, but an answer
		data := appendQuery(nil, 1, netstate.Query{Dst: n.peers[0].subnet.Addr()})[unix.NLMSG_HDRLEN:]
		data[0] = unix.AF_DECnet
		if err := req.ask(unix.RTM_GETROUTE, 0, data, nil); !errors.Is(err, unix.EOPNOTSUPP) {
			t.Errorf("error %v, want the kernel's EOPNOTSUPP", err)
		}
		body := native.AppendUint32(nil, uint32(0xffffffff-95+1))
		l, err := decodeAnswer(netstate.Query{}, header{Type: unix.NLMSG_ERROR}, body)
		if err != nil || l.Errno != int(unix.EOPNOTSUPP) {
			t.Errorf("lookup %+v, error %v", l, err)
		}
	})
	t.Run("groups", func(t *testing.T) {
		for _, g := range []uint32{unix.RTNLGRP_DECnet_IFADDR, unix.RTNLGRP_DECnet_ROUTE, unix.RTNLGRP_DECnet_RULE} {
			if err := req.conn.JoinGroup(g); err != nil {
				t.Errorf("group %d cannot be joined: %v", g, err)
			}
		}
	})
}
