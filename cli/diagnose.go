package main

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/cluster"
	"routewatch/cli/internal/diagnose"
	"routewatch/cli/internal/render"
	"routewatch/shared/wire"
)

const diagnoseHelp = `Goes through all that can be wrong, in the order in which one would look: the
leases, flannel's device, routes, the kernel's lookup, neighbors, forwarding
entries, the underlay, forwarding, flannel's pod and what its log says. Then what
it is, and what to type. Without NODE it takes the worst of the cluster.

Examples:
  routewatch diagnose              this node; or where no exporter is, the worst
  routewatch diagnose node-2
  routewatch diagnose -o json      for programs

Exit codes:
  0  nothing is wrong
  1  something is
  2  cannot tell
  3  usage`

func diagnoseCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "diagnose",
		Usage:       "the whole hunt, step by step",
		ArgsUsage:   "[NODE]",
		Description: diagnoseHelp,
		Flags:       append(outputFlags(), exporterFlags()...),
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usagef("diagnose takes one node, not %d", c.NArg())
			}
			node := cmp.Or(c.Args().First(), c.String("node"))
			if node != "" && given(c, "exporter") {
				return usagef("--exporter and the name of a node exclude each other")
			}
			if node != "" {
				// All are found: that the node has no exporter is a finding.
				for flag, value := range map[string]string{"cluster": "true", "node": ""} {
					if err := c.Set(flag, value); err != nil {
						return err
					}
				}
			}
			p, err := newDiagnosis(c, sys)
			if err != nil {
				return err
			}
			return p.run(c, node)
		},
	}
}

// diagnosis is a printer of one node's.
type diagnosis struct {
	printer
	kubernetes *cluster.Cluster // nil: not asked
	why        string           // it is not asked
}

func newDiagnosis(c *cli.Context, sys system) (*diagnosis, error) {
	d := &diagnosis{}
	var err error
	if d.printer, err = newPagePrinter(c, sys); err != nil {
		return nil, err
	}
	if d.fleet, err = newFleet(c, sys); err != nil {
		return nil, err
	}
	d.kubernetes = d.fleet.cluster
	if d.kubernetes == nil {
		d.why = "not looked at, without a kubeconfig; look at: kubectl -n kube-flannel get pods -o wide"
	}
	if d.kubernetes == nil && cluster.Known() && !given(c, "exporter") {
		timeout, err := timeoutOf(c)
		if err != nil {
			return nil, err
		}
		if d.kubernetes, err = connect(c, timeout); err != nil {
			d.why = err.Error()
		}
	}
	return d, nil
}

// run diagnoses the node; "" is the only one, or the worst.
func (d *diagnosis) run(c *cli.Context, node string) error {
	ctx := c.Context
	one, of, err := d.choose(ctx, node)
	if err != nil {
		return err
	}
	e, err := d.evidence(ctx, one)
	if err != nil {
		return err
	}
	steps := diagnose.Steps(e)
	document := render.Diagnosis{
		APIVersion: wire.APIVersion, Kind: wire.KindDiagnosis, Time: d.sys.now().UTC(), Node: e.Node, Steps: steps, Advice: e.Advice(),
	}
	var text string
	if d.format.isText() {
		o := d.options(e.Now)
		o.Command = d.command("diagnose " + e.Node)
		text = render.Diagnose(document, e.Status, of, o)
	} else if text, err = d.encode(document); err != nil {
		return err
	}
	if err := write(d.sys.stdout, text); err != nil {
		return err
	}
	return outcomeOf(diagnose.Outcome(steps))
}

// choice is the node that is diagnosed.
type choice struct {
	member
	err error // why it cannot be asked
}

// choose finds the node, or where none is named the worst one, and how many
// there are; 0: it was not chosen.
func (d *diagnosis) choose(ctx context.Context, node string) (one choice, of int, err error) {
	switch {
	case node != "":
		i := slices.IndexFunc(d.fleet.absent, func(u wire.Unreachable) bool { return u.Node == node })
		if i >= 0 {
			return choice{member{node: node}, errors.New(d.fleet.absent[i].Problem)}, 0, nil
		}
		alone, err := d.fleet.only(node)
		if err != nil {
			return one, 0, err
		}
		return choice{member: alone.members[0]}, 0, nil
	case d.fleet.one:
		return choice{member: d.fleet.members[0]}, 0, nil
	}
	s, err := d.fleet.statuses(ctx, d.sys, false)
	if err != nil {
		return one, 0, err
	}
	return d.worst(s), len(s.answers) + len(s.unreachable), nil
}

// worst is the node with the most bad leases; else one that does not answer;
// else one that cannot tell.
func (d *diagnosis) worst(s fleetStatus) choice {
	best, rank := choice{err: errors.New(cmp.Or(s.problem, "no exporter was found"))}, -1
	for _, n := range s.answers {
		r := 0
		switch n.value.Document.Outcome(nowOf(n.value, d.sys)) {
		case wire.Broken:
			r = 3 + n.value.Document.BadLeases()
		case wire.CannotTell:
			r = 1
		}
		if r > rank {
			best, rank = choice{member: n.member}, r
		}
	}
	if len(s.unreachable) > 0 && rank < 2 {
		u := s.unreachable[0]
		best = choice{member{node: u.Node}, errors.New(u.Problem)}
	}
	return best
}

// evidence asks the exporter, and Kubernetes for flannel's pods.
func (d *diagnosis) evidence(ctx context.Context, one choice) (e diagnose.Evidence, err error) {
	e = diagnose.Evidence{Node: one.node, Err: one.err, Now: d.sys.now()}
	if one.err == nil {
		f := &fleet{members: []member{one.member}, one: true}
		g, err := surveys(ctx, &printer{fleet: f, sys: d.sys}, everyProblem)
		switch {
		case ctx.Err() != nil:
			return e, err
		case err != nil:
			e.Err = err
		default:
			s := g.answers[0].value
			e.Status, e.Leases, e.Now = &s.status.Document, s.leases, nowOf(s.status, d.sys)
			e.Node = cmp.Or(s.node(), one.node)
		}
	}
	e.Pods = d.pods(ctx, e.Node)
	return e, ctx.Err()
}

func (d *diagnosis) pods(ctx context.Context, node string) diagnose.Pods {
	p := diagnose.Pods{Why: d.why, Command: "kubectl get pods -A -o wide --field-selector spec.nodeName=" + node}
	if d.kubernetes == nil {
		return p
	}
	if node == "" {
		p.Why = "not looked at: the name of the node is not known"
		return p
	}
	found, err := d.kubernetes.FlannelPods(ctx, node)
	p.Asked, p.Err = true, err
	for _, f := range found {
		pod := diagnose.Pod{
			Name: f.Namespace + "/" + f.Name, Phase: f.Phase, Ready: f.Ready, Restarts: f.Restarts, Started: f.Started, LastEnd: f.LastEnd,
		}
		pod.Log, pod.LogErr = d.kubernetes.Log(ctx, f.Namespace, f.Name, f.Container, diagnose.Tail)
		p.Pods = append(p.Pods, pod)
	}
	return p
}
