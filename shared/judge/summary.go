package judge

import (
	"slices"

	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// summarize counts a snapshot's leases and stale objects.
func summarize(s *wire.Snapshot) wire.Summary {
	sum := wire.Summary{Leases: len(s.Leases), States: zeroStates(), Effects: zeroEffects()}
	for _, family := range s.Families {
		sum.Families = append(sum.Families, wire.FamilySummary{
			Family: family, States: zeroStates(), Effects: zeroEffects(),
			Stale: zeroStale(),
		})
	}
	of := func(family netstate.Family) *wire.FamilySummary {
		i := slices.IndexFunc(sum.Families, func(f wire.FamilySummary) bool { return f.Family == family })
		if i < 0 {
			// A lease of a family that is not served cannot come from lease.FromNodes; count it nowhere twice.
			return &wire.FamilySummary{States: map[verdict.State]int{}, Effects: map[verdict.Effect]int{}, Stale: map[wire.StaleKind]int{}}
		}
		return &sum.Families[i]
	}
	for i := range s.Leases {
		l := s.Leases[i]
		f := of(l.Family)
		f.States[l.State]++
		f.Effects[l.Effect]++
		sum.States[l.State]++
		sum.Effects[l.Effect]++
		if !expected(l) {
			continue
		}
		f.Expected++
		if l.RoutePresent {
			f.Present++
		}
	}
	for i := range s.Stale {
		if !s.Stale[i].Pending {
			of(s.Stale[i].Family).Stale[s.Stale[i].Kind]++
			sum.Stale++
		}
	}
	for i := range sum.Families {
		f := &sum.Families[i]
		f.Missing = f.Expected - f.Present
		sum.Expected += f.Expected
		sum.Present += f.Present
		sum.Missing += f.Missing
	}
	return sum
}

// expected: the lease's route is counted. Not those that cannot be judged,
// those that share a subnet, and new ones whose route has not come yet.
func expected(l *wire.Lease) bool {
	switch l.State {
	case verdict.Unknown, verdict.Unsupported, verdict.Conflict:
		return false
	case verdict.Pending:
		return l.RoutePresent
	}
	return true
}

func zeroStale() map[wire.StaleKind]int {
	m := map[wire.StaleKind]int{}
	for _, kind := range wire.StaleKinds {
		m[kind] = 0
	}
	return m
}

func zeroStates() map[verdict.State]int {
	m := map[verdict.State]int{}
	for _, w := range verdict.States() {
		m[verdict.State(w.Name)] = 0
	}
	return m
}

func zeroEffects() map[verdict.Effect]int {
	m := map[verdict.Effect]int{}
	for _, w := range verdict.Effects() {
		m[verdict.Effect(w.Name)] = 0
	}
	return m
}
