package main

import (
	"cmp"
	"context"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/client"
	"routewatch/cli/internal/cluster"
	"routewatch/cli/internal/render"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

const explainHelp = `Says of the address of a pod or a node: which lease holds it, what the kernel
would do with a packet to it now, what should be there, and what to type. In a
cluster, as each node sees it, and the way back.

Examples:
  routewatch explain 10.244.2.7                           as this node sees it; or where no exporter is, all
  routewatch explain 10.244.2.7 --exporter 192.168.1.57   as another node sees it
  routewatch explain web-1                                a pod, in the namespace of the kubeconfig
  routewatch explain shop/web-1 --node node-2             as one node of the cluster sees it

Exit codes:
  0  nothing is wrong with the way to this address, nor with the way back as far as it was asked
  1  something is
  2  cannot tell
  3  usage`

func explainCommand(sys system) *cli.Command {
	return &cli.Command{
		Name:        "explain",
		Usage:       "where do packets to a pod or an address go, and why",
		ArgsUsage:   "POD|ADDRESS",
		Description: explainHelp,
		Flags:       append(outputFlags(), exporterFlags()...),
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usagef("explain wants one address or pod, e.g. 10.244.2.7 or shop/web-1")
			}
			p, err := newPrinter(c, sys)
			if err != nil {
				return err
			}
			who, err := p.whose(c, c.Args().First())
			if err != nil {
				return err
			}
			return p.explainAll(c.Context, who)
		},
	}
}

// whose is a pod, or an address as it was typed.
func (p *printer) whose(c *cli.Context, typed string) (pod cluster.Pod, err error) {
	if a, err := netip.ParseAddr(typed); err == nil {
		return cluster.Pod{Addresses: []netip.Addr{a}}, nil
	}
	k := p.fleet.cluster
	if k == nil && !cluster.Known() {
		return pod, usagef("%q is no IP address, and for the name of a pod no kubeconfig is known: "+
			"pass --kubeconfig FILE, or the pod's address", typed)
	}
	if k == nil {
		timeout, err := timeoutOf(c)
		if err != nil {
			return pod, err
		}
		if k, err = connect(c, timeout); err != nil {
			return pod, err
		}
	}
	return k.Pod(c.Context, typed)
}

// explainAll explains each of the addresses; the worst exit code counts.
func (p *printer) explainAll(ctx context.Context, pod cluster.Pod) error {
	worst := wire.Well
	for i, address := range pod.Addresses {
		if i > 0 && p.format.isText() {
			if err := write(p.sys.stdout, "\n"); err != nil {
				return err
			}
		}
		x, err := p.ask(ctx, address.String())
		if err != nil {
			return err
		}
		text, err := p.explanation(x, pod, address)
		if err != nil {
			return err
		}
		if err := write(p.sys.stdout, text); err != nil {
			return err
		}
		worst = worse(worst, x.outcome())
	}
	return outcomeOf(worst)
}

// explained is what all members say of an address.
type explained struct {
	gathered[client.Answer[wire.Explanation]]
	back back
}

// back is how the node that has the address sees the nodes that asked.
type back struct {
	node    string // "" if nobody has it, or it was not asked
	family  netstate.Family
	leases  []wire.Lease
	problem string // why it is not known
}

// ask asks all members, then the one that has the address for the way back.
func (p *printer) ask(ctx context.Context, address string) (x explained, err error) {
	x.gathered, err = gather(ctx, p.fleet, p.sys, func(ctx context.Context, c *client.Client) (client.Answer[wire.Explanation], error) {
		return c.Explain(ctx, address)
	}, func(a client.Answer[wire.Explanation]) string { return a.Document.Node })
	if err != nil {
		return x, err
	}
	owner := member{}
	for _, a := range x.answers {
		x.back.family = a.value.Document.Family
		if a.value.Document.Own != nil {
			owner = a.member
			break
		}
		if l := a.value.Document.Lease; l != nil {
			owner = p.fleet.of(l.Peer)
		}
	}
	if owner.client == nil {
		return x, nil
	}
	x.back.node = owner.node
	switch l, err := allLeases(ctx, owner.client, nil, false); {
	case ctx.Err() != nil:
		return x, err
	case err != nil:
		x.back.problem = err.Error()
	default:
		x.back.node, x.back.leases = cmp.Or(l.list.Node, owner.node), l.list.Items
	}
	return x, nil
}

