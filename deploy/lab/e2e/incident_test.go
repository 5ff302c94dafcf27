package e2e

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
)

// TestIncident is the incident that the product exists for: flannel.1 is set
// down and up, and nothing but the link says so.
func TestIncident(t *testing.T) {
	n := newNode(t)
	n.start(t)
	within(t, startup, "healthy at the start", func() bool { return n.status(t).Healthy })
	n.expect(t, 0, "0", "0")

	netns.Must(t, n.NS.SetDown("flannel.1"))
	netns.Must(t, n.NS.SetUp("flannel.1"))
	took := eventually(t, "every IPv4 peer is missing, leaking, because of link_down, and no other", func() bool {
		return n.allIPv4(t, verdictOf{verdict.Missing, verdict.Leaking, verdict.CauseLinkDown})
	})
	t.Logf("flap: seen %s after it", took)
	n.expect(t, 1, "3", "3")
	if events := n.metric(t, `routewatch_route_events_total{event="deleted",family="ipv4"}`); events != "0" {
		t.Errorf("%s IPv4 route events: the kernel is not expected to send any", events)
	}
	if s := n.status(t); len(s.Incidents) != 1 || s.Incidents[0].Leases != 3 || s.Incidents[0].Device != "flannel.1" {
		t.Errorf("incidents %+v: want one of flannel.1 with 3 leases", s.Incidents)
	}

	for _, l := range n.ipv4() {
		netns.Must(t, n.NS.RouteReplace(netstate.Route{
			Dst: l.Subnet, Gateway: l.Subnet.Addr(), Device: n.NS.MustIndex(t, "flannel.1"), OnLink: true,
		}))
	}
	took = eventually(t, "with the routes alone: neighbor_missing, undeliverable, still because of the flap", func() bool {
		return n.allIPv4(t, verdictOf{verdict.NeighborMissing, verdict.Undeliverable, verdict.CauseLinkDown})
	})
	t.Logf("routes put back: seen %s after it", took)
	n.expect(t, 1, "0", "0")
	if got := n.metric(t, `routewatch_leases{family="ipv4",state="neighbor_missing"}`); got != "3" {
		t.Errorf("leases neighbor_missing: %s, want 3", got)
	}

	for _, l := range n.ipv4() {
		netns.Must(t, n.NS.NeighReplace(netstate.Neighbor{Device: n.NS.MustIndex(t, "flannel.1"), IP: l.Subnet.Addr(), MAC: l.MAC}))
	}
	took = eventually(t, "healthy again", func() bool { return n.status(t).Healthy })
	t.Logf("neighbors put back: seen %s after it", took)
	n.expect(t, 0, "0", "0")
	if got := n.metric(t, `routewatch_incidents_total{cause="link_down"}`); got != "1" {
		t.Errorf("incidents: %s, want 1", got)
	}
}

func (n *node) ipv4() []lease.Lease {
	var v4 []lease.Lease
	for _, l := range n.peers {
		if l.Family == netstate.IPv4 {
			v4 = append(v4, l)
		}
	}
	return v4
}

// allIPv4 reports whether every IPv4 peer has the verdict and nothing else is wrong.
func (n *node) allIPv4(t *testing.T, want verdictOf) bool {
	problems := n.problems(t)
	for _, l := range n.ipv4() {
		if problems[l.Subnet.String()] != want {
			return false
		}
	}
	return len(problems) == len(n.ipv4())
}

// expect holds the CLI's exit code and the gauges against each other.
func (n *node) expect(t *testing.T, exit int, missing, leaking string) {
	t.Helper()
	if code, stdout, stderr := n.cli(t, "status"); code != exit {
		t.Errorf("routewatch status: exit code %d, want %d\n%s%s", code, exit, stdout, stderr)
	}
	if got := n.metric(t, `routewatch_routes_missing{family="ipv4"}`); got != missing {
		t.Errorf("routes_missing: %s, want %s", got, missing)
	}
	if got := n.metric(t, `routewatch_lease_effects{effect="leaking",family="ipv4"}`); got != leaking {
		t.Errorf("leaking: %s, want %s", got, leaking)
	}
	if got := n.metric(t, "routewatch_snapshot_complete"); got != "1" {
		t.Errorf("snapshot_complete: %s, want 1", got)
	}
}

