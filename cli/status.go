package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/client"
	"routewatch/cli/internal/render"
	"routewatch/shared/wire"
)

const statusHelp = `Says whether a node is well, which peers are cut off, since when, where their
packets go now, why, and what to type. With a kubeconfig, of all nodes at once.

Examples:
  routewatch status                          this node; or where no exporter is, all
  routewatch status --cluster                all nodes, by the kubeconfig
  routewatch status --node node-2            one of them
  routewatch status --exporter 192.168.1.57  the node with this address
  routewatch status --watch                  keep looking; Ctrl-C ends
  routewatch status -o wide                  everything, nothing shortened
  routewatch status -o json                  for programs

Exit codes:
  0  healthy
  1  problems: a bad lease, or a problem of the node itself
  2  cannot tell: something could not be read, or an exporter did not answer
  3  usage`

func statusCommand(sys system) *cli.Command {
	watch := &cli.BoolFlag{
		Name: "watch", Aliases: []string{"w"}, DisableDefaultText: true,
		Usage: "ask each second: redraw on a terminal, print changes to a pipe",
	}
	return &cli.Command{
		Name:        "status",
		Usage:       "are the nodes well, and what to do if not",
		Description: statusHelp,
		Flags:       append(append(outputFlags(), watch), exporterFlags()...),
		Action: func(c *cli.Context) error {
			base, err := newPrinter(c, sys)
			if err != nil {
				return err
			}
			p := &statusPrinter{printer: base}
			if c.Bool("watch") {
				return newWatcher(p, sys).run(c.Context)
			}
			v, err := p.look(c.Context)
			if err != nil {
				return err
			}
			if err := p.print(v); err != nil {
				return err
			}
			return v.outcome
		},
	}
}

// statusPrinter asks for the status of a node, or of all, and formats it.
type statusPrinter struct {
	printer
	brief bool // leave out what one reads once
	keep  bool // what was answered, in order to see whether it changes
}

// view is what was answered at one moment.
type view struct {
	text    func() (string, error) // for the screen as it is now
	state   func() string          // equal if nothing changed but the times that pass
	outcome error                  // the exit code, nil for 0
}

func (p *statusPrinter) print(v *view) error {
	text, err := v.text()
	if err != nil {
		return err
	}
	return write(p.sys.stdout, text)
}

// look asks once.
func (p *statusPrinter) look(ctx context.Context) (*view, error) {
	if !p.fleet.one {
		return p.lookAtAll(ctx)
	}
	s, err := p.fleet.first().Status(ctx)
	if err != nil {
		return nil, err
	}
	return &view{
		text:    func() (string, error) { return p.nodeText(s) },
		state:   func() string { return fingerprint(s.JSON) },
		outcome: outcomeOf(s.Document.Outcome(nowOf(s, p.sys))),
	}, nil
}

// outcomeOf is the exit code of an outcome, nil for 0.
func outcomeOf(o wire.Outcome) error {
	if o == wire.Well {
		return nil
	}
	return exitCode(o)
}

// nowOf is the time by the clock that dated the status: the exporter's own, where
// it told it, since the two may differ.
func nowOf(s *client.Status, sys system) time.Time {
	if s.ServerTime.IsZero() {
		return sys.now()
	}
	return s.ServerTime
}

// nodeText formats the status of one node.
func (p *statusPrinter) nodeText(s *client.Status) (string, error) {
	if !p.format.isText() {
		return p.document(s.JSON)
	}
	o := p.options(s.ServerTime)
	o.Brief, o.Command, o.LeasesURL = p.brief, p.command("status"), p.fleet.first().URL("/api/v1/leases")
	return render.Status(&s.Document, o), nil
}
