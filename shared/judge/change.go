package judge

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

const (
	// recentFor is how long a change is kept for incidents that are still to come.
	recentFor = time.Minute
	maxRecent = 64
	// maxOfType is how many changes of one type in one step are told one by one.
	maxOfType = 20
	// echo is how long the kernel may go on announcing one change of a device:
	// one that is set up tells so several times, as its carrier and its
	// operational state follow.
	echo = time.Second
)

// changes gathers what happened since the previous snapshot that need not have
// broken anything.
func (f *fold) changes() {
	f.ownLeases()
	fresh := slices.Concat(f.deviceChanges(), f.recreated(), f.ownChanges(), f.leaseChanges())
	recent := slices.DeleteFunc(slices.Clone(f.prev.Recent), func(c wire.Change) bool {
		return c.Time.Before(f.in.Now.Add(-recentFor))
	})
	f.next.ChangeSeq = f.prev.ChangeSeq
	for _, c := range summarized(fresh) {
		if slices.ContainsFunc(recent, func(o wire.Change) bool { return same(o, c) }) {
			continue // an input that is judged again
		}
		f.next.ChangeSeq++
		c.Seq = f.next.ChangeSeq
		recent = append(recent, c)
	}
	if excess := len(recent) - maxRecent; excess > 0 {
		recent = recent[excess:]
	}
	f.next.Recent = recent
}

func same(a, b wire.Change) bool {
	return a.Time.Equal(b.Time) && a.Type == b.Type && a.Device == b.Device && a.Object == b.Object && a.Peer == b.Peer
}

// summarized makes one change of many of the same type.
func summarized(changes []wire.Change) []wire.Change {
	count := map[verdict.EventType]int{}
	for _, c := range changes {
		count[c.Type]++
	}
	var out []wire.Change
	told := map[verdict.EventType]bool{}
	for _, c := range changes {
		if count[c.Type] <= maxOfType {
			out = append(out, c)
			continue
		}
		if !told[c.Type] {
			told[c.Type] = true
			out = append(out, wire.Change{Time: c.Time, Type: c.Type, Count: count[c.Type], Detail: "the first: " + c.Text()})
		}
	}
	return out
}

// deviceChanges are the events of devices and addresses. The kernel layer lets
// only those through that the picture depends on: flannel's devices, what they
// send by, and those of routes that get in the way.
func (f *fold) deviceChanges() []wire.Change {
	last := map[string]wire.Change{} // of each device
	for _, c := range f.prev.Recent {
		if isLink(c.Type) {
			last[c.Device] = c
		}
	}
	var changes []wire.Change
	for _, h := range f.state.Hints {
		c := wire.Change{Time: h.At, Device: h.Device, Family: h.Family}
		if c.Device == "" {
			c.Device = f.state.LinkName(h.Index)
		}
		before := last[c.Device]
		switch h.Kind {
		case netstate.LinkAdded:
			c.Type = verdict.LinkAppeared
		case netstate.LinkDeleted:
			c.Type = verdict.LinkGone
		case netstate.LinkMACChanged:
			c.Type = verdict.LinkMACChanged
		case netstate.LinkChanged:
			c.Type, c.Detail = linkChanged(before.Type, h.Up)
			if c.Type == before.Type || c.Type == verdict.LinkChanged && h.At.Sub(before.Time) < echo {
				continue
			}
		case netstate.AddrAdded, netstate.AddrDeleted:
			c.Type, c.Object, c.Actor = verdict.AddressAdded, h.Prefix.String(), actorOf(&h)
			if h.Kind == netstate.AddrDeleted {
				c.Type = verdict.AddressGone
			}
		default:
			continue
		}
		if isLink(c.Type) {
			last[c.Device] = c
		}
		changes = append(changes, c)
	}
	return changes
}

func linkChanged(before verdict.EventType, up bool) (verdict.EventType, string) {
	switch {
	case !up:
		return verdict.LinkWentDown, ""
	case before == verdict.LinkWentDown:
		return verdict.LinkWentUp, ""
	}
	return verdict.LinkChanged, "it is up"
}

func isLink(t verdict.EventType) bool {
	switch t {
	case verdict.LinkAppeared, verdict.LinkWentUp, verdict.LinkWentDown, verdict.LinkChanged, verdict.LinkGone, verdict.LinkMACChanged:
		return true
	}
	return false
}

// recreated tells of flannel devices that are others than they were, though no
// event may have told: it may have been lost.
func (f *fold) recreated() []wire.Change {
	var changes []wire.Change
	for _, d := range f.next.Devices {
		i := slices.IndexFunc(f.prev.Devices, func(o wire.Device) bool { return o.Family == d.Family && o.Name == d.Name })
		if i < 0 || f.prev.Devices[i].Index == 0 || f.prev.Devices[i].Index == d.Index {
			continue
		}
		changes = append(changes, wire.Change{
			Time: f.in.Now, Type: verdict.DeviceRecreated, Family: d.Family, Device: d.Name,
			Detail: fmt.Sprintf("its index was %d and is %d", f.prev.Devices[i].Index, d.Index),
		})
	}
	return changes
}

