package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/render"
	"routewatch/shared/wire"
)

const eventsHelp = `Prints what happened on a node: incidents with their causes, problems of the
node itself, sources that were lost, devices that changed. With a history
(--history.file of the exporter) also what happened before it was restarted.

Examples:
  routewatch events --since 8h     what happened at night
  routewatch events --follow       and what happens from now on; Ctrl-C ends
  routewatch events -o json        for programs`

func eventsCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "events",
		Usage:       "what happened on this node",
		Description: eventsHelp,
		Flags: append(append(outputFlags(),
			&cli.DurationFlag{Name: "since", Usage: "only what happened in this `DURATION`, e.g. 8h"},
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, DisableDefaultText: true, Usage: "go on with what happens"},
		), exporterFlags()...),
		Action: func(c *cli.Context) error {
			p, err := newNodePrinter(c, sys)
			if err != nil {
				return err
			}
			if c.Duration("since") < 0 {
				return usagef("--since %v: expected 0 or more, for example 8h", c.Duration("since"))
			}
			f := follower{printer: p, since: c.Duration("since")}
			if err := f.print(c.Context); err != nil || !c.Bool("follow") {
				return err
			}
			return f.follow(c.Context)
		},
	}
}

// follower prints events, each once.
type follower struct {
	printer
	since time.Duration // 0: all
	last  uint64        // event that was printed
	asked bool
}

// print prints what is new.
func (f *follower) print(ctx context.Context) error {
	for {
		after := ""
		if f.asked {
			after = strconv.FormatUint(f.last, 10)
		}
		a, err := f.fleet.first().Events(ctx, after)
		if err != nil {
			return err
		}
		list := &a.Document
		o := f.options(a.ServerTime)
		if f.since > 0 {
			list.Items = slices.DeleteFunc(list.Items, func(e wire.Event) bool { return o.Now.Sub(e.Time) > f.since })
		}
		text := render.Events(list, o)
		if !f.format.isText() {
			if text, err = f.document(a.JSON); err != nil {
				return err
			}
		}
		if !f.asked || len(list.Items) > 0 || list.Gap {
			if err := write(f.sys.stdout, text); err != nil {
				return err
			}
		}
		f.last, f.asked = list.Last, true
		if list.Continue == "" {
			return nil
		}
	}
}

// follow prints what happens until ctx ends. An exporter that is lost is asked again.
func (f *follower) follow(ctx context.Context) error {
	ticker := time.NewTicker(f.sys.poll)
	defer ticker.Stop()
	lost := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := f.print(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && err.Error() != lost:
			lost = err.Error()
			if err := write(f.sys.stderr, "routewatch: "+render.Clean(lost)+"\n"); err != nil {
				return err
			}
		case err == nil:
			lost = ""
		}
	}
}
