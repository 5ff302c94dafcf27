package judge

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// maxSubnets is how many subnets an incident names.
const maxSubnets = 20

// joinWindow is how long after the last lease of an incident another one may
// still join it: the routes of one device are dropped one by one, and who
// deletes a thousand of them does not do it at once.
const joinWindow = 2 * time.Second

// incidents groups the leases that went bad together by what broke them: one
// flap of a device with 5,000 leases is one incident. An incident ends when
// none of its leases is bad any more; while they are unknown it stays open, and
// after a restart until the leases were read.
func (f *fold) incidents() {
	g := groups{byID: map[string]*wire.Incident{}, byCause: map[cause][]*wire.Incident{}}
	alive, old := map[string]bool{}, map[string]bool{}
	for _, i := range f.prev.Incidents {
		i.Subnets = slices.Clone(i.Subnets)
		g.add(&i)
		alive[i.ID], old[i.ID] = !f.next.LeasesRead, true
	}
	unsettled, last := f.unsettled(), ""
	for _, i := range unsettled {
		l := f.next.Leases[i]
		if l.Incident == last && last != "" && f.sharesLease(i) {
			continue // it is what it was, and in the incident that the one before it keeps open
		}
		if l.State == verdict.Unknown && g.byID[l.Incident] != nil {
			last, alive[l.Incident] = l.Incident, true
			continue
		}
		if !l.State.Bad() {
			f.setIncident(i, "")
			continue
		}
		id := l.Incident
		if g.byID[id] == nil {
			id = f.join(&g, l)
			f.setIncident(i, id)
		}
		last, alive[id] = id, true
		worsen(g.byID[id], l)
	}
	f.mem.members = slices.DeleteFunc(unsettled, func(i int) bool { return f.next.Leases[i].Incident == "" })
	for id, i := range g.byID {
		if !alive[id] {
			continue
		}
		told := uint64(0)
		if old[id] {
			told = f.prev.ChangeSeq // what was around it before it has already
		}
		f.next.Incidents = append(f.next.Incidents, i.With(f.next.Recent, told))
	}
	slices.SortFunc(f.next.Incidents, func(a, b wire.Incident) int {
		if c := a.Start.Compare(b.Start); c != 0 {
			return c
		}
		return slices.Compare([]byte(a.ID), []byte(b.ID))
	})
}

// unsettled are the positions of the leases that may have to do with an
// incident, ascending: those that were judged, and those that were in one.
func (f *fold) unsettled() []int {
	if !f.all {
		all := slices.Concat(f.mem.members, f.judged)
		slices.Sort(all)
		return slices.Compact(all)
	}
	all := make([]int, len(f.next.Leases))
	for i := range all {
		all[i] = i
	}
	return all
}

// setIncident copies the lease if need be: it may be the previous snapshot's.
func (f *fold) setIncident(i int, id string) {
	l := f.next.Leases[i]
	if l.Incident == id {
		return
	}
	if ours := f.in.Touched == nil || f.aligned && !f.sharesLease(i); !ours {
		other := *l
		l, f.next.Leases[i] = &other, &other
	}
	l.Incident = id
}

// sharesLease reports whether a lease is the previous snapshot's.
func (f *fold) sharesLease(i int) bool { return f.aligned && f.next.Leases[i] == f.prev.Leases[i] }

// groups are the open incidents.
type groups struct {
	byID    map[string]*wire.Incident
	byCause map[cause][]*wire.Incident
}

// cause is what the leases of one incident have in common.
type cause struct {
	verdict.Cause
	device string
	actor  wire.Actor // its process, or its port
}

// causesOf are the names that one cause goes by: that of its process, which may
// open a socket for each change, and that of its socket, whose process may have
// been found out only once.
func causesOf(c verdict.Cause, device string, actor *wire.Actor) []cause {
	// What follows from a device is the device's doing, whether or not the
	// kernel announced the end of each route.
	if actor == nil || device != "" {
		return []cause{{Cause: c, device: device}}
	}
	port := cause{Cause: c, actor: wire.Actor{Kind: actor.Kind, PortID: actor.PortID}}
	if actor.PID == 0 {
		return []cause{port}
	}
	return []cause{{Cause: c, actor: wire.Actor{Kind: actor.Kind, PID: actor.PID, Comm: actor.Comm}}, port}
}

