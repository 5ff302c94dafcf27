package render

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"routewatch/shared/wire"
)

// ExplainedNode is what one node says of an address, and the time by its clock.
type ExplainedNode struct {
	Explanation *wire.Explanation
	Back        *wire.Lease // of the address' own node, for this one; nil if not known
	Now         time.Time
}

// ExplainedView is what several nodes say of an address.
type ExplainedView struct {
	Address      netip.Addr
	Pod, PodNode string // "" if an address was asked for
	Nodes        []ExplainedNode
	Owner        string // node that has the address; "" if that is not known
	Problem      string // why the way back is not known; "" if it is, or nobody has it
	Absences
}

// Explanation renders what one node knows of an address: the answer in one
// sentence, then what it rests on, then what to type.
func Explanation(e *wire.Explanation, v ExplainedView, o Options) string {
	if o.Wide {
		o.Width = 0
	}
	p := &page{o: o, s: &wire.NodeStatus{Node: e.Node, NodeProblems: e.NodeProblems}}
	p.entry("ADDRESS", fmt.Sprintf("%s, as %s sees it", v.address(), or(e.Node, "the node")), nil)
	paint := p.o.Style.good
	switch {
	case e.Lease != nil && e.Lease.State.Bad() || len(e.NodeProblems) > 0:
		paint = p.o.Style.bad
	case !e.Complete || e.Lease == nil || !e.Lease.State.Healthy():
		paint = p.o.Style.Unsure
	}
	p.entry("ANSWER", e.Answer, paint)
	if !e.Complete {
		p.entry("", "not everything could be read; see: routewatch status", p.o.Style.Unsure)
	}
	if l := e.Lease; l != nil {
		text := fmt.Sprintf("%s of %s: %s, %s", prefix(l.Lease), l.Peer, l.State, effect(*l))
		if l.State.Bad() {
			text += fmt.Sprintf(", cause %s, since %s", or(string(l.Cause), "unknown"), since(o.Now, l.Since))
		}
		p.entry("LEASE", text, nil)
	}
	key := "KERNEL"
	for _, l := range e.Lookups {
		text := l.Answer
		if !l.Live {
			text += fmt.Sprintf(" (as last read, %s ago)", Age(o.Now.Sub(e.Time)))
		}
		p.entry(key, text, nil)
		key = ""
	}
	back := v.Nodes[0].Back
	p.back(v, e.Node, back)
	p.objects(e.Lease)
	p.nodeProblems()
	if e.Lease != nil {
		p.s.Problems = []wire.Lease{*e.Lease}
	}
	if e.Lease == nil || e.Lease.State.Bad() || len(e.NodeProblems) > 0 {
		p.advice()
	}
	p.adviceBack(v.Owner, back)
	return p.b.String()
}

// address names the address, and whose it is if that was asked for.
func (v ExplainedView) address() string {
	if v.Pod == "" {
		return v.Address.String()
	}
	return fmt.Sprintf("%s of pod %s on %s", v.Address, v.Pod, or(v.PodNode, "no node"))
}

// back says how the answers come back.
func (p *page) back(v ExplainedView, node string, l *wire.Lease) {
	switch {
	case v.Owner == "" || v.Owner == node:
	case v.Problem != "":
		p.entry("BACK", fmt.Sprintf("from %s: not known: %s", v.Owner, v.Problem), p.o.Style.Unsure)
	case l == nil:
		p.entry("BACK", fmt.Sprintf("from %s: it knows no lease of %s", v.Owner, or(node, "this node")), p.o.Style.Unsure)
	default:
		text := fmt.Sprintf("from %s to %s: %s, %s", v.Owner, prefix(l.Lease), l.State, effect(*l))
		paint := p.o.Style.good
		if l.State.Bad() {
			text += ", packets go " + p.packets(*l)
			paint = p.o.Style.bad
		} else if !l.State.Healthy() {
			paint = p.o.Style.Unsure
		}
		p.entry("BACK", text, paint)
	}
}

// adviceBack is what to type on the other node.
func (p *page) adviceBack(owner string, leases ...*wire.Lease) {
	other := &page{o: p.o, s: &wire.NodeStatus{Node: owner}}
	for _, l := range leases {
		if l != nil && l.State.Bad() {
			other.s.Problems = append(other.s.Problems, *l)
		}
	}
	if len(other.s.Problems) > 0 {
		other.advice()
		p.b.WriteString(other.b.String())
	}
}

// objects are what a lease needs beside what is there.
func (p *page) objects(l *wire.Lease) {
	if l == nil || len(l.Expected)+len(l.Actual) == 0 {
		return
	}
	p.section("OBJECTS (- expected, + is there)")
	for _, object := range l.Expected {
		p.line("- " + Clean(object))
	}
	for _, object := range l.Actual {
		p.line("+ " + Clean(object))
	}
}

