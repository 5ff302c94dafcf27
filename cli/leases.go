package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/client"
	"routewatch/cli/internal/render"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

const leasesHelp = `Prints every lease of the other nodes, and how it is judged.

Examples:
  routewatch leases
  routewatch leases --state missing
  routewatch leases --cluster --state missing   of all nodes
  routewatch leases -o json                     for programs`

func leasesCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "leases",
		Usage:       "every lease, and how it is judged",
		Description: leasesHelp,
		Flags: append(append(outputFlags(),
			&cli.StringSliceFlag{Name: "state", Usage: "only those in this `STATE`, e.g. missing; can be given again"},
			noHeaders(),
		), exporterFlags()...),
		Action: func(c *cli.Context) error {
			p, err := newPrinter(c, sys)
			if err != nil {
				return err
			}
			states := c.StringSlice("state")
			for _, state := range states {
				if err := checkState(state); err != nil {
					return err
				}
			}
			return p.leases(c.Context, states, c.Bool("no-headers"))
		},
	}
}

func checkState(state string) error {
	if w := verdict.Lookup(verdict.States(), state); w.Title != state {
		return nil
	}
	var names []string
	for _, w := range verdict.States() {
		names = append(names, w.Name)
	}
	return usagef("--state %q: there is no such state%s; all words: routewatch runbook", state, didYouMean(state, names))
}

// leases prints those of one node, or of all.
func (p *printer) leases(ctx context.Context, states []string, bare bool) error {
	g, err := gatherLeases(ctx, p, states)
	if err != nil {
		return err
	}
	o := p.options(time.Time{})
	o.Bare = bare
	var text string
	if p.format.isText() {
		var nodes []render.NodeLeases
		for _, a := range g.answers {
			nodes = append(nodes, render.NodeLeases{Node: a.node, Leases: a.value.list.Items, Now: cmp.Or(a.value.at, o.Now)})
		}
		text = render.Leases(nodes, p.fleet.one, o)
	} else if text, err = g.encoded(p, wire.KindClusterLeases, (*leaseList).document); err != nil {
		return err
	}
	if err := write(p.sys.stdout, text); err != nil {
		return err
	}
	return g.complain(p)
}

// leaseList is a list of all pages.
type leaseList struct {
	list wire.LeaseList
	raw  []json.RawMessage // the items, as they were sent
	at   time.Time         // by the exporter's clock
}

// document is the list as if it had been one page.
func (l *leaseList) document() (json.RawMessage, error) {
	head := l.list
	head.Items = nil
	return json.Marshal(struct {
		wire.LeaseList
		Items []json.RawMessage `json:"items"`
	}{head, append([]json.RawMessage{}, l.raw...)})
}

// gatherLeases asks all members for their leases, those in one of the states if any
// are given.
func gatherLeases(ctx context.Context, p *printer, states []string) (gathered[*leaseList], error) {
	return gather(ctx, p.fleet, p.sys, func(ctx context.Context, c *client.Client) (*leaseList, error) {
		return allLeases(ctx, c, states, !p.format.isText())
	}, func(l *leaseList) string { return l.list.Node })
}

// allLeases asks for all pages; keep: with the items as they were sent.
func allLeases(ctx context.Context, c *client.Client, states []string, keep bool) (*leaseList, error) {
	var l leaseList
	for next := ""; ; {
		page, err := c.Leases(ctx, states, next)
		if err != nil {
			return nil, err
		}
		items := slices.Concat(l.list.Items, page.Document.Items)
		l.list, l.list.Items, l.at = page.Document, items, page.ServerTime
		if keep {
			sent := struct{ Items []json.RawMessage }{}
			if err := json.Unmarshal(page.JSON, &sent); err != nil {
				return nil, err
			}
			l.raw = append(l.raw, sent.Items...)
		}
		if next = page.Document.Continue; next == "" {
			return &l, nil
		}
	}
}
