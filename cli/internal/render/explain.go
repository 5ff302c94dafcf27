package render

import (
	"fmt"

	"routewatch/shared/wire"
)

// Explanation renders what is known of an address: the answer in one sentence,
// then what it rests on, then what to type.
func Explanation(e *wire.Explanation, o Options) string {
	if o.Wide {
		o.Width = 0
	}
	p := &page{o: o, s: &wire.NodeStatus{Node: e.Node, NodeProblems: e.NodeProblems}}
	p.entry("ADDRESS", fmt.Sprintf("%s, as %s sees it", e.Address, or(e.Node, "the node")), nil)
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
	p.objects(e.Lease)
	p.nodeProblems()
	if e.Lease != nil {
		p.s.Problems = []wire.Lease{*e.Lease}
	}
	if e.Lease == nil || e.Lease.State.Bad() || len(e.NodeProblems) > 0 {
		p.advice()
	}
	return p.b.String()
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