// ownLeases copies what this node published, as long as it was ever read.
func (f *fold) ownLeases() {
	if f.set.Generation == 0 {
		f.next.Own = f.prev.Own
		return
	}
	for _, l := range f.set.Own {
		if l.Subnet.IsValid() {
			f.next.Own = append(f.next.Own, wire.OwnLease{
				Lease: l.Subnet, Family: l.Family, PublicIP: l.PublicIP, Backend: l.BackendType, VNI: l.VNI, MAC: l.MAC, PublicKey: l.PublicKey,
			})
		}
	}
}

func (f *fold) ownChanges() []wire.Change {
	if !f.prev.LeasesRead {
		return nil
	}
	var changes []wire.Change
	add := func(l wire.OwnLease, detail string) {
		if detail != "" {
			changes = append(changes, wire.Change{
				Time: f.in.Now, Type: verdict.OwnLeaseChanged, Family: l.Family, Object: l.Lease.String(), Peer: f.opts.Node, Detail: detail,
			})
		}
	}
	for _, is := range f.next.Own {
		detail := "it is published now"
		if was, ok := ownOf(f.prev.Own, is.Family); ok {
			detail = differences(attributes{was.Lease, was.PublicIP, was.Backend, was.VNI, was.MAC, was.PublicKey},
				attributes{is.Lease, is.PublicIP, is.Backend, is.VNI, is.MAC, is.PublicKey})
		}
		add(is, detail)
	}
	for _, was := range f.prev.Own {
		if _, ok := ownOf(f.next.Own, was.Family); !ok {
			add(was, "it is not published any more")
		}
	}
	return changes
}

func ownOf(own []wire.OwnLease, f netstate.Family) (wire.OwnLease, bool) {
	for _, l := range own {
		if l.Family == f {
			return l, true
		}
	}
	return wire.OwnLease{}, false
}

// leaseChanges compares this set's leases with those before, once a set.
func (f *fold) leaseChanges() []wire.Change {
	if !f.prev.LeasesRead || f.prev.Generation == f.next.Generation {
		return nil
	}
	var changes []wire.Change
	add := func(t verdict.EventType, l *wire.Lease, detail string) {
		c := wire.Change{Time: f.in.Now, Type: t, Family: l.Family, Peer: l.Peer, Detail: detail}
		if l.Lease.IsValid() {
			c.Object = l.Lease.String()
		}
		changes = append(changes, c)
	}
	old, set := f.prev.Leases, f.set.Leases
	for len(old) > 0 || len(set) > 0 {
		switch {
		case len(set) == 0 || len(old) > 0 && compareKey(old[0], &set[0]) < 0:
			add(verdict.LeaseRemoved, old[0], "")
			old = old[1:]
		case len(old) == 0 || compareKey(old[0], &set[0]) > 0:
			add(verdict.LeaseAdded, &wire.Lease{Peer: set[0].Peer, Family: set[0].Family, Lease: set[0].Subnet}, "")
			set = set[1:]
		default:
			if d := differences(attributesOf(old[0]), attributesOfLease(set[0])); d != "" {
				add(verdict.LeaseAltered, old[0], d)
			}
			old, set = old[1:], set[1:]
		}
	}
	return changes
}

// attributes are what a node publishes of itself.
type attributes struct {
	subnet    netip.Prefix
	publicIP  netip.Addr
	backend   string
	vni       uint32
	mac       netstate.MAC
	publicKey string
}

func attributesOf(l *wire.Lease) attributes {
	return attributes{l.Lease, l.PublicIP, l.Backend, l.VNI, l.MAC, l.PublicKey}
}

func attributesOfLease(l lease.Lease) attributes {
	return attributes{l.Subnet, l.PublicIP, l.BackendType, l.VNI, l.MAC, l.PublicKey}
}

// differences says what changed; "" if nothing did.
func differences(was, is attributes) string {
	if was == is { // nearly always, and words are dear
		return ""
	}
	var changed []string
	add := func(name string, differs bool, was, is any) {
		if differs {
			changed = append(changed, fmt.Sprintf("%s was %v and is %v", name, was, is))
		}
	}
	add("the subnet", was.subnet != is.subnet, was.subnet, is.subnet)
	add("the public IP", was.publicIP != is.publicIP, was.publicIP, is.publicIP)
	add("the backend", was.backend != is.backend, quoted(was.backend), quoted(is.backend))
	add("the VNI", was.vni != is.vni, was.vni, is.vni)
	add("the MAC", was.mac != is.mac, cmpOr(was.mac.String(), "none"), cmpOr(is.mac.String(), "none"))
	add("the public key", was.publicKey != is.publicKey, cmpOr(was.publicKey, "none"), cmpOr(is.publicKey, "none"))
	return strings.Join(changed, ", ")
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }
