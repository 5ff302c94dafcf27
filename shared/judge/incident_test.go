package judge

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// deleteRoute removes the route to a peer as a process does.
func (w *world) deleteRoute(n int, port uint32, at time.Time) {
	subnet := w.peers[n].Subnet
	w.routes = remove(slices.Clone(w.routes), func(r netstate.Route) bool { return r.Dst == subnet })
	w.hints = append(w.hints, netstate.Hint{At: at, Kind: netstate.RouteDeleted, Family: ip4, Device: "flannel.1", Index: ifVX4, Prefix: subnet, PortID: port})
}

func incidentsOf(s *wire.Snapshot) []string {
	var got []string
	for _, i := range s.Incidents {
		got = append(got, fmt.Sprintf("%s %s %d", i.Cause, i.Device, i.Leases))
	}
	slices.Sort(got)
	return got
}

// One event is one incident, in however many steps it is seen and whatever the
// kernel announces of it.
func TestIncident_Grouping(t *testing.T) {
	for name, tt := range map[string]struct {
		families []netstate.Family
		steps    []func(w *world)
		want     []string
	}{
		"one process deletes two routes": {steps: []func(*world){func(w *world) {
			w.deleteRoute(0, 77, w.at)
			w.deleteRoute(1, 77, w.at.Add(time.Millisecond))
		}}, want: []string{"deleted  2"}},
		"two processes delete a route each": {steps: []func(*world){func(w *world) {
			w.deleteRoute(0, 77, w.at)
			w.deleteRoute(1, 78, w.at)
		}}, want: []string{"deleted  1", "deleted  1"}},
		"one process, seen in two steps": {steps: []func(*world){
			func(w *world) { w.deleteRoute(0, 77, w.at) },
			func(w *world) { w.deleteRoute(1, 77, w.at) },
		}, want: []string{"deleted  2"}},
		"one process, an hour apart": {steps: []func(*world){
			func(w *world) { w.deleteRoute(0, 77, w.at) },
			func(w *world) { w.later(time.Hour).deleteRoute(1, 77, w.at) },
		}, want: []string{"deleted  1", "deleted  1"}},
		"a flap": {steps: []func(*world){func(w *world) { w.flap(ip4) }}, want: []string{"link_down flannel.1 3"}},
		"a flap of both devices": {
			families: []netstate.Family{ip4, ip6},
			steps:    []func(*world){func(w *world) { w.flap(ip4); w.flap(ip6) }},
			want:     []string{"link_down flannel-v6.1 3", "link_down flannel.1 3"},
		},
		// The kernel tells of each IPv6 route before it tells of the link.
		"IPv6 routes one by one": {families: []netstate.Family{ip6}, steps: []func(*world){func(w *world) {
			for n, l := range w.peers {
				w.hints = append(w.hints, netstate.Hint{At: w.at.Add(time.Duration(n) * time.Millisecond), Kind: netstate.RouteDeleted, Family: ip6, Device: "flannel-v6.1", Index: ifVX6, Prefix: l.Subnet})
			}
			w.flap(ip6)
		}}, want: []string{"link_down flannel-v6.1 3"}},
		"set down, and seen up later": {steps: []func(*world){
			func(w *world) {
				w.flap(ip4)
				w.hints = w.hints[:1]
				w.link(ifVX4).Up = false
			},
			func(w *world) {
				w.link(ifVX4).Up = true
				w.hints = []netstate.Hint{{At: w.at, Kind: netstate.LinkChanged, Device: "flannel.1", Index: ifVX4, Up: true}}
			},
		}, want: []string{"link_down flannel.1 3"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.families == nil {
				tt.families = []netstate.Family{ip4}
			}
			w := newWorld(3, tt.families...)
			s, _ := Next(opts, nil, w.input())
			for _, step := range tt.steps {
				w.later(100 * time.Millisecond).hints = nil
				step(w)
				s, _ = Next(opts, s, w.input())
			}
			if diff := cmp.Diff(tt.want, incidentsOf(s)); diff != "" {
				t.Errorf("incidents (-want +got):\n%s", diff)
			}
			var total uint64
			for _, n := range s.IncidentsTotal {
				total += n
			}
			if int(total) != len(tt.want) {
				t.Errorf("%d incidents counted, want %d", total, len(tt.want))
			}
		})
	}
}

