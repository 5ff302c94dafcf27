package flight_test

import (
	"os"
	"testing"

	"routewatch/shared/flight"
	"routewatch/shared/verdict"
)

// The incident that routewatch exists for, as it was recorded on a real kernel
// (testdata/record.sh): the judge names cause and effect, and what mends it.
func TestReplay_FlapOfTheLab(t *testing.T) {
	f, err := os.Open("testdata/flap.recording")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := flight.All(f)
	if err != nil {
		t.Fatal(err)
	}
	var opened *flight.Moment
	for i, m := range all {
		if len(m.Snapshot.Incidents) > 0 && opened == nil {
			opened = &all[i]
		}
	}
	if opened == nil || len(opened.Snapshot.Incidents) != 1 {
		t.Fatalf("the flap is not one incident in %d moments", len(all))
	}
	i := opened.Snapshot.Incidents[0]
	if i.Cause != verdict.CauseLinkDown || i.Device != "flannel.1" || i.Effect != verdict.Leaking || i.Leases != 3 {
		t.Errorf("got %s on %s, %s, %d leases; want link_down on flannel.1, leaking, 3 leases", i.Cause, i.Device, i.Effect, i.Leases)
	}
	for _, l := range opened.Snapshot.Leases {
		if !l.State.Bad() {
			continue
		}
		if len(l.Advice) == 0 || l.Advice[0].Command != "ip route replace "+l.Lease.String()+" via "+l.Lease.Addr().String()+" dev flannel.1 onlink" {
			t.Errorf("%s: advice %+v, want first that which puts its route back", l.Lease, l.Advice)
		}
	}
	last := all[len(all)-1].Snapshot
	if !last.Healthy || len(last.Incidents) != 0 {
		t.Errorf("at the end: healthy %t, incidents %v", last.Healthy, last.Incidents)
	}
}