// Explanations renders what several nodes say of an address: a line each, the
// worst first, then what to type.
func Explanations(v ExplainedView, o Options) string {
	if o.Wide {
		o.Width = 0
	}
	p := &page{o: o, s: &wire.NodeStatus{}}
	slices.SortStableFunc(v.Nodes, func(a, b ExplainedNode) int { return b.badness() - a.badness() })
	p.entry("ADDRESS", v.address(), nil)
	p.explainedBy(v)
	p.ways(v)
	mended, backs := 0, []*wire.Lease{}
	for _, n := range v.Nodes {
		if n.badness() < 2 {
			break
		}
		backs = append(backs, n.Back)
		if mended == maxMended && !o.Wide || !n.broken() {
			continue
		}
		mended++
		one := &page{o: o, s: &wire.NodeStatus{Node: n.Explanation.Node, NodeProblems: n.Explanation.NodeProblems}}
		if n.Explanation.Lease != nil {
			one.s.Problems = []wire.Lease{*n.Explanation.Lease}
		}
		one.advice()
		p.b.WriteString(one.b.String())
	}
	p.adviceBack(v.Owner, backs...)
	return p.b.String()
}

// broken reports whether the way from the node is bad.
func (n ExplainedNode) broken() bool {
	if l := n.Explanation.Lease; l != nil && l.State.Bad() {
		return true
	}
	return slices.ContainsFunc(n.Explanation.NodeProblems, func(np wire.NodeProblem) bool { return !np.Problem.Info() })
}

// badness orders nodes: 3 if the way is bad, 2 if only the way back is, 1 if
// something is not known.
func (n ExplainedNode) badness() int {
	switch {
	case n.broken():
		return 3
	case n.Back != nil && n.Back.State.Bad():
		return 2
	case n.Explanation.Lease != nil && !n.Explanation.Lease.State.Healthy(), !n.Explanation.Complete:
		return 1
	}
	return 0
}

// explainedBy is the head: whose the address is, and who does not reach it.
func (p *page) explainedBy(v ExplainedView) {
	count := map[int]int{}
	asked := 0
	var lease *wire.Lease
	answer := ""
	for _, n := range v.Nodes {
		answer = n.Explanation.Answer
		if n.Explanation.Own != nil {
			continue
		}
		asked++
		count[n.badness()]++
		if lease == nil {
			lease = n.Explanation.Lease
		}
	}
	switch {
	case lease == nil:
		p.entry("ANSWER", or(answer, "no node answered"), p.o.Style.Unsure)
	case count[3]+count[2] > 0:
		var parts []string
		if count[3] > 0 {
			parts = append(parts, fmt.Sprintf("%s of %s do not reach it on flannel's path", number(count[3]), plural(asked, "other node")))
		}
		if count[2] > 0 {
			parts = append(parts, fmt.Sprintf("its answers do not come back to %s", plural(count[2], "more node")))
		}
		p.entry("ANSWER", strings.Join(parts, ", "), p.o.Style.bad)
	case count[1] > 0:
		p.entry("ANSWER", fmt.Sprintf("not known of %s of %s", number(count[1]), plural(asked, "other node")), p.o.Style.Unsure)
	default:
		p.entry("ANSWER", fmt.Sprintf("all that it needs is there on %s", plural(asked, "other node")), p.o.Style.good)
	}
	if lease != nil {
		p.entry("LEASE", fmt.Sprintf("%s of %s, public IP %s", prefix(lease.Lease), lease.Peer, address(lease.PublicIP)), nil)
	}
	if v.PodNode != "" && lease != nil && v.PodNode != lease.Peer {
		p.entry("", fmt.Sprintf("but Kubernetes says that the pod is on %s", v.PodNode), p.o.Style.bad)
	}
	if v.Problem != "" {
		p.entry("BACK", fmt.Sprintf("from %s: not known: %s", v.Owner, v.Problem), p.o.Style.Unsure)
	}
	for _, line := range v.Lines() {
		p.entry("NO ANSWER", line, p.o.Style.Unsure)
	}
}

// ways is the table of the nodes.
func (p *page) ways(v ExplainedView) {
	t := &table{columns: []column{
		{title: "FROM", least: 12}, {title: "TO IT"}, {title: "SINCE"}, {title: "BACK"}, {title: "PACKETS GO NOW", least: 16},
	}}
	left := 0
	for _, n := range v.Nodes {
		if len(t.rows) == maxRows && !p.o.Wide {
			left++
			continue
		}
		e := n.Explanation
		to, began, goes := cell{text: "-"}, time.Time{}, wire.Lease{}
		if e.Lease != nil {
			to = p.way(e.Lease)
			began = e.Lease.Since
		}
		if e.Own != nil {
			to = plain("has it itself")
		}
		for _, np := range e.NodeProblems {
			if !np.Problem.Info() {
				to = cell{text: to.text + ", " + Clean(string(np.Problem)), paint: p.o.Style.bad}
			}
		}
		if len(e.Lookups) > 0 {
			goes.Lookup = e.Lookups[0].Answer
		}
		back := cell{text: "-"}
		if n.Back != nil {
			back = p.way(n.Back)
		}
		t.add(plain(or(e.Node, "-")), to, plain(since(n.Now, began)), back, plain(p.packets(goes)))
	}
	p.tableSection(t)
	if left > 0 {
		p.line(fmt.Sprintf("... and %s more: %s -o wide", number(left), p.o.Command))
	}
}

// way is a lease in two words.
func (p *page) way(l *wire.Lease) cell {
	c := p.o.state(*l)
	if l.State.Bad() {
		c.text += ", " + Clean(effect(*l))
	}
	return c
}
