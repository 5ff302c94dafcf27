package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/render"
	"routewatch/shared/wire"
)

const matrixHelp = `Prints a grid: how each node sees each peer, a letter for the worst of its
leases. Where there are many nodes, those to which nothing is wrong are counted.

Examples:
  routewatch matrix              with a kubeconfig, of all nodes
  routewatch matrix -o wide      all of them, however many
  routewatch matrix -o json      for programs

Exit codes: those of routewatch status.`

func matrixCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "matrix",
		Usage:       "how each node sees each peer, as a grid",
		Description: matrixHelp,
		Flags:       append(outputFlags(), exporterFlags()...),
		Action: func(c *cli.Context) error {
			p, err := newPrinter(c, sys)
			if err != nil {
				return err
			}
			return p.matrix(c.Context)
		},
	}
}

func (p *printer) matrix(ctx context.Context) error {
	g, err := surveys(ctx, p, everyLease)
	if err != nil {
		return err
	}
	s := statusesOf(&g)
	var text string
	if p.format.isText() {
		o := p.options(time.Time{})
		o.Command = p.command("matrix")
		v := render.MatrixView{ClusterView: p.clusterView(s)}
		for _, a := range g.answers {
			v.Leases = append(v.Leases, a.value.leases)
		}
		text = render.Matrix(v, o)
	} else if text, err = p.encode(matrixDocument(&g, p.sys.now())); err != nil {
		return err
	}
	if err := write(p.sys.stdout, text); err != nil {
		return err
	}
	return outcomeOf(s.outcome(p.sys))
}

func matrixDocument(g *gathered[*survey], now time.Time) wire.Matrix {
	var rows []wire.MatrixRow
	for _, a := range g.answers {
		d := &a.value.status.Document
		row := wire.MatrixRow{
			Node: d.Node, Complete: d.Complete, Healthy: d.Healthy,
			NodeProblems: append([]wire.NodeProblem{}, d.NodeProblems...), Peers: []wire.MatrixCell{},
		}
		for _, l := range a.value.leases {
			row.Peers = append(row.Peers, wire.MatrixCell{
				Peer: l.Peer, Family: l.Family, Lease: l.Lease, State: l.State, Effect: l.Effect, Partial: l.Partial,
			})
		}
		rows = append(rows, row)
	}
	return listOf(g, wire.KindMatrix, now, rows)
}
