package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/client"
	"routewatch/cli/internal/render"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

const checkHelp = `Prints one line with performance data, for Nagios, Icinga and their like.

Examples:
  routewatch check
  routewatch check --exporter 192.168.1.57

Exit codes, which are those of Nagios and not those of the other commands:
  0  OK
  1  WARNING: healthy, but something is left over or worth knowing
  2  CRITICAL: a bad lease, or a problem of the node itself
  3  UNKNOWN: cannot tell, and wrong usage`

// Exit codes of Nagios (its plugin development guidelines).
const (
	nagiosOK       = 0
	nagiosWarning  = 1
	nagiosCritical = 2
	nagiosUnknown  = 3
)

func checkCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "check",
		Usage:       "one line with performance data, with Nagios' exit codes",
		Description: checkHelp,
		Flags:       exporterFlags(),
		Action: func(c *cli.Context) error {
			f, err := newFleet(c, sys)
			if err != nil {
				return err
			}
			if err := f.single(); err != nil {
				return err
			}
			line, code := check(c.Context, f.first(), sys)
			if err := write(sys.stdout, "ROUTEWATCH "+render.Clean(line)+"\n"); err != nil {
				return err
			}
			if code == nagiosOK {
				return nil
			}
			return exitCode(code)
		},
	}
}

func check(ctx context.Context, asker *client.Client, sys system) (line string, code int) {
	s, err := asker.Status(ctx)
	if err != nil {
		return "UNKNOWN - " + err.Error(), nagiosUnknown
	}
	d := &s.Document
	word, code := "OK", nagiosOK
	switch d.Outcome(nowOf(s, sys)) {
	case wire.Well:
		if len(d.Stale) > 0 || len(d.NodeProblems) > 0 {
			word, code = "WARNING", nagiosWarning
		}
	case wire.Broken:
		word, code = "CRITICAL", nagiosCritical
	default:
		word, code = "UNKNOWN", nagiosUnknown
	}
	return fmt.Sprintf("%s - %s: %s | %s", word, d.Node, strings.Join(checked(d), ", "), performance(d)), code
}

// checked says in words what the numbers do not.
func checked(d *wire.NodeStatus) []string {
	parts := []string{fmt.Sprintf("%d of %d leases ok", d.Summary.States[verdict.OK], d.Summary.Leases)}
	if len(d.Problems) > 0 {
		worst := d.Problems[0]
		parts = append(parts, fmt.Sprintf("worst %s %s: %s, %s", worst.Peer, worst.Lease, worst.State, worst.Effect))
	}
	for _, np := range d.NodeProblems {
		parts = append(parts, fmt.Sprintf("%s on %s", np.Problem, np.Device))
	}
	for _, src := range d.Sources {
		if !src.Complete {
			parts = append(parts, src.Name+" not complete")
		}
	}
	if len(d.Stale) > 0 {
		parts = append(parts, fmt.Sprintf("%d stale", len(d.Stale)))
	}
	return parts
}

// performance is 'label'=value as the guidelines have it.
func performance(d *wire.NodeStatus) string {
	return fmt.Sprintf("leases=%d ok=%d bad=%d;;0 unknown=%d;0 pending=%d routes_missing=%d;;0 stale=%d;0",
		d.Summary.Leases, d.Summary.States[verdict.OK], d.BadLeases(), d.UnknownLeases(), d.Summary.States[verdict.Pending],
		d.Summary.Missing, len(d.Stale))
}
