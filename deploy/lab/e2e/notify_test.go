//go:build e2e

package e2e

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
)

// kubeEvent is an Event of Kubernetes, as far as it matters here.
type kubeEvent struct {
	Metadata       struct{ Name, Namespace string }
	Reason         string
	Type           string
	Message        string
	Count          int
	FirstTimestamp time.Time
	LastTimestamp  time.Time
}

// nodeEvents are the Events about node-1, in the order in which they began.
func (n *clusterNode) nodeEvents(t *testing.T) []kubeEvent {
	t.Helper()
	var list struct{ Items []kubeEvent }
	netns.Must(t, n.api.Do(t.Context(), http.MethodGet, "/api/v1/events?fieldSelector=involvedObject.name=node-1", nil, &list))
	slices.SortStableFunc(list.Items, func(a, b kubeEvent) int { return a.FirstTimestamp.Compare(b.FirstTimestamp) })
	return list.Items
}

func (n *clusterNode) awaitEvents(t *testing.T, what string, limit time.Duration, is func([]kubeEvent) bool) []kubeEvent {
	t.Helper()
	var last []kubeEvent
	defer func() {
		if t.Failed() {
			t.Logf("Events: %+v", last)
		}
	}()
	took := within(t, limit, what, func() bool {
		time.Sleep(50 * time.Millisecond)
		last = n.nodeEvents(t)
		return is(last)
	})
	say(t, took, "%s", what)
	return last
}

// unroute deletes the route and the neighbor of the i-th Node.
func (n *clusterNode) unroute(t *testing.T, i int) {
	t.Helper()
	device := n.NS.MustIndex(t, "flannel.1")
	netns.Must(t, n.NS.RouteDel(netstate.Route{Dst: subnetOf(i), Device: device, Gateway: subnetOf(i).Addr()}))
}

// TestCluster_NotifyEvents: with the rights of the manifest, an incident is one
// Event, its end another, and hundreds of flaps are few.
func TestCluster_NotifyEvents(t *testing.T) {
	n := newClusterNode(t, 5)
	n.start(t, tokenLifetime, "--notify.events")
	n.unroute(t, 2)
	one := n.awaitEvents(t, "a route deleted: one Event", 5*time.Second, func(e []kubeEvent) bool { return len(e) == 1 })[0]
	if one.Type != "Warning" || one.Reason != "FlannelRoutesBroken" || one.Count != 1 || one.Metadata.Namespace != "default" ||
		!strings.Contains(one.Message, "ip route replace "+subnetOf(2).String()) {
		t.Errorf("Event %+v", one)
	}
	n.unroute(t, 3) // within two seconds: the same incident
	worse := n.awaitEvents(t, "another route deleted: the same Event, count 2", 5*time.Second, func(e []kubeEvent) bool {
		return len(e) == 1 && e[0].Count == 2 && strings.Contains(e[0].Message, "2 leases")
	})
	if worse[0].Metadata.Name != one.Metadata.Name || worse[0].LastTimestamp.Before(one.LastTimestamp) {
		t.Errorf("Event %+v, before it %+v", worse[0], one)
	}
	n.reprogram(t)
	n.awaitEvents(t, "routes put back: one Event more, of type Normal", 5*time.Second, func(e []kubeEvent) bool {
		return len(e) == 2 && slices.ContainsFunc(e, func(e kubeEvent) bool { return e.Type == "Normal" && e.Reason == "FlannelRoutesRestored" })
	})
	described := n.api.MustKubectl(t, "describe", "node", "node-1")
	for _, want := range []string{"FlannelRoutesBroken", "FlannelRoutesRestored", "routewatch"} {
		if !strings.Contains(described, want) {
			t.Errorf("kubectl describe node does not show %q:\n%s", want, described)
		}
	}

	start := time.Now()
	for range 200 {
		n.flap(t)
		eventually(t, "missing", func() bool { return n.status(t).ProblemsTotal > 0 })
		n.reprogram(t)
		eventually(t, "well", func() bool { return n.status(t).ProblemsTotal == 0 })
	}
	say(t, time.Since(start), "200 flaps, each repaired: %s incidents", n.metric(t, `routewatch_incidents_total{cause="link_down"}`))
	all := n.awaitEvents(t, "summed up as none open", 2*time.Minute, func(e []kubeEvent) bool {
		return slices.ContainsFunc(e, func(e kubeEvent) bool {
			return e.Reason == "FlannelRoutesUnstable" && strings.Contains(e.Message, "None is open now")
		})
	})
	summed := n.metric(t, `routewatch_notifications_total{kind="event",result="summed"}`)
	t.Logf("%d Events in all, %s incidents summed up: %s", len(all), summed, all[len(all)-1].Message)
	if len(all) > 30 {
		t.Errorf("%d Events of 201 incidents, want at most 30", len(all))
	}
	if failed := n.metric(t, `routewatch_notifications_total{kind="event",result="failed"}`); failed != "0" {
		t.Errorf("%s attempts failed", failed)
	}
}

