package main

import (
	"context"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/client"
	"routewatch/cli/internal/render"
)

const statusHelp = `Says whether a node is well, which peers are cut off, since when, where their
packets go now, why, and what to type.

Examples:
  routewatch status                          this node
  routewatch status --exporter 192.168.1.57  another one
  routewatch status --watch                  keep looking; Ctrl-C ends
  routewatch status -o wide                  everything, nothing shortened
  routewatch status -o json                  for programs

Exit codes:
  0  healthy
  1  problems: a bad lease, or a problem of the node itself
  2  cannot tell: something could not be read, or no exporter answered
  3  usage`

func statusCommand(sys system) *cli.Command {
	watch := &cli.BoolFlag{
		Name: "watch", Aliases: []string{"w"}, DisableDefaultText: true,
		Usage: "ask each second: redraw on a terminal, print changes to a pipe",
	}
	return &cli.Command{
		Name:        "status",
		Usage:       "is this node well, and what to do if not",
		Description: statusHelp,
		Flags:       append(append(outputFlags(), watch), exporterFlags()...),
		Action: func(c *cli.Context) error {
			p, err := newStatusPrinter(c, sys)
			if err != nil {
				return err
			}
			if c.Bool("watch") {
				return newWatcher(p, sys).run(c.Context)
			}
			return p.once(c.Context)
		},
	}
}

// statusPrinter asks for a status and formats it.
type statusPrinter struct {
	printer
	again string // the command for the same exporter, without a format
	brief bool   // leave out what one reads once
}

func newStatusPrinter(c *cli.Context, sys system) (*statusPrinter, error) {
	base, err := newPrinter(c, sys)
	if err != nil {
		return nil, err
	}
	p := &statusPrinter{printer: base, again: "routewatch status"}
	if c.IsSet("exporter") && os.Getenv("ROUTEWATCH_EXPORTER") != c.String("exporter") {
		p.again += " --exporter " + p.client.URL("")
	}
	return p, nil
}

// once prints one status; its error is the exit code.
func (p *statusPrinter) once(ctx context.Context) error {
	s, err := p.client.Status(ctx)
	if err != nil {
		return err
	}
	text, err := p.text(s)
	if err != nil {
		return err
	}
	if err := write(p.sys.stdout, text); err != nil {
		return err
	}
	return p.outcome(s)
}

// outcome is the exit code of a status, nil for 0.
func (p *statusPrinter) outcome(s *client.Status) error {
	if o := s.Document.Outcome(p.now(s)); o != 0 {
		return exitCode(o)
	}
	return nil
}

// now is the time by the clock that dated the status: the exporter's own, where
// it told it, since the two may differ.
func (p *statusPrinter) now(s *client.Status) time.Time { return nowOf(s, p.sys) }

func nowOf(s *client.Status, sys system) time.Time {
	if s.ServerTime.IsZero() {
		return sys.now()
	}
	return s.ServerTime
}

// text formats a status.
func (p *statusPrinter) text(s *client.Status) (string, error) {
	if !p.format.isText() {
		return p.document(s.JSON)
	}
	o := p.options(s.ServerTime)
	o.Brief, o.Command, o.LeasesURL = p.brief, p.again, p.client.URL("/api/v1/leases")
	return render.Status(&s.Document, o), nil
}
