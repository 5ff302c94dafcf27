package judge

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

func drawWorld(t *rapid.T) *world {
	families := rapid.SampledFrom([][]netstate.Family{{ip4}, {ip6}, {ip4, ip6}}).Draw(t, "families")
	return newWorld(rapid.IntRange(1, 12).Draw(t, "peers"), families...)
}

// fault removes or alters one object of one peer and returns the state that must follow.
type fault struct {
	name string
	do   func(*world, lease.Lease)
	want verdict.State
}

var faults = []fault{
	{"route removed", func(w *world, l lease.Lease) {
		w.routes = remove(w.routes, func(r netstate.Route) bool { return r.Dst == l.Subnet })
	}, verdict.Missing},
	{"neighbor removed", func(w *world, l lease.Lease) {
		w.neighbors = remove(w.neighbors, func(n netstate.Neighbor) bool { return n.IP == l.Subnet.Addr() })
	}, verdict.NeighborMissing},
	{"FDB entry removed", func(w *world, l lease.Lease) {
		w.fdb = remove(w.fdb, func(f netstate.FDBEntry) bool { return f.MAC == l.MAC })
	}, verdict.FDBMissing},
	{"underlay blackholed", func(w *world, l lease.Lease) {
		w.routes = append(w.routes, netstate.Route{Table: 254, Dst: netip.PrefixFrom(l.PublicIP, l.Family.Bits()), Type: netstate.Blackhole})
	}, verdict.UnderlayDown},
	{"half shadowed", func(w *world, l lease.Lease) {
		half := netip.PrefixFrom(l.Subnet.Addr(), l.Subnet.Bits()+1)
		w.routes = append(w.routes, netstate.Route{Table: 254, Dst: half, Type: netstate.Unicast, Device: ifVPN})
	}, verdict.Shadowed},
	{"diverted", func(w *world, l lease.Lease) {
		w.rules = append(w.rules, netstate.Rule{Family: l.Family, Priority: 50, Table: 99, Action: 1, Dst: l.Subnet})
		all, _ := l.Subnet.Addr().Prefix(0)
		w.routes = append(w.routes, netstate.Route{Table: 99, Dst: all, Type: netstate.Unicast, Device: ifVPN})
	}, verdict.Diverted},
}

func TestProperty_InSyncIsOK(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		s, wake := Next(opts, nil, w.input())
		if !s.Healthy || !wake.IsZero() || len(bad(s)) != 0 || len(s.Stale) != 0 {
			t.Fatalf("healthy %v, wake %s, bad %v, stale %v", s.Healthy, wake, bad(s), s.Stale)
		}
	})
}

func TestProperty_OneFaultIsOneLease(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		l := w.peers[rapid.IntRange(0, len(w.peers)-1).Draw(t, "peer")]
		f := rapid.SampledFrom(faults).Draw(t, "fault")
		f.do(w, l)
		s, _ := Next(opts, nil, w.input())
		got := bad(s)
		if len(got) != 1 || got[l.Subnet.String()].State != f.want || s.Healthy {
			t.Fatalf("%s of %s: %v, want only it to be %s", f.name, l.Subnet, got, f.want)
		}
	})
}

// The order in which the kernel and the source list things does not matter.
func TestProperty_OrderFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		for range rapid.IntRange(0, 4).Draw(t, "faults") {
			rapid.SampledFrom(faults).Draw(t, "fault").do(w, rapid.SampledFrom(w.peers).Draw(t, "peer"))
		}
		want, _ := Next(opts, nil, w.input())
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		shuffle(r, w.routes)
		shuffle(r, w.neighbors)
		shuffle(r, w.fdb)
		shuffle(r, w.peers)
		shuffle(r, w.addrs)
		got, _ := Next(opts, nil, w.input())
		if diff := cmp.Diff(want, got, alike...); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	})
}

func shuffle[T any](r *rand.Rand, s []T) {
	r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

var alike = []cmp.Option{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

func TestProperty_IncompleteIsNeverMissingNorStale(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		for range rapid.IntRange(1, 4).Draw(t, "faults") {
			rapid.SampledFrom(faults).Draw(t, "fault").do(w, rapid.SampledFrom(w.peers).Draw(t, "peer"))
		}
		in := w.input()
		switch rapid.SampledFrom([]string{"no state", "state incomplete", "no set", "set never read"}).Draw(t, "lack") {
		case "no state":
			in.State = nil
		case "state incomplete":
			in.State.Complete = false
		case "no set":
			in.Set = nil
		case "set never read":
			in.Set = &lease.Set{Problem: "broken"}
		}
		s, _ := Next(opts, nil, in)
		if s.Healthy || s.Complete || s.Summary.Missing != 0 || s.Summary.Stale != 0 {
			t.Fatalf("healthy %v, complete %v, summary %+v", s.Healthy, s.Complete, s.Summary)
		}
		for l, o := range bad(s) {
			if o.State != verdict.Unknown {
				t.Fatalf("%s is %s on no data", l, o.State)
			}
		}
	})
}

