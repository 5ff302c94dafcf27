package main

import (
	"context"

	"routewatch/cli/internal/client"
	"routewatch/shared/wire"
)

// survey is the status of a node and its leases.
type survey struct {
	status *client.Status
	leases []wire.Lease
}

func (s *survey) node() string { return s.status.Document.Node }

// surveys asks all members for their status and those of their leases that
// which wants; nil: it needs none.
func surveys(ctx context.Context, p *printer, which func(*wire.NodeStatus) (states []string, all bool)) (gathered[*survey], error) {
	return gather(ctx, p.fleet, p.sys, func(ctx context.Context, c *client.Client) (*survey, error) {
		status, err := c.Status(ctx)
		if err != nil {
			return nil, err
		}
		s := &survey{status: status, leases: status.Document.Problems}
		status.JSON = nil
		states, all := which(&status.Document)
		if len(states) == 0 && !all {
			return s, nil
		}
		l, err := allLeases(ctx, c, states, false)
		if err != nil {
			return nil, err
		}
		s.leases = l.list.Items
		return s, nil
	}, (*survey).node)
}

// everyProblem wants the bad and the unknown leases, which the status has unless
// they are too many.
func everyProblem(s *wire.NodeStatus) (states []string, all bool) {
	if s.ProblemsTotal > len(s.Problems) {
		return wire.BadStates(), false
	}
	return nil, false
}

// everyLease wants all.
func everyLease(*wire.NodeStatus) (states []string, all bool) { return nil, true }

// statusesOf are what the surveys begin with.
func statusesOf(g *gathered[*survey]) fleetStatus {
	s := fleetStatus{gathered[*client.Status]{unreachable: g.unreachable, problem: g.problem}}
	for _, a := range g.answers {
		s.answers = append(s.answers, answer[*client.Status]{member: a.member, value: a.value.status})
	}
	return s
}
