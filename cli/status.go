package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"sigs.k8s.io/yaml"

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
	client *client.Client
	format format
	color  bool
	screen terminal
	again  string // the command for the same exporter, without a format
	brief  bool   // leave out what one reads once
	sys    system
}

func newStatusPrinter(c *cli.Context, sys system) (*statusPrinter, error) {
	p := &statusPrinter{screen: terminalOf(sys.stdout), again: "routewatch status", sys: sys}
	var err error
	if p.format, err = outputFormat(c); err != nil {
		return nil, err
	}
	if p.color, err = useColor(c, p.screen); err != nil {
		return nil, err
	}
	if p.client, err = newClient(c); err != nil {
		return nil, err
	}
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
func (p *statusPrinter) now(s *client.Status) time.Time {
	if s.ServerTime.IsZero() {
		return p.sys.now()
	}
	return s.ServerTime
}

// text formats a status.
func (p *statusPrinter) text(s *client.Status) (string, error) {
	switch p.format {
	case formatJSON:
		var out bytes.Buffer
		if err := json.Indent(&out, bytes.TrimSpace(s.JSON), "", "  "); err != nil {
			return "", fmt.Errorf("format the answer: %w", err)
		}
		return out.String() + "\n", nil
	case formatYAML:
		out, err := yaml.JSONToYAML(s.JSON)
		if err != nil {
			return "", fmt.Errorf("format the answer as YAML: %w; try: -o json", err)
		}
		return string(out), nil
	}
	columns, _ := p.screen.size()
	return render.Status(&s.Document, render.Options{
		Brief:     p.brief,
		Wide:      p.format == formatWide,
		Width:     columns,
		Style:     render.Style{Color: p.color},
		Now:       p.now(s),
		Command:   p.again,
		LeasesURL: p.client.URL("/api/v1/leases"),
	}), nil
}
