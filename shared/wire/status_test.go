package wire_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// snapshot is a node after a flap of flannel.1: one peer cut off, one well,
// one with a malformed annotation.
func snapshot() *wire.Snapshot {
	mac := netstate.MAC{0x0e, 0x11, 0x22, 0x33, 0x44, 0x55}
	return &wire.Snapshot{
		Node: "alpha", Time: noon, Complete: true, LeasesRead: true, KernelRead: true,
		Backend: "vxlan", VNI: 1, Families: []netstate.Family{netstate.IPv4},
		Devices: []wire.Device{{Name: "flannel.1", Family: netstate.IPv4, Present: true, Up: true, VNI: 1, MAC: mac, MTU: 1450}},
		Sources: []wire.Source{
			{Name: "file", Complete: true, LastSync: noon.Add(-time.Minute), Written: noon.Add(-30 * 24 * time.Hour)},
			{Name: "kernel", Complete: true, LastSync: noon},
		},
		Summary: wire.Summary{
			Leases: 3, Expected: 2, Present: 1, Missing: 1, Stale: 1,
			States:  map[verdict.State]int{verdict.OK: 1, verdict.Missing: 1, verdict.Unknown: 1},
			Effects: map[verdict.Effect]int{verdict.Delivered: 1, verdict.Leaking: 1, verdict.EffectUnknown: 1},
			Families: []wire.FamilySummary{{
				Family: netstate.IPv4, Expected: 2, Present: 1, Missing: 1,
				States:  map[verdict.State]int{verdict.OK: 1, verdict.Missing: 1, verdict.Unknown: 1},
				Effects: map[verdict.Effect]int{verdict.Delivered: 1, verdict.Leaking: 1, verdict.EffectUnknown: 1},
				Stale:   map[wire.StaleKind]int{wire.StaleRoute: 1, wire.StaleNeighbor: 0, wire.StaleFDB: 0},
			}},
		},
		Leases: []*wire.Lease{
			{
				Lease: netip.MustParsePrefix("10.244.1.0/24"), Family: netstate.IPv4, Peer: "beta",
				State: verdict.Missing, Effect: verdict.Leaking, Cause: verdict.CauseLinkDown,
				Actor: &wire.Actor{Kind: verdict.ActorKernel}, Since: noon.Add(-10 * time.Second),
				Expected: []string{"10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink"},
				Lookup:   "10.244.1.2 via 192.168.0.1 dev eth0",
				Advice: []wire.Advice{
					{Command: "ip route replace 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink"},
					{Command: "kubectl -n kube-flannel delete pod flannel-alpha", Why: "can interrupt traffic"},
				},
				PublicIP: netip.MustParseAddr("192.168.0.2"), Backend: "vxlan", VNI: 1, MAC: mac,
				Completed: true, Incident: "alpha-1",
			},
			{
				Lease: netip.MustParsePrefix("10.244.2.0/24"), Family: netstate.IPv4, Peer: "gamma",
				State: verdict.OK, Effect: verdict.Delivered, Checked: []string{"route", "neighbor"},
				PublicIP: netip.MustParseAddr("192.168.0.3"), Backend: "vxlan", VNI: 1, MAC: mac,
				Completed: true, RoutePresent: true,
			},
			{
				Family: netstate.IPv4, Peer: "omega", State: verdict.Unknown, Effect: verdict.EffectUnknown,
				Since: noon.Add(-time.Hour), Reason: "backend-data is not JSON",
			},
		},
		Skipped:      []wire.Skipped{{Node: "delta", Reason: "no annotation flannel.alpha.coreos.com/kube-subnet-manager"}},
		NodeProblems: []wire.NodeProblem{{Problem: verdict.DeviceMTU, Family: netstate.IPv4, Device: "flannel.1", Since: noon, Message: "expected 1450, is 1500"}},
		Stale: []wire.Stale{
			{Kind: wire.StaleRoute, Family: netstate.IPv4, Object: "10.244.9.0/24 via 10.244.9.0 dev flannel.1 onlink", Since: noon.Add(-2 * time.Minute)},
			{Kind: wire.StaleRoute, Family: netstate.IPv4, Object: "10.244.8.0/24 via 10.244.8.0 dev flannel.1 onlink", Since: noon, Pending: true},
		},
		Incidents: []wire.Incident{{
			ID: "alpha-1", Cause: verdict.CauseLinkDown, Device: "flannel.1", Start: noon.Add(-10 * time.Second),
			State: verdict.Missing, Effect: verdict.Leaking, Leases: 1, Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")},
			Around: []wire.Change{{Time: noon.Add(-11 * time.Second), Type: verdict.LinkWentDown, Device: "flannel.1"}},
		}},
		Generation: 3,
	}
}

