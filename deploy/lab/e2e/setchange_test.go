//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// seenWithin is how long after the API server's answer a change may be unseen:
// the source gathers changes that follow each other for a second (maxCoalesce of
// leases/kube), and then the answer is on its way.
const seenWithin = 2 * time.Second

// TestCluster_SetChanges: all leases change within a second. In every answer
// meanwhile each lease is as the API server has it or had it a moment ago, and
// none is called bad that flannel is still to program.
func TestCluster_SetChanges(t *testing.T) {
	const nodes = 200
	n := newClusterNode(t, nodes)
	n.start(t, tokenLifetime)

	took, answers := n.watchChange(t, 2, nodes, func(ctx context.Context, i int) error {
		return n.patch(ctx, i, withoutPrefix(annotations(i, 1)))
	}, func(i int, l wire.Lease) (isNew bool) {
		switch {
		case l.PublicIP == publicIP(i, 0) && l.MAC == macOf(i, 0):
			return false
		case l.PublicIP == publicIP(i, 1) && l.MAC == macOf(i, 1):
			return true
		}
		t.Errorf("%s has public IP %q and MAC %s: these were never together", nodeName(i), l.PublicIP, l.MAC)
		return false
	})
	say(t, took, "public IP and MAC of %d leases changed, all %d answers meanwhile right", nodes-1, answers)
	n.pendingThenHealthy(t, nodes)

	took, answers = n.watchChange(t, 2, 2*nodes-1, func(ctx context.Context, i int) error {
		if i > nodes {
			return n.api.Do(ctx, http.MethodPost, "/api/v1/nodes", kubeNode(i, 0), nil)
		}
		return n.api.Do(ctx, http.MethodDelete, "/api/v1/nodes/"+nodeName(i), nil, nil)
	}, func(i int, l wire.Lease) (isNew bool) {
		return l.Peer == "" == (i <= nodes)
	})
	say(t, took, "%d Nodes deleted and %d others created, all %d answers meanwhile right", nodes-1, nodes-1, answers)
	n.pendingThenHealthy(t, nodes)
}

// pendingThenHealthy holds the leases after a change to what flannel has not
// done yet, and then does it.
func (n *clusterNode) pendingThenHealthy(t *testing.T, nodes int) {
	t.Helper()
	took := eventually(t, "all leases are new and pending", func() bool {
		s := n.status(t).Summary
		return s.Leases == nodes-1 && s.States[verdict.Pending] == nodes-1
	})
	say(t, took, "all new leases pending: flannel has a minute to program them")
	n.peers = n.leases(t).Leases
	netns.Must(t, n.Flannel.Apply(n.peers))
	took = within(t, 15*time.Second, "all leases are ok", func() bool {
		s := n.status(t)
		return s.Healthy && s.Summary.States[verdict.OK] == nodes-1
	})
	say(t, took, "flannel programmed them: all ok")
}

// moment is when a change of one Node was sent and answered, in ns; 0: not yet.
type moment struct{ sent, done atomic.Int64 }

// watchChange does something to each Node from first to last and asks for the
// leases all the while until everything is new. isNew tells from the lease of
// a Node (the zero Lease if it has none) on which side of its change it is.
func (n *clusterNode) watchChange(t *testing.T, first, last int, do func(context.Context, int) error,
	isNew func(int, wire.Lease) bool,
) (took time.Duration, answers int) {
	t.Helper()
	moments := make([]moment, last+1)
	start := time.Now()
	ended := make(chan error, 1)
	go func() {
		err := each(t.Context(), first, last, func(ctx context.Context, i int) error {
			moments[i].sent.Store(time.Now().UnixNano())
			defer func() { moments[i].done.Store(time.Now().UnixNano()) }()
			return do(ctx, i)
		})
		took = time.Since(start)
		ended <- err
	}()
	for old := last; old > 0 && !t.Failed(); answers++ {
		asked := time.Now().UnixNano()
		leases := map[string]wire.Lease{}
		for _, l := range n.judged(t) {
			leases[l.Peer] = l
			if l.State.Bad() {
				t.Errorf("%s is %s (%s) although flannel has a minute to program it", l.Peer, l.State, l.Reason)
			}
		}
		old = 0
		for i := first; i <= last; i++ {
			sent, done := moments[i].sent.Load(), moments[i].done.Load()
			switch fresh := isNew(i, leases[nodeName(i)]); {
			case fresh && sent == 0:
				t.Errorf("%s changed before anybody changed it", nodeName(i))
			case !fresh && done != 0 && asked-done > int64(seenWithin):
				t.Errorf("%s is as it was %s ago", nodeName(i), time.Duration(asked-done))
			case !fresh:
				old++
			}
		}
	}
	netns.Must(t, <-ended)
	return took, answers
}
