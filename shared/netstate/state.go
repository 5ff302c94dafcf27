package netstate

import (
	"bytes"
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"sort"
	"time"
)

// State is one consistent picture of the kernel, limited to what an
// expect.Interest asked for. Every slice is sorted as Sort leaves it.
// A published State is shared and must never be modified. Routes and Lookups are
// references so that a State of thousands can share with the one before it all
// that did not change.
type State struct {
	// At is when the picture was read.
	At time.Time `json:"at"`
	// Generation is that of the lease.Set whose interest this picture was read for.
	Generation uint64 `json:"generation"`
	// Complete is false when the kernel could not be read; Problem says why.
	Complete bool   `json:"complete"`
	Problem  string `json:"problem,omitempty"`

	Links     []Link     `json:"links,omitempty"`     // all of them, by index
	Addrs     []Addr     `json:"addrs,omitempty"`     // by device, then address
	Rules     []Rule     `json:"rules,omitempty"`     // by family, then priority
	Routes    []*Route   `json:"routes,omitempty"`    // by CompareRoutes
	Neighbors []Neighbor `json:"neighbors,omitempty"` // of flannel's vxlan devices, by device, then address
	FDB       []FDBEntry `json:"fdb,omitempty"`       // of flannel's vxlan devices, by device, then MAC
	// WireGuard are the flannel devices that are WireGuard's, by device.
	WireGuard []WireGuard `json:"wireGuard,omitempty"`
	Lookups   []*Lookup   `json:"lookups,omitempty"` // by Query
	NetConf   []NetConf   `json:"netConf,omitempty"` // by family, then device

	// Hints are the events since the State before this one, oldest first.
	Hints    []Hint   `json:"hints,omitempty"`
	Counters Counters `json:"counters"`
	// Touched are the subnets (of expect.Interest.Subnets) whose evidence may
	// differ from that in the State before this one; nil means all of them.
	Touched []netip.Prefix `json:"touched"`
	// Triggered is when the oldest event that led to this State was received,
	// zero if none did (start, audit, new leases).
	Triggered time.Time `json:"triggered,omitzero"`
}

// CompareRoutes orders routes by destination address, then from wide to
// narrow, then by table, priority, and the rest; routes inside a prefix
// are therefore neighbors. Equal means every field is equal.
func CompareRoutes(a, b *Route) int {
	if c := comparePrefix(a.Dst, b.Dst); c != 0 {
		return c
	}
	return cmp.Or(
		cmp.Compare(a.Table, b.Table),
		cmp.Compare(a.Priority, b.Priority),
		cmp.Compare(a.TOS, b.TOS),
	)
}

// Sort puts every slice into its documented order. The sort is stable: routes
// that share destination, table, priority and TOS keep the kernel's order.
func (s *State) Sort() {
	slices.SortFunc(s.Links, func(a, b Link) int { return cmp.Compare(a.Index, b.Index) })
	slices.SortFunc(s.Addrs, func(a, b Addr) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), a.Prefix.Addr().Compare(b.Prefix.Addr()))
	})
	slices.SortStableFunc(s.Rules, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Priority, b.Priority))
	})
	if !slices.IsSortedFunc(s.Routes, CompareRoutes) { // the kernel has the thousands of one table in this order
		slices.SortStableFunc(s.Routes, CompareRoutes)
	}
	slices.SortFunc(s.Neighbors, func(a, b Neighbor) int { return a.compare(b.Device, b.IP) })
	slices.SortFunc(s.FDB, compareFDB)
	slices.SortFunc(s.WireGuard, func(a, b WireGuard) int { return cmp.Compare(a.Device, b.Device) })
	slices.SortFunc(s.Lookups, func(a, b *Lookup) int { return a.Query.Compare(b.Query) })
	slices.SortFunc(s.NetConf, func(a, b NetConf) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Device, b.Device))
	})
}

func compareFDB(a, b FDBEntry) int {
	if a.Device != b.Device {
		return cmp.Compare(a.Device, b.Device)
	}
	if c := bytes.Compare(a.MAC[:], b.MAC[:]); c != 0 {
		return c
	}
	return cmp.Or(a.Dst.Compare(b.Dst), cmp.Compare(a.Port, b.Port), cmp.Compare(a.VNI, b.VNI), cmp.Compare(a.State, b.State))
}

