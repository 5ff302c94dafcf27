package engine

import (
	"log/slog"
	"slices"
	"testing"

	"routewatch/shared/events"
	"routewatch/shared/wire"
)

// BenchmarkFollow is what runs after each snapshot of 5,000 leases: one of them
// became bad, or all did.
func BenchmarkFollow(b *testing.B) {
	well := &wire.Snapshot{}
	for n := range 5000 {
		l := ok(n)
		well.Leases = append(well.Leases, &l)
	}
	one, all := *well, *well
	one.Leases, all.Leases = slices.Clone(well.Leases), nil
	bad := missing(7)
	one.Leases[7] = &bad
	for n := range 5000 {
		l := missing(n)
		all.Leases = append(all.Leases, &l)
	}
	log := slog.New(slog.DiscardHandler)
	for name, next := range map[string]*wire.Snapshot{"none": well, "one": &one, "all": &all} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				logTransitions(log, well, next)
				events.Between(well, next)
			}
		})
	}
}
