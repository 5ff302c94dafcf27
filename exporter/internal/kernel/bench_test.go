package kernel

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
)

// BenchmarkSweep reads everything for 5,000 peers (2,500 nodes with two families).
func BenchmarkSweep(b *testing.B) {
	n := newNode(b, 2500)
	r := n.reader(b)
	b.ReportAllocs()
	for b.Loop() {
		s, err := r.sweep(nil, &work{})
		netns.Must(b, err)
		if len(s.Lookups) < 10000 {
			b.Fatalf("%d lookups", len(s.Lookups))
		}
	}
}

// BenchmarkRouteDeleted is the time from the request that deletes a route to the
// State without it, at 50 and at 5,000 peers.
func BenchmarkRouteDeleted(b *testing.B) {
	for _, bench := range []struct {
		name  string
		nodes int
	}{{"50", 25}, {"5000", 2500}} {
		b.Run(bench.name, func(b *testing.B) {
			n := newNode(b, bench.nodes)
			w := n.watch(b, n.config())
			w.inSync()
			p := n.peers[0]
			var took, since []time.Duration
			for b.Loop() {
				start := time.Now()
				netns.Must(b, n.RouteDel(netstate.Route{Dst: p.subnet}))
				s := w.until("its deletion", func(s *netstate.State) bool { return !hasRoute(s, p) })
				b.StopTimer()
				since = append(since, time.Since(s.Triggered))
				took = append(took, time.Since(start))
				netns.Must(b, n.RouteReplace(n.route(b, p)))
				w.until("the route", func(s *netstate.State) bool { return hasRoute(s, p) })
				time.Sleep(3 * gapMax) // until the pace is that of a single event
				b.StartTimer()
			}
			for name, all := range map[string][]time.Duration{"p50-µs": took, "p50-event-µs": since} {
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)/2].Microseconds()), name)
			}
		})
	}
}

// BenchmarkTouch reads again what the event of one route concerns, at 50 and at
// 5,000 peers.
func BenchmarkTouch(b *testing.B) {
	for _, bench := range []struct {
		name  string
		nodes int
	}{{"50", 25}, {"5000", 2500}} {
		b.Run(bench.name, func(b *testing.B) {
			n := newNode(b, bench.nodes)
			r := n.reader(b)
			s, err := r.sweep(nil, &work{})
			netns.Must(b, err)
			rt := s.RoutesTo(n.peers[9].subnet)[0]
			job := &work{touched: true, prefixes: []netip.Prefix{rt.Dst}, changes: []routeChange{{route: *rt, deleted: true}}}
			b.ReportAllocs()
			for b.Loop() {
				after, err := r.perform(s, job)
				netns.Must(b, err)
				if len(after.Routes) != len(s.Routes)-1 {
					b.Fatal("not deleted")
				}
			}
		})
	}
}