// Refs returns the addresses of the elements of a slice, which must not be
// modified afterwards.
func Refs[T any](all []T) []*T {
	if all == nil {
		return nil
	}
	refs := make([]*T, len(all))
	for i := range all {
		refs[i] = &all[i]
	}
	return refs
}

// Link returns the device with the index.
func (s *State) Link(index int) (Link, bool) {
	i, ok := slices.BinarySearchFunc(s.Links, index, func(l Link, index int) int { return cmp.Compare(l.Index, index) })
	if !ok {
		return Link{}, false
	}
	return s.Links[i], true
}

// LinkName returns the name of the device with the index, "" for index 0 or a
// device that is not there.
func (s *State) LinkName(index int) string {
	l, _ := s.Link(index)
	return l.Name
}

// AddrsOf yields the addresses of a device.
func (s *State) AddrsOf(index int) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		i := sort.Search(len(s.Addrs), func(i int) bool { return s.Addrs[i].Device >= index })
		for ; i < len(s.Addrs) && s.Addrs[i].Device == index; i++ {
			if !yield(s.Addrs[i].Prefix) {
				return
			}
		}
	}
}

// RoutesTo returns the routes whose destination is exactly p, in all tables.
func (s *State) RoutesTo(p netip.Prefix) []*Route {
	i := sort.Search(len(s.Routes), func(i int) bool { return comparePrefix(s.Routes[i].Dst, p) >= 0 })
	j := i
	for j < len(s.Routes) && s.Routes[j].Dst == p {
		j++
	}
	return s.Routes[i:j:j]
}

// RoutesInside returns the routes whose destination is a true part of p, in all tables.
func (s *State) RoutesInside(p netip.Prefix) []*Route {
	i := sort.Search(len(s.Routes), func(i int) bool { return comparePrefix(s.Routes[i].Dst, p) > 0 })
	j := i
	for j < len(s.Routes) && p.Contains(s.Routes[j].Dst.Addr()) {
		j++
	}
	return s.Routes[i:j:j]
}

// comparePrefix, as the other comparisons that a search makes, looks at what
// comes second only where the first is the same.
func comparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return cmp.Compare(a.Bits(), b.Bits())
}

// Neighbor returns the entry for an address on a device.
func (s *State) Neighbor(device int, ip netip.Addr) (Neighbor, bool) {
	i := sort.Search(len(s.Neighbors), func(i int) bool { return s.Neighbors[i].compare(device, ip) >= 0 })
	if i == len(s.Neighbors) || s.Neighbors[i].compare(device, ip) != 0 {
		return Neighbor{}, false
	}
	return s.Neighbors[i], true
}

func (n *Neighbor) compare(device int, ip netip.Addr) int {
	if c := cmp.Compare(n.Device, device); c != 0 {
		return c
	}
	return n.IP.Compare(ip)
}

// FDBOf returns the forwarding entries for a MAC on a device.
func (s *State) FDBOf(device int, mac MAC) []FDBEntry {
	i := sort.Search(len(s.FDB), func(i int) bool {
		e := &s.FDB[i]
		if e.Device != device {
			return e.Device > device
		}
		return bytes.Compare(e.MAC[:], mac[:]) >= 0
	})
	j := i
	for j < len(s.FDB) && s.FDB[j].Device == device && s.FDB[j].MAC == mac {
		j++
	}
	return s.FDB[i:j:j]
}

// Lookup returns the kernel's answer to a query, if it was asked.
func (s *State) Lookup(q Query) (Lookup, bool) {
	l, ok := s.Answer(q)
	return *l, ok
}

// Answer is Lookup without a copy: what it returns must not be modified.
func (s *State) Answer(q Query) (*Lookup, bool) {
	i := sort.Search(len(s.Lookups), func(i int) bool { return s.Lookups[i].Query.Compare(q) >= 0 })
	if i == len(s.Lookups) || s.Lookups[i].Query != q {
		return &Lookup{}, false
	}
	return s.Lookups[i], true
}

// NetConfOf returns the settings of a device for a family.
func (s *State) NetConfOf(f Family, device int) (NetConf, bool) {
	i, ok := slices.BinarySearchFunc(s.NetConf, NetConf{Family: f, Device: device}, func(a, b NetConf) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Device, b.Device))
	})
	if !ok {
		return NetConf{}, false
	}
	return s.NetConf[i], true
}
