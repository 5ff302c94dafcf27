package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/client"
	"routewatch/cli/internal/render"
	"routewatch/shared/wire"
)

const waitHelp = `Waits until the node is healthy, or all nodes are, and says why it is not if that takes too long.

Examples:
  routewatch wait --for healthy --timeout 2m
  routewatch wait --for complete              both sides were read, whatever they say
  routewatch wait --for healthy --cluster     all nodes

Exit codes:
  0  it is
  1  not within the time: there are problems
  2  not within the time: cannot tell, or no exporter answered
  3  usage`

func waitCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "wait",
		Usage:       "wait until the node is healthy",
		Description: waitHelp,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "for", Value: "healthy", Usage: "`WHAT` to wait for: healthy or complete"},
			&cli.DurationFlag{Name: "timeout", Value: 5 * time.Minute, Usage: "wait at most this `DURATION`"},
		}, whomFlags()...),
		Action: func(c *cli.Context) error {
			condition := c.String("for")
			if condition != "healthy" && condition != "complete" {
				return usagef("--for %q: expected healthy or complete", condition)
			}
			if c.Duration("timeout") <= 0 {
				return usagef("--timeout %v: expected more than 0, for example 2m", c.Duration("timeout"))
			}
			f, err := fleetWith(c, sys, min(askTimeout, c.Duration("timeout")))
			if err != nil {
				return err
			}
			return waitFor(c.Context, f, sys, condition, c.Duration("timeout"))
		},
	}
}

func waitFor(ctx context.Context, f *fleet, sys system, condition string, limit time.Duration) error {
	start := sys.now()
	end := time.NewTimer(limit)
	defer end.Stop()
	again := time.NewTicker(f.pace(sys.poll))
	defer again.Stop()
	quiet := sys
	quiet.stderr = io.Discard // no progress bar for each look
	for {
		s, err := f.look(ctx, quiet)
		if ctx.Err() != nil {
			return err
		}
		left := s.lacking(condition, sys)
		if err == nil && len(left) == 0 {
			took := sys.now().Sub(start).Round(time.Second)
			return write(sys.stdout, fmt.Sprintf("%s %s (after %s)\n", s.names(), condition, took))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-again.C:
			continue
		case <-end.C:
		}
		if err != nil {
			return fmt.Errorf("not %s within %s: %w", condition, limit, err)
		}
		text := fmt.Sprintf("routewatch: %s not %s within %s; see: routewatch status%s\n", left, condition, limit, f.flags)
		if err := write(sys.stderr, text); err != nil {
			return err
		}
		return exitCode(max(1, int(s.outcome(sys))))
	}
}

// look asks all members once, those of a cluster as it is now.
func (f *fleet) look(ctx context.Context, sys system) (fleetStatus, error) {
	if err := f.refresh(ctx); err != nil {
		return fleetStatus{}, err
	}
	return f.statuses(ctx, sys, false)
}

// names says of whom all is said: "node-1 is", "all 4 nodes are".
func (s fleetStatus) names() string {
	if len(s.answers) == 1 {
		return s.answers[0].node + " is"
	}
	return fmt.Sprintf("all %d nodes are", len(s.answers))
}

// lacking says which nodes are not so: "node-1 is", or "3 of 4 nodes (node-1,
// node-2, ...) are"; "" if all are.
func (s fleetStatus) lacking(condition string, sys system) string {
	var nodes []string
	for _, n := range s.answers {
		if !is(condition, n.value, sys) {
			nodes = append(nodes, n.node)
		}
	}
	for _, u := range s.unreachable {
		nodes = append(nodes, cmp.Or(u.Node, u.Exporter)+" (no answer)")
	}
	total := len(s.answers) + len(s.unreachable)
	switch {
	case len(nodes) == 0 && s.problem != "":
		return "the cluster (" + s.problem + ") is"
	case len(nodes) == 0:
		return ""
	case total == 1:
		return nodes[0] + " is"
	}
	named := slices.Clip(nodes[:min(len(nodes), maxNamed)])
	if len(named) < len(nodes) {
		named = append(named, "...")
	}
	return render.Clean(fmt.Sprintf("%d of %d nodes (%s) are", len(nodes), total, strings.Join(named, ", ")))
}

func is(condition string, s *client.Status, sys system) bool {
	if condition == "complete" {
		return s.Document.Complete
	}
	return s.Document.Outcome(nowOf(s, sys)) == wire.Well
}
