package lease_test

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

const prefix = "flannel.alpha.coreos.com/"

var (
	ipv4 = []netstate.Family{netstate.IPv4}
	ipv6 = []netstate.Family{netstate.IPv6}
	dual = []netstate.Family{netstate.IPv4, netstate.IPv6}

	born = time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)

	// netip's types have unexported fields and are comparable.
	byValue = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})
)

// dualNode returns a dual-stack vxlan Node as flannel v0.28 publishes it.
func dualNode(name string) lease.Node {
	return lease.Node{
		Metadata: lease.Metadata{
			Name:              name,
			CreationTimestamp: born,
			Annotations: map[string]string{
				prefix + "kube-subnet-manager":                           "true",
				prefix + "backend-type":                                  "vxlan",
				prefix + "backend-data":                                  `{"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3"}`,
				prefix + "backend-v6-data":                               `{"VNI":1,"VtepMAC":"12:c6:65:89:b4:e6"}`,
				prefix + "public-ip":                                     "192.168.1.59",
				prefix + "public-ipv6":                                   "2001:db8::59",
				"node.alpha.kubernetes.io/ttl":                           "0",
				"volumes.kubernetes.io/controller-managed-attach-detach": "true",
			},
		},
		Spec: lease.Spec{PodCIDR: "10.244.3.0/24", PodCIDRs: []string{"10.244.3.0/24", "fd00:10:244:3::/64"}},
	}
}

func dualLeases(name string) []lease.Lease {
	return []lease.Lease{
		{
			Peer: name, Family: netstate.IPv4, Subnet: netip.MustParsePrefix("10.244.3.0/24"),
			PublicIP: netip.MustParseAddr("192.168.1.59"), BackendType: "vxlan", VNI: 1,
			MAC: netstate.MAC{0x12, 0xc6, 0x65, 0x89, 0xb4, 0xe3}, Created: born,
		},
		{
			Peer: name, Family: netstate.IPv6, Subnet: netip.MustParsePrefix("fd00:10:244:3::/64"),
			PublicIP: netip.MustParseAddr("2001:db8::59"), BackendType: "vxlan", VNI: 1,
			MAC: netstate.MAC{0x12, 0xc6, 0x65, 0x89, 0xb4, 0xe6}, Created: born,
		},
	}
}

// with returns a Node in which annotations, given as suffix and value, are
// replaced; the value "-" removes one.
func with(annotations ...string) lease.Node {
	n := dualNode("peer")
	for i := 0; i < len(annotations); i += 2 {
		key, value := prefix+annotations[i], annotations[i+1]
		if value == "-" {
			delete(n.Metadata.Annotations, key)
		} else {
			n.Metadata.Annotations[key] = value
		}
	}
	return n
}

// withCIDRs returns a Node with other pod subnets; podCIDR is the first of them.
func withCIDRs(cidrs ...string) lease.Node {
	n := dualNode("peer")
	n.Spec = lease.Spec{PodCIDRs: cidrs}
	if len(cidrs) > 0 {
		n.Spec.PodCIDR = cidrs[0]
	}
	return n
}

func withPodCIDR(cidr string) lease.Node {
	n := dualNode("peer")
	n.Spec = lease.Spec{PodCIDR: cidr}
	return n
}

// virtual returns a Node as virtual-kubelet and fargate make it.
func virtual() lease.Node {
	return lease.Node{Metadata: lease.Metadata{Name: "peer", CreationTimestamp: born}}
}

// young returns a Node that the kubelet has registered and flannel has not.
func young() lease.Node {
	n := withCIDRs("10.244.3.0/24")
	n.Metadata.Annotations = map[string]string{"node.alpha.kubernetes.io/ttl": "0"}
	return n
}

func deleting() lease.Node {
	n := with()
	n.Metadata.DeletionTimestamp = born.Add(time.Hour)
	return n
}

// change returns the good leases of families, changed by f.
func change(families []netstate.Family, f func(*lease.Lease)) []lease.Lease {
	var out []lease.Lease
	for _, l := range dualLeases("peer") {
		if slices.Contains(families, l.Family) {
			f(&l)
			out = append(out, l)
		}
	}
	return out
}

func good(families []netstate.Family) []lease.Lease { return change(families, func(*lease.Lease) {}) }

const wireGuardKey = "dGhpcyBpcyBhIGtleSBvZiAzMiBieXRlcyBsZW5ndGg="

