//go:build linux

package standin_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"routewatch/deploy/lab/netns"
	"routewatch/deploy/lab/standin"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

func TestMain(m *testing.M) { netns.Main(m) }

var (
	mac3  = netstate.MAC{0x12, 0xc6, 0x65, 0x89, 0xb4, 0xe3}
	mac3b = netstate.MAC{0x5e, 0x11, 0x22, 0x33, 0x44, 0x55}
	own4  = lease.Lease{Peer: "node-1", Family: netstate.IPv4, Subnet: prefix("10.244.1.0/24"), PublicIP: addr("192.168.1.57"), BackendType: "vxlan", VNI: 1, MAC: netstate.MAC{2, 0, 0, 0, 0, 1}}
	own6  = lease.Lease{Peer: "node-1", Family: netstate.IPv6, Subnet: prefix("fd00:10:244:1::/64"), PublicIP: addr("fd00:192:168:1::57"), BackendType: "vxlan", VNI: 1}
	peer4 = lease.Lease{Peer: "node-3", Family: netstate.IPv4, Subnet: prefix("10.244.3.0/24"), PublicIP: addr("192.168.1.59"), BackendType: "vxlan", VNI: 1, MAC: mac3}
	peer6 = lease.Lease{Peer: "node-3", Family: netstate.IPv6, Subnet: prefix("fd00:10:244:3::/64"), PublicIP: addr("fd00:192:168:1::59"), BackendType: "vxlan", VNI: 1, MAC: mac3b}
)

func start(t *testing.T) (*netns.NS, *standin.Flannel) {
	t.Helper()
	ns := netns.NewT(t)
	netns.Must(t, ns.AddVeth("ens33", ns, "cable"))
	netns.Must(t, ns.SetUp("cable"))
	for _, a := range []string{"192.168.1.57/24", "fd00:192:168:1::57/64"} {
		netns.Must(t, ns.AddAddr("ens33", prefix(a)))
	}
	netns.Must(t, ns.SetUp("ens33"))
	f, err := standin.Start(ns, "ens33", []lease.Lease{own4, own6})
	netns.Must(t, err)
	return ns, f
}

func TestStart_MakesFlannelsDevices(t *testing.T) {
	ns, f := start(t)
	ens33 := ns.MustIndex(t, "ens33")
	got4, err := ns.Link("flannel.1")
	netns.Must(t, err)
	got6, err := ns.Link("flannel-v6.1")
	netns.Must(t, err)
	want4 := netstate.Link{
		Index: got4.Index, Name: "flannel.1", Kind: "vxlan", Up: true, LowerUp: true, MTU: 1450, MAC: own4.MAC, Lower: ens33,
		VXLAN: netstate.VXLAN{VNI: 1, Port: 8472, Local: own4.PublicIP},
	}
	// flannel asks for 1450 here as well; the kernel takes off IPv6's 70 bytes.
	want6 := netstate.Link{
		Index: got6.Index, Name: "flannel-v6.1", Kind: "vxlan", Up: true, LowerUp: true, MTU: 1430, MAC: got6.MAC, Lower: ens33,
		VXLAN: netstate.VXLAN{VNI: 1, Port: 8472, Local: own6.PublicIP},
	}
	if diff := cmp.Diff([]netstate.Link{want4, want6}, []netstate.Link{got4, got6}, byValue); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	addrs, err := ns.Addrs()
	netns.Must(t, err)
	for _, want := range []netstate.Addr{{Device: got4.Index, Prefix: prefix("10.244.1.0/32")}, {Device: got6.Index, Prefix: prefix("fd00:10:244:1::/128")}} {
		if !slices.Contains(addrs, want) {
			t.Errorf("address %v is missing among %v", want, addrs)
		}
	}
	published := f.Own()
	if len(published) != 2 || published[0] != own4 || published[1].MAC != got6.MAC || got6.MAC.IsZero() {
		t.Errorf("published leases are %+v, want the devices' MACs %s and %s in them", published, own4.MAC, got6.MAC)
	}
}

// state is what there is of flannel's in a namespace, by device name.
type state struct {
	Routes    []netstate.Route
	Neighbors []netstate.Neighbor
	FDB       []netstate.FDBEntry
}

func read(t *testing.T, ns *netns.NS) state {
	t.Helper()
	var s state
	for _, name := range []string{"flannel.1", "flannel-v6.1"} {
		device := ns.MustIndex(t, name)
		fdb, err := ns.FDB(name)
		netns.Must(t, err)
		s.FDB = append(s.FDB, fdb...)
		for _, f := range []netstate.Family{netstate.IPv4, netstate.IPv6} {
			routes, err := ns.Routes(f)
			netns.Must(t, err)
			for _, r := range routes {
				if r.Device == device && r.Gateway.IsValid() {
					s.Routes = append(s.Routes, r)
				}
			}
			neighbors, err := ns.Neighbors(f)
			netns.Must(t, err)
			for _, n := range neighbors {
				if n.Device == device && n.State == netstate.NUDPermanent {
					s.Neighbors = append(s.Neighbors, n)
				}
			}
		}
	}
	return s
}

