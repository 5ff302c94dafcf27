//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"routewatch/dashboards"
	"routewatch/deploy/lab/netns"
)

// boardPanel is what a panel of a dashboard asks.
type boardPanel struct {
	Title   string
	Type    string
	Targets []struct{ Expr string }
}

func boardPanels(t *testing.T) map[string][]boardPanel {
	t.Helper()
	names, err := fs.Glob(dashboards.Grafana, "*.json")
	netns.Must(t, err)
	all := map[string][]boardPanel{}
	for _, name := range names {
		raw, err := dashboards.Grafana.ReadFile(name)
		netns.Must(t, err)
		var board struct{ Panels []boardPanel }
		netns.Must(t, json.Unmarshal(raw, &board))
		all[name] = board.Panels
	}
	return all
}

// asGrafana puts in what Grafana would for a scrape of a second: $__rate_interval is
// four of them, or 15 s as data sources have it by default.
func asGrafana(expr, node string) string {
	return strings.NewReplacer("$cluster", ".*", "$job", "routewatch", "$node", node, "$__rate_interval", "15s", "$__range", "5m").Replace(expr)
}

// TestCluster_Dashboards: each query of each panel has an answer from a real
// Prometheus, both while the node is well and while it is broken; panels of
// faults say 0 meanwhile, and say more after a flap.
func TestCluster_Dashboards(t *testing.T) {
	m := newMonitored(t)
	within(t, 30*time.Second, "Prometheus has scraped for some rates", func() bool {
		samples, err := m.Query(t.Context(), `count_over_time(routewatch_snapshot_complete[1m]) > 5`)
		return err == nil && len(samples) == 1
	})
	m.answers(t, "well")
	faults := map[string]string{
		"Nodes with problems": "0", "Leases leaking": "0", "Routes missing": "0", "Nodes blind": "0", "Nodes not watched": "0",
		"Leases broken": "0", "Not known": "0",
	}
	m.values(t, faults)
	m.enter(t, "ip link set flannel.1 down")
	m.enter(t, "ip link set flannel.1 up")
	within(t, 20*time.Second, "Prometheus has the leak", func() bool {
		samples, err := m.Query(t.Context(), `sum(routewatch_lease_effects{effect="leaking"}) > 0`)
		return err == nil && len(samples) == 1
	})
	m.answers(t, "broken")
	peers := 0
	for _, p := range m.peers {
		if p.Subnet.Addr().Is4() {
			peers++
		}
	}
	n := fmt.Sprint(peers)
	m.values(t, map[string]string{
		"Nodes with problems": "1", "Leases leaking": n, "Routes missing": n, "Nodes blind": "0", "Leases broken": n, "This node": "2",
	})
}

// answers demands data of every query.
func (m *monitored) answers(t *testing.T, state string) {
	t.Helper()
	queries := 0
	for name, panels := range boardPanels(t) {
		for _, p := range panels {
			for _, q := range p.Targets {
				queries++
				samples, err := m.Query(t.Context(), asGrafana(q.Expr, "node-1"))
				if err != nil || len(samples) == 0 {
					t.Errorf("%s, while the node is %s: %q has no data: %v\n%s", name, state, p.Title, err, q.Expr)
				}
			}
		}
	}
	if queries < 40 {
		t.Errorf("only %d queries were found", queries)
	}
}

// values demands a single value of panels.
func (m *monitored) values(t *testing.T, want map[string]string) {
	t.Helper()
	seen := map[string]bool{}
	for name, panels := range boardPanels(t) {
		for _, p := range panels {
			value, ok := want[p.Title]
			if !ok {
				continue
			}
			seen[p.Title] = true
			samples, err := m.Query(t.Context(), asGrafana(p.Targets[0].Expr, "node-1"))
			if err != nil || len(samples) != 1 || samples[0].Value != value {
				t.Errorf("%s: %q shows %v (%v), want %s", name, p.Title, samples, err, value)
			}
		}
	}
	if len(seen) != len(want) {
		t.Errorf("panels %v, want those of %v", seen, want)
	}
}
