//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/deploy/lab/cluster"
	"routewatch/deploy/lab/monitoring"
	"routewatch/deploy/lab/netns"
)

// kubePrometheus has the inhibitions that kube-prometheus ships. An Alertmanager
// that has them as well must silence no more than ours.
const kubePrometheus = `
  - source_matchers: [severity = critical]
    target_matchers: [severity =~ "warning|info"]
    equal: [namespace, alertname]
  - source_matchers: [severity = warning]
    target_matchers: [severity = info]
    equal: [namespace, alertname]
`

// silenced are rows of what fires together, each in a cluster of its own, and
// which of it is silenced. An alert is its name, and NAME=VALUE labels.
var silenced = []struct{ name, fires, silent, heard string }{
	{"a node: its critical alert stands for its warnings", "RoutewatchFlannelRoutesMissing node=a family=ipv4",
		"RoutewatchLeasesBroken node=a family=ipv4", "RoutewatchLeasesBroken node=b family=ipv4"},
	{"a node: the other family has its own", "RoutewatchFlannelRoutesMissing node=a family=ipv4",
		"RoutewatchPathDiverted node=a family=ipv4", "RoutewatchEncapsulationBroken node=a family=ipv6"},
	{"many nodes: one page", "RoutewatchManyNodesBroken", "RoutewatchFlannelRoutesMissing node=a family=ipv4", "RoutewatchNodeCutOff node=a"},
	{"many nodes: a peer is another matter", "RoutewatchManyNodesBroken", "RoutewatchLeasesBroken node=a family=ipv4",
		"RoutewatchPeerCutOff peer=a node=a"},
	{"a node that is not ready", "KubeNodeNotReady node=a", "RoutewatchDown node=a", "RoutewatchDown node=b"},
	{"a peer that is not ready", "KubeNodeUnreachable node=a", "RoutewatchPeerCutOff peer=a node=a", "RoutewatchPeerCutOff peer=b node=b"},
	{"a peer that is cut off: its exporter is too", "RoutewatchPeerCutOff peer=a node=a", "RoutewatchDown node=a", "RoutewatchNodeCutOff node=a"},
	{"a cluster without an answer", "RoutewatchClusterDown", "RoutewatchDown node=a", "RoutewatchBlind node=a"},
}

var severities = map[string]string{
	"RoutewatchFlannelRoutesMissing": "critical", "RoutewatchManyNodesBroken": "critical", "RoutewatchPeerCutOff": "critical",
	"RoutewatchNodeCutOff": "critical", "RoutewatchClusterDown": "critical",
}

func alertOf(text, cluster string) map[string]string {
	words := strings.Fields(text)
	labels := map[string]string{"alertname": words[0], "cluster": cluster, "namespace": "routewatch", "severity": severities[words[0]]}
	if labels["severity"] == "" {
		labels["severity"] = "warning"
	}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		labels[name] = value
	}
	return labels
}

// TestCluster_AlertInhibitions: a real Alertmanager, with deploy/alertmanager.yaml
// and kube-prometheus' own rules, silences what it should and nothing else.
func TestCluster_AlertInhibitions(t *testing.T) {
	ours, err := os.ReadFile(filepath.Join(deployDir(t), "alertmanager.yaml"))
	netns.Must(t, err)
	m, err := monitoring.Start(t.Context(), monitoring.Config{Dir: t.TempDir(), Inhibit: append(ours, kubePrometheus...)})
	netns.Must(t, err)
	t.Cleanup(m.Close)
	want := map[string]string{}
	var alerts []map[string]string
	for _, row := range silenced {
		for text, state := range map[string]string{row.fires: "active", row.silent: "suppressed", row.heard: "active"} {
			alerts = append(alerts, alertOf(text, row.name))
			want[row.name+": "+strings.Fields(text)[0]+" "+alertOf(text, "")["node"]+alertOf(text, "")["family"]] = state
		}
	}
	netns.Must(t, m.Send(t.Context(), false, alerts...))
	var diff string
	defer func() {
		if t.Failed() {
			t.Logf("what Alertmanager does (-want +got):\n%s", diff)
		}
	}()
	within(t, 20*time.Second, "each alert is silenced, or not, as it should be", func() bool {
		found, err := m.Alerts(t.Context())
		netns.Must(t, err)
		got := map[string]string{}
		for _, a := range found {
			got[a.Labels["cluster"]+": "+a.Labels["alertname"]+" "+a.Labels["node"]+a.Labels["family"]] = a.Status.State
		}
		diff = cmp.Diff(want, got)
		return diff == ""
	})
}

