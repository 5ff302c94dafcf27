//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// What the lab publishes is read back as the leases that it was made from.
func TestNodeList_IsReadAsItsLeases(t *testing.T) {
	var nodes [][]lease.Lease
	for number := 1; number <= 3; number++ {
		own := ownLeases(number)
		for i := range own {
			own[i].MAC = netstate.MAC{2, 0, 0, 0, byte(i), byte(number)}
		}
		nodes = append(nodes, own)
	}
	created := time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC)
	b, err := json.Marshal(nodeList(nodes, created))
	if err != nil {
		t.Fatal(err)
	}
	set, err := lease.Read(bytes.NewReader(b), lease.Options{Self: "node-1"})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Skipped) > 0 {
		t.Errorf("skipped: %v", set.Skipped)
	}
	for i := range nodes {
		for j := range nodes[i] {
			nodes[i][j].Created = created
		}
	}
	byValue := cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
	if diff := cmp.Diff(nodes[0], set.Own, byValue); diff != "" {
		t.Errorf("own leases (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(append(nodes[1], nodes[2]...), set.Leases, byValue); diff != "" {
		t.Errorf("peers' leases (-want +got):\n%s", diff)
	}
}

func TestMain(m *testing.M) { netns.Main(m) }

func TestEachIPv4Peer(t *testing.T) {
	missing := func(l wire.Lease) bool { return l.State == verdict.Missing }
	bad := func(subnet string, s verdict.State) wire.Lease {
		return wire.Lease{Lease: netip.MustParsePrefix(subnet), State: s}
	}
	two := []wire.Lease{bad("10.244.2.0/24", verdict.Missing), bad("10.244.3.0/24", verdict.Missing)}
	tests := map[string]struct {
		complete, healthy bool
		problems          []wire.Lease
		want              bool
	}{
		"all three":          {true, false, append(two[:2:2], bad("10.244.4.0/24", verdict.Missing)), true},
		"only two":           {true, false, two, false},
		"one in other state": {true, false, append(two[:2:2], bad("10.244.4.0/24", verdict.Shadowed)), false},
		"one of IPv6":        {true, false, append(two[:2:2], bad("fd00:10:244:4::/64", verdict.Missing)), false},
		"incomplete":         {false, false, append(two[:2:2], bad("10.244.4.0/24", verdict.Missing)), false},
		"says healthy":       {true, true, append(two[:2:2], bad("10.244.4.0/24", verdict.Missing)), false},
		"no problems":        {true, true, nil, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := &wire.NodeStatus{Complete: tt.complete, Healthy: tt.healthy, Problems: tt.problems, ProblemsTotal: len(tt.problems)}
			if got := eachIPv4Peer(missing)(s); got != tt.want {
				t.Errorf("= %t, want %t", got, tt.want)
			}
		})
	}
}

func TestSingleObjects_AreTypedOnceAndNoRestart(t *testing.T) {
	route := wire.Advice{Command: "ip route replace 10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink"}
	restart := wire.Advice{Command: "kubectl -n kube-flannel delete pod --field-selector spec.nodeName=node-1"}
	s := &wire.NodeStatus{Problems: []wire.Lease{{Advice: []wire.Advice{route, restart}}, {Advice: []wire.Advice{route, restart}}}}
	if diff := cmp.Diff([]string{route.Command}, singleObjects(s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStory(t *testing.T) {
	var b strings.Builder
	s := &story{w: &b}
	s.headline("1. All is well")
	s.commands("node-1#", "ip link set flannel.1 down")
	s.output("a\n\nb  \n")
	s.check(true, "the exit code is 0", "it is 1")
	if err := s.end(); err != nil {
		t.Errorf("after a good check: %v", err)
	}
	s.check(false, "it arrives", "it arrives nowhere")
	want := `
== 1. All is well ==

node-1# ip link set flannel.1 down
  | a
  |
  | b
  ok    the exit code is 0
  FAIL  it arrives: it arrives nowhere
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("printed (-want +got):\n%s", diff)
	}
	err := s.end()
	if err == nil || !strings.Contains(err.Error(), `act "1. All is well"`) || !strings.Contains(err.Error(), "it arrives nowhere") {
		t.Errorf("end returned %v, want the act and what was seen", err)
	}
}

func TestSweep_WaitsForTheEndOfTheLab(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lab")
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	lab, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	swept := make(chan int)
	go func() { swept <- sweep(lab, dir) }()
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("while the lab runs: %v", err)
	}
	if err := end.Close(); err != nil {
		t.Fatal(err)
	}
	if code := <-swept; code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("after the lab's end: %v, want the directory to be gone", err)
	}
}

func TestRun_Usage(t *testing.T) {
	for _, args := range [][]string{nil, {"dance"}, {"demo", "now"}} {
		if code := run(args); code != 3 {
			t.Errorf("run(%q) = %d, want 3", args, code)
		}
	}
}

// In a terminal the stand-in follows the lease file, and survives a broken one.
func TestFollow(t *testing.T) {
	netns.Require(t)
	l := &lab{dir: t.TempDir()}
	defer l.close()
	netns.Must(t, l.connectNodes())
	netns.Must(t, l.publish(l.nodes))
	netns.Must(t, l.programLeases())
	said, w := io.Pipe()
	p := &play{story: &story{w: w}, lab: l, one: l.nodes[0]}
	hasRoute := func(subnet string) bool {
		routes, err := p.one.NS.Routes(netstate.IPv4)
		netns.Must(t, err)
		return slices.ContainsFunc(routes, func(r netstate.Route) bool { return r.Dst.String() == subnet })
	}
	if !hasRoute("10.244.4.0/24") {
		t.Fatal("node-1 has no route to node-4 at the start")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.follow(ctx) }()
	netns.Must(t, os.WriteFile(l.leaseFile(), []byte("{"), 0o600))
	if line, err := bufio.NewReader(said).ReadString('\n'); err != nil || !strings.Contains(line, l.leaseFile()) {
		t.Errorf("of a broken file it said %q, %v", line, err)
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()
	netns.Must(t, l.publish(l.nodes[:3]))
	waitFor(t, "the route to node-4 to go", func() bool { return !hasRoute("10.244.4.0/24") })
	if !hasRoute("10.244.3.0/24") {
		t.Error("the route to node-3 went as well")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
