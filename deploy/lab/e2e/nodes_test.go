//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/lease"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// garbage is what the annotations of a Node can be, by the annotation.
var garbage = []struct{ key, value string }{
	{"backend-data", `{"VNI":1,"VtepMAC":`},
	{"backend-data", `{"VNI":"one","VtepMAC":["02"]}`},
	{"backend-data", `{"VNI":1,"VtepMAC":"02:00:00:00:00:00:00:00"}`},
	{"backend-data", `{"VNI":18446744073709551616,"VtepMAC":"02:00:00:00:00:01"}`},
	{"backend-data", "\x00\x1b[31m\u202e"},
	{"backend-data", strings.Repeat("[", 200_000)},
	{"public-ip", "192.168.1.256"},
	{"public-ip", "fe80::1%eth0"},
	{"public-ip", strings.Repeat("1.", 100_000)},
	{"public-ip", `"; rm -rf /`},
}

// TestCluster_GarbageNodes: what nobody can read makes a lease unknown, and
// only this one.
func TestCluster_GarbageNodes(t *testing.T) {
	n := newClusterNode(t, 20)
	n.start(t, tokenLifetime)
	start := time.Now()
	const first = 3
	for i, g := range garbage {
		n.annotate(t, first+i, map[string]any{g.key: g.value})
	}
	took := within(t, 15*time.Second, "each of these leases is unknown, and no other", func() bool {
		states := n.states(t)
		for i := 2; i <= 20; i++ {
			garbled := i >= first && i < first+len(garbage)
			if states[nodeName(i)] == verdict.Unknown != garbled || states[nodeName(i)].Bad() {
				return false
			}
		}
		return len(states) == 19
	})
	say(t, time.Since(start), "%d Nodes annotated with garbage: these are unknown, the other %d ok (%s after the last)",
		len(garbage), 19-len(garbage), took.Round(time.Millisecond))
	for _, p := range n.status(t).Problems {
		if p.Reason == "" || len(p.Reason) > 500 {
			t.Errorf("%s is unknown for the reason %.600q: want a short one", p.Peer, p.Reason)
		}
	}

	n.flap(t)
	eventually(t, "the others are missing", func() bool {
		return n.status(t).Summary.States[verdict.Missing] == 19-len(garbage)
	})
	n.reprogram(t)
	for i := range garbage {
		n.annotate(t, first+i, withoutPrefix(annotations(first+i, 0)))
	}
	say(t, n.found(t, 5*time.Second), "annotations put right: healthy")
}

// annotate merges flannel's annotations into those of a Node.
func (n *clusterNode) annotate(t *testing.T, i int, values map[string]any) {
	t.Helper()
	netns.Must(t, n.patch(t.Context(), i, values))
}

func (n *clusterNode) patch(ctx context.Context, i int, values map[string]any) error {
	annotations := map[string]any{}
	for k, v := range values {
		annotations[lease.Prefix("").Key(k)] = v
	}
	patch := map[string]any{"metadata": map[string]any{"annotations": annotations}}
	return n.api.Do(ctx, http.MethodPatch, "/api/v1/nodes/"+nodeName(i), patch, nil)
}

func withoutPrefix(annotations map[string]any) map[string]any {
	short := map[string]any{}
	for k, v := range annotations {
		short[strings.TrimPrefix(k, lease.Prefix("").Key(""))] = v
	}
	return short
}

// judged returns all leases as /api/v1/leases has them.
func (n *clusterNode) judged(t *testing.T) []wire.Lease {
	t.Helper()
	code, body, err := n.get("/api/v1/leases?limit=5000")
	var list wire.LeaseList
	if err != nil || code != http.StatusOK {
		t.Fatalf("leases: %d %v %s", code, err, body)
	}
	netns.Must(t, json.Unmarshal([]byte(body), &list))
	return list.Items
}

func (n *clusterNode) states(t *testing.T) map[string]verdict.State {
	t.Helper()
	states := map[string]verdict.State{}
	for _, l := range n.judged(t) {
		states[l.Peer] = l.State
	}
	return states
}

// memoryLimit of the container in deploy/base/daemonset.yaml, in KiB.
const memoryLimit = 128 << 10

// TestCluster_5000Nodes: a large cluster is listed at once.
func TestCluster_5000Nodes(t *testing.T) {
	const nodes = 5000
	n := newClusterNode(t, 1)
	took := n.create(t, 2, nodes)
	say(t, took, "%d Nodes created", nodes)
	set := n.leases(t)
	n.peers = set.Leases
	start := time.Now()
	netns.Must(t, n.Flannel.Apply(n.peers))
	say(t, time.Since(start), "%d leases programmed into the kernel", len(n.peers))

	n.renew(t, tokenLifetime)
	start = time.Now()
	n.launch(t)
	within(t, 30*time.Second, "healthy with all leases", func() bool {
		s := n.status(t)
		return s.Healthy && s.Summary.Leases == nodes-1 && s.Summary.Present == nodes-1
	})
	took = time.Since(start)
	rss, peak := n.memory(t)
	say(t, took, "exporter started: %d Nodes listed, their leases judged, healthy; RSS %d MiB, at most %d MiB", nodes, rss>>10, peak>>10)
	if peak > memoryLimit {
		t.Errorf("%d KiB of memory: the manifest allows %d", peak, memoryLimit)
	}
	start = time.Now()
	n.flap(t)
	within(t, 15*time.Second, "all leases are missing", func() bool {
		return n.status(t).Summary.States[verdict.Missing] == nodes-1
	})
	say(t, time.Since(start), "flannel.1 set down and up: %d leases missing", nodes-1)
}

// memory of the exporter's process in KiB, now and at most.
func (n *clusterNode) memory(t *testing.T) (now, peak int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.pid))
	netns.Must(t, err)
	for line := range strings.Lines(string(b)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %d", &now)
		_, _ = fmt.Sscanf(line, "VmHWM: %d", &peak)
	}
	return now, peak
}
