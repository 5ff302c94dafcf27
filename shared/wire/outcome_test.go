package wire_test

import (
	"testing"
	"time"

	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

func TestOutcome(t *testing.T) {
	states := func(m map[verdict.State]int) wire.Summary { return wire.Summary{States: m} }
	tests := []struct {
		name   string
		status wire.NodeStatus
		want   wire.Outcome
	}{
		{"nothing is known", wire.NodeStatus{}, wire.CannotTell},
		{"healthy", wire.NodeStatus{Complete: true, Healthy: true}, wire.Well},
		{"pending and unsupported", wire.NodeStatus{Complete: true, Healthy: true,
			Summary: states(map[verdict.State]int{verdict.Pending: 1, verdict.Unsupported: 1})}, wire.Well},
		{"healthy and not complete", wire.NodeStatus{Healthy: true}, wire.CannotTell},
		{"not healthy without a reason", wire.NodeStatus{Complete: true}, wire.CannotTell},
		{"unknown lease in the summary", wire.NodeStatus{Complete: true, Healthy: true,
			Summary: states(map[verdict.State]int{verdict.Unknown: 1})}, wire.CannotTell},
		{"unknown lease in the list", wire.NodeStatus{Complete: true, Healthy: true,
			Problems: []wire.Lease{{State: verdict.Unknown}}}, wire.CannotTell},
		{"bad lease in the summary", wire.NodeStatus{Complete: true, Healthy: true,
			Summary: states(map[verdict.State]int{verdict.Missing: 1})}, wire.Broken},
		{"bad lease in the list", wire.NodeStatus{Complete: true, Healthy: true,
			Problems: []wire.Lease{{State: verdict.Missing}}}, wire.Broken},
		{"a zero of a bad state", wire.NodeStatus{Complete: true, Healthy: true,
			Summary: states(map[verdict.State]int{verdict.Missing: 0})}, wire.Well},
		{"bad and not complete", wire.NodeStatus{
			Problems: []wire.Lease{{State: verdict.Unknown}, {State: verdict.Missing}}}, wire.Broken},
		{"a state of a newer version", wire.NodeStatus{Complete: true, Healthy: true,
			Summary: states(map[verdict.State]int{"entangled": 1})}, wire.Broken},
		{"node problem", wire.NodeStatus{Complete: true, Healthy: true,
			NodeProblems: []wire.NodeProblem{{Problem: verdict.DeviceMAC}}}, wire.Broken},
		{"node problem of a newer version", wire.NodeStatus{Complete: true, Healthy: true,
			NodeProblems: []wire.NodeProblem{{Problem: "gremlins"}}}, wire.Broken},
		{"info", wire.NodeStatus{Complete: true, Healthy: true,
			NodeProblems: []wire.NodeProblem{{Problem: verdict.DeviceMTU}}}, wire.Well},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.status.Outcome(tt.status.Time); got != tt.want {
				t.Errorf("Outcome() = %d, want %d", got, tt.want)
			}
		})
	}
}

// A status that was judged long ago is not green.
func TestOutcome_Old(t *testing.T) {
	s := wire.NodeStatus{Time: time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC), Complete: true, Healthy: true}
	for age, want := range map[time.Duration]wire.Outcome{
		0: wire.Well, wire.MaxAge: wire.Well, wire.MaxAge + 1: wire.CannotTell, -time.Hour: wire.Well,
	} {
		if got := s.Outcome(s.Time.Add(age)); got != want {
			t.Errorf("%s old: %d, want %d", age, got, want)
		}
	}
}