// to is the worst lease of a node for the way back; nil if there is none.
func (b *back) to(node string) *wire.Lease {
	var worst *wire.Lease
	for i := range b.leases {
		l := &b.leases[i]
		if l.Peer == node && l.Family == b.family && (worst == nil || l.State.Bad() || worst.State.Healthy()) {
			worst = l
		}
	}
	return worst
}

func (p *printer) explanation(x explained, pod cluster.Pod, address netip.Addr) (string, error) {
	if !p.format.isText() {
		if p.fleet.one {
			return p.document(x.answers[0].value.JSON)
		}
		return p.encode(x.document(p.sys.now()))
	}
	o := p.options(time.Time{})
	if !p.fleet.one {
		o.Command = p.command("explain " + address.String())
		return render.Explanations(x.view(address, pod, o.Now), o), nil
	}
	a := x.answers[0].value
	return render.Explanation(&a.Document, x.view(address, pod, o.Now), p.options(a.ServerTime)), nil
}

func (x *explained) view(address netip.Addr, pod cluster.Pod, now time.Time) render.ExplainedView {
	v := render.ExplainedView{Address: address, Owner: x.back.node, Problem: x.back.problem, Absences: x.absences()}
	if pod.Name != "" {
		v.Pod, v.PodNode = pod.Namespace+"/"+pod.Name, pod.Node
	}
	for _, a := range x.answers {
		v.Nodes = append(v.Nodes, render.ExplainedNode{
			Explanation: &a.value.Document, Back: x.back.to(a.node), Now: cmp.Or(a.value.ServerTime, now),
		})
	}
	return v
}

// document is a list with the way back.
func (x *explained) document(now time.Time) any {
	type way struct {
		Node    string       `json:"node"`
		Leases  []wire.Lease `json:"leases"` // of that node, for those in items
		Problem string       `json:"problem,omitempty"`
	}
	var items []json.RawMessage
	var b *way
	if x.back.node != "" {
		b = &way{Node: x.back.node, Leases: []wire.Lease{}, Problem: x.back.problem}
	}
	for _, a := range x.answers {
		items = append(items, a.value.JSON)
		if l := x.back.to(a.node); l != nil {
			b.Leases = append(b.Leases, *l)
		}
	}
	return struct {
		wire.ClusterList[json.RawMessage]
		Back *way `json:"back,omitempty"`
	}{listOf(&x.gathered, wire.KindClusterExplain, now, items), b}
}

func (x *explained) outcome() wire.Outcome {
	if !x.whole() {
		return wire.CannotTell
	}
	worst := wire.Well
	if x.back.problem != "" {
		worst = wire.CannotTell
	}
	for _, a := range x.answers {
		worst = worse(worst, outcomeOfExplanation(&a.value.Document))
		if l := x.back.to(a.node); l != nil && l.State.Bad() {
			worst = wire.Broken
		}
	}
	return worst
}

func outcomeOfExplanation(e *wire.Explanation) wire.Outcome {
	for _, np := range e.NodeProblems {
		if !np.Problem.Info() && (np.Family == e.Family || np.Family == netstate.Family(0)) {
			return wire.Broken
		}
	}
	switch {
	case e.Lease != nil && e.Lease.State.Bad():
		return wire.Broken
	case !e.Complete, e.Place == wire.PlaceUnknown, e.Lease != nil && e.Lease.State == verdict.Unknown:
		return wire.CannotTell
	}
	return wire.Well
}
