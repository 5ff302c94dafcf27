package lease

import (
	"fmt"
	"net/netip"

	"routewatch/shared/netstate"
)

// MarkConflicts sets Conflict of every peer's lease that cannot be served
// beside another one: two leases with one subnet or one VTEP MAC (the FDB has
// one entry a MAC, so the last writer wins), or a peer that claims this node's
// own subnet or public IP. Two peers with one public IP are no conflict: nodes
// behind NAT and replaced Nodes have that.
func MarkConflicts(s *Set) {
	type macKey struct {
		family netstate.Family
		mac    netstate.MAC
	}
	subnets := map[netip.Prefix]int{}
	macs := map[macKey]int{}
	for i := range s.Leases {
		l := &s.Leases[i]
		l.Conflict = ""
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
		if first, ok := subnets[l.Subnet]; ok {
			conflict(s, first, i, "subnet "+l.Subnet.String())
		} else {
			subnets[l.Subnet] = i
		}
		if l.MAC.IsZero() {
			continue
		}
		if first, ok := macs[macKey{l.Family, l.MAC}]; ok {
			conflict(s, first, i, "VTEP MAC "+l.MAC.String())
		} else {
			macs[macKey{l.Family, l.MAC}] = i
		}
	}
}

func conflict(s *Set, i, j int, what string) {
	text := fmt.Sprintf("%s and %s both claim the %s", s.Leases[i].Peer, s.Leases[j].Peer, what)
	for _, k := range []int{i, j} {
		if s.Leases[k].Conflict == "" {
			s.Leases[k].Conflict = text
		}
	}
}