// fault breaks one thing for the peer 10.244.3.0/24 (node-3).
type fault struct {
	name string
	do   func(*testing.T, *node)
	want verdictOf // the cause as it is named when the exporter saw it happen
	// undo is how to mend what no printed command mends; nil: the advice does.
	undo func(*testing.T, *node)
}

var (
	victim  = netip.MustParsePrefix("10.244.3.0/24")
	gateway = netip.MustParseAddr("192.168.1.1")
	byHand  = netip.MustParseAddr("192.168.1.77")
)

func (n *node) route(t *testing.T, prefix string, device string, via netip.Addr) netstate.Route {
	r := netstate.Route{Dst: netip.MustParsePrefix(prefix), Gateway: via}
	if device != "" {
		r.Device = n.NS.MustIndex(t, device)
	}
	return r
}

func (n *node) lease(t *testing.T, subnet netip.Prefix) lease.Lease {
	for _, l := range n.peers {
		if l.Subnet == subnet {
			return l
		}
	}
	t.Fatalf("the NodeList has no lease %s", subnet)
	return lease.Lease{}
}

// blackhole takes the node's own path to the victim's peer.
func (n *node) blackhole(t *testing.T) netstate.Route {
	return netstate.Route{Dst: netip.PrefixFrom(n.lease(t, victim).PublicIP, 32), Type: netstate.Blackhole}
}

var faults = []fault{
	{
		"a /25 in the lower half",
		func(t *testing.T, n *node) {
			netns.Must(t, n.NS.RouteAdd(n.route(t, "10.244.3.0/25", "ens33", byHand)))
		},
		verdictOf{verdict.Shadowed, verdict.EffectDiverted, verdict.Replaced}, nil,
	},
	{
		"a /25 in the upper half",
		func(t *testing.T, n *node) {
			netns.Must(t, n.NS.RouteAdd(n.route(t, "10.244.3.128/25", "ens33", byHand)))
		},
		verdictOf{verdict.Shadowed, verdict.EffectDiverted, verdict.Replaced}, nil,
	},
	{
		"a rule that diverts",
		func(t *testing.T, n *node) {
			r := n.route(t, "0.0.0.0/0", "ens33", gateway)
			r.Table = 100
			netns.Must(t, n.NS.RouteAdd(r))
			netns.Must(t, n.NS.RuleAdd(netstate.Rule{Family: netstate.IPv4, Priority: 100, Table: 100, Action: 1, Dst: victim}))
		},
		verdictOf{verdict.Diverted, verdict.Leaking, verdict.RuleChanged}, nil,
	},
	{
		"a blackhole for the subnet",
		func(t *testing.T, n *node) {
			r := n.route(t, "10.244.3.0/24", "", netip.Addr{})
			r.Type = netstate.Blackhole
			netns.Must(t, n.NS.RouteReplace(r))
		},
		verdictOf{verdict.Blackholed, verdict.EffectBlackhole, verdict.Replaced}, nil,
	},
	{
		"a wrong gateway",
		func(t *testing.T, n *node) {
			r := n.route(t, "10.244.3.0/24", "flannel.1", netip.MustParseAddr("10.244.2.0"))
			r.OnLink = true
			netns.Must(t, n.NS.RouteReplace(r))
		},
		verdictOf{verdict.WrongGateway, verdict.EffectDiverted, verdict.Replaced}, nil,
	},
	{
		"a wrong device",
		func(t *testing.T, n *node) {
			netns.Must(t, n.NS.RouteReplace(n.route(t, "10.244.3.0/24", "ens33", gateway)))
		},
		verdictOf{verdict.WrongDevice, verdict.EffectDiverted, verdict.Replaced}, nil,
	},
	{
		"a deleted FDB entry",
		func(t *testing.T, n *node) {
			l := n.lease(t, victim)
			netns.Must(t, n.NS.FDBDel(netstate.FDBEntry{Device: n.NS.MustIndex(t, "flannel.1"), MAC: l.MAC, Dst: l.PublicIP}))
		},
		verdictOf{verdict.FDBMissing, verdict.Undeliverable, verdict.Deleted}, nil,
	},
	{
		"an altered neighbor",
		func(t *testing.T, n *node) {
			netns.Must(t, n.NS.NeighReplace(netstate.Neighbor{
				Device: n.NS.MustIndex(t, "flannel.1"), IP: victim.Addr(), MAC: netstate.MAC{2, 0xde, 0xad, 0, 0, 1},
			}))
		},
		verdictOf{verdict.NeighborWrong, verdict.Undeliverable, verdict.Replaced}, nil,
	},
	{
		"the underlay to one peer blackholed",
		func(t *testing.T, n *node) {
			netns.Must(t, n.NS.RouteAdd(n.blackhole(t)))
		},
		verdictOf{verdict.UnderlayDown, verdict.Undeliverable, verdict.UnderlayChanged},
		func(t *testing.T, n *node) { netns.Must(t, n.NS.RouteDel(n.blackhole(t))) },
	},
	{
		"a deleted route",
		func(t *testing.T, n *node) {
			netns.Must(t, n.NS.RouteDel(netstate.Route{Dst: victim, Device: n.NS.MustIndex(t, "flannel.1"), Gateway: victim.Addr()}))
		},
		verdictOf{verdict.Missing, verdict.Leaking, verdict.Deleted}, nil,
	},
}

