package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/client"
	"routewatch/cli/internal/render"
	"routewatch/shared/wire"
)

const eventsHelp = `Prints what happened: incidents with their causes, problems of the
node itself, sources that were lost, devices that changed. With a history
(--history.file of the exporter) also what happened before it was restarted.

Examples:
  routewatch events --since 8h             what happened at night
  routewatch events --cluster --since 8h   on all nodes
  routewatch events --follow               and what happens from now on; Ctrl-C ends
  routewatch events -o json                for programs`

func eventsCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "events",
		Usage:       "what happened",
		Description: eventsHelp,
		Flags: append(append(outputFlags(),
			&cli.DurationFlag{Name: "since", Usage: "only what happened in this `DURATION`, e.g. 8h"},
			noHeaders(),
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, DisableDefaultText: true, Usage: "go on with what happens"},
		), exporterFlags()...),
		Action: func(c *cli.Context) error {
			p, err := newPrinter(c, sys)
			if err != nil {
				return err
			}
			if c.Duration("since") < 0 {
				return usagef("--since %v: expected 0 or more, for example 8h", c.Duration("since"))
			}
			f := follower{printer: p, since: c.Duration("since"), bare: c.Bool("no-headers"), tails: map[string]*tail{}}
			g, err := f.print(c.Context)
			if err != nil {
				return err
			}
			outcome := g.complain(&f.printer)
			if !c.Bool("follow") {
				return outcome
			}
			return f.follow(c.Context, g.absences())
		},
	}
}

// follower prints events, each once.
type follower struct {
	printer
	since time.Duration // 0: all
	bare  bool
	shown bool             // something was printed
	tails map[string]*tail // by exporter
}

// tail is how far the events of an exporter were read.
type tail struct {
	last  uint64
	asked bool
}

// news is what an exporter tells that it did not tell before.
type news struct {
	list wire.EventList    // of all pages
	sent []json.RawMessage // the pages, as they were sent
	at   time.Time         // by the exporter's clock
}

// read asks one exporter for what is new. Only the first answer is told
// although it has nothing.
func (f *follower) read(ctx context.Context, c *client.Client) (*news, error) {
	t := f.tails[c.Where()]
	now := *t // becomes the tail only when all pages were read
	var n news
	for {
		after := ""
		if now.asked {
			after = strconv.FormatUint(now.last, 10)
		}
		a, err := c.Events(ctx, after)
		if err != nil {
			return nil, err
		}
		if len(a.Document.Items) > 0 || a.Document.Gap || !now.asked {
			n.sent = append(n.sent, a.JSON)
		}
		items := slices.Concat(n.list.Items, a.Document.Items)
		gap := n.list.Gap || a.Document.Gap
		n.list, n.list.Items, n.list.Gap, n.at = a.Document, items, gap, a.ServerTime
		now = tail{last: a.Document.Last, asked: true}
		if a.Document.Continue == "" {
			*t = now
			return &n, nil
		}
	}
}

// print prints what is new.
func (f *follower) print(ctx context.Context) (g gathered[*news], err error) {
	for _, m := range f.fleet.members {
		if where := m.client.Where(); f.tails[where] == nil {
			f.tails[where] = &tail{}
		}
	}
	g, err = gather(ctx, f.fleet, f.sys, f.read, func(n *news) string { return n.list.Node })
	if err != nil {
		return g, err
	}
	text, err := f.text(&g)
	if err != nil {
		return g, err
	}
	f.shown = true
	return g, write(f.sys.stdout, text)
}

// text is "" if there is nothing new, but for the first.
func (f *follower) text(g *gathered[*news]) (string, error) {
	if !f.format.isText() {
		return f.documents(g)
	}
	o := f.options(time.Time{})
	o.Bare = f.bare
	var nodes []render.NodeEvents
	fresh := !f.shown
	for _, a := range g.answers {
		now := cmp.Or(a.value.at, o.Now)
		items := a.value.list.Items
		if f.since > 0 {
			items = slices.DeleteFunc(items, func(e wire.Event) bool { return now.Sub(e.Time) > f.since })
		}
		fresh = fresh || len(items) > 0 || a.value.list.Gap
		nodes = append(nodes, render.NodeEvents{Node: a.node, Gap: a.value.list.Gap, Events: items, Now: now})
	}
	if !fresh {
		return "", nil
	}
	return render.Events(nodes, f.fleet.one, o), nil
}

// documents are the pages of one exporter, or those of all in one document.
func (f *follower) documents(g *gathered[*news]) (string, error) {
	var pages []json.RawMessage
	for _, a := range g.answers {
		pages = append(pages, a.value.sent...)
	}
	if !f.fleet.one && (len(pages) > 0 || !f.shown) {
		return f.encode(listOf(g, wire.KindClusterEvents, f.sys.now(), pages))
	}
	text := ""
	for _, page := range pages {
		one, err := f.document(page)
		if err != nil {
			return "", err
		}
		text += one
	}
	return text, nil
}

// follow prints what happens until ctx ends. An exporter that is lost is asked
// again, and said to be lost once.
func (f *follower) follow(ctx context.Context, known render.Absences) error {
	ticker := time.NewTicker(f.fleet.pace(f.sys.poll))
	defer ticker.Stop()
	said := known.Lines()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		var g gathered[*news]
		err := f.fleet.refresh(ctx)
		if err == nil {
			g, err = f.print(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		lost := g.absences().Lines()
		if err != nil {
			lost = []string{render.Clean(err.Error())}
		}
		for _, line := range lost {
			if slices.Contains(said, line) {
				continue
			}
			if err := write(f.sys.stderr, "routewatch: "+line+"\n"); err != nil {
				return err
			}
		}
		said = lost
	}
}
