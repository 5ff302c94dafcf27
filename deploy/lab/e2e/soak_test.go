//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"routewatch/deploy/lab/cluster"
	"routewatch/deploy/lab/flannel"
	"routewatch/deploy/lab/netns"
	"routewatch/deploy/lab/shell"
	"routewatch/deploy/lab/traffic"
	"routewatch/shared/verdict"
)

// The soak takes as long as soakVariable says, and does what the seed of
// seedVariable makes it do; both are printed.
const (
	soakVariable = "ROUTEWATCH_SOAK"
	seedVariable = "ROUTEWATCH_SEED"
	soakDefault  = 5 * time.Minute
)

// TestCluster_Soak: nodes join and leave, flannel restarts and is killed, peers
// get new MACs, pods come and go, devices flap, all the time; and all the time
// each verdict is held against packets. No bad effect may be published while
// the packet arrives, nor a good one while it does not, for longer than a second.
func TestCluster_Soak(t *testing.T) {
	netns.Require(t)
	netns.Must(t, build())
	k := newSoak(t)
	ctx, stop := context.WithTimeout(t.Context(), k.length)
	defer stop()
	churned := make(chan error, 1)
	go func() { churned <- k.churn(ctx) }()
	held := k.hold(ctx)
	netns.Must(t, errors.Join(held, <-churned))
	k.report(t)
}

// soak is a cluster under churn.
type soak struct {
	scenario
	random *rand.Rand
	seed   uint64
	length time.Duration
	pods   int

	done     map[string]int // by what was done
	packets  int
	leaked   int
	brief    int       // disputes that were over within a second
	disputes []dispute // those that were not
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	control := cluster.StartT(t, cluster.Config{})
	k := &soak{length: soakDefault, seed: uint64(time.Now().UnixNano()), done: map[string]int{}}
	k.scenario = scenario{ctx: t.Context(), control: func() *cluster.Cluster { return control }}
	var err error
	if v := os.Getenv(soakVariable); v != "" {
		k.length, err = time.ParseDuration(v)
		netns.Must(t, err)
	}
	if v := os.Getenv(seedVariable); v != "" {
		k.seed, err = strconv.ParseUint(v, 10, 64)
		netns.Must(t, err)
	}
	k.random = rand.New(rand.NewPCG(k.seed, k.seed))
	t.Logf("%s with the seed %d; the same again: %s=%s %s=%d", k.length, k.seed, soakVariable, k.length, seedVariable, k.seed)
	t.Cleanup(k.close)
	k.cluster, err = flannel.Start(t.Context(), flannel.Options{
		Nodes: 4, Control: control, Exporter: filepath.Join(programs, "routewatch-exporter"),
		ExporterFlags: []string{"--grace", "5s"},
	})
	netns.Must(t, err)
	k.watch, err = traffic.New(k.cluster.Gateway)
	netns.Must(t, err)
	netns.Must(t, k.capture())
	return k
}

// hold compares until ctx ends.
func (k *soak) hold(ctx context.Context) error {
	open := map[string]dispute{}
	for ctx.Err() == nil {
		last := open
		fates, err := k.round(&open)
		if err != nil {
			return err
		}
		k.packets += len(fates)
		for text, d := range last {
			if _, still := open[text]; !still && !d.old() {
				k.brief++
			}
		}
		for text, d := range open {
			if d.old() && !slices.ContainsFunc(k.disputes, func(o dispute) bool { return o.text == text && o.since.Equal(d.since) }) {
				k.disputes = append(k.disputes, d)
			}
		}
		for _, f := range fates {
			if f.Path == traffic.Leaked {
				k.leaked++
			}
		}
	}
	return nil
}

