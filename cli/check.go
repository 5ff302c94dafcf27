package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

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
  routewatch check --cluster                all nodes

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

var nagiosWords = [...]string{nagiosOK: "OK", nagiosWarning: "WARNING", nagiosCritical: "CRITICAL", nagiosUnknown: "UNKNOWN"}

// maxNamed is how many nodes the line names.
const maxNamed = 5

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
			line, code, err := checkFleet(c.Context, f, sys)
			if err != nil {
				return err
			}
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

// checkFleet is check for one node, or sums all up.
func checkFleet(ctx context.Context, f *fleet, sys system) (line string, code int, err error) {
	if f.one {
		line, code = check(ctx, f.first(), sys)
		return line, code, nil
	}
	s, err := f.statuses(ctx, sys, false)
	if err != nil {
		return "", 0, err
	}
	line, code = s.check(sys)
	return line, code, nil
}

// check sums all nodes up. A bad one outweighs one that does not answer: what
// is known to be bad is.
func (s fleetStatus) check(sys system) (line string, code int) {
	rank := []int{nagiosOK, nagiosWarning, nagiosUnknown, nagiosCritical}
	count := map[int]int{}
	worst, bad, named := 0, 0, []string{}
	for _, n := range s.answers {
		d := &n.value.Document
		text, code := checkNode(d, nowOf(n.value, sys))
		count[code]++
		bad += d.BadLeases()
		worst = max(worst, slices.Index(rank, code))
		if code != nagiosOK && len(named) < maxNamed {
			named = append(named, text)
		}
	}
	for _, u := range s.absences().Lines() {
		worst = max(worst, slices.Index(rank, nagiosUnknown))
		if len(named) < maxNamed {
			named = append(named, u)
		}
	}
	code = rank[worst]
	if len(s.answers) == 0 {
		code = nagiosUnknown
	}
	nodes := len(s.answers) + len(s.unreachable)
	parts := append([]string{fmt.Sprintf("%d of %d nodes healthy", count[nagiosOK]+count[nagiosWarning], nodes)}, named...)
	return fmt.Sprintf("%s - %s | nodes=%d critical=%d;;0 warning=%d;0 unknown=%d;0 unreachable=%d;0 leases_bad=%d;;0", nagiosWords[code],
		strings.Join(parts, "; "), nodes, count[nagiosCritical], count[nagiosWarning], count[nagiosUnknown], len(s.unreachable), bad), code
}

func check(ctx context.Context, asker *client.Client, sys system) (line string, code int) {
	s, err := asker.Status(ctx)
	if err != nil {
		return "UNKNOWN - " + err.Error(), nagiosUnknown
	}
	d := &s.Document
	text, code := checkNode(d, nowOf(s, sys))
	return fmt.Sprintf("%s - %s | %s", nagiosWords[code], text, performance(d)), code
}

// checkNode says how a node is: its name and what counts.
func checkNode(d *wire.NodeStatus, now time.Time) (text string, code int) {
	text = d.Node + ": " + strings.Join(checked(d), ", ")
	switch d.Outcome(now) {
	case wire.Well:
		if len(d.Stale) > 0 || len(d.NodeProblems) > 0 {
			return text, nagiosWarning
		}
		return text, nagiosOK
	case wire.Broken:
		return text, nagiosCritical
	}
	return text, nagiosUnknown
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