// Judging only what was touched gives what judging all gives, over any sequence
// of faults, repairs, events, sets, restarts and times when nothing can be read;
// the counts add up; and the same picture twice changes nothing.
func TestProperty_TouchedEqualsAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := story{T: t, w: drawWorld(t), opts: opts, next: 100}
		s.w.generation = 2 // a picture may be of the set before
		opts := &s.opts
		opts.MaxSilence = time.Duration(rapid.IntRange(0, 1).Draw(t, "silence")) * time.Minute
		if rapid.Bool().Draw(t, "network") {
			opts.Flannel.Network = allPods
		}
		all, due := Next(*opts, nil, s.goOn(time.Time{}))
		judge, some := New(*opts), all
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				all = resumed(all)
				judge, some, s.last = New(*opts), all, nil
			}
			in := s.goOn(due)
			whole := in
			whole.Touched = nil
			if all, due = Next(*opts, all, whole); len(all.Leases) != len(in.Set.Leases) {
				t.Fatalf("%d of %d leases", len(all.Leases), len(in.Set.Leases))
			}
			forgetful, _ := Next(*opts, some, in)
			if diff := cmp.Diff(all, forgetful, alike...); diff != "" {
				t.Fatalf("all against touched (-all +touched):\n%s", diff)
			}
			before, previous := dump(t, some), some
			var dueSome time.Time
			some, dueSome = judge.Next(some, in)
			if diff := cmp.Diff(all, some, alike...); diff != "" || !due.Equal(dueSome) {
				t.Fatalf("all against touched and remembered, to be called at %s and %s (-all +touched):\n%s", due, dueSome, diff)
			}
			if after := dump(t, previous); after != before {
				t.Fatalf("the previous snapshot was changed:\n%s", cmp.Diff(before, after))
			}
			quiet := *in.State // events are told once
			quiet.Hints, in.State = nil, &quiet
			again, _ := Next(*opts, all, in)
			if diff := cmp.Diff(all, again, alike...); diff != "" {
				t.Fatalf("not idempotent:\n%s", diff)
			}
			addUp(t, all)
		}
	})
}

func TestProperty_PreviousIsLeftAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		rapid.SampledFrom(faults).Draw(t, "first").do(w, w.peers[0])
		prev, _ := Next(opts, nil, w.input())
		before := dump(t, prev)
		rapid.SampledFrom(faults).Draw(t, "second").do(w.later(time.Second), rapid.SampledFrom(w.peers).Draw(t, "peer"))
		Next(opts, prev, w.input())
		if after := dump(t, prev); after != before {
			t.Fatalf("Next changed the previous snapshot:\n%s", cmp.Diff(before, after))
		}
	})
}

func dump(t *rapid.T, s *wire.Snapshot) string {
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func addUp(t *rapid.T, s *wire.Snapshot) {
	states, effects := 0, 0
	for _, n := range s.Summary.States {
		states += n
	}
	for _, n := range s.Summary.Effects {
		effects += n
	}
	if states != len(s.Leases) || effects != len(s.Leases) || s.Summary.Present+s.Summary.Missing != s.Summary.Expected {
		t.Fatalf("counts do not add up: %+v of %d leases", s.Summary, len(s.Leases))
	}
	inIncidents, badSubnets := 0, map[netip.Prefix]bool{} // after a restart an incident knows its leases by these
	for i := range s.Leases {
		if l := s.Leases[i]; l.State != verdict.Unknown && l.State.Bad() != (l.Incident != "") {
			t.Fatalf("%+v: a lease is in an incident if and only if it is bad, or was when it was known", l)
		}
		if s.Leases[i].State.Bad() {
			badSubnets[s.Leases[i].Lease] = true
		}
	}
	for _, i := range s.Incidents {
		inIncidents += i.Leases
	}
	if inIncidents < len(badSubnets) {
		t.Fatalf("%d leases in incidents, %d are bad", inIncidents, len(badSubnets))
	}
}