func TestIncident_Around(t *testing.T) {
	w := newWorld(2, ip4)
	s, _ := Next(opts, nil, w.input())
	step := func(d time.Duration, hints ...netstate.Hint) {
		w.later(d).hints = hints
		for i := range w.hints {
			w.hints[i].At = w.at
		}
		s, _ = Next(opts, s, w.input())
	}
	step(time.Hour, netstate.Hint{Kind: netstate.LinkChanged, Device: "ens33", Index: ifEth, Up: true})
	w.generation++
	w.peers[1].MAC = mac(ip4, 99) // one lease changes
	w.neighbors[1].MAC, w.fdb[1].MAC = mac(ip4, 99), mac(ip4, 99)
	step(40*time.Second, netstate.Hint{Kind: netstate.AddrAdded, Family: ip4, Device: "ens33", Index: ifEth, Prefix: netip.MustParsePrefix("192.168.9.9/24"), PortID: 5})
	w.later(time.Second).hints = nil
	routes, neighbors := slices.Clone(w.routes), slices.Clone(w.neighbors)
	w.flap(ip4)
	w.hints = append(w.hints, netstate.Hint{At: w.at, Kind: netstate.LinkChanged, Device: "flannel.1", Index: ifVX4, Up: true}) // its operational state follows
	s, _ = Next(opts, s, w.input())
	// flannel restarts: it makes its device anew and publishes its lease again.
	w.generation++
	w.routes, w.neighbors = routes, neighbors
	w.own[0].MAC = mac(ip4, 11)
	for i := range w.routes {
		if w.routes[i].Device == ifVX4 {
			w.routes[i].Device = 44
		}
	}
	for i := range w.neighbors {
		w.neighbors[i].Device, w.fdb[i].Device = 44, 44
	}
	for i := range w.addrs {
		if w.addrs[i].Device == ifVX4 {
			w.addrs[i].Device = 44
		}
	}
	w.link(ifVX4).Index = 44
	w.neighbors = w.neighbors[:1] // one lease stays bad
	step(5 * time.Minute)
	if len(s.Incidents) != 1 {
		t.Fatalf("incidents %+v, want one", s.Incidents)
	}
	var got []string
	for _, c := range s.Incidents[0].Around {
		got = append(got, string(c.Type)+" "+c.Device+c.Peer)
	}
	want := []string{
		"address_added ens33", "lease_changed node-0021", "link_down flannel.1", "link_up flannel.1",
		"device_recreated flannel.1", "own_lease_changed self",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("around (-want +got):\n%s", diff)
	}
}

// A set that changes wholly is one change and not thousands.
func TestChange_ManyAreOne(t *testing.T) {
	w := newWorld(30, ip4)
	s, _ := Next(opts, nil, w.input())
	w.peers, w.generation = nil, 2
	s, _ = Next(opts, s, w.later(time.Second).input())
	if len(s.Recent) != 1 || s.Recent[0].Count != 30 || s.Recent[0].Text() != "30 times lease removed, the first: node-0020 10.100.20.0/24: lease removed" {
		t.Errorf("got %+v", s.Recent)
	}
}

func TestChange_Bounded(t *testing.T) {
	w := newWorld(1, ip4)
	s, _ := Next(opts, nil, w.input())
	w.deleteRoute(0, 7, w.at)
	for n := range 500 {
		w.later(10 * time.Millisecond)
		up := n%2 == 0
		w.hints = append(w.hints[:min(1, len(w.hints))], netstate.Hint{At: w.at, Kind: netstate.LinkChanged, Device: "ens33", Index: ifEth, Up: !up})
		s, _ = Next(opts, s, w.input())
	}
	if len(s.Recent) > maxRecent || len(s.Incidents[0].Around) > wire.MaxAround || s.ChangeSeq < 499 {
		t.Errorf("%d recent changes, %d around the incident, %d in all", len(s.Recent), len(s.Incidents[0].Around), s.ChangeSeq)
	}
	s, _ = Next(opts, s, w.later(time.Hour).input())
	if len(s.Recent) > 1 {
		t.Errorf("%d changes are still recent an hour later", len(s.Recent))
	}
}