// TestFaults: each fault is named by its state while all other leases stay ok,
// whether it happened before the exporter started or after; and what the
// advice says, done as it is printed, mends it.
func TestFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name+"/after the start", func(t *testing.T) {
			n := newNode(t)
			n.start(t)
			within(t, startup, "healthy at the start", func() bool { return n.status(t).Healthy })
			f.do(t, n)
			took := eventually(t, "the fault is named", func() bool { return n.only(t, f.want) })
			t.Logf("seen %s after it", took)
			if f.undo == nil {
				n.mend(t)
				return
			}
			f.undo(t, n)
			eventually(t, "healthy after the fault is undone", func() bool { return n.status(t).Healthy })
		})
		t.Run(f.name+"/before the start", func(t *testing.T) {
			n := newNode(t)
			f.do(t, n)
			n.start(t)
			want := f.want
			want.Cause = verdict.CauseUnknown
			within(t, startup, "the fault is named", func() bool { return n.only(t, want) })
			if n.status(t).Healthy {
				t.Error("healthy in spite of the fault")
			}
		})
	}
}

// only reports whether the victim has the verdict and every other lease is ok.
func (n *node) only(t *testing.T, want verdictOf) bool {
	s := n.status(t)
	problems := n.problems(t)
	return s.Complete && len(problems) == 1 && problems[victim.String()] == want &&
		s.Summary.States[verdict.OK] == len(n.peers)-1
}

