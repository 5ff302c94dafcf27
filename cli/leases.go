package main

import (
	"context"
	"encoding/json"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/render"
	"routewatch/shared/verdict"
)

const leasesHelp = `Prints every lease of the other nodes, and how it is judged.

Examples:
  routewatch leases
  routewatch leases --state missing
  routewatch leases -o json          for programs`

func leasesCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "leases",
		Usage:       "every lease, and how it is judged",
		Description: leasesHelp,
		Flags: append(append(outputFlags(),
			&cli.StringFlag{Name: "state", Usage: "only those in this `STATE`, e.g. missing"},
			&cli.BoolFlag{Name: "no-headers", DisableDefaultText: true, Usage: "only the rows"},
		), exporterFlags()...),
		Action: func(c *cli.Context) error {
			p, err := newNodePrinter(c, sys)
			if err != nil {
				return err
			}
			state := c.String("state")
			if w := verdict.Lookup(verdict.States(), state); state != "" && w.Title == state {
				var names []string
				for _, w := range verdict.States() {
					names = append(names, w.Name)
				}
				return usagef("--state %q: there is no such state%s; all words: routewatch runbook", state, didYouMean(state, names))
			}
			return p.leases(c.Context, state, c.Bool("no-headers"))
		},
	}
}

// leases prints all pages as one.
func (p *printer) leases(ctx context.Context, state string, bare bool) error {
	first, err := p.fleet.first().Leases(ctx, state, "")
	if err != nil {
		return err
	}
	list := first.Document
	raw := struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Node       string            `json:"node"`
		Time       json.RawMessage   `json:"time"`
		Items      []json.RawMessage `json:"items"`
	}{}
	if err := json.Unmarshal(first.JSON, &raw); err != nil {
		return err
	}
	for next := list.Continue; next != ""; {
		more, err := p.fleet.first().Leases(ctx, state, next)
		if err != nil {
			return err
		}
		list.Items = append(list.Items, more.Document.Items...)
		page := struct{ Items []json.RawMessage }{}
		if err := json.Unmarshal(more.JSON, &page); err != nil {
			return err
		}
		raw.Items = append(raw.Items, page.Items...)
		next = more.Document.Continue
	}
	text := render.Leases(list.Items, bare, p.options(first.ServerTime))
	if !p.format.isText() {
		if text, err = p.encode(raw); err != nil {
			return err
		}
	}
	return write(p.sys.stdout, text)
}