// resumed is what a new process knows of the one before: see history.Load.
func resumed(s *wire.Snapshot) *wire.Snapshot {
	r := &wire.Snapshot{Awaited: map[netip.Prefix]string{}, KnownNodeProblems: s.KnownNodeProblems}
	b, err := json.Marshal(s.Incidents)
	if err == nil {
		err = json.Unmarshal(b, &r.Incidents)
	}
	if err != nil {
		panic(err)
	}
	for _, l := range s.Leases {
		if l.Incident != "" {
			r.Awaited[l.Lease] = l.Incident
		}
	}
	return r
}

// A restart goes on with the incidents that were open: same ids, same causes,
// nothing counted again; those that ended meanwhile end, and what broke
// meanwhile is new.
func TestIncident_Restart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		s, _ := Next(opts, nil, w.input())
		w.later(time.Hour)
		for range rapid.IntRange(1, 4).Draw(t, "faults") {
			rapid.SampledFrom(faults).Draw(t, "fault").do(w.later(3*time.Second), rapid.SampledFrom(w.peers).Draw(t, "peer"))
			s, _ = Next(opts, s, w.input())
		}
		want := map[string]string{}
		for _, l := range s.Leases {
			if l.State.Bad() {
				want[l.Lease.String()] = fmt.Sprint(l.Incident, l.Cause)
			}
		}
		r, _ := Next(opts, resumed(s), Input{Now: w.later(time.Second).at}) // nothing is read yet
		in := w.later(time.Second).input()
		if rapid.Bool().Draw(t, "leases first") {
			r, _ = Next(opts, r, Input{Set: in.Set, Now: w.at})
		} else {
			r, _ = Next(opts, r, Input{State: in.State, Now: w.at})
		}
		if len(r.Incidents) != len(s.Incidents) {
			t.Fatalf("%d incidents before anything is known, want %d", len(r.Incidents), len(s.Incidents))
		}
		r, _ = Next(opts, r, w.later(time.Second).input())
		got := map[string]string{}
		for _, l := range r.Leases {
			if l.State.Bad() {
				got[l.Lease.String()] = fmt.Sprint(l.Incident, l.Cause)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("incident and cause of each bad lease (-before +after the restart):\n%s", diff)
		}
		if len(r.IncidentsTotal) != 0 || r.Awaited != nil || len(r.Incidents) != len(s.Incidents) {
			t.Fatalf("counted %v, awaited %v, %d incidents of %d", r.IncidentsTotal, r.Awaited, len(r.Incidents), len(s.Incidents))
		}
	})
}

func TestIncident_RestartAfterTheEnd(t *testing.T) {
	w := newWorld(2, ip4)
	s, _ := Next(opts, nil, w.input())
	well := slices.Clone(w.routes)
	w.later(time.Hour).deleteRoute(0, 7, w.at)
	s, _ = Next(opts, s, w.input())
	r, _ := Next(opts, resumed(s), Input{Now: w.at})
	w.hints, w.routes = nil, well
	w.deleteRoute(1, 8, w.at) // the other one broke meanwhile, unseen
	w.hints = nil
	r, _ = Next(opts, r, w.later(time.Minute).input())
	if len(r.Incidents) != 1 || r.Incidents[0].ID == s.Incidents[0].ID || r.Incidents[0].Cause != verdict.CauseUnknown {
		t.Errorf("incidents %+v, want one other than %s", r.Incidents, s.Incidents[0].ID)
	}
}

// flannel starts on a node, publishes, and is taken away again.
func TestChange_OwnLease(t *testing.T) {
	w := newWorld(1, ip4)
	own := w.own
	w.own = nil
	s, _ := Next(opts, nil, w.input())
	var got []string
	for _, o := range [][]lease.Lease{own, own, nil} {
		w.own, w.generation = o, w.generation+1
		s, _ = Next(opts, s, w.later(time.Second).input())
	}
	for _, c := range s.Recent {
		got = append(got, c.Text())
	}
	want := []string{
		"self 10.100.10.0/24: own lease published anew, it is published now",
		"self 10.100.10.0/24: own lease published anew, it is not published any more",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}
