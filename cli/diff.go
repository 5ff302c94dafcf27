package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/render"
	"routewatch/shared/wire"
)

const diffHelp = `Prints what the kernel lacks (-) and has instead (+) of what each bad lease
needs, and what the kernel does with a packet now (>); then what is left over.

Examples:
  routewatch diff                this node; or where no exporter is, all
  routewatch diff --node node-2
  routewatch diff -o json        for programs

Exit codes: those of routewatch status. What is left over is no fault.`

func diffCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "diff",
		Usage:       "what the kernel lacks, and has instead",
		Description: diffHelp,
		Flags:       append(outputFlags(), exporterFlags()...),
		Action: func(c *cli.Context) error {
			p, err := newPrinter(c, sys)
			if err != nil {
				return err
			}
			return p.diff(c.Context)
		},
	}
}

func (p *printer) diff(ctx context.Context) error {
	g, err := surveys(ctx, p, everyProblem)
	if err != nil {
		return err
	}
	document := diffDocument(&g, p.sys.now())
	var text string
	if p.format.isText() {
		text = render.Diff(&document, p.options(time.Time{}))
	} else if text, err = p.encode(document); err != nil {
		return err
	}
	if err := write(p.sys.stdout, text); err != nil {
		return err
	}
	return outcomeOf(statusesOf(&g).outcome(p.sys))
}

func diffDocument(g *gathered[*survey], now time.Time) wire.Diff {
	var nodes []wire.NodeDiff
	for _, a := range g.answers {
		s := &a.value.status.Document
		n := wire.NodeDiff{
			Node: s.Node, Complete: s.Complete, Leases: []wire.LeaseDiff{},
			NodeProblems: append([]wire.NodeProblem{}, s.NodeProblems...), Stale: append([]wire.Stale{}, s.Stale...),
		}
		for _, l := range a.value.leases {
			n.Leases = append(n.Leases, wire.LeaseDiff{
				Lease: l.Lease, Family: l.Family, Peer: l.Peer, State: l.State, Effect: l.Effect, Reason: l.Reason, Lookup: l.Lookup,
				Difference: l.Difference(),
			})
		}
		nodes = append(nodes, n)
	}
	return listOf(g, wire.KindDiff, now, nodes)
}
