//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"routewatch/deploy/lab/cluster"
	"routewatch/deploy/lab/netns"
	"routewatch/deploy/lab/topology"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// The tests whose names begin with TestCluster_ run against a real control
// plane: see deploy/lab/cluster. Each prints what was done and how long it took
// until the verdict.

// The namespace and the service account of deploy/base.
const (
	namespace      = "routewatch"
	serviceAccount = "routewatch"
)

// tokenLifetime of a token that does not matter.
const tokenLifetime = time.Hour

// clusterNode is node-1 of a real API server, whose exporter reads its leases
// there as the service account of the manifest.
type clusterNode struct {
	*node
	api       *cluster.Cluster
	tokenFile string
}

// newClusterNode brings up an API server with node-1 to node-N, and node-1's
// kernel as flannel leaves it.
func newClusterNode(t *testing.T, nodes int) *clusterNode {
	t.Helper()
	netns.Require(t)
	netns.Must(t, build())
	c := cluster.StartT(t, cluster.Config{})
	for _, file := range []string{"namespace.yaml", "rbac.yaml"} {
		c.MustKubectl(t, "apply", "-f", filepath.Join(deployDir(t), "base", file))
	}
	n := &clusterNode{api: c, tokenFile: filepath.Join(t.TempDir(), "token")}
	n.create(t, 1, nodes)
	set := n.leases(t)
	n.node = &node{Node: topology.Single(t, &set), log: &logs{}, peers: set.Leases}
	return n
}

// start runs the exporter with a token of the service account until all is well.
func (n *clusterNode) start(t *testing.T, lifetime time.Duration, args ...string) {
	t.Helper()
	n.renew(t, lifetime)
	n.launch(t, args...)
	within(t, startup, "healthy at the start", func() bool { return n.status(t).Healthy })
}

// launch runs the exporter with the token that there is.
func (n *clusterNode) launch(t *testing.T, args ...string) {
	t.Helper()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	netns.Must(t, n.api.TokenKubeconfig(kubeconfig, n.tokenFile))
	n.run(t, append([]string{"--leases", "kubernetes", "--kubeconfig", kubeconfig}, args...)...)
}

// renew writes a new token of the service account into its file.
func (n *clusterNode) renew(t *testing.T, lifetime time.Duration) {
	t.Helper()
	token, err := n.api.ShortToken(t.Context(), namespace, serviceAccount, lifetime)
	netns.Must(t, err)
	netns.Must(t, os.WriteFile(n.tokenFile+".new", []byte(token), 0o600))
	netns.Must(t, os.Rename(n.tokenFile+".new", n.tokenFile)) // as the kubelet does it
}

// leases reads what the API server has now.
func (n *clusterNode) leases(t *testing.T) lease.Set {
	t.Helper()
	var list json.RawMessage
	netns.Must(t, n.api.Do(t.Context(), http.MethodGet, "/api/v1/nodes", nil, &list))
	set, err := lease.Read(strings.NewReader(string(list)), lease.Options{Self: "node-1"})
	netns.Must(t, err)
	return set
}

// create creates node-first to node-last, annotated as flannel does.
func (n *clusterNode) create(t *testing.T, first, last int) time.Duration {
	t.Helper()
	start := time.Now()
	netns.Must(t, each(t.Context(), first, last, func(ctx context.Context, i int) error {
		return n.api.Do(ctx, http.MethodPost, "/api/v1/nodes", kubeNode(i, 0), nil)
	}))
	return time.Since(start)
}