// fleet are nodes with real flannel, under one Prometheus.
type fleet struct {
	*scenario
	*monitored
}

func newFleet(t *testing.T, nodes string) *fleet {
	t.Helper()
	netns.Require(t)
	netns.Must(t, build())
	control := cluster.StartT(t, cluster.Config{})
	s := &scenario{control: func() *cluster.Cluster { return control }, ctx: t.Context()}
	t.Cleanup(s.close)
	netns.Must(t, s.lab([]string{"nodes=" + nodes}))
	var targets []monitoring.Target
	for _, n := range s.cluster.Nodes() {
		targets = append(targets, targetOf(n.Name, n.URL()))
	}
	return &fleet{s, &monitored{Monitoring: startMonitoring(t, targets...)}}
}

// only waits until the alerts that are heard are these: each is its name and node.
// Those that are only information are left out: what flannel leaves of the old MAC
// is stale after seconds here, and after an hour with the real `for`.
func (f *fleet) only(t *testing.T, what, want string) time.Duration {
	t.Helper()
	var got string
	defer func() {
		if got != want {
			t.Logf("alerts %q, want %q", got, want)
		}
	}()
	return within(t, 30*time.Second, what, func() bool {
		alerts, err := f.Alerts(t.Context())
		netns.Must(t, err)
		var heard []string
		for _, a := range alerts {
			if a.Status.State == "active" && a.Labels["severity"] != "info" {
				heard = append(heard, a.Labels["alertname"]+" "+a.Labels["node"])
			}
		}
		slices.Sort(heard)
		got = strings.Join(heard, ", ")
		return got == want
	})
}

// do plays lines of a scenario.
func (f *fleet) do(t *testing.T, lines ...string) {
	t.Helper()
	for _, line := range lines {
		words := strings.Fields(line)
		if err := scenarioCommands[words[0]](f.scenario, words[1:]); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, f.words())
		}
	}
}

// TestCluster_AlertPeer: udev gives the device of a node another MAC, which is
// published for IPv4 alone, so that real flannel on the others drops it
// (flannel.md 0.6). That is first the node's own trouble, then one page for the
// peer that all others lost, and none for them.
func TestCluster_AlertPeer(t *testing.T) {
	f := newFleet(t, "4")
	within(t, 30*time.Second, "all nodes are well, by Prometheus", func() bool {
		samples, err := f.Query(t.Context(), `count(node_family:routewatch_leases_ok:sum == node_family:routewatch_leases:sum) == 8`)
		return err == nil && len(samples) == 1
	})
	f.only(t, "no alert while all is well", "")
	f.do(t, "on node-4 ip link set flannel.1 address 02:11:22:33:44:55")
	say(t, f.only(t, "node-4 is cut off", "RoutewatchFlannelRoutesMissing node-4, RoutewatchNodeCutOff node-4"),
		"another MAC on node-4, which took its neighbors: RoutewatchNodeCutOff, RoutewatchFlannelRoutesMissing")

	f.do(t, `annotate node-4 backend-data={"VNI":1,"VtepMAC":"02:11:22:33:44:55"}`,
		"expect node-1 node-4 neighbor_wrong undeliverable lease_changed family=ipv4", "mend node-4")
	say(t, f.only(t, "one page", "RoutewatchPeerCutOff node-4"), "published, and dropped by the others: RoutewatchPeerCutOff, and no other alert")
	text := f.alert(t, "RoutewatchPeerCutOff").Annotations["description"]
	for _, want := range []string{"3 nodes of cluster lab cannot send to the pods of node-4", "neighbor_wrong, undeliverable, cause lease_changed: 3"} {
		if !strings.Contains(text, want) {
			t.Errorf("the alert does not say %q:\n%s", want, text)
		}
	}

	notReady := map[string]string{"alertname": "KubeNodeNotReady", "cluster": "lab", "node": "node-4", "severity": "warning"}
	netns.Must(t, f.Send(t.Context(), false, notReady))
	f.only(t, "a node that is not ready silences it", "KubeNodeNotReady node-4")
	netns.Must(t, f.Send(t.Context(), true, notReady))
	f.only(t, "it is heard again", "RoutewatchPeerCutOff node-4")

	f.do(t, "mend node-1", "mend node-2", "mend node-3", "healthy")
	took := within(t, 30*time.Second, "the alert is over", func() bool { return f.alert(t, "RoutewatchPeerCutOff") == nil })
	f.only(t, "no alert is left", "")
	say(t, took, "what is printed was typed on the three nodes: no alert is left")
}
