//go:build linux

package netns

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/jsimonetti/rtnetlink/v2/driver"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// VXLAN says how to make a vxlan device. Zero fields are left to the kernel.
type VXLAN struct {
	Name     string
	VNI      uint32
	Port     uint16       // UDP destination port, e.g. 8472
	Lower    string       // name of the underlay device
	Local    netip.Addr   // source of the encapsulated packets
	Learning bool         // flannel's devices do not learn
	MTU      int          // bytes
	MAC      netstate.MAC // zero: a random one
}

// AddVeth makes a pair of devices, one end in ns and the other in peer.
func (ns *NS) AddVeth(name string, peer *NS, peerName string) error {
	other := &rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{
		Name:  peerName,
		NetNS: rtnetlink.NetNSForFD(uint32(peer.file.Fd())),
	}}
	return ns.addLink(&rtnetlink.LinkAttributes{Name: name, Info: &rtnetlink.LinkInfo{
		Kind: "veth", Data: &driver.Veth{PeerInfo: other},
	}})
}

// AddBridge makes a bridge without spanning tree.
func (ns *NS) AddBridge(name string) error {
	return ns.addLink(&rtnetlink.LinkAttributes{Name: name, Info: &rtnetlink.LinkInfo{Kind: "bridge"}})
}

// AddVXLAN makes a vxlan device.
func (ns *NS) AddVXLAN(v VXLAN) error {
	data := &driver.Vxlan{ID: &v.VNI, Learning: &v.Learning}
	if v.Port != 0 {
		data.Port = &v.Port
	}
	if v.Lower != "" {
		lower, err := ns.LinkIndex(v.Lower)
		if err != nil {
			return err
		}
		index := uint32(lower)
		data.Link = &index
	}
	switch {
	case v.Local.Is4():
		data.Local = v.Local.AsSlice()
	case v.Local.Is6():
		data.Local6 = v.Local.AsSlice()
	}
	attrs := &rtnetlink.LinkAttributes{Name: v.Name, MTU: uint32(v.MTU), Info: &rtnetlink.LinkInfo{Kind: "vxlan", Data: data}}
	if !v.MAC.IsZero() {
		attrs.Address = v.MAC[:]
	}
	return ns.addLink(attrs)
}

func (ns *NS) addLink(attrs *rtnetlink.LinkAttributes) error {
	if len(attrs.Name) >= unix.IFNAMSIZ {
		return fmt.Errorf("add device %q: the name is longer than %d bytes", attrs.Name, unix.IFNAMSIZ-1)
	}
	return ns.marshal("add device "+attrs.Name, unix.RTM_NEWLINK, create, &rtnetlink.LinkMessage{Attributes: attrs})
}

// SetUp sets IFF_UP.
func (ns *NS) SetUp(name string) error {
	return ns.setLink(name, "up", rtnetlink.LinkMessage{Flags: unix.IFF_UP, Change: unix.IFF_UP})
}

// SetDown clears IFF_UP. The kernel then drops the device's routes and
// neighbors, but not its IPv4 addresses and FDB entries.
func (ns *NS) SetDown(name string) error {
	return ns.setLink(name, "down", rtnetlink.LinkMessage{Change: unix.IFF_UP})
}

// SetMaster makes the device a port of a bridge; "" takes it out again.
func (ns *NS) SetMaster(name, master string) error {
	var index uint32
	if master != "" {
		i, err := ns.LinkIndex(master)
		if err != nil {
			return err
		}
		index = uint32(i)
	}
	return ns.setLink(name, "master "+master, rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{Master: &index}})
}

// SetMAC sets the hardware address.
func (ns *NS) SetMAC(name string, mac netstate.MAC) error {
	return ns.setLink(name, "address "+mac.String(), rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{Address: mac[:]}})
}

// SetMTU sets the MTU in bytes.
func (ns *NS) SetMTU(name string, mtu int) error {
	return ns.setLink(name, fmt.Sprintf("mtu %d", mtu), rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{MTU: uint32(mtu)}})
}

// Rename gives a device another name; it may be up.
func (ns *NS) Rename(name, to string) error {
	return ns.setLink(name, "name "+to, rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{Name: to}})
}

// Move puts a device into another namespace. The kernel sets it down and takes
// its addresses and routes, as if it were deleted here.
func (ns *NS) Move(name string, to *NS) error {
	return ns.setLink(name, "netns "+to.Path(), rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{
		NetNS: rtnetlink.NetNSForFD(uint32(to.file.Fd())),
	}})
}

// SetVXLANLocal changes the source of a vxlan device's encapsulated packets.
func (ns *NS) SetVXLANLocal(name string, local netip.Addr) error {
	data := &driver.Vxlan{Local: local.AsSlice()}
	if local.Is6() {
		data = &driver.Vxlan{Local6: local.AsSlice()}
	}
	return ns.setLink(name, "local "+local.String(), rtnetlink.LinkMessage{Attributes: &rtnetlink.LinkAttributes{
		Info: &rtnetlink.LinkInfo{Kind: "vxlan", Data: data},
	}})
}

func (ns *NS) setLink(name, what string, m rtnetlink.LinkMessage) error {
	index, err := ns.LinkIndex(name)
	if err != nil {
		return err
	}
	m.Index = uint32(index)
	return ns.marshal("set device "+name+" "+what, unix.RTM_NEWLINK, change, &m)
}

// DelLink deletes a device; of a veth pair both ends go.
func (ns *NS) DelLink(name string) error {
	index, err := ns.LinkIndex(name)
	if err != nil {
		return err
	}
	return ns.marshal("delete device "+name, unix.RTM_DELLINK, change, &rtnetlink.LinkMessage{Index: uint32(index)})
}

// AddAddr gives a device an address, usable at once: duplicate address
// detection, which takes a second, is skipped. It is no error if the device
// has it already.
func (ns *NS) AddAddr(device string, p netip.Prefix) error {
	return ns.address("add", unix.RTM_NEWADDR, device, p)
}

// DelAddr takes an address away.
func (ns *NS) DelAddr(device string, p netip.Prefix) error {
	return ns.address("delete", unix.RTM_DELADDR, device, p)
}

func (ns *NS) address(verb string, typ netlink.HeaderType, device string, p netip.Prefix) error {
	index, err := ns.LinkIndex(device)
	if err != nil {
		return err
	}
	flags := replace
	if typ == unix.RTM_DELADDR {
		flags = change
	}
	header := []byte{familyOf(p.Addr()), byte(p.Bits()), 0, unix.RT_SCOPE_UNIVERSE, 0, 0, 0, 0}
	binary.NativeEndian.PutUint32(header[4:], uint32(index))
	return ns.message(fmt.Sprintf("%s address %s on %s", verb, p, device), typ, flags, header, func(ae *netlink.AttributeEncoder) {
		ip := p.Addr().AsSlice()
		ae.Bytes(unix.IFA_LOCAL, ip)
		ae.Bytes(unix.IFA_ADDRESS, ip)
		if p.Addr().Is6() {
			ae.Uint32(unix.IFA_FLAGS, unix.IFA_F_NODAD)
		}
	})
}
