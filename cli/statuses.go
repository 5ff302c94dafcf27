package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"
	"unique"

	"routewatch/cli/internal/client"
	"routewatch/cli/internal/render"
	"routewatch/shared/wire"
)

// rediscover is how old the list of a cluster's exporters may be while they are watched.
const rediscover = 10 * time.Second

// fleetStatus is what all members say of their nodes.
type fleetStatus struct{ gathered[*client.Status] }

// statuses asks all members for their status. Unless they are to be kept, the
// answers are lightened.
func (f *fleet) statuses(ctx context.Context, sys system, keep bool) (s fleetStatus, err error) {
	s.gathered, err = gather(ctx, f, sys, func(ctx context.Context, c *client.Client) (*client.Status, error) {
		status, err := c.Status(ctx)
		if err == nil && !keep {
			lighten(status)
		}
		return status, err
	}, func(s *client.Status) string { return s.Document.Node })
	for _, a := range s.answers {
		a.value.Document.Node = a.node
	}
	return s, err
}

// lighten drops what no page of several nodes shows, and keeps once what many
// nodes say of a peer: 1,000 nodes with 100 problems each are 500 MB otherwise.
func lighten(s *client.Status) {
	s.JSON = nil
	problems := make([]wire.Lease, len(s.Document.Problems))
	for i, l := range s.Document.Problems {
		l.Expected, l.Actual, l.Checked, l.Unchecked = nil, nil, nil, nil
		l.Peer, l.Lookup, l.Backend, l.Reason, l.PublicKey = once(l.Peer), once(l.Lookup), once(l.Backend), once(l.Reason), once(l.PublicKey)
		l.State, l.Effect, l.Cause, l.Incident = once(l.State), once(l.Effect), once(l.Cause), once(l.Incident)
		for j, a := range l.Advice {
			l.Advice[j] = wire.Advice{Command: once(a.Command), Why: once(a.Why)}
		}
		l.Advice = slices.Clone(l.Advice)
		problems[i] = l
	}
	s.Document.Problems = problems
}

// once is the same text, which is in memory once.
func once[T ~string](text T) T { return unique.Make(text).Value() }

// outcome sums all nodes up. A node that does not answer outweighs all: then
// nobody can tell how the cluster is.
func (s fleetStatus) outcome(sys system) wire.Outcome {
	if !s.whole() {
		return wire.CannotTell
	}
	worst := wire.Well
	for _, n := range s.answers {
		worst = worse(worst, n.value.Document.Outcome(nowOf(n.value, sys)))
	}
	return worst
}

// worse is the one that counts of two: what is known to be broken is, whatever
// is not known.
func worse(a, b wire.Outcome) wire.Outcome {
	if a == wire.Broken || b == wire.Well {
		return a
	}
	return b
}

// lookAtAll asks all members once.
func (p *statusPrinter) lookAtAll(ctx context.Context) (*view, error) {
	if err := p.fleet.refresh(ctx); err != nil {
		return nil, err
	}
	s, err := p.fleet.statuses(ctx, p.sys, p.keep || !p.format.isText())
	if err != nil {
		return nil, err
	}
	return &view{
		text: func() (string, error) {
			if !p.format.isText() {
				return s.encoded(&p.printer, wire.KindCluster, func(s *client.Status) (json.RawMessage, error) { return s.JSON, nil })
			}
			o := p.options(time.Time{})
			o.Command = p.command("status")
			return render.Cluster(p.clusterView(s), o), nil
		},
		state:   s.state,
		outcome: outcomeOf(s.outcome(p.sys)),
	}, nil
}

// refresh finds the exporters of a cluster anew, if they were found too long ago.
func (f *fleet) refresh(ctx context.Context) error {
	if f.cluster == nil || f.one || time.Since(f.found) < rediscover {
		return nil
	}
	fresh, err := ofCluster(ctx, f.cluster)
	if err != nil {
		return err
	}
	fresh.flags = f.flags
	*f = *fresh
	return nil
}

// state changes when anything but a time does.
func (s fleetStatus) state() string {
	h := sha256.New()
	fmt.Fprintln(h, s.problem, s.unreachable)
	for _, n := range s.answers {
		fmt.Fprintln(h, n.node, fingerprint(n.value.JSON))
	}
	return string(h.Sum(nil))
}

func (p *printer) clusterView(s fleetStatus) render.ClusterView {
	c := render.ClusterView{Name: p.fleet.name, Absences: s.absences()}
	for _, n := range s.answers {
		c.Nodes = append(c.Nodes, render.NodeView{Status: &n.value.Document, Now: nowOf(n.value, p.sys)})
	}
	return c
}
