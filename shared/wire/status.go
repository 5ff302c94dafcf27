package wire

import (
	"cmp"
	"slices"

	"routewatch/shared/verdict"
)

// Status returns the document of /api/v1/status. It shares memory with the
// snapshot, so it must not be modified either. Its lists are never nil, so
// that they are [] and not null in JSON.
func (s *Snapshot) Status() NodeStatus {
	problems, total := s.Problems(MaxProblems, func(s verdict.State) bool { return s.Bad() || s == verdict.Unknown })
	return NodeStatus{
		APIVersion:    APIVersion,
		Kind:          KindNodeStatus,
		Node:          s.Node,
		Time:          s.Time,
		Complete:      s.Complete,
		Healthy:       s.Healthy,
		Backend:       s.Backend,
		Devices:       list(s.Devices),
		Sources:       list(s.Sources),
		Summary:       s.Summary.normal(),
		Problems:      problems,
		ProblemsTotal: total,
		Incidents:     normalIncidents(s.Incidents),
		NodeProblems:  list(s.NodeProblems),
		Stale:         list(s.VisibleStale()),
		Skipped:       list(s.Skipped),
	}
}

// Problems returns the worst leases with such a state, at most so many, worst
// first, and how many there are.
func (s *Snapshot) Problems(most int, such func(verdict.State) bool) (worst []Lease, total int) {
	var all []*Lease
	for _, l := range s.Leases {
		if such(l.State) {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, compareBadness)
	worst = make([]Lease, min(most, len(all)))
	for i := range worst {
		worst[i] = *all[i]
	}
	return worst, len(all)
}

// VisibleStale returns the stale objects that are older than the grace.
func (s *Snapshot) VisibleStale() []Stale {
	var visible []Stale
	for _, o := range s.Stale {
		if !o.Pending {
			visible = append(visible, o)
		}
	}
	return visible
}

// Compare orders leases as a Snapshot and a LeaseList hold them: by peer,
// family and subnet.
func (l Lease) Compare(o Lease) int {
	return cmp.Or(cmp.Compare(l.Peer, o.Peer), cmp.Compare(l.Family, o.Family), l.Lease.Compare(o.Lease))
}

// compareBadness orders by effect, worst first, then the oldest first.
func compareBadness(a, b *Lease) int {
	return cmp.Or(cmp.Compare(a.Effect.Rank(), b.Effect.Rank()), a.Since.Compare(b.Since), a.Compare(*b))
}

func (s Summary) normal() Summary {
	s.Families = slices.Clone(list(s.Families))
	for i := range s.Families {
		f := &s.Families[i]
		f.States, f.Effects, f.Stale = object(f.States), object(f.Effects), object(f.Stale)
	}
	s.States, s.Effects = object(s.States), object(s.Effects)
	return s
}

// Normal returns the incident with lists that are [] and not null in JSON.
func (i Incident) Normal() Incident {
	i.Subnets, i.Around = list(i.Subnets), list(i.Around)
	return i
}

func normalIncidents(incidents []Incident) []Incident {
	out := make([]Incident, len(incidents))
	for i, in := range incidents {
		out[i] = in.Normal()
	}
	return out
}

// list and object make a nil slice and a nil map empty ones.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func object[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return m
}