// churn does one thing after the other until ctx ends.
func (k *soak) churn(ctx context.Context) error {
	things := []struct {
		name string
		do   func(context.Context, *flannel.Node) error
	}{
		{"pods", k.podsComeAndGo}, {"pods", k.podsComeAndGo}, {"flanneld restarted", k.restart}, {"flanneld killed", k.kill},
		{"a new MAC", k.newMAC}, {"a node left and joined", k.leaveAndJoin}, {"a flap, and flanneld restarted", k.flap},
	}
	for ctx.Err() == nil {
		thing := things[k.random.IntN(len(things))]
		node := k.cluster.Node(fmt.Sprintf("node-%d", 1+k.random.IntN(4)))
		// A thing that is begun is ended: half of it would be another thing.
		if err := thing.do(context.WithoutCancel(ctx), node); err != nil {
			return fmt.Errorf("%s on %s: %w", thing.name, node.Name, err)
		}
		k.done[thing.name]++
	}
	return nil
}

func (k *soak) restart(ctx context.Context, n *flannel.Node) error {
	n.StopFlannel()
	return n.StartFlannel(ctx)
}

func (k *soak) kill(ctx context.Context, n *flannel.Node) error {
	n.KillFlannel()
	return n.StartFlannel(ctx)
}

// flap is a real fault: the routes are gone until flannel programs them anew.
func (k *soak) flap(ctx context.Context, n *flannel.Node) error {
	device := []string{"flannel.1", "flannel-v6.1"}[k.random.IntN(2)]
	for _, how := range []string{"down", "up"} {
		if err := shell.Run(n.NS, "ip link set "+device+" "+how); err != nil {
			return err
		}
	}
	if !pause(ctx, time.Duration(k.random.IntN(3000))*time.Millisecond) {
		return nil
	}
	return k.restart(ctx, n)
}

// newMAC: the node comes back with new devices and has forgotten the old ones,
// as after a reboot with another machine-id.
func (k *soak) newMAC(ctx context.Context, n *flannel.Node) error {
	n.StopFlannel()
	for _, device := range []string{"flannel.1", "flannel-v6.1"} {
		if err := n.NS.DelLink(device); err != nil {
			return err
		}
	}
	forget := map[string]any{"metadata": map[string]any{"annotations": map[string]any{
		k.prefix.Key("backend-data"): nil, k.prefix.Key("backend-v6-data"): nil,
	}}}
	if err := k.control().Do(ctx, http.MethodPatch, "/api/v1/nodes/"+n.Name, forget, nil); err != nil {
		return err
	}
	return n.StartFlannel(ctx)
}

func (k *soak) leaveAndJoin(ctx context.Context, n *flannel.Node) error {
	if err := k.cluster.Leave(ctx, n.Name); err != nil {
		return err
	}
	pause(ctx, time.Duration(k.random.IntN(1000))*time.Millisecond)
	return k.join(n.Name, 0)
}

// podsComeAndGo makes and removes pods' devices behind cni0, with a neighbor each.
func (k *soak) podsComeAndGo(ctx context.Context, n *flannel.Node) error {
	for range 5 {
		k.pods++
		name := fmt.Sprintf("veth%d", k.pods)
		pod, err := netns.New()
		if err != nil {
			return err
		}
		err = errors.Join(n.NS.AddVeth(name, pod, "eth0"), n.NS.SetMaster(name, "cni0"), n.NS.SetUp(name), pod.SetUp("eth0"))
		pause(ctx, 20*time.Millisecond)
		err = errors.Join(err, n.NS.DelLink(name))
		pod.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (k *soak) report(t *testing.T) {
	t.Helper()
	falseAlarms, falseCalm := 0, 0
	for _, d := range k.disputes {
		if d.alarm() {
			falseAlarms++
		} else {
			falseCalm++
		}
		t.Errorf("%s, from %s on: %s", k.text(d), d.since.Format(time.RFC3339Nano), d)
	}
	t.Logf("done: %v; packets sent: %d, of which leaked: %d; disputes that were over within %s: %d",
		k.done, k.packets, k.leaked, stable, k.brief)
	t.Logf("a bad effect while the packet arrived: %d; delivered while it did not for longer than %s: %d", falseAlarms, stable, falseCalm)
}

func (d dispute) alarm() bool {
	return d.lease.State != verdict.OK && d.lease.Effect != verdict.Delivered
}

func (*soak) text(d dispute) string {
	if d.alarm() {
		return "a false alarm"
	}
	return "calm, and falsely so"
}