// TestFaults_Device: what happens to a whole device, in both families.
func TestFaults_Device(t *testing.T) {
	tests := []struct {
		name   string
		family netstate.Family
		do     func(*testing.T, *node)
		want   verdictOf
	}{
		{"flannel-v6.1 set down and up", netstate.IPv6, func(t *testing.T, n *node) {
			netns.Must(t, n.NS.SetDown("flannel-v6.1"))
			netns.Must(t, n.NS.SetUp("flannel-v6.1"))
		}, verdictOf{verdict.LinkDown, verdict.Leaking, verdict.CauseLinkDown}}, // the kernel took its address
		{"flannel.1 set down", netstate.IPv4, func(t *testing.T, n *node) {
			netns.Must(t, n.NS.SetDown("flannel.1"))
		}, verdictOf{verdict.LinkDown, verdict.Leaking, verdict.CauseLinkDown}},
		{"the last address of flannel.1 removed", netstate.IPv4, func(t *testing.T, n *node) {
			netns.Must(t, n.NS.DelAddr("flannel.1", netip.PrefixFrom(netip.MustParseAddr("10.244.1.0"), 32)))
		}, verdictOf{verdict.LinkDown, verdict.Leaking, verdict.AddressRemoved}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			n.start(t)
			within(t, startup, "healthy at the start", func() bool { return n.status(t).Healthy })
			tt.do(t, n)
			eventually(t, "every peer of the family has the verdict, and no other", func() bool {
				problems := n.problems(t)
				for _, l := range n.peers {
					if l.Family == tt.family && problems[l.Subnet.String()] != tt.want {
						return false
					}
				}
				return len(problems) == len(n.peers)/2
			})
			n.mend(t)
		})
	}
}

func TestStaleRoute(t *testing.T) {
	n := newNode(t)
	left := netip.MustParsePrefix("10.244.77.0/24")
	netns.Must(t, n.NS.RouteAdd(netstate.Route{
		Dst: left, Gateway: left.Addr(), Device: n.NS.MustIndex(t, "flannel.1"), OnLink: true,
	}))
	n.start(t)
	within(t, startup, "healthy, with the route in stale[]", func() bool {
		s := n.status(t)
		return s.Healthy && len(s.Stale) == 1 && strings.Contains(s.Stale[0].Object, left.String()) &&
			s.Summary.States[verdict.OK] == len(n.peers)
	})
	if got := n.metric(t, `routewatch_stale_objects{family="ipv4",kind="route"}`); got != "1" {
		t.Errorf("stale_objects: %s, want 1", got)
	}
}

func TestOwnMAC(t *testing.T) {
	n := newNode(t)
	n.start(t)
	within(t, startup, "healthy at the start", func() bool { return n.status(t).Healthy })
	netns.Must(t, n.NS.SetMAC("flannel.1", netstate.MAC{2, 0xde, 0xad, 0, 0, 2}))
	eventually(t, "node problem device_mac", func() bool {
		p := n.status(t).NodeProblems
		return len(p) == 1 && p[0].Problem == verdict.DeviceMAC
	})
	if got := n.metric(t, `routewatch_node_problem{problem="device_mac"}`); got != "1" {
		t.Errorf("node_problem: %s, want 1", got)
	}
	if code, stdout, _ := n.cli(t, "status"); code != 1 || !strings.Contains(stdout, "device_mac") {
		t.Errorf("routewatch status: exit code %d\n%s", code, stdout)
	}
	// The kernel drops the neighbors of a device whose MAC changes.
	eventually(t, "neighbor_missing because of mac_changed", func() bool {
		return n.allIPv4(t, verdictOf{verdict.NeighborMissing, verdict.Undeliverable, verdict.MACChanged})
	})
}

// TestOnce: one status as JSON, with the CLI's exit codes.
func TestOnce(t *testing.T) {
	n := newNode(t)
	n.once(t, 0, true)
	faults[0].do(t, n)
	n.once(t, 1, true)
	n.file += ".not-there"
	n.once(t, 2, false)
}

func TestReady(t *testing.T) {
	n := newNode(t)
	n.start(t)
	within(t, startup, "ready", func() bool { code, _, _ := n.get("/-/ready"); return code == http.StatusOK })
	if code, _, err := n.get("/-/healthy"); code != http.StatusOK {
		t.Errorf("/-/healthy: %d %v", code, err)
	}
	_, body, _ := n.get("/api/v1/leases?state=ok")
	var list struct{ Items []struct{ Checked []string } }
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Items) != len(n.peers) || len(list.Items[0].Checked) == 0 {
		t.Errorf("%d leases, %v, want %d with what was checked: %s", len(list.Items), err, len(n.peers), body)
	}
}
