package expect

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

const key = "vuFl+Vw1rNXMgY1bq1qsP2pnV24c5xCOLgXGfP5QvUQ="

// cluster is dualStack with another backend, as flannel publishes it.
func cluster(backend string) *lease.Set {
	set := dualStack()
	published := backend
	if backend == "udp" {
		published = ""
	}
	for _, leases := range [][]lease.Lease{set.Own, set.Leases} {
		for i := range leases {
			l := &leases[i]
			l.BackendType, l.VNI, l.MAC = published, 0, netstate.MAC{}
			if backend == "wireguard" {
				l.PublicKey, l.Port = key, 51820
				if l.Family == netstate.IPv6 {
					l.Port = 51821
				}
			}
		}
	}
	slices.SortFunc(set.Leases, func(a, b lease.Lease) int { // as a Set is
		if a.Peer != b.Peer {
			return map[bool]int{true: -1, false: 1}[a.Peer < b.Peer]
		}
		return int(a.Family) - int(b.Family)
	})
	return set
}

func forms(t *testing.T, c Config, set *lease.Set, family netstate.Family) Chain {
	t.Helper()
	i := slices.IndexFunc(set.Leases, func(l lease.Lease) bool { return l.Peer == "node-3" && l.Family == family })
	chain := ChainOf(c, set, set.Leases[i])
	if chain.Unknown != "" {
		t.Fatalf("unknown: %s", chain.Unknown)
	}
	return chain
}