// others reports whether two actors are known to be two processes: a port id can
// pass from one to the other.
func others(a, b *wire.Actor) bool {
	return a != nil && b != nil && a.PID != 0 && b.PID != 0 && (a.PID != b.PID || a.Comm != b.Comm)
}

func (g *groups) add(i *wire.Incident) {
	if i.Joined.IsZero() { // after a restart
		i.Joined = i.Start
	}
	g.byID[i.ID] = i
	for _, k := range causesOf(i.Cause, i.Device, i.Actor) {
		g.byCause[k] = append(g.byCause[k], i)
	}
}

// find returns the open incident that a lease which went bad now belongs to.
func (g *groups) find(device string, l *wire.Lease) *wire.Incident {
	for _, k := range causesOf(l.Cause, device, l.Actor) {
		for _, i := range g.byCause[k] {
			near := !l.Since.Before(i.Start.Add(-joinWindow)) && !l.Since.After(i.Joined.Add(joinWindow))
			if near && (device != "" || !others(i.Actor, l.Actor)) {
				return i
			}
		}
	}
	return nil
}

// join puts a lease that went bad now into the incident of its cause, a new one if need be.
func (f *fold) join(g *groups, l *wire.Lease) string {
	device := f.deviceOf(l)
	i := g.find(device, l)
	if i == nil {
		f.next.IncidentSeq++
		totals := maps.Clone(f.next.IncidentsTotal)
		if totals == nil {
			totals = map[string]uint64{}
		}
		totals[string(l.Cause)]++
		f.next.IncidentsTotal = totals
		i = &wire.Incident{
			ID:    fmt.Sprintf("%s-%d", f.in.Now.UTC().Format("20060102T150405Z"), f.next.IncidentSeq),
			Cause: l.Cause, Actor: l.Actor, Device: device, Start: l.Since,
			State: l.State, Effect: l.Effect,
		}
		g.add(i)
	}
	i.Leases++
	if l.Since.Before(i.Start) {
		i.Start = l.Since
	}
	if l.Since.After(i.Joined) {
		i.Joined = l.Since
	}
	if len(i.Subnets) < maxSubnets {
		i.Subnets = append(i.Subnets, l.Lease)
	}
	return i.ID
}

// deviceOf is the device that a lease's cause happened to; where no event named
// it, flannel's.
func (f *fold) deviceOf(l *wire.Lease) string {
	if l.CauseDevice != "" {
		return l.CauseDevice
	}
	switch l.Cause {
	case verdict.CauseLinkDown, verdict.LinkDeleted, verdict.AddressRemoved, verdict.MACChanged:
		for _, d := range f.next.Devices {
			if d.Family == l.Family {
				return d.Name
			}
		}
	}
	return ""
}

func worsen(i *wire.Incident, l *wire.Lease) {
	if l.Effect.Rank() < i.Effect.Rank() {
		i.State, i.Effect = l.State, l.Effect
	}
}

// resume gives a lease that is seen for the first time since a restart the
// incident that it belonged to before. It was complete once, or older than the
// grace, or it would not have been in one.
func (f *fold) resume(fresh *wire.Lease, subnet netip.Prefix) {
	id, ok := f.prev.Awaited[subnet]
	n := slices.IndexFunc(f.prev.Incidents, func(i wire.Incident) bool { return i.ID == id })
	if !ok || n < 0 {
		return
	}
	i := f.prev.Incidents[n]
	fresh.Incident, fresh.Completed = i.ID, true
	fresh.Cause, fresh.Actor, fresh.CauseDevice, fresh.Since = i.Cause, i.Actor, i.Device, i.Start
}