func noVXLAN(l *lease.Lease) { l.VNI, l.MAC = 0, netstate.MAC{} }

func TestFromNodes_OnePeer(t *testing.T) {
	for _, tt := range []struct {
		name      string
		families  []netstate.Family
		node      lease.Node
		want      []lease.Lease // without Malformed
		malformed string        // of all of want
		skipped   string
	}{
		{name: "good", families: dual, node: with(), want: good(dual)},
		{name: "only the family that is served", families: ipv6, node: with(), want: good(ipv6)},
		{name: "the other family does not matter", families: ipv4, node: with("public-ipv6", "x", "backend-v6-data", "x"), want: good(ipv4)},

		{name: "a virtual node", families: ipv4, node: virtual(),
			skipped: "annotation flannel.alpha.coreos.com/kube-subnet-manager is not there: flannel does not run on this node, or has not registered it yet"},
		{name: "a young node, flannel has not come up yet", families: ipv4, node: young(),
			skipped: "annotation flannel.alpha.coreos.com/kube-subnet-manager is not there: flannel does not run on this node, or has not registered it yet"},
		{name: "a node that is being deleted is a lease until it is gone", families: ipv4, node: deleting(),
			want: change(ipv4, func(l *lease.Lease) { l.Deleting = true })},
		{name: "annotations left by a migration, and no pod CIDR any more", families: ipv4, node: withCIDRs(),
			skipped: "spec.podCIDR is not there: the cluster assigned the node no pod subnet"},
		{name: "not managed", families: dual, node: with("kube-subnet-manager", "-"),
			skipped: "annotation flannel.alpha.coreos.com/kube-subnet-manager is not there: flannel does not run on this node, or has not registered it yet"},
		{name: "managed is not exactly true", families: dual, node: with("kube-subnet-manager", "True"),
			skipped: `annotation flannel.alpha.coreos.com/kube-subnet-manager is "True": only "true" makes it a node of flannel's`},
		{name: "not managed, and everything else bad", families: dual, node: with("kube-subnet-manager", "false", "public-ip", "x", "backend-data", "x"),
			skipped: `annotation flannel.alpha.coreos.com/kube-subnet-manager is "false": only "true" makes it a node of flannel's`},

		{name: "no public IP", families: ipv4, node: with("public-ip", "-"),
			skipped: "annotation flannel.alpha.coreos.com/public-ip is not there"},
		{name: "empty public IP", families: ipv4, node: with("public-ip", ""),
			skipped: "annotation flannel.alpha.coreos.com/public-ip is not there"},
		{name: "public IP unreadable", families: ipv4, node: with("public-ip", "192.168.1"),
			want: change(ipv4, func(l *lease.Lease) { l.PublicIP = netip.Addr{} }), malformed: `annotation flannel.alpha.coreos.com/public-ip is "192.168.1", which is no IPv4 address`},
		{name: "public IP of the other family", families: ipv4, node: with("public-ip", "fd00::1"),
			want: change(ipv4, func(l *lease.Lease) { l.PublicIP = netip.Addr{} }), malformed: `annotation flannel.alpha.coreos.com/public-ip is "fd00::1", which is no IPv4 address`},
		{name: "public IP mapped into IPv6", families: ipv4, node: with("public-ip", "::ffff:192.168.1.59"), want: good(ipv4)},
		{name: "public IPv6 with a zone", families: ipv6, node: with("public-ipv6", "fe80::1%eth0"),
			want: change(ipv6, func(l *lease.Lease) { l.PublicIP = netip.Addr{} }), malformed: `annotation flannel.alpha.coreos.com/public-ipv6 is "fe80::1%eth0", which is no IPv6 address`},
		{name: "public IPv6 unspecified", families: ipv6, node: with("public-ipv6", "::"),
			want: change(ipv6, func(l *lease.Lease) { l.PublicIP = netip.Addr{} }), malformed: `annotation flannel.alpha.coreos.com/public-ipv6 is "::", which is no node's address`},
		{name: "a long value is shortened", families: ipv4, node: with("public-ip", strings.Repeat("ä", 100)),
			want: change(ipv4, func(l *lease.Lease) { l.PublicIP = netip.Addr{} }), malformed: `annotation flannel.alpha.coreos.com/public-ip is "` + strings.Repeat("ä", 40) + `"... (200 bytes), which is no IPv4 address`},

		{name: "a long value without any character", families: ipv4, node: with("public-ip", strings.Repeat("\x80", 100)),
			want: change(ipv4, func(l *lease.Lease) { l.PublicIP = netip.Addr{} }), malformed: `annotation flannel.alpha.coreos.com/public-ip is ""... (100 bytes), which is no IPv4 address`},
		{name: "the first fault is told", families: ipv4, node: with("public-ip", "x", "backend-data", "{"),
			want: change(ipv4, func(l *lease.Lease) { noVXLAN(l); l.PublicIP = netip.Addr{} }), malformed: `annotation flannel.alpha.coreos.com/public-ip is "x", which is no IPv4 address`},

		{name: "public IP overwritten", families: dual, node: with("public-ip-overwrite", "192.168.1.59"),
			want: change(dual, func(l *lease.Lease) { l.PublicIPOverwritten = l.Family == netstate.IPv4 })},
		{name: "an overwrite that flannel has not taken up does not count", families: ipv6, node: with("public-ipv6-overwrite", "2001:db8::60"),
			want: change(ipv6, func(l *lease.Lease) { l.PublicIPOverwritten = true })},

		{name: "no pod CIDR", families: dual, node: withCIDRs(),
			skipped: "spec.podCIDR is not there: the cluster assigned the node no pod subnet; flannel then drops the leases of both families"},
		{name: "podCIDR alone", families: ipv4, node: withPodCIDR("10.244.3.0/24"), want: good(ipv4)},
		{name: "podCIDR of the other family", families: ipv4, node: withPodCIDR("fd00:10:244:3::/64"),
			skipped: `spec.podCIDR ("fd00:10:244:3::/64") has no IPv4 CIDR`},
		{name: "podCIDR unreadable", families: ipv4, node: withPodCIDR("10.244.3.0"),
			want: change(ipv4, func(l *lease.Lease) { l.Subnet = netip.Prefix{} }), malformed: `spec.podCIDR has "10.244.3.0", which is no CIDR`},
		{name: "IPv6 first", families: dual, node: withCIDRs("fd00:10:244:3::/64", "10.244.3.0/24"), want: good(dual)},
		{name: "the first of a family counts", families: ipv4, node: withCIDRs("10.244.3.0/24", "10.244.4.0/24"), want: good(ipv4)},
		{name: "host bits are masked", families: dual, node: withCIDRs("10.244.3.7/24", "fd00:10:244:3::7/64"), want: good(dual)},
		{name: "an unreadable CIDR after the one that counts", families: ipv4, node: withCIDRs("10.244.3.0/24", "x"), want: good(ipv4)},
		{name: "an unreadable CIDR before the one that counts", families: ipv4, node: withCIDRs("x", "10.244.3.0/24"),
			want: good(ipv4), malformed: `spec.podCIDRs has "x", which is no CIDR`},
		{name: "an unreadable CIDR costs both families", families: dual, node: withCIDRs("10.244.3.0/24", "x"),
			want:      change(dual, func(l *lease.Lease) { l.Subnet = map[netstate.Family]netip.Prefix{netstate.IPv4: l.Subnet}[l.Family] }),
			malformed: `spec.podCIDRs has "x", which is no CIDR`},
		{name: "a CIDR mapped into IPv6", families: ipv4, node: withPodCIDR("::ffff:10.244.3.0/120"),
			want: change(ipv4, func(l *lease.Lease) { l.Subnet = netip.Prefix{} }), malformed: `spec.podCIDR has "::ffff:10.244.3.0/120", which is no CIDR`},
		{name: "three CIDRs", families: ipv4, node: withCIDRs("10.244.3.0/24", "10.244.4.0/24", "10.244.5.0/24"),
			want: good(ipv4), malformed: `spec.podCIDRs has 3 entries ("10.244.3.0/24, 10.244.4.0/24, 10.244.5.0/24"): flannel takes one of each family`},
		{name: "no CIDR of the own Network is asked for", families: ipv4, node: withPodCIDR("172.30.0.0/21"),
			want: change(ipv4, func(l *lease.Lease) { l.Subnet = netip.MustParsePrefix("172.30.0.0/21") })},

		{name: "dual-stack without an IPv6 endpoint", families: dual, node: with("public-ipv6", "-"),
			skipped: "annotation flannel.alpha.coreos.com/public-ipv6 is not there; flannel then drops the leases of both families"},
		{name: "dual-stack without an IPv6 CIDR", families: dual, node: withCIDRs("10.244.3.0/24"),
			skipped: `spec.podCIDRs ("10.244.3.0/24") has no IPv6 CIDR; flannel then drops the leases of both families`},
		{name: "dual-stack without IPv6 backend data", families: dual, node: with("backend-v6-data", "-"),
			skipped: "annotation flannel.alpha.coreos.com/backend-v6-data is not there; flannel then drops the leases of both families"},
		{name: "dual-stack with unreadable IPv6 data", families: dual, node: with("backend-v6-data", "{"),
			want: change(dual, func(l *lease.Lease) {
				if l.Family == netstate.IPv6 {
					noVXLAN(l)
				}
			}),
			malformed: `annotation flannel.alpha.coreos.com/backend-v6-data is "{", which is not like {"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3"}: unexpected end of JSON input`},
		{name: "what is unreadable counts more than what is not there", families: dual, node: with("public-ipv6", "-", "public-ip", "x"),
			want:      change(dual, func(l *lease.Lease) { l.PublicIP = netip.Addr{} }),
			malformed: `annotation flannel.alpha.coreos.com/public-ip is "x", which is no IPv4 address`},
		{name: "an IPv6-only peer has a public IP of zeros", families: dual, node: with("backend-type", "host-gw", "public-ip", "0.0.0.0", "backend-data", "null", "backend-v6-data", "null"),
			want:    change(ipv6, func(l *lease.Lease) { noVXLAN(l); l.BackendType = "host-gw" }),
			skipped: "annotation flannel.alpha.coreos.com/public-ip is 0.0.0.0: flannel on this node serves no IPv4"},
		{name: "IPv6 only", families: ipv6, node: with("public-ip", "0.0.0.0", "backend-data", "null"), want: good(ipv6)},

		{name: "vxlan before v0.14", families: ipv4, node: with("backend-data", `{"VtepMAC":"12:c6:65:89:b4:e3"}`),
			want: change(ipv4, func(l *lease.Lease) { l.VNI = 0 })},
		{name: "vxlan, keys in another case and more of them", families: ipv4, node: with("backend-data", ` {"vtepmac":"12-C6-65-89-B4-E3","vni":1,"x":[]} `), want: good(ipv4)},
		{name: "vxlan on Windows, not ready", families: ipv4, node: with("backend-data", `{"VNI":4096,"VtepMAC":""}`),
			skipped: "annotation flannel.alpha.coreos.com/backend-data has an empty VtepMAC: flannel on Windows has not published it yet"},
		{name: "vxlan on Windows", families: ipv4, node: with("backend-data", `{"VNI":4096,"VtepMAC":"00:15:5d:01:02:03"}`),
			want: change(ipv4, func(l *lease.Lease) { l.VNI, l.MAC = 4096, netstate.MAC{0, 0x15, 0x5d, 1, 2, 3} })},
		{name: "vxlan without data", families: ipv4, node: with("backend-data", "-"),
			skipped: "annotation flannel.alpha.coreos.com/backend-data is not there"},
		{name: "vxlan null", families: ipv4, node: with("backend-data", "null"),
			want: change(ipv4, noVXLAN), malformed: "annotation flannel.alpha.coreos.com/backend-data is null: it names no peer of the backend vxlan"},
		{name: "vxlan without MAC", families: ipv4, node: with("backend-data", `{"VNI":7}`),
			want: change(ipv4, func(l *lease.Lease) { noVXLAN(l); l.VNI = 7 }), malformed: `annotation flannel.alpha.coreos.com/backend-data is "{\"VNI\":7}", which has no VtepMAC`},
		{name: "vxlan with a bad MAC", families: ipv4, node: with("backend-data", `{"VNI":1,"VtepMAC":"12:c6:65:89:b4"}`),
			want: change(ipv4, func(l *lease.Lease) { l.MAC = netstate.MAC{} }), malformed: `annotation flannel.alpha.coreos.com/backend-data has the VtepMAC "12:c6:65:89:b4", which is no MAC address`},
		{name: "vxlan with a MAC of 8 bytes", families: ipv4, node: with("backend-data", `{"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3:00:01"}`),
			want: change(ipv4, func(l *lease.Lease) { l.MAC = netstate.MAC{} }), malformed: `annotation flannel.alpha.coreos.com/backend-data has the VtepMAC "12:c6:65:89:b4:e3:00:01", which is no MAC address`},
		{name: "vxlan with a MAC of zeros", families: ipv4, node: with("backend-data", `{"VNI":1,"VtepMAC":"00:00:00:00:00:00"}`),
			want: change(ipv4, func(l *lease.Lease) { l.MAC = netstate.MAC{} }), malformed: `annotation flannel.alpha.coreos.com/backend-data has the VtepMAC "00:00:00:00:00:00", which is no MAC address`},
		{name: "vxlan with a negative VNI", families: ipv4, node: with("backend-data", `{"VNI":-1,"VtepMAC":"12:c6:65:89:b4:e3"}`),
			want: change(ipv4, noVXLAN), malformed: `annotation flannel.alpha.coreos.com/backend-data is "{\"VNI\":-1,\"VtepMAC\":\"12:c6:65:89:b4:e3\"}", which is not like {"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3"}: VNI is of type number -1, not a number in range`},
		{name: "vxlan data is no object", families: ipv4, node: with("backend-data", `[1]`),
			want: change(ipv4, noVXLAN), malformed: `annotation flannel.alpha.coreos.com/backend-data is "[1]", which is not like {"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3"}: it is of type array, not an object`},

		{name: "wireguard", families: dual, node: with("backend-type", "wireguard", "backend-data", `{"PublicKey":"`+wireGuardKey+`","Port":51820}`, "backend-v6-data", `{"PublicKey":"`+wireGuardKey+`"}`),
			want: change(dual, func(l *lease.Lease) {
				noVXLAN(l)
				l.BackendType, l.PublicKey = "wireguard", wireGuardKey
				l.Port = map[netstate.Family]uint16{netstate.IPv4: 51820}[l.Family]
			})},
		{name: "wireguard with a bad key", families: ipv4, node: with("backend-type", "wireguard", "backend-data", `{"PublicKey":"abc="}`),
			want: change(ipv4, func(l *lease.Lease) { noVXLAN(l); l.BackendType = "wireguard" }), malformed: `annotation flannel.alpha.coreos.com/backend-data has the PublicKey "abc=", which is no WireGuard key`},
		{name: "wireguard without data", families: ipv4, node: with("backend-type", "wireguard", "backend-data", "-"),
			skipped: "annotation flannel.alpha.coreos.com/backend-data is not there"},

		{name: "host-gw has no data", families: dual, node: with("backend-type", "host-gw", "backend-data", "null", "backend-v6-data", "null"),
			want: change(dual, func(l *lease.Lease) { noVXLAN(l); l.BackendType = "host-gw" })},
		{name: "host-gw does not read its data", families: dual, node: with("backend-type", "host-gw", "backend-data", "{", "backend-v6-data", "-"),
			want: change(dual, func(l *lease.Lease) { noVXLAN(l); l.BackendType = "host-gw" })},
		{name: "extension has text", families: ipv4, node: with("backend-type", "extension", "backend-data", `"text"`),
			want: change(ipv4, func(l *lease.Lease) { noVXLAN(l); l.BackendType = "extension" })},
		{name: "udp and alloc have no type", families: ipv4, node: with("backend-type", "", "backend-data", "null"),
			want: change(ipv4, func(l *lease.Lease) { noVXLAN(l); l.BackendType = "" })},
		{name: "no type at all", families: ipv4, node: with("backend-type", "-"),
			want: change(ipv4, func(l *lease.Lease) { noVXLAN(l); l.BackendType = "" })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := maps.Clone(tt.node.Metadata.Annotations)
			set := lease.FromNodes([]lease.Node{tt.node}, lease.Options{Self: "me", Families: tt.families})
			for i := range tt.want {
				tt.want[i].Malformed = tt.malformed
			}
			want := lease.Set{Self: "me", Families: tt.families, Leases: tt.want, Complete: true}
			if tt.skipped != "" {
				want.Skipped = []lease.Skipped{{Node: "peer", Reason: tt.skipped}}
			}
			if diff := cmp.Diff(want, set, byValue); diff != "" {
				t.Errorf("set differs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, tt.node.Metadata.Annotations); diff != "" {
				t.Errorf("the Node was modified (-before +after):\n%s", diff)
			}
		})
	}
}
