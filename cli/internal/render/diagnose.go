package render

import (
	"fmt"
	"time"

	"routewatch/cli/internal/diagnose"
	"routewatch/shared/wire"
)

// Diagnosis is the document of `routewatch diagnose`.
type Diagnosis struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Time       time.Time       `json:"time"`
	Node       string          `json:"node"`
	Steps      []diagnose.Step `json:"steps"`
	Advice     []wire.Advice   `json:"advice"`
}

// Diagnose renders it: the steps, the verdict, what to type. Status is nil
// where the exporter did not answer; of is among how many nodes this one is the
// worst, 0 if it was asked for.
func Diagnose(d Diagnosis, status *wire.NodeStatus, of int, o Options) string {
	if o.Wide {
		o.Width = 0
	}
	p := &page{o: o, s: status}
	name := or(d.Node, "not known")
	if of > 1 {
		name += fmt.Sprintf(", the worst of %s", plural(of, "node"))
	}
	p.entry("NODE", name, nil)
	p.section("")
	for i, s := range d.Steps {
		p.step(i+1, s)
	}
	p.section("")
	if status == nil {
		p.entry("VERDICT", "CANNOT TELL: the exporter of this node does not answer", o.Style.Unsure)
		return p.b.String()
	}
	text, paint := p.verdict()
	p.entry("VERDICT", text, paint)
	for _, s := range d.Steps {
		if s.Result == diagnose.Bad && s.Name == diagnose.FlannelPod {
			p.entry("", "but flannel's pod: "+s.Saw, o.Style.bad)
		}
	}
	p.glossary()
	p.advice()
	return p.b.String()
}

// nameWidth is the width of the names of the steps.
const nameWidth = len("forwarding entries")

// step is a line with a mark, and what was seen in detail below it.
func (p *page) step(n int, s diagnose.Step) {
	mark, paint := "-", func(text string) string { return text }
	switch s.Result {
	case diagnose.Good:
		mark, paint = "✓", p.o.Style.good
	case diagnose.Bad:
		mark, paint = "✗", p.o.Style.bad
	case diagnose.Unknown:
		mark, paint = "?", p.o.Style.Unsure
	case diagnose.Noted:
		mark, paint = "!", p.o.Style.Unsure
	}
	const indent = len("12 x ") + nameWidth + gap
	head := fmt.Sprintf("%2d %s %-*s  ", n, paint(mark), nameWidth, s.Name)
	for _, line := range wrap(Clean(s.Saw), indent, p.o.Width) {
		if s.Result == diagnose.Bad || s.Result == diagnose.Unknown {
			line = paint(line)
		}
		p.line(head + line)
		head = fmt.Sprintf("%*s", indent, "")
	}
	lines := s.Lines
	if len(lines) > maxExamples && !p.o.Wide {
		lines = append(lines[:maxExamples:maxExamples], fmt.Sprintf("... and %s more", number(len(s.Lines)-maxExamples)))
	}
	for _, text := range lines {
		for _, line := range wrap(Clean(text), indent+2, p.o.Width) {
			p.line(fmt.Sprintf("%*s", indent+2, "") + line)
		}
	}
}
