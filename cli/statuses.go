package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"routewatch/cli/internal/client"
	"routewatch/cli/internal/render"
	"routewatch/shared/wire"
)

// rediscover is how old the list of a cluster's exporters may be while they are watched.
const rediscover = 10 * time.Second

// fleetStatus is what all members answered, by node.
type fleetStatus struct {
	nodes       []*client.Status
	unreachable []wire.Unreachable
}

// statuses asks all members for their status. Unless they are to be kept, the
// documents as they were sent, which are most of the memory, are dropped.
func (f *fleet) statuses(ctx context.Context, sys system, keep bool) (s fleetStatus, err error) {
	answers, err := each(ctx, f, sys, func(ctx context.Context, c *client.Client) (*client.Status, error) {
		status, err := c.Status(ctx)
		if err == nil && !keep {
			status.JSON = nil
		}
		return status, err
	})
	if err != nil {
		return s, err
	}
	s.unreachable = slices.Clone(f.absent)
	for _, a := range answers {
		if a.err != nil {
			s.unreachable = append(s.unreachable, wire.Unreachable{Node: a.node, Exporter: a.client.Where(), Problem: a.err.Error()})
			continue
		}
		if a.value.Document.Node == "" {
			a.value.Document.Node = a.node
		}
		s.nodes = append(s.nodes, a.value)
	}
	slices.SortStableFunc(s.nodes, func(a, b *client.Status) int { return cmp.Compare(a.Document.Node, b.Document.Node) })
	slices.SortStableFunc(s.unreachable, func(a, b wire.Unreachable) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Exporter, b.Exporter))
	})
	return s, nil
}

// outcome sums all nodes up. A node that does not answer outweighs all: then
// nobody can tell how the cluster is.
func (s fleetStatus) outcome(problem string, sys system) wire.Outcome {
	if len(s.unreachable) > 0 || problem != "" || len(s.nodes) == 0 {
		return wire.CannotTell
	}
	worst := wire.Well
	for _, n := range s.nodes {
		switch o := n.Document.Outcome(nowOf(n, sys)); {
		case o == wire.Broken:
			worst = wire.Broken
		case worst == wire.Well:
			worst = o
		}
	}
	return worst
}

// lookAtAll asks all members once.
func (p *statusPrinter) lookAtAll(ctx context.Context) (*view, error) {
	if err := p.refresh(ctx); err != nil {
		return nil, err
	}
	s, err := p.fleet.statuses(ctx, p.sys, p.keep || !p.format.isText())
	if err != nil {
		return nil, err
	}
	now, problem := p.sys.now(), p.fleet.problem
	return &view{
		text: func() (string, error) {
			if !p.format.isText() {
				return p.clusterDocument(s, now)
			}
			return p.clusterText(s), nil
		},
		state:   func() string { return s.state(problem) },
		outcome: outcomeOf(s.outcome(problem, p.sys)),
	}, nil
}

// refresh finds the exporters of a cluster anew, if they were found too long ago.
func (p *printer) refresh(ctx context.Context) error {
	f := p.fleet
	if f.cluster == nil || time.Since(f.found) < rediscover {
		return nil
	}
	fresh, err := ofCluster(ctx, f.cluster)
	if err != nil {
		return err
	}
	fresh.flags = f.flags
	p.fleet = fresh
	return nil
}

// state changes when anything but a time does.
func (s fleetStatus) state(problem string) string {
	h := sha256.New()
	fmt.Fprintln(h, problem, s.unreachable)
	for _, n := range s.nodes {
		fmt.Fprintln(h, n.Document.Node, fingerprint(n.JSON))
	}
	return string(h.Sum(nil))
}

func (p *printer) clusterText(s fleetStatus) string {
	o := p.options(time.Time{})
	o.Command = p.command("status")
	c := render.ClusterView{Name: p.fleet.name, Unreachable: s.unreachable, Problem: p.fleet.problem}
	for _, n := range s.nodes {
		c.Nodes = append(c.Nodes, render.NodeView{Status: &n.Document, Now: nowOf(n, p.sys)})
	}
	return render.Cluster(c, o)
}

// clusterDocument is a wire.ClusterStatus with the items as they were sent.
func (p *printer) clusterDocument(s fleetStatus, now time.Time) (string, error) {
	doc := struct {
		wire.ClusterStatus
		Items []json.RawMessage `json:"items"`
	}{
		ClusterStatus: wire.ClusterStatus{
			APIVersion: wire.APIVersion, Kind: wire.KindCluster, Time: now.UTC(),
			Unreachable: append([]wire.Unreachable{}, s.unreachable...), Problem: p.fleet.problem,
		},
		Items: []json.RawMessage{},
	}
	for _, n := range s.nodes {
		doc.Items = append(doc.Items, n.JSON)
	}
	return p.encode(doc)
}
