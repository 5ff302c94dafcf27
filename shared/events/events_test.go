package events_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"routewatch/shared/events"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func incident(leases int) wire.Incident {
	return wire.Incident{
		ID: "a-1", Cause: verdict.CauseLinkDown, Device: "flannel.1", Start: noon.Add(-time.Second),
		State: verdict.Missing, Effect: verdict.Leaking, Leases: leases,
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")},
	}
}

func sources(kernel wire.Source) []wire.Source {
	kernel.Name = "kernel"
	return []wire.Source{{Name: "file", Complete: true}, kernel}
}

func TestBetween(t *testing.T) {
	worse := incident(3)
	worse.State, worse.Effect = verdict.Blackholed, verdict.EffectBlackhole
	mtu := wire.NodeProblem{Problem: verdict.DeviceMTU, Family: netstate.IPv4, Device: "flannel.1", Message: "is 1500"}
	down := wire.Change{Time: noon.Add(-time.Second), Type: verdict.LinkWentDown, Device: "flannel.1", Seq: 7}
	notRead := wire.Source{Problem: wire.NotReadYet}
	lost := wire.Source{Problem: "no answer"}
	for name, tt := range map[string]struct {
		old, next wire.Snapshot
		want      []string
	}{
		"nothing":             {},
		"opened":              {next: wire.Snapshot{Incidents: []wire.Incident{incident(3)}}, want: []string{"incident_opened link_down on flannel.1 broke 3 leases: missing, leaking"}},
		"the same":            {old: wire.Snapshot{Incidents: []wire.Incident{incident(3)}}, next: wire.Snapshot{Incidents: []wire.Incident{incident(3)}}},
		"one lease more":      {old: wire.Snapshot{Incidents: []wire.Incident{incident(1)}}, next: wire.Snapshot{Incidents: []wire.Incident{incident(2)}}, want: []string{"incident_changed link_down on flannel.1 has broken 2 leases by now: missing, leaking"}},
		"one of many more":    {old: wire.Snapshot{Incidents: []wire.Incident{incident(600)}}, next: wire.Snapshot{Incidents: []wire.Incident{incident(601)}}},
		"twice as many":       {old: wire.Snapshot{Incidents: []wire.Incident{incident(600)}}, next: wire.Snapshot{Incidents: []wire.Incident{incident(1200)}}, want: []string{"incident_changed link_down on flannel.1 has broken 1200 leases by now: missing, leaking"}},
		"worse":               {old: wire.Snapshot{Incidents: []wire.Incident{incident(3)}}, next: wire.Snapshot{Incidents: []wire.Incident{worse}}, want: []string{"incident_changed link_down on flannel.1 has broken 3 leases by now: blackholed, blackholed"}},
		"closed":              {old: wire.Snapshot{Incidents: []wire.Incident{incident(3)}}, want: []string{"incident_closed link_down on flannel.1: over after 1s"}},
		"change":              {old: wire.Snapshot{ChangeSeq: 6}, next: wire.Snapshot{Recent: []wire.Change{{Type: verdict.LinkGone, Seq: 6}, down}, ChangeSeq: 7}, want: []string{"link_down flannel.1: device set down"}},
		"node problem":        {next: wire.Snapshot{KnownNodeProblems: []wire.NodeProblem{mtu}}, want: []string{"node_problem_appeared device_mtu: is 1500"}},
		"node problem gone":   {old: wire.Snapshot{KnownNodeProblems: []wire.NodeProblem{mtu}}, want: []string{"node_problem_gone device_mtu is gone"}},
		"first read":          {old: wire.Snapshot{Sources: sources(notRead)}, next: wire.Snapshot{Sources: sources(wire.Source{Complete: true})}},
		"first read fails":    {old: wire.Snapshot{Sources: sources(notRead)}, next: wire.Snapshot{Sources: sources(lost)}, want: []string{"source_lost kernel cannot be read: no answer"}},
		"still not read":      {old: wire.Snapshot{Sources: sources(notRead)}, next: wire.Snapshot{Sources: sources(notRead)}},
		"source lost":         {old: wire.Snapshot{Sources: sources(wire.Source{Complete: true})}, next: wire.Snapshot{Sources: sources(lost)}, want: []string{"source_lost kernel cannot be read: no answer"}},
		"source still lost":   {old: wire.Snapshot{Sources: sources(lost)}, next: wire.Snapshot{Sources: sources(wire.Source{Problem: "other"})}},
		"source back":         {old: wire.Snapshot{Sources: sources(lost)}, next: wire.Snapshot{Sources: sources(wire.Source{Complete: true})}, want: []string{"source_back kernel is read again"}},
		"named at first hand": {old: wire.Snapshot{Sources: []wire.Source{{Name: "leases", Problem: wire.NotReadYet}}}, next: wire.Snapshot{Sources: []wire.Source{{Name: "file", Complete: true}}}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.old.Time, tt.next.Time = noon.Add(-time.Second), noon
			var got []string
			for _, e := range events.Between(&tt.old, &tt.next) {
				got = append(got, string(e.Type)+" "+e.Message)
				if e.ID != 0 || e.Time.IsZero() {
					t.Errorf("id %d, time %s; want no id and a time", e.ID, e.Time)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
	if got := events.Between(nil, &wire.Snapshot{Incidents: []wire.Incident{incident(1)}}); got != nil {
		t.Errorf("before the first snapshot: %v", got)
	}
}

// What is closed has its end and all that happened around it.
func TestBetween_ClosedHasItsEnd(t *testing.T) {
	again := wire.Change{Time: noon, Type: verdict.DeviceRecreated, Device: "flannel.1", Seq: 3}
	old := wire.Snapshot{Incidents: []wire.Incident{incident(2)}, ChangeSeq: 2, Time: noon.Add(-time.Second)}
	got := events.Between(&old, &wire.Snapshot{Time: noon, Recent: []wire.Change{again}, ChangeSeq: 3})
	last := got[len(got)-1].Incident
	if last == nil || !last.End.Equal(noon) || len(last.Around) != 1 {
		t.Errorf("got %+v, want its end and one change around it", last)
	}
	if !old.Incidents[0].End.IsZero() || len(old.Incidents[0].Around) != 0 {
		t.Error("the old snapshot was changed")
	}
}

// Over any sequence of snapshots each incident is opened once and closed at
// most once, and is open in between.
func TestBetween_EachIncidentOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old := &wire.Snapshot{Time: noon}
		open, seen, n := map[string]bool{}, map[string]bool{}, 0
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			next := &wire.Snapshot{Time: old.Time.Add(time.Second)}
			for _, i := range old.Incidents {
				if rapid.Bool().Draw(t, "stays") {
					i.Leases += rapid.IntRange(0, 3).Draw(t, "more")
					next.Incidents = append(next.Incidents, i)
				}
			}
			for range rapid.IntRange(0, 2).Draw(t, "new") {
				n++
				i := incident(1)
				i.ID = fmt.Sprint(n)
				next.Incidents = append(next.Incidents, i)
			}
			for _, e := range events.Between(old, next) {
				id := e.Incident.ID
				switch e.Type {
				case verdict.IncidentOpened:
					if seen[id] {
						t.Fatalf("%s is opened again", id)
					}
					seen[id], open[id] = true, true
				case verdict.IncidentChanged, verdict.IncidentClosed:
					if !open[id] {
						t.Fatalf("%s: %s, and it is not open", id, e.Type)
					}
					open[id] = e.Type == verdict.IncidentChanged
				}
			}
			old = next
		}
		for _, i := range old.Incidents {
			if !open[i.ID] {
				t.Fatalf("%s is open and nobody was told", i.ID)
			}
		}
	})
}
