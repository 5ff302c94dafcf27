package judge

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/shared/wire"
)

// How old the leases are is shown, and is no fault.
func TestNext_Sources(t *testing.T) {
	w := newWorld(2, ip4)
	in := w.input()
	in.Set.Written = w.at.Add(-30 * 24 * time.Hour)
	s, _ := Next(opts, nil, in)
	want := []wire.Source{
		{Name: "file", Complete: true, LastSync: in.Set.Synced, Written: in.Set.Written},
		{Name: "kernel", Complete: true, LastSync: in.State.At},
	}
	if diff := cmp.Diff(want, s.Sources); diff != "" {
		t.Errorf("sources differ (-want +got):\n%s", diff)
	}
	if !s.Healthy {
		t.Error("an old file is no fault")
	}
}
