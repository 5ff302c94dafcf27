package lease

import (
	"net/netip"
	"strings"
	"testing"

	"routewatch/shared/netstate"
)

func TestMarkConflicts(t *testing.T) {
	l := func(peer, subnet, ip string, mac byte) Lease {
		return Lease{
			Peer: peer, Family: netstate.IPv4, Subnet: netip.MustParsePrefix(subnet), PublicIP: netip.MustParseAddr(ip),
			MAC: netstate.MAC{2, 0, 0, 0, 0, mac},
		}
	}
	own := l("self", "10.244.1.0/24", "192.168.1.56", 1)
	tests := []struct {
		name   string
		leases []Lease
		want   []string // part of each lease's Conflict; "" none
	}{
		{"none", []Lease{l("a", "10.244.2.0/24", "192.168.1.57", 2), l("b", "10.244.3.0/24", "192.168.1.58", 3)}, []string{"", ""}},
		{"one subnet", []Lease{l("a", "10.244.2.0/24", "192.168.1.57", 2), l("b", "10.244.2.0/24", "192.168.1.58", 3)}, []string{"claim overlapping subnets", "claim overlapping subnets"}},
		{"one subnet inside another", []Lease{l("a", "10.244.0.0/21", "192.168.1.57", 2), l("b", "10.244.2.0/24", "192.168.1.58", 3)},
			[]string{"own subnet", "b and a claim overlapping subnets, 10.244.2.0/24 and 10.244.0.0/21"}},
		{"one subnet inside another, apart from the own", []Lease{l("a", "10.244.8.0/21", "192.168.1.57", 2), l("b", "10.244.9.0/24", "192.168.1.58", 3)},
			[]string{"b and a claim overlapping", "b and a claim overlapping"}},
		{"one MAC", []Lease{l("a", "10.244.2.0/24", "192.168.1.57", 2), l("b", "10.244.3.0/24", "192.168.1.58", 2)}, []string{"VTEP MAC", "VTEP MAC"}},
		{"one public IP is NAT or a replaced Node", []Lease{l("a", "10.244.2.0/24", "192.168.1.57", 2), l("b", "10.244.3.0/24", "192.168.1.57", 3)}, []string{"", ""}},
		{"own subnet", []Lease{l("a", "10.244.0.0/20", "192.168.1.57", 2)}, []string{"this node's own subnet"}},
		{"own public IP", []Lease{l("a", "10.244.2.0/24", "192.168.1.56", 2)}, []string{"own public IP"}},
		{"own MAC", []Lease{l("a", "10.244.2.0/24", "192.168.1.57", 1)}, []string{"own VTEP MAC"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Set{Own: []Lease{own}, Leases: tt.leases}
			MarkConflicts(&s)
			for i, want := range tt.want {
				got := s.Leases[i].Conflict
				if want == "" && got != "" || !strings.Contains(got, want) {
					t.Errorf("lease %d: conflict %q, want %q in it", i, got, want)
				}
			}
		})
	}
}
