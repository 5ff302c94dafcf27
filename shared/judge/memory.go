package judge

import (
	"net/netip"
	"slices"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// memory is what a Judge knows of its last input, beside the snapshot that came
// of it. It only saves work: without it the next snapshot is the same.
type memory struct {
	index   *index // of the set
	members []int  // positions of the leases that are in an incident, ascending
	stale   unexplained
	forPods sifted[*netstate.Lookup] // the lookups as from a pod
}

// index finds the leases of a set, and what they account for.
type index struct {
	leases, own []lease.Lease // of which it was made
	// first is the position of a subnet's lease, and ofThisNode where it is that;
	// more are the further ones of a subnet that several claim.
	first     map[netip.Prefix]int
	more      map[netip.Prefix][]int
	bits      []int // lengths of the subnets, ascending, unique
	macs      map[netstate.MAC]bool
	keys      map[string]bool // of WireGuard peers
	malformed []netstate.Family
	vnis      map[netstate.Family]uint32 // see peerVNIs
}

const ofThisNode = -1

// indexOf returns the index of a set: the last one, if that is of the same leases.
func indexOf(set *lease.Set, last *index) *index {
	if last != nil && slices.Equal(last.own, set.Own) && len(last.leases) == len(set.Leases) && (sameArray(last.leases, set.Leases) ||
		slices.Equal(last.leases, set.Leases)) {
		last.leases = set.Leases // and let go of the others
		return last
	}
	x := &index{
		leases: set.Leases, own: set.Own,
		first: make(map[netip.Prefix]int, len(set.Leases)), more: map[netip.Prefix][]int{},
		macs: make(map[netstate.MAC]bool, len(set.Leases)), keys: map[string]bool{}, vnis: peerVNIs(set),
	}
	for i := range set.Leases {
		x.add(&set.Leases[i], i)
	}
	for i := range set.Own {
		x.add(&set.Own[i], ofThisNode)
	}
	slices.Sort(x.bits)
	return x
}

func (x *index) add(l *lease.Lease, at int) {
	if at != ofThisNode && l.Malformed != "" {
		x.malformed = append(x.malformed, l.Family)
	}
	if !l.Subnet.IsValid() {
		return
	}
	if _, taken := x.first[l.Subnet]; !taken {
		x.first[l.Subnet] = at
	} else if at != ofThisNode {
		x.more[l.Subnet] = append(x.more[l.Subnet], at)
	}
	if !slices.Contains(x.bits, l.Subnet.Bits()) {
		x.bits = append(x.bits, l.Subnet.Bits())
	}
	x.macs[l.MAC], x.keys[l.PublicKey] = true, true
}

// at returns the positions of the leases of some subnets, ascending.
func (x *index) at(subnets ...netip.Prefix) []int {
	var all []int
	for _, s := range subnets {
		if i, ok := x.first[s]; ok && i != ofThisNode {
			all = append(append(all, i), x.more[s]...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// holding yields the positions of the leases whose subnet has the address.
func (x *index) holding(a netip.Addr) []int {
	var subnets []netip.Prefix
	for _, bits := range x.bits {
		if subnet, err := a.Prefix(bits); err == nil {
			subnets = append(subnets, subnet)
		}
	}
	return x.at(subnets...)
}

// covers reports whether a lease's subnet, or the node's own, is or holds the prefix.
func (x *index) covers(p netip.Prefix) bool {
	for _, bits := range x.bits {
		if bits > p.Bits() {
			return false
		}
		if wide, err := p.Addr().Prefix(bits); err == nil && x.has(wide) {
			return true
		}
	}
	return false
}

func (x *index) has(subnet netip.Prefix) bool {
	_, ok := x.first[subnet]
	return ok
}

// isGateway reports whether an address is the first one of a lease's subnet, the
// gateway of its route with vxlan.
func (x *index) isGateway(a netip.Addr) bool {
	return slices.ContainsFunc(x.bits, func(bits int) bool { return x.has(netip.PrefixFrom(a, bits)) })
}

// sifted is a list of the kernel's picture with those picked out that a question
// is about. Of the next list only what is not in this one is asked about.
type sifted[T comparable] struct {
	list   []T
	picked []int // positions, ascending
}

func (s *sifted[T]) sift(list []T, picks func(T) bool) {
	head := begin(s.list, list)
	if head == len(list) && head == len(s.list) {
		s.list = list // and let go of the old one
		return
	}
	tail := end(s.list[head:], list[head:])
	var picked []int
	n, _ := slices.BinarySearch(s.picked, head)
	picked = append(picked, s.picked[:n]...)
	for i := head; i < len(list)-tail; i++ {
		if picks(list[i]) {
			picked = append(picked, i)
		}
	}
	n, _ = slices.BinarySearch(s.picked, len(s.list)-tail)
	for _, i := range s.picked[n:] {
		picked = append(picked, i+len(list)-len(s.list))
	}
	s.list, s.picked = list, picked
}

func sameArray[T any](a, b []T) bool { return len(a) > 0 && len(b) > 0 && &a[0] == &b[0] }

// begin is how many items two lists begin with that are the same.
func begin[T comparable](a, b []T) int {
	most := min(len(a), len(b))
	if sameArray(a, b) {
		return most
	}
	a, b = a[:most], b[:most]
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return most
}

// end is how many items two lists end with that are the same.
func end[T comparable](a, b []T) int {
	most := min(len(a), len(b))
	a, b = a[len(a)-most:], b[len(b)-most:]
	for i := range a {
		if j := most - 1 - i; a[j] != b[j] {
			return i
		}
	}
	return most
}