// What each backend programs for one lease, by hand from flannel's sources.
func TestChainOf_Backends(t *testing.T) {
	network := []netip.Prefix{pfx("10.244.0.0/16"), pfx("fd00:10:244::/48")}
	on, off := true, false
	tests := []struct {
		name    string
		config  Config
		family  netstate.Family
		devices []string
		forms   []Form
	}{
		{
			"host-gw", Config{Backend: "host-gw"}, netstate.IPv4, nil,
			[]Form{{Name: "host-gw", Dst: pfx("10.244.3.0/24"), Gateway: addr("192.168.1.58")}},
		},
		{
			"host-gw, IPv6", Config{Backend: "host-gw"}, netstate.IPv6, nil,
			[]Form{{Name: "host-gw", Dst: pfx("fd00:10:244:3::/64"), Gateway: addr("fd00:192::58")}},
		},
		{
			"ipip", Config{Backend: "ipip", DirectRouting: &off}, netstate.IPv4, []string{"flannel.ipip"},
			[]Form{{Name: "ipip", Dst: pfx("10.244.3.0/24"), Gateway: addr("192.168.1.58"), Tunnel: true, OnLink: true}},
		},
		{
			"ipip with DirectRouting", Config{Backend: "ipip", DirectRouting: &on}, netstate.IPv4, []string{"flannel.ipip"},
			[]Form{
				{Name: "direct", Dst: pfx("10.244.3.0/24"), Gateway: addr("192.168.1.58"), OnLink: true},
				{Name: "ipip", Dst: pfx("10.244.3.0/24"), Gateway: addr("192.168.1.58"), Tunnel: true, OnLink: true},
			},
		},
		{
			"udp", Config{Backend: "udp", Network: network}, netstate.IPv4, []string{"flannel0", "flannel1", "flannel2", "flannel3"},
			[]Form{{Name: "udp", Dst: pfx("10.244.0.0/16"), Wide: true, Tunnel: true}},
		},
		{
			"udp, pod network not known", Config{Backend: "udp"}, netstate.IPv4, []string{"flannel0", "flannel1", "flannel2", "flannel3"},
			[]Form{{Name: "udp", Wide: true, Tunnel: true}},
		},
		{
			"wireguard separate", Config{Backend: "wireguard", Network: network, WireGuardMode: "separate"}, netstate.IPv4, []string{"flannel-wg"},
			[]Form{{
				Name: "wireguard", Dst: pfx("10.244.0.0/16"), Wide: true, Tunnel: true,
				Peer: &Peer{PublicKey: key, Port: 51820, Endpoints: []netip.Addr{addr("192.168.1.58")}},
			}},
		},
		{
			"wireguard separate, IPv6", Config{Backend: "wireguard", Network: network, WireGuardMode: "separate"}, netstate.IPv6, []string{"flannel-wg-v6"},
			[]Form{{
				Name: "wireguard", Dst: pfx("fd00:10:244::/48"), Wide: true, Tunnel: true,
				Peer: &Peer{PublicKey: key, Port: 51821, Endpoints: []netip.Addr{addr("fd00:192::58")}},
			}},
		},
		{
			"wireguard auto, IPv6 over the one device", Config{Backend: "wireguard", Network: network, WireGuardMode: "auto"}, netstate.IPv6, []string{"flannel-wg"},
			[]Form{{
				Name: "wireguard", Dst: pfx("fd00:10:244::/48"), Wide: true, Tunnel: true,
				Peer: &Peer{PublicKey: key, Endpoints: []netip.Addr{addr("fd00:192::58"), addr("192.168.1.58")}},
			}},
		},
		{
			"wireguard of a mode that is not known", Config{}, netstate.IPv6, []string{"flannel-wg-v6", "flannel-wg"},
			[]Form{{
				Name: "wireguard", Wide: true, Tunnel: true,
				Peer: &Peer{PublicKey: key, Endpoints: []netip.Addr{addr("fd00:192::58"), addr("192.168.1.58")}},
			}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			backend := or(tt.config.Backend, "wireguard")
			got := forms(t, tt.config, cluster(backend), tt.family)
			if diff := cmp.Diff(tt.forms, got.Forms, text...); diff != "" {
				t.Errorf("forms (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.devices, got.Devices); diff != "" {
				t.Errorf("devices (-want +got):\n%s", diff)
			}
		})
	}
}

// These never had IPv6 in flannel.
func TestChainOf_OnlyIPv4(t *testing.T) {
	for _, backend := range []string{"ipip", "udp"} {
		set := cluster(backend)
		l := set.Leases[len(set.Leases)-1]
		if got := ChainOf(Config{Backend: backend}, set, l); got.Unsupported == "" || got.Forms != nil {
			t.Errorf("%s, IPv6: %+v", backend, got)
		}
	}
}

// Where nothing but the configuration tells the backend, a peer's empty
// backend-type is that backend, and a peer that names one has another.
func TestChainOf_PublishesNothing(t *testing.T) {
	set := cluster("udp")
	if got := ChainOf(Config{}, set, set.Leases[0]); got.Unknown == "" {
		t.Errorf("without configuration: %+v", got)
	}
	for _, backend := range []string{"alloc", "tencent-vpc"} {
		if got := ChainOf(Config{Backend: backend}, set, set.Leases[0]); got.Unsupported == "" {
			t.Errorf("configured %s: %+v", backend, got)
		}
	}
	set.Leases[0].BackendType = "vxlan"
	if got := ChainOf(Config{Backend: "udp"}, set, set.Leases[0]); got.Unsupported == "" {
		t.Errorf("a vxlan peer of a udp node: %+v", got)
	}
}

func TestInterestOf_Backends(t *testing.T) {
	network := []netip.Prefix{pfx("10.244.0.0/16")}
	type interest struct {
		VNIs               []uint32
		Tunnels, WireGuard []string
		Networks           []netip.Prefix
	}
	off := false
	for _, tt := range []struct {
		config Config
		want   interest
	}{
		{Config{Backend: "host-gw", Network: network}, interest{Networks: network}},
		{Config{Backend: "ipip", Network: network, DirectRouting: &off}, interest{Tunnels: []string{"flannel.ipip"}}},
		{Config{Backend: "wireguard", Network: network}, interest{
			Tunnels: []string{"flannel-wg", "flannel-wg-v6"}, WireGuard: []string{"flannel-wg", "flannel-wg-v6"},
		}},
		{Config{Backend: "udp", Network: network}, interest{Tunnels: []string{"flannel0", "flannel1", "flannel2", "flannel3"}}},
	} {
		got := InterestOf(tt.config, cluster(tt.config.Backend))
		if diff := cmp.Diff(tt.want, interest{got.VNIs, got.Tunnels, got.WireGuard, got.Networks}, text...); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.config.Backend, diff)
		}
	}
}
