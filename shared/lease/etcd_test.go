package lease_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// Values as flanneld v0.28.10 wrote them to a real etcd.
const (
	etcdDual  = `{"PublicIP":"192.168.1.57","PublicIPv6":"fd00:192:168:1::57","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3"},"BackendV6Data":{"VNI":1,"VtepMAC":"12:c6:65:89:b4:e6"}}`
	etcdIPv4  = `{"PublicIP":"192.168.1.58","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"12:c6:65:89:b4:58"}}`
	etcdHost  = `{"PublicIP":"192.168.1.59","PublicIPv6":null,"BackendType":"host-gw"}`
	etcdUDP   = `{"PublicIP":"192.168.1.60","PublicIPv6":null}`
	etcdOther = `{"PublicIP":"192.168.1.56","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"12:c6:65:89:b4:56"}}`
)

func kv(key, value string) lease.KeyValue { return lease.KeyValue{Key: key, Value: []byte(value)} }

func addrs(s ...string) []netip.Addr {
	var all []netip.Addr
	for _, a := range s {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

func etcdLease(peer, subnet, ip, backend string, mac string) lease.Lease {
	p := netip.MustParsePrefix(subnet)
	l := lease.Lease{Peer: peer, Family: netstate.FamilyOf(p.Addr()), Subnet: p, PublicIP: netip.MustParseAddr(ip), BackendType: backend}
	if mac != "" {
		l.MAC, _ = netstate.ParseMAC(mac)
		l.VNI = 1
	}
	return l
}

func TestFromEtcd(t *testing.T) {
	own := etcdLease("node-1", "10.244.1.0/24", "192.168.1.56", "vxlan", "12:c6:65:89:b4:56")
	peer4 := etcdLease("192.168.1.57", "10.244.2.0/24", "192.168.1.57", "vxlan", "12:c6:65:89:b4:e3")
	peer6 := etcdLease("192.168.1.57", "fd00:10:244:2::/64", "fd00:192:168:1::57", "vxlan", "12:c6:65:89:b4:e6")
	tests := []struct {
		name string
		kvs  []lease.KeyValue
		opts lease.EtcdOptions
		want lease.Set
	}{
		{
			name: "both forms of keys",
			kvs:  []lease.KeyValue{kv("10.244.2.0-24&fd00:10:244:2::-64", etcdDual), kv("10.244.1.0-24", etcdOther), kv("10.244.3.0-24", etcdIPv4)},
			opts: lease.EtcdOptions{Addrs: addrs("192.168.1.56"), Families: []netstate.Family{netstate.IPv4, netstate.IPv6}},
			want: lease.Set{
				Families: []netstate.Family{netstate.IPv4, netstate.IPv6}, Own: []lease.Lease{own},
				Leases: []lease.Lease{peer4, peer6, etcdLease("192.168.1.58", "10.244.3.0/24", "192.168.1.58", "vxlan", "12:c6:65:89:b4:58")},
			},
		},
		{
			name: "the own lease tells the families",
			kvs:  []lease.KeyValue{kv("10.244.2.0-24&fd00:10:244:2::-64", etcdDual), kv("10.244.1.0-24", etcdOther)},
			opts: lease.EtcdOptions{Addrs: addrs("192.168.1.56")},
			want: lease.Set{Families: []netstate.Family{netstate.IPv4}, Own: []lease.Lease{own}, Leases: []lease.Lease{peer4}},
		},
		{
			name: "behind NAT the device's address tells the own lease",
			kvs:  []lease.KeyValue{kv("10.244.1.0-24", etcdOther), kv("10.244.2.0-24&fd00:10:244:2::-64", etcdDual)},
			opts: lease.EtcdOptions{Addrs: addrs("172.16.0.1", "10.244.1.0")},
			want: lease.Set{Families: []netstate.Family{netstate.IPv4}, Own: []lease.Lease{own}, Leases: []lease.Lease{peer4}},
		},
		{
			name: "host-gw and udp publish no more than an address",
			kvs:  []lease.KeyValue{kv("10.244.4.0-24", etcdHost), kv("10.244.5.0-24", etcdUDP)},
			want: lease.Set{Families: []netstate.Family{netstate.IPv4}, Leases: []lease.Lease{
				etcdLease("192.168.1.59", "10.244.4.0/24", "192.168.1.59", "host-gw", ""),
				etcdLease("192.168.1.60", "10.244.5.0/24", "192.168.1.60", "", ""),
			}},
		},
		{
			name: "foreign keys",
			kvs:  []lease.KeyValue{kv("", "x"), kv("notes", "hello"), kv("10.244.9.0", etcdIPv4), kv("10.244.9.0-33", etcdIPv4), kv("fd00::-64", etcdIPv4), kv("10.0.0.0-8&10.1.0.0-16", etcdIPv4)},
			want: lease.Set{Skipped: []lease.Skipped{{Node: ""}, {Node: "10.0.0.0-8&10.1.0.0-16"}, {Node: "10.244.9.0"}, {Node: "10.244.9.0-33"}, {Node: "fd00::-64"}, {Node: "notes"}}},
		},
		{
			name: "values that cannot be read",
			kvs: []lease.KeyValue{
				kv("10.244.2.0-24", "{"), kv("10.244.3.0-24", `{"PublicIP":"x"}`),
				kv("10.244.4.0-24", `{"PublicIP":"192.168.1.9","BackendType":"vxlan"}`),
				kv("10.244.5.0-24", `{"PublicIP":"192.168.1.8","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":""}}`),
			},
			want: lease.Set{
				Families: []netstate.Family{netstate.IPv4},
				Leases: []lease.Lease{
					{Peer: "10.244.2.0-24", Family: netstate.IPv4, Subnet: netip.MustParsePrefix("10.244.2.0/24"), Malformed: "is not like"},
					{Peer: "192.168.1.9", Family: netstate.IPv4, Subnet: netip.MustParsePrefix("10.244.4.0/24"), PublicIP: netip.MustParseAddr("192.168.1.9"), BackendType: "vxlan", Malformed: "BackendData of key 10.244.4.0-24 is not there"},
					{Peer: "x", Family: netstate.IPv4, Subnet: netip.MustParsePrefix("10.244.3.0/24"), Malformed: "which is no IPv4 address"},
				},
				Skipped: []lease.Skipped{{Node: "10.244.5.0-24"}},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.Self = "node-1"
			got := lease.FromEtcd(tt.kvs, tt.opts)
			for i, l := range got.Leases {
				if i < len(tt.want.Leases) && l.Malformed != "" && strings.Contains(l.Malformed, tt.want.Leases[i].Malformed) {
					got.Leases[i].Malformed = tt.want.Leases[i].Malformed
				}
			}
			for i := range got.Skipped {
				if got.Skipped[i].Reason == "" {
					t.Errorf("%q is skipped without a reason", got.Skipped[i].Node)
				}
				got.Skipped[i].Reason = ""
			}
			tt.want.Source, tt.want.Self, tt.want.Complete = "etcd", "node-1", true
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(got.Own) == 0 && !strings.Contains(got.OwnProblem(), "in etcd has a public IP of this node") {
				t.Errorf("own problem %q", got.OwnProblem())
			}
		})
	}
}

// Every key is accounted for, and none makes another one disappear.
func FuzzFromEtcd(f *testing.F) {
	f.Add("10.244.2.0-24&fd00:10:244:2::-64", etcdDual)
	f.Add("10.244.3.0-24", etcdIPv4)
	f.Add("10.244.3.0-24", "null")
	f.Add("10.244.3.0-24&", `{"PublicIP":"0.0.0.0"}`)
	f.Fuzz(func(t *testing.T, key, value string) {
		if key == "10.244.9.0-24" {
			return
		}
		opts := lease.EtcdOptions{Self: "me", Families: []netstate.Family{netstate.IPv4, netstate.IPv6}}
		set := lease.FromEtcd([]lease.KeyValue{kv(key, value), kv("10.244.9.0-24", etcdHost)}, opts)
		if !slices.ContainsFunc(set.Leases, func(l lease.Lease) bool { return l.PublicIP == netip.MustParseAddr("192.168.1.59") }) {
			t.Fatalf("the good lease is gone: %+v", set)
		}
		if len(set.Leases)+len(set.Skipped) < 2 {
			t.Fatalf("%q is neither a lease nor skipped: %+v", key, set)
		}
		for _, l := range set.Leases {
			if l.Malformed == "" && (!l.PublicIP.IsValid() || l.PublicIP.IsUnspecified() || !l.Subnet.IsValid() || l.Subnet != l.Subnet.Masked()) {
				t.Fatalf("a good lease with %+v", l)
			}
		}
	})
}