// want is what flannel programs for node-3's two leases.
func want(t *testing.T, ns *netns.NS) state {
	t.Helper()
	d4, d6 := ns.MustIndex(t, "flannel.1"), ns.MustIndex(t, "flannel-v6.1")
	return state{
		Routes: []netstate.Route{
			{Table: 254, Dst: peer4.Subnet, Type: netstate.Unicast, Protocol: 3, Device: d4, Gateway: addr("10.244.3.0"), OnLink: true},
			{Table: 254, Dst: peer6.Subnet, Type: netstate.Unicast, Protocol: 3, Device: d6, Gateway: addr("fd00:10:244:3::"), OnLink: true, Priority: 1024},
		},
		Neighbors: []netstate.Neighbor{
			{Device: d4, IP: addr("10.244.3.0"), MAC: mac3, State: netstate.NUDPermanent},
			{Device: d6, IP: addr("fd00:10:244:3::"), MAC: mac3b, State: netstate.NUDPermanent},
		},
		FDB: []netstate.FDBEntry{
			{Device: d4, MAC: mac3, Dst: addr("192.168.1.59"), State: netstate.NUDPermanent},
			{Device: d6, MAC: mac3b, Dst: addr("fd00:192:168:1::59"), State: netstate.NUDPermanent},
		},
	}
}

func TestApply_ProgramsAndRemoves(t *testing.T) {
	ns, f := start(t)
	netns.Must(t, f.Apply([]lease.Lease{peer4, peer6}))
	if diff := cmp.Diff(want(t, ns), read(t, ns), byValue); diff != "" {
		t.Errorf("after two leases (-want +got):\n%s", diff)
	}
	netns.Must(t, f.Apply(nil))
	if diff := cmp.Diff(state{}, read(t, ns), byValue); diff != "" {
		t.Errorf("after they are gone (-want +got):\n%s", diff)
	}
}

func TestApply_RepairsNothing(t *testing.T) {
	ns, f := start(t)
	netns.Must(t, f.Apply([]lease.Lease{peer4}))
	netns.Must(t, ns.SetDown("flannel.1"))
	netns.Must(t, ns.SetUp("flannel.1"))
	netns.Must(t, f.Apply([]lease.Lease{peer4}))
	got := read(t, ns)
	if len(got.Routes) != 0 || len(got.Neighbors) != 0 || len(got.FDB) != 1 {
		t.Errorf("after a flap: %+v, want only the FDB entry to be left", got)
	}
	netns.Must(t, f.Apply(nil)) // removes the FDB entry and stumbles over nothing
	if got := read(t, ns); len(got.FDB) != 0 {
		t.Errorf("the FDB entry was left: %+v", got.FDB)
	}
}

// Like flannel, it replaces the neighbor of a peer that got a new MAC, and
// leaves the forwarding entry of the old one.
func TestApply_ChangedLease(t *testing.T) {
	ns, f := start(t)
	netns.Must(t, f.Apply([]lease.Lease{peer4}))
	changed := peer4
	changed.MAC = mac3b
	netns.Must(t, f.Apply([]lease.Lease{changed}))
	got := read(t, ns)
	if len(got.Neighbors) != 1 || got.Neighbors[0].MAC != mac3b || len(got.FDB) != 2 || len(got.Routes) != 1 {
		t.Errorf("after the MAC changed: %+v, want the new neighbor and both FDB entries", got)
	}
}

func TestApply_Skips(t *testing.T) {
	other := func(change func(*lease.Lease)) lease.Lease {
		l := peer4
		change(&l)
		return l
	}
	tests := map[string]lease.Lease{
		"another backend": other(func(l *lease.Lease) { l.BackendType = "host-gw" }),
		"its own subnet":  other(func(l *lease.Lease) { l.Subnet = own4.Subnet }),
		"unreadable":      other(func(l *lease.Lease) { l.Malformed = "backend-data is not JSON" }),
	}
	for name, l := range tests {
		t.Run(name, func(t *testing.T) {
			ns, f := start(t)
			netns.Must(t, f.Apply([]lease.Lease{l}))
			if diff := cmp.Diff(state{}, read(t, ns), byValue); diff != "" {
				t.Errorf("programmed (-want +got):\n%s", diff)
			}
		})
	}
}

var byValue = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
