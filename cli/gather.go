package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"routewatch/cli/internal/client"
	"routewatch/cli/internal/render"
	"routewatch/shared/wire"
)

// gathered is what all members answered, by node.
type gathered[T any] struct {
	answers     []answer[T] // of those that did
	unreachable []wire.Unreachable
	problem     string // why there may be more of those
}

// gather asks all members. nodeOf is the node that an answer names, "" if none.
// That a member does not answer is an error only where it is the only one.
func gather[T any](ctx context.Context, f *fleet, sys system, ask func(context.Context, *client.Client) (T, error),
	nodeOf func(T) string,
) (g gathered[T], err error) {
	answers, err := each(ctx, f, sys, ask)
	if err != nil {
		return g, err
	}
	g.unreachable, g.problem = slices.Clone(f.absent), f.problem
	for _, a := range answers {
		if a.err != nil && f.one {
			return g, a.err
		}
		if a.err != nil {
			g.unreachable = append(g.unreachable, wire.Unreachable{Node: a.node, Exporter: a.client.Where(), Problem: a.err.Error()})
			continue
		}
		a.node = cmp.Or(nodeOf(a.value), a.node)
		g.answers = append(g.answers, a)
	}
	slices.SortStableFunc(g.answers, func(a, b answer[T]) int { return cmp.Compare(a.node, b.node) })
	slices.SortStableFunc(g.unreachable, func(a, b wire.Unreachable) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Exporter, b.Exporter))
	})
	return g, nil
}

// whole reports whether everybody who could be asked answered.
func (g *gathered[T]) whole() bool {
	return len(g.unreachable) == 0 && g.problem == "" && len(g.answers) > 0
}

// absences is what the page of several nodes says of those without an answer.
func (g *gathered[T]) absences() render.Absences {
	return render.Absences{Unreachable: g.unreachable, Problem: g.problem}
}

// listOf is a document of the items that the answers gave.
func listOf[T, I any](g *gathered[T], kind string, now time.Time, items []I) wire.ClusterList[I] {
	return wire.ClusterList[I]{
		APIVersion: wire.APIVersion, Kind: kind, Time: now.UTC(), Items: append([]I{}, items...),
		Unreachable: append([]wire.Unreachable{}, g.unreachable...), Problem: g.problem,
	}
}

// encoded formats what was gathered: the answer of a fleet of one as it was
// sent, those of others as a list of the kind.
func (g *gathered[T]) encoded(p *printer, kind string, raw func(T) (json.RawMessage, error)) (string, error) {
	var items []json.RawMessage
	for _, a := range g.answers {
		item, err := raw(a.value)
		if err != nil {
			return "", err
		}
		items = append(items, item)
	}
	if p.fleet.one {
		return p.document(items[0])
	}
	return p.encode(listOf(g, kind, p.sys.now(), items))
}

// complain says who did not answer, where the output does not, and returns the
// exit code for it, nil if everybody did.
func (g *gathered[T]) complain(p *printer) error {
	if p.format.isText() {
		for _, line := range g.absences().Lines() {
			if err := write(p.sys.stderr, "routewatch: "+line+"\n"); err != nil {
				return err
			}
		}
	}
	if !g.whole() {
		return exitCode(exitCannotTell)
	}
	return nil
}
