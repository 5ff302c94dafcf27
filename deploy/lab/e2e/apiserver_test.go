//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/wire"
)

// How long the source may take, as its package says.
const (
	failureBound = 5 * time.Second          // a request that fails: at once, and client-go waits up to 1.6 s before it sends one
	silenceBound = 60 * time.Second         // HTTP/2's pings notice it within 45 s, 10 s more without a watch
	retryBound   = 45 * time.Second         // client-go backs off to 30 s, and half of it more
	tokenBound   = time.Minute + retryBound // and reads a token's file once a minute
)

// TestCluster_APIServerKilled: while there is no API server the leases are
// still judged, and it is said that they may be old. A Node that is deleted
// meanwhile is noticed when the Nodes are listed again.
func TestCluster_APIServerKilled(t *testing.T) {
	n := newClusterNode(t, 20)
	n.start(t, tokenLifetime, "--grace", "2s")
	killed := time.Now()
	n.api.Kill()
	say(t, n.lost(t, failureBound, "connection refused"), "API server killed: incomplete, its age shown")
	if s := n.source(t); s.LastSync.IsZero() || s.LastSync.After(killed) || !strings.Contains(s.Problem, "last in sync at ") {
		t.Errorf("last sync %s, problem %q: want the time before %s in both", s.LastSync, s.Problem, killed)
	}

	n.flap(t)
	took := eventually(t, "every peer is missing, leaking, because of link_down", func() bool { return n.allIPv4(t, flapped) })
	say(t, took, "flannel.1 set down and up without an API server: %d leases missing, leaking", len(n.peers))
	n.reprogram(t)
	took = eventually(t, "no lease is bad", func() bool { return n.status(t).ProblemsTotal == 0 })
	say(t, took, "repaired without an API server: no lease is bad, still incomplete")

	netns.Must(t, n.api.DeleteFromEtcd(t.Context(), "/registry/minions/node-20"))
	netns.Must(t, n.api.Restart(t.Context()))
	say(t, n.found(t, retryBound), "API server back: complete and healthy")
	eventually(t, "the deleted Node has no lease", func() bool { return n.status(t).Summary.Leases == len(n.peers)-1 })
	took = within(t, 15*time.Second, "its route, neighbor and FDB entry are stale after the grace", func() bool {
		return len(n.status(t).Stale) == 3
	})
	say(t, took, "a Node deleted while there was no API server: no lease of it, its objects stale after 2s of grace")
	n.flap(t)
	eventually(t, "the remaining peers are missing", func() bool {
		p := n.problems(t)
		return len(p) == len(n.peers)-1 && p[subnetOf(2).String()] == flapped
	})
}

// TestCluster_APIServerNotThere: an exporter that is started without one says
// that it cannot tell, and is well as soon as there is one.
func TestCluster_APIServerNotThere(t *testing.T) {
	n := newClusterNode(t, 5)
	n.renew(t, tokenLifetime)
	n.api.Kill()
	n.launch(t)
	took := within(t, failureBound, "the problem is named", func() bool {
		return strings.Contains(n.source(t).Problem, "connection refused")
	})
	if s := n.status(t); s.Complete || s.Healthy || s.Outcome(s.Time) != wire.CannotTell {
		t.Errorf("complete %v, healthy %v without any lease: want neither", s.Complete, s.Healthy)
	}
	if code, _, err := n.get("/-/ready"); code != http.StatusServiceUnavailable {
		t.Errorf("ready: %d %v, want 503", code, err)
	}
	say(t, took, "exporter started without an API server: not ready, cannot tell, connection refused")
	netns.Must(t, n.api.Restart(t.Context()))
	say(t, n.found(t, retryBound), "API server there: healthy")
}

// TestCluster_APIServerHangs: connections stay and nobody answers.
func TestCluster_APIServerHangs(t *testing.T) {
	t.Parallel() // it waits most of the time
	n := newClusterNode(t, 5)
	n.start(t, tokenLifetime)
	netns.Must(t, n.api.Pause())
	n.flap(t)
	took := eventually(t, "every peer is missing", func() bool { return n.allIPv4(t, flapped) })
	say(t, took, "flannel.1 set down and up while the API server hangs: missing, leaking")
	n.reprogram(t)
	say(t, n.lost(t, silenceBound, ""), "API server stopped in its tracks: incomplete")
	netns.Must(t, n.api.Resume())
	say(t, n.found(t, retryBound), "API server goes on: complete and healthy")
}

// TestCluster_TokenExpires: the token in the file expires and is replaced, as
// the kubelet does with a pod's.
func TestCluster_TokenExpires(t *testing.T) {
	t.Parallel() // it waits most of the time
	n := newClusterNode(t, 5)
	const lifetime = 8 * time.Second
	expires := time.Now().Add(lifetime)
	n.start(t, lifetime)
	time.Sleep(time.Until(expires.Add(time.Second))) // nothing tells that it has
	if s := n.status(t); !s.Complete || !s.Healthy {
		t.Errorf("the token has expired, and the watch that goes on counts for nothing: %+v", s.Sources)
	}
	netns.Must(t, n.api.Restart(t.Context())) // ends the watch
	say(t, n.lost(t, retryBound, "401 Unauthorized"), "token expired, watch ended: incomplete, the credentials named")
	n.flap(t)
	eventually(t, "every peer is missing", func() bool { return n.allIPv4(t, flapped) })
	n.reprogram(t)
	n.renew(t, tokenLifetime)
	say(t, n.found(t, tokenBound), "token file replaced: complete and healthy")
}

// TestCluster_RBACRemoved: what is forbidden is named, and once it is allowed
// again nothing needs a restart.
func TestCluster_RBACRemoved(t *testing.T) {
	n := newClusterNode(t, 5)
	n.start(t, tokenLifetime)
	n.allow(t, "get")
	netns.Must(t, n.api.Restart(t.Context()))
	const user = `"system:serviceaccount:routewatch:routewatch"`
	say(t, n.lost(t, retryBound, "forbids "+user+" to list nodes"), "ClusterRole without list and watch: incomplete, list named")
	n.allow(t, "get", "list")
	say(t, n.lost(t, retryBound, "forbids "+user+" to watch nodes"), "ClusterRole without watch: incomplete, watch named")
	n.allow(t, "get", "list", "watch")
	say(t, n.found(t, retryBound), "ClusterRole restored: complete and healthy")
}

// allow changes the verbs of the ClusterRole.
func (n *clusterNode) allow(t *testing.T, verbs ...string) {
	t.Helper()
	role := map[string]any{"rules": []any{map[string]any{"apiGroups": []string{""}, "resources": []string{"nodes"}, "verbs": verbs}}}
	netns.Must(t, n.api.Do(context.Background(), "PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/routewatch", role, nil))
}
