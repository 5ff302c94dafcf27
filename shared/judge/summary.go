package judge

import (
	"maps"
	"slices"

	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// summarize counts a snapshot's leases and stale objects. Where few leases were
// judged it goes on from the counts of the previous snapshot.
func (f *fold) summarize() {
	sum := wire.Summary{Leases: len(f.next.Leases)}
	if f.all || !slices.Equal(f.prev.Families, f.next.Families) {
		sum.States, sum.Effects = zeroStates(), zeroEffects()
		for _, family := range f.next.Families {
			sum.Families = append(sum.Families, wire.FamilySummary{Family: family, States: zeroStates(), Effects: zeroEffects()})
		}
		for _, l := range f.next.Leases {
			count(&sum, l, 1)
		}
	} else {
		was := &f.prev.Summary
		sum.States, sum.Effects = maps.Clone(was.States), maps.Clone(was.Effects)
		for _, o := range was.Families {
			o.States, o.Effects = maps.Clone(o.States), maps.Clone(o.Effects)
			sum.Families = append(sum.Families, o)
		}
		for _, i := range f.judged {
			count(&sum, f.prev.Leases[i], -1)
			count(&sum, f.next.Leases[i], 1)
		}
	}
	for i := range sum.Families {
		o := &sum.Families[i]
		o.Missing, o.Stale = o.Expected-o.Present, zeroStale()
		sum.Expected += o.Expected
		sum.Present += o.Present
		sum.Missing += o.Missing
	}
	for i := range f.next.Stale {
		if s := &f.next.Stale[i]; !s.Pending {
			sum.Stale++
			if o := familyOf(&sum, s.Family); o != nil {
				o.Stale[s.Kind]++
			}
		}
	}
	f.next.Summary = sum
}

// count adds a lease n times.
func count(sum *wire.Summary, l *wire.Lease, n int) {
	sum.States[l.State] += n
	sum.Effects[l.Effect] += n
	f := familyOf(sum, l.Family)
	if f == nil {
		return
	}
	f.States[l.State] += n
	f.Effects[l.Effect] += n
	if expected(l) {
		f.Expected += n
		if l.RoutePresent {
			f.Present += n
		}
	}
}

// familyOf is nil for a family that is not served: of such a one no lease comes
// from lease.FromNodes.
func familyOf(sum *wire.Summary, family netstate.Family) *wire.FamilySummary {
	for i := range sum.Families {
		if sum.Families[i].Family == family {
			return &sum.Families[i]
		}
	}
	return nil
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