func TestStatus_Golden(t *testing.T) {
	tests := []struct {
		file     string
		snapshot *wire.Snapshot
	}{
		{"status.json", snapshot()},
		{"status_empty.json", &wire.Snapshot{Node: "alpha", Time: noon}},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			got, err := json.MarshalIndent(tt.snapshot.Status(), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, tt.file, append(got, '\n'))
		})
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got), refresh with go test -update:\n%s", file, diff)
	}
}

// A reader of JSON must be able to iterate over every list without asking
// whether it is there.
func TestStatus_NothingIsNull(t *testing.T) {
	s := snapshot()
	s.Incidents[0].Subnets = nil
	s.Summary.Families[0] = wire.FamilySummary{Family: netstate.IPv6}
	for _, s := range []*wire.Snapshot{{}, s} {
		got, err := json.Marshal(s.Status())
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(got, []byte("null")) {
			t.Errorf("there is a null in %s", got)
		}
	}
}

func TestStatus_DoesNotModifyTheSnapshot(t *testing.T) {
	s := snapshot()
	s.Incidents[0].Subnets = nil
	s.Summary.Families[0].States = nil
	want := snapshot()
	want.Incidents[0].Subnets = nil
	want.Summary.Families[0].States = nil
	s.Status()
	if diff := cmp.Diff(want, s, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("snapshot after Status (-want +got):\n%s", diff)
	}
}

func TestStatus_ProblemsAreCappedAndWorstFirst(t *testing.T) {
	s := &wire.Snapshot{}
	add := func(peer string, state verdict.State, effect verdict.Effect, age time.Duration) {
		s.Leases = append(s.Leases, &wire.Lease{Peer: peer, State: state, Effect: effect, Since: noon.Add(-age)})
	}
	add("well", verdict.OK, verdict.Delivered, 0)
	add("new", verdict.Pending, verdict.Leaking, time.Second)
	add("unknown", verdict.Unknown, verdict.EffectUnknown, 9*time.Hour)
	add("undeliverable", verdict.NeighborMissing, verdict.Undeliverable, time.Hour)
	add("leaking-young", verdict.Missing, verdict.Leaking, time.Second)
	add("leaking-b", verdict.Missing, verdict.Leaking, time.Minute)
	add("leaking-a", verdict.Missing, verdict.Leaking, time.Minute)
	add("future", "melted", "evaporated", time.Second)

	var got []string
	for _, p := range s.Status().Problems {
		got = append(got, p.Peer)
	}
	want := []string{"future", "leaking-a", "leaking-b", "leaking-young", "undeliverable", "unknown"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order of problems (-want +got):\n%s", diff)
	}

	for i := range 2 * wire.MaxProblems {
		add(fmt.Sprint(i), verdict.Missing, verdict.Unreachable, time.Minute)
	}
	status := s.Status()
	if len(status.Problems) != wire.MaxProblems || status.ProblemsTotal != 2*wire.MaxProblems+6 {
		t.Errorf("got %d problems of %d, want %d of %d", len(status.Problems), status.ProblemsTotal, wire.MaxProblems, 2*wire.MaxProblems+6)
	}
}

// Names that a broken lease file can hold must still make a JSON document.
func TestStatus_OddNames(t *testing.T) {
	s := &wire.Snapshot{Leases: []*wire.Lease{{Peer: "a\xff\n\"<b>", State: verdict.Missing}}}
	got, err := json.Marshal(s.Status())
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(got) || strings.ContainsRune(string(got), '\n') {
		t.Errorf("not JSON on one line: %q", got)
	}
}
