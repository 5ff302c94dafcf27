package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/render"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

const explainHelp = `Says of the address of a pod or a node: which lease holds it, what the kernel
would do with a packet to it now, what should be there, and what to type.

Examples:
  routewatch explain 10.244.2.7
  routewatch explain 10.244.2.7 --exporter 192.168.1.57   as another node sees it

Exit codes:
  0  nothing is wrong with the way to this address
  1  something is
  2  cannot tell
  3  usage`

func explainCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "explain",
		Usage:       "where do packets to an address go, and why",
		ArgsUsage:   "ADDRESS",
		Description: explainHelp,
		Flags:       append(outputFlags(), exporterFlags()...),
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usagef("explain wants one address, e.g. 10.244.2.7")
			}
			p, err := newNodePrinter(c, sys)
			if err != nil {
				return err
			}
			return p.explain(c.Context, c.Args().First())
		},
	}
}

func (p *printer) explain(ctx context.Context, address string) error {
	a, err := p.fleet.first().Explain(ctx, address)
	if err != nil {
		return err
	}
	text := render.Explanation(&a.Document, p.options(a.ServerTime))
	if !p.format.isText() {
		if text, err = p.document(a.JSON); err != nil {
			return err
		}
	}
	if err := write(p.sys.stdout, text); err != nil {
		return err
	}
	return explained(&a.Document)
}

// explained is the exit code of an explanation, nil for 0.
func explained(e *wire.Explanation) error {
	for _, np := range e.NodeProblems {
		if !np.Problem.Info() && (np.Family == e.Family || np.Family == netstate.Family(0)) {
			return exitCode(1)
		}
	}
	switch {
	case e.Lease != nil && e.Lease.State.Bad():
		return exitCode(1)
	case !e.Complete, e.Place == wire.PlaceUnknown, e.Lease != nil && e.Lease.State == verdict.Unknown:
		return exitCode(exitCannotTell)
	}
	return nil
}
