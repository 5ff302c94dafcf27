package judge

import (
	"fmt"
	"maps"
	"slices"

	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// maxSubnets is how many subnets an incident names.
const maxSubnets = 20

// incidents groups the leases that went bad together by what broke them: one
// flap of a device with 5,000 leases is one incident. An incident ends when
// none of its leases is bad any more; while they are unknown it stays open.
func (f *fold) incidents() {
	open := map[string]*wire.Incident{}
	for _, i := range f.prev.Incidents {
		i.Subnets = slices.Clone(i.Subnets)
		open[i.ID] = &i
	}
	fresh := map[string]*wire.Incident{} // by cause, actor and time
	alive := map[string]bool{}
	for i := range f.next.Leases {
		l := &f.next.Leases[i]
		if l.State == verdict.Unknown && open[l.Incident] != nil {
			alive[l.Incident] = true
			continue
		}
		if !l.State.Bad() {
			l.Incident = ""
			continue
		}
		if open[l.Incident] == nil {
			l.Incident = f.join(fresh, open, l)
		}
		alive[l.Incident] = true
		worsen(open[l.Incident], l)
	}
	for id, i := range open {
		if alive[id] {
			f.next.Incidents = append(f.next.Incidents, *i)
		}
	}
	slices.SortFunc(f.next.Incidents, func(a, b wire.Incident) int {
		if c := a.Start.Compare(b.Start); c != 0 {
			return c
		}
		return slices.Compare([]byte(a.ID), []byte(b.ID))
	})
}

// join puts a lease that went bad now into the incident of its cause, a new one if need be.
func (f *fold) join(fresh, open map[string]*wire.Incident, l *wire.Lease) string {
	key := string(l.Cause) + l.Since.String()
	if l.Actor != nil {
		key += fmt.Sprint(*l.Actor)
	}
	i := fresh[key]
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
			Cause: l.Cause, Actor: l.Actor, Device: f.deviceOf(l), Start: l.Since,
			State: l.State, Effect: l.Effect,
		}
		fresh[key], open[i.ID] = i, i
	}
	i.Leases++
	if len(i.Subnets) < maxSubnets {
		i.Subnets = append(i.Subnets, l.Lease)
	}
	return i.ID
}

func (f *fold) deviceOf(l *wire.Lease) string {
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