// TestCluster_NotifyForbidden: without the right it is said which one, once, and
// all else goes on; with it what happened meanwhile is told.
func TestCluster_NotifyForbidden(t *testing.T) {
	n := newClusterNode(t, 3)
	n.api.MustKubectl(t, "delete", "rolebinding", "routewatch", "-n", "default")
	n.start(t, tokenLifetime, "--notify.events", "--notify.node-condition")
	n.unroute(t, 2)
	eventually(t, "seen", func() bool { return n.status(t).ProblemsTotal == 1 })
	within(t, 10*time.Second, "several attempts failed, of both kinds", func() bool {
		return n.metric(t, `routewatch_notifications_total{kind="event",result="failed"}`) > "1" &&
			n.metric(t, `routewatch_notifications_total{kind="condition",result="failed"}`) > "1"
	})
	for _, says := range []string{
		"kubectl auth can-i create events -n default --as=system:serviceaccount:routewatch:routewatch",
		"kubectl auth can-i patch nodes/status --subresource=status --as=system:serviceaccount:routewatch:routewatch",
	} {
		if got := strings.Count(n.log.String(), says); got != 1 {
			t.Errorf("logged %d times, want once: %s", got, says)
		}
	}
	n.api.MustKubectl(t, "apply", "-f", filepath.Join(deployDir(t), "base", "rbac.yaml"))
	n.awaitEvents(t, "the right given: told", time.Minute, func(e []kubeEvent) bool { return len(e) == 1 })
}

type kubeCondition struct {
	Type, Status, Reason, Message         string
	LastHeartbeatTime, LastTransitionTime time.Time
}

func (n *clusterNode) conditions(t *testing.T) map[string]kubeCondition {
	t.Helper()
	var node struct {
		Status struct{ Conditions []kubeCondition }
	}
	netns.Must(t, n.api.Do(t.Context(), http.MethodGet, "/api/v1/nodes/node-1", nil, &node))
	m := map[string]kubeCondition{}
	for _, c := range node.Status.Conditions {
		m[c.Type] = c
	}
	return m
}

// TestCluster_NotifyCondition: with the rights of deploy/node-condition the
// condition is True at once, and False after a minute without anything broken.
// Those of the kubelet stay as they are.
func TestCluster_NotifyCondition(t *testing.T) {
	t.Parallel() // it waits most of the time
	n := newClusterNode(t, 3)
	n.api.MustKubectl(t, "apply", "-f", filepath.Join(deployDir(t), "node-condition", "rbac.yaml"))
	n.api.MustKubectl(t, "patch", "node", "node-1", "--subresource=status", "--field-manager=kubelet", "--type=strategic", "-p",
		`{"status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady","message":"kubelet is posting ready status",`+
			`"lastHeartbeatTime":"2026-11-23T12:00:00Z","lastTransitionTime":"2026-11-23T12:00:00Z"}]}}`)
	ready := n.conditions(t)["Ready"]
	n.start(t, tokenLifetime, "--notify.node-condition")
	const ours = "FlannelRoutesBroken"
	if c, ok := n.conditions(t)[ours]; ok {
		t.Errorf("before anything was broken, or known to be well for a minute: %+v", c)
	}
	n.flap(t)
	took := within(t, 5*time.Second, "True", func() bool { return n.conditions(t)[ours].Status == "True" })
	broke := n.conditions(t)[ours]
	say(t, took, "flannel.1 set down and up: %s=True, %s: %s", ours, broke.Reason, broke.Message)
	for range 3 {
		n.reprogram(t)
		eventually(t, "well", func() bool { return n.status(t).Healthy })
		n.flap(t)
	}
	n.reprogram(t)
	took = within(t, 75*time.Second, "False", func() bool {
		time.Sleep(100 * time.Millisecond)
		return n.conditions(t)[ours].Status == "False"
	})
	if took < 55*time.Second {
		t.Errorf("False %s after the last repair: want a minute", took)
	}
	all := n.conditions(t)
	say(t, took, "repaired: %s=False, %s: %s", ours, all[ours].Reason, all[ours].Message)
	if len(all) != 2 || all["Ready"] != ready {
		t.Errorf("conditions %+v: want the kubelet's as it was, %+v", all, ready)
	}
	if got := n.metric(t, `routewatch_notifications_total{kind="condition",result="sent"}`); got > "4" {
		t.Errorf("written %s times", got)
	}
}
