package judge

import (
	"net/netip"
	"slices"
	"sort"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
)

// hints are the events of one input, made ready to be asked, for thousands of
// leases, for the first that explains a state. It holds each event once: of
// those that say the same only the first can be an answer.
type hints struct {
	events []netstate.Hint // as the kernel layer gave them
	ready  bool            // what follows was made of them

	all []*netstate.Hint // oldest first
	// at are the positions of those with a prefix, by its address; of are the same
	// by the prefix, masked, whose lengths are bits.
	at   []int
	of   map[netip.Prefix][]int
	bits []int // ascending

	linkDeleted map[int]bool                      // ifindex
	linkChanged map[int]bool                      // likewise
	addrDeleted map[int]bool                      // of IPv6, likewise
	flushed     map[netip.Prefix]bool             // destinations of routes that the kernel itself deleted
	reasons     map[netstate.Family]verdict.Cause // see consequence
	firsts      map[question]int
	scratch     []int
}

// question is what the answer of an event that bears on no single lease depends on.
type question struct {
	silently   bool
	state      verdict.State
	family     netstate.Family
	device     int
	deviceName string
	well       bool // the device is: see silently
}

// said is what an event says, without when and by whom.
type said struct {
	kind   netstate.HintKind
	family netstate.Family
	device string
	index  int
	up     bool
	prefix netip.Prefix
	kernel bool
}

// prepare is for whoever asks first: where all is well nobody does.
func (x *hints) prepare() {
	if x.ready {
		return
	}
	*x = hints{
		events: x.events, ready: true,
		of: map[netip.Prefix][]int{}, linkDeleted: map[int]bool{}, linkChanged: map[int]bool{}, addrDeleted: map[int]bool{},
		flushed: map[netip.Prefix]bool{}, reasons: map[netstate.Family]verdict.Cause{}, firsts: map[question]int{},
	}
	known := make(map[said]bool, len(x.events))
	for i := range x.events {
		h := &x.events[i]
		s := said{h.Kind, h.Family, h.Device, h.Index, h.Up, h.Prefix, h.PortID == 0}
		if !known[s] {
			known[s] = true
			x.add(h)
		}
	}
	slices.Sort(x.bits)
	slices.SortFunc(x.at, func(a, b int) int { return x.all[a].Prefix.Addr().Compare(x.all[b].Prefix.Addr()) })
}

func (x *hints) add(h *netstate.Hint) {
	n := len(x.all)
	x.all = append(x.all, h)
	switch {
	case h.Kind == netstate.LinkDeleted:
		x.linkDeleted[h.Index] = true
	case h.Kind == netstate.LinkChanged:
		x.linkChanged[h.Index] = true
	case h.Kind == netstate.AddrDeleted && h.Family == netstate.IPv6:
		x.addrDeleted[h.Index] = true
	case h.Kind == netstate.RouteDeleted && h.PortID == 0:
		x.flushed[h.Prefix] = true
	}
	if !h.Prefix.IsValid() {
		return
	}
	x.at = append(x.at, n)
	p := h.Prefix.Masked()
	x.of[p] = append(x.of[p], n)
	if !slices.Contains(x.bits, p.Bits()) {
		x.bits = append(x.bits, p.Bits())
	}
}

// about appends the positions of the events whose prefix overlaps another one, in any order.
func (x *hints) about(positions []int, p netip.Prefix) []int {
	p = p.Masked()
	i := sort.Search(len(x.at), func(i int) bool { return x.all[x.at[i]].Prefix.Addr().Compare(p.Addr()) >= 0 })
	for ; i < len(x.at) && p.Contains(x.all[x.at[i]].Prefix.Addr()); i++ {
		positions = append(positions, x.at[i])
	}
	for _, bits := range x.bits {
		if bits >= p.Bits() {
			break // those that are not wider are above
		}
		if wide, err := p.Addr().Prefix(bits); err == nil {
			positions = append(positions, x.of[wide]...)
		}
	}
	return positions
}

// candidates are the positions of the events that may answer a question about
// a lease, ascending: those that bear on its subnet or its public IP, and the
// first of the others. Good until the next call.
func (x *hints) candidates(q question, l *lease.Lease, answers func(h *netstate.Hint) bool) []int {
	all := x.about(x.scratch[:0], l.Subnet)
	if l.PublicIP.IsValid() {
		all = x.about(all, netip.PrefixFrom(l.PublicIP, l.PublicIP.BitLen()))
	}
	if i := x.first(q, answers); i >= 0 {
		all = append(all, i)
	}
	slices.Sort(all)
	x.scratch = all
	return all
}

// first returns the position of the first event that bears on no single lease
// and answers a question; negative if none does.
func (x *hints) first(q question, answers func(h *netstate.Hint) bool) int {
	if i, known := x.firsts[q]; known {
		return i
	}
	found := -1
	for i := range x.all {
		if h := x.all[i]; !single(h, q) && answers(h) {
			found = i
			break
		}
	}
	x.firsts[q] = found
	return found
}

// single reports whether it depends on a lease's own subnet or public IP what an
// event answers.
func single(h *netstate.Hint, q question) bool {
	switch h.Kind {
	case netstate.RouteAdded, netstate.RouteReplaced, netstate.RouteDeleted, netstate.NeighborChanged, netstate.NeighborDeleted:
		return true
	case netstate.FDBDeleted:
		return h.Prefix.IsValid()
	case netstate.AddrAdded:
		return q.state != verdict.UnderlayDown && !q.silently // then it may have led to anything
	}
	return false
}
