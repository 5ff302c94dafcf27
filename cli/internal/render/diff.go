package render

import (
	"fmt"
	"strings"

	"routewatch/shared/wire"
)

// Diff renders what the kernels lack and have too much, in the way of a unified
// diff: "-" is expected and not there, "+" is there and not expected, ">" is what
// the kernel does with a packet now. The lines are not wrapped: they are to be copied.
func Diff(d *wire.Diff, o Options) string {
	p := &diffPage{page: page{o: o}}
	for _, n := range d.Items {
		p.node(n)
	}
	for _, line := range (Absences{d.Unreachable, d.Problem}).Lines() {
		p.line(o.Style.Unsure("? " + line))
	}
	return p.b.String()
}

type diffPage struct{ page }

func (p *diffPage) node(n wire.NodeDiff) {
	name := Clean(or(n.Node, "the node"))
	if !n.Complete {
		p.line(p.o.Style.Unsure("? " + name + ": not everything could be read; see: routewatch status"))
	}
	if len(n.Leases)+len(n.NodeProblems)+len(n.Stale) == 0 {
		if n.Complete {
			p.line("= " + name + ": the kernel has what each lease needs")
		}
		return
	}
	p.line(p.o.Style.heading("--- what " + name + " needs"))
	p.line(p.o.Style.heading("+++ what its kernel has"))
	for _, np := range n.NodeProblems {
		p.line(fmt.Sprintf("@@ %s: %s @@", np.Problem, Clean(np.Message)))
	}
	for _, l := range n.Leases {
		p.lease(l)
	}
	if len(n.Stale) > 0 {
		p.line("@@ left over: no lease explains these @@")
	}
	for _, s := range n.Stale {
		p.sign("+ ", s.Object, p.o.Style.good)
	}
}

func (p *diffPage) lease(l wire.LeaseDiff) {
	words := []string{string(l.State), string(l.Effect)}
	if l.Reason != "" {
		words = append(words, l.Reason)
	}
	p.line(Clean(fmt.Sprintf("@@ %s %s: %s @@", l.Peer, prefix(l.Lease), strings.Join(words, ", "))))
	for _, part := range []struct {
		sign    string
		objects []string
		paint   func(string) string
	}{
		{"- ", l.Missing, p.o.Style.bad}, {"+ ", l.Unexpected, p.o.Style.good}, {"? ", l.Unread, p.o.Style.Unsure}, {"  ", l.Same, nil},
	} {
		for _, object := range part.objects {
			p.sign(part.sign, object, part.paint)
		}
	}
	if l.Lookup != "" {
		p.line("> " + Clean(l.Lookup))
	}
}

func (p *diffPage) sign(sign, object string, paint func(string) string) {
	line := sign + Clean(object)
	if paint != nil {
		line = paint(line)
	}
	p.line(line)
}
