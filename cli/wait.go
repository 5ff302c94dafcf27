package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/client"
	"routewatch/shared/wire"
)

const waitHelp = `Waits until the node is healthy, and says why it is not if that takes too long.

Examples:
  routewatch wait --for healthy --timeout 2m
  routewatch wait --for complete              both sides were read, whatever they say

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
			if err := f.single(); err != nil {
				return err
			}
			return waitFor(c.Context, f.first(), sys, condition, c.Duration("timeout"))
		},
	}
}

func waitFor(ctx context.Context, asker *client.Client, sys system, condition string, limit time.Duration) error {
	start := sys.now()
	end := time.NewTimer(limit)
	defer end.Stop()
	again := time.NewTicker(sys.poll)
	defer again.Stop()
	for {
		s, err := asker.Status(ctx)
		if ctx.Err() != nil {
			return err
		}
		if err == nil && is(condition, s, sys) {
			took := sys.now().Sub(start).Round(time.Second)
			return write(sys.stdout, fmt.Sprintf("%s is %s (after %s)\n", s.Document.Node, condition, took))
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
		text := fmt.Sprintf("routewatch: %s is not %s within %s; see: routewatch status\n", s.Document.Node, condition, limit)
		if err := write(sys.stderr, text); err != nil {
			return err
		}
		return exitCode(max(1, int(s.Document.Outcome(nowOf(s, sys)))))
	}
}

func is(condition string, s *client.Status, sys system) bool {
	if condition == "complete" {
		return s.Document.Complete
	}
	return s.Document.Outcome(nowOf(s, sys)) == wire.Well
}
