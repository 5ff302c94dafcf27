package lease

import (
	"fmt"
	"net/netip"

	"routewatch/shared/netstate"
)

// MarkConflicts sets Conflict of every peer's lease that cannot be served
// beside another one: two leases with overlapping subnets or one VTEP MAC (the
// FDB has one entry a MAC, so the last writer wins), or a peer that claims this
// node's own subnet, public IP or MAC. Two peers with one public IP are no conflict: nodes
// behind NAT and replaced Nodes have that.
func MarkConflicts(s *Set) {
	type macKey struct {
		family netstate.Family
		mac    netstate.MAC
	}
	subnets := subnetIndex{}
	macs := map[macKey]int{}
	for i := range s.Leases {
		s.Leases[i].Conflict = ""
		if l := s.Leases[i]; l.Malformed == "" {
			subnets.add(l.Subnet, i)
		}
	}
	for i := range s.Leases {
		l := &s.Leases[i]
		if l.Malformed != "" {
			continue
		}
		for _, own := range s.Own {
			switch {
			case own.Family != l.Family:
			case own.Subnet.IsValid() && own.Subnet.Overlaps(l.Subnet):
				l.Conflict = fmt.Sprintf("%s claims %s, which overlaps this node's own subnet %s", l.Peer, l.Subnet, own.Subnet)
			case own.PublicIP.IsValid() && own.PublicIP == l.PublicIP:
				l.Conflict = fmt.Sprintf("%s claims this node's own public IP %s", l.Peer, l.PublicIP)
			case !own.MAC.IsZero() && own.MAC == l.MAC:
				l.Conflict = fmt.Sprintf("%s claims this node's own VTEP MAC %s", l.Peer, l.MAC)
			}
		}
		for _, j := range subnets.covering(l.Subnet) {
			if j != i {
				conflict(s, i, j, fmt.Sprintf("%s and %s claim overlapping subnets, %s and %s",
					l.Peer, s.Leases[j].Peer, l.Subnet, s.Leases[j].Subnet))
			}
		}
		if l.MAC.IsZero() {
			continue
		}
		if first, ok := macs[macKey{l.Family, l.MAC}]; ok {
			conflict(s, first, i, fmt.Sprintf("%s and %s both claim the VTEP MAC %s", s.Leases[first].Peer, l.Peer, l.MAC))
		} else {
			macs[macKey{l.Family, l.MAC}] = i
		}
	}
}

func conflict(s *Set, i, j int, text string) {
	for _, k := range []int{i, j} {
		if s.Leases[k].Conflict == "" {
			s.Leases[k].Conflict = text
		}
	}
}

// subnetIndex finds the leases whose subnet holds a prefix, by length.
type subnetIndex map[int]map[netip.Prefix][]int

func (x subnetIndex) add(p netip.Prefix, i int) {
	if x[p.Bits()] == nil {
		x[p.Bits()] = map[netip.Prefix][]int{}
	}
	x[p.Bits()][p] = append(x[p.Bits()][p], i)
}

func (x subnetIndex) covering(p netip.Prefix) []int {
	var all []int
	for bits, subnets := range x {
		if bits <= p.Bits() {
			if wide, err := p.Addr().Prefix(bits); err == nil {
				all = append(all, subnets[wide]...)
			}
		}
	}
	return all
}