// each does something for every number, a few at a time.
func each(ctx context.Context, first, last int, do func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := first; i <= last; i++ {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

// kubeNode is a Node as flannel's vxlan backend annotates it. Another epoch is
// the same node with another public IP and MAC.
func kubeNode(i, epoch int) map[string]any {
	subnet := subnetOf(i).String()
	return map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{"name": nodeName(i), "annotations": annotations(i, epoch)},
		"spec":     map[string]any{"podCIDR": subnet, "podCIDRs": []string{subnet}},
	}
}

func annotations(i, epoch int) map[string]any {
	var prefix lease.Prefix
	return map[string]any{
		prefix.Key("kube-subnet-manager"): "true",
		prefix.Key("backend-type"):        "vxlan",
		prefix.Key("public-ip"):           publicIP(i, epoch).String(),
		prefix.Key("backend-data"):        fmt.Sprintf(`{"VNI":1,"VtepMAC":%q}`, macOf(i, epoch)),
	}
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i) }

func subnetOf(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 128 + byte(i>>8), byte(i), 0}), 24)
}

// publicIP leaves out the gateway's address and the broadcast addresses.
func publicIP(i, epoch int) netip.Addr {
	return netip.AddrFrom4([4]byte{172, 16 + byte(epoch), byte(i / 200), 20 + byte(i%200)})
}

func macOf(i, epoch int) netstate.MAC {
	return netstate.MAC{2, byte(epoch), 0, 0, byte(i >> 8), byte(i)}
}

// deployDir is deploy/ of the checkout.
func deployDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	netns.Must(t, err)
	return dir
}

// flap sets flannel.1 down and up: the routes and neighbors are gone.
func (n *clusterNode) flap(t *testing.T) {
	t.Helper()
	netns.Must(t, n.NS.SetDown("flannel.1"))
	netns.Must(t, n.NS.SetUp("flannel.1"))
}

var flapped = verdictOf{verdict.Missing, verdict.Leaking, verdict.CauseLinkDown}

// reprogram puts back what a flap took.
func (n *clusterNode) reprogram(t *testing.T) {
	t.Helper()
	device := n.NS.MustIndex(t, "flannel.1")
	for _, l := range n.peers {
		netns.Must(t, n.NS.NeighReplace(netstate.Neighbor{Device: device, IP: l.Subnet.Addr(), MAC: l.MAC}))
		netns.Must(t, n.NS.RouteReplace(netstate.Route{Dst: l.Subnet, Gateway: l.Subnet.Addr(), Device: device, OnLink: true}))
	}
}

// source is what the status says of the API server; zero before it is asked.
func (n *clusterNode) source(t *testing.T) wire.Source {
	t.Helper()
	for _, s := range n.status(t).Sources {
		if s.Name == "kubernetes" {
			return s
		}
	}
	return wire.Source{}
}

// lost waits until the status says that the leases cannot be read, because of
// something that it names, and holds all gauges to it.
func (n *clusterNode) lost(t *testing.T, limit time.Duration, because string) time.Duration {
	t.Helper()
	took := within(t, limit, "incomplete, the problem has "+because, func() bool {
		return !n.status(t).Complete && strings.Contains(n.source(t).Problem, because)
	})
	s := n.status(t)
	if s.Healthy || s.Summary.States[verdict.Unknown] != 0 {
		t.Errorf("healthy %v, %d leases unknown: want false, and the leases judged", s.Healthy, s.Summary.States[verdict.Unknown])
	}
	for series, want := range map[string]string{
		"routewatch_snapshot_complete": "0", `routewatch_lease_source_up{source="kubernetes"}`: "0",
	} {
		if got := n.metric(t, series); got != want {
			t.Errorf("%s is %s, want %s", series, got, want)
		}
	}
	return took
}

// found waits until the leases are read and all is well.
func (n *clusterNode) found(t *testing.T, limit time.Duration) time.Duration {
	t.Helper()
	return within(t, limit, "complete and healthy again", func() bool { s := n.status(t); return s.Complete && s.Healthy })
}

// say prints what was done and how long it took until the verdict.
func say(t *testing.T, took time.Duration, format string, args ...any) {
	t.Helper()
	t.Logf("%8s  %s", took.Round(time.Millisecond), fmt.Sprintf(format, args...))
}
