package render

import (
	"fmt"
	"time"

	"routewatch/shared/wire"
)

// Step is one step of a recording at which something changed.
type Step struct {
	N       int
	Time    time.Time
	Trigger string // what made the exporter judge
	Outcome wire.Outcome
	Bad     int    // leases
	Lost    uint64 // inputs before it that were not recorded
	What    []string
}

// Steps renders the steps of a recording, the oldest first, and how it ends.
func Steps(steps []Step, last *wire.NodeStatus, o Options) string {
	if o.Wide {
		o.Width = 0
	}
	p := &page{o: o, s: last}
	t := &table{columns: []column{
		{title: "STEP"}, {title: "TIME"}, {title: "AFTER", spare: true}, {title: "BY"}, {title: "STATUS"}, {title: "BAD"}, {title: "WHAT",
			least: 30},
	}}
	for _, s := range steps {
		what := s.What
		if s.Lost > 0 {
			what = append([]string{fmt.Sprintf("GAP: %s before this one not recorded", plural(int(s.Lost), "input"))}, what...)
		}
		if len(what) == 0 {
			what = []string{"-"}
		}
		status, paint := p.outcome(s.Outcome)
		after := "+" + s.Time.Sub(steps[0].Time).Round(time.Millisecond).String()
		for i, text := range what {
			if i == 0 {
				t.add(plain(fmt.Sprint(s.N)), plain(s.Time.UTC().Format(time.DateTime)), plain(after), plain(s.Trigger),
					cell{text: status, paint: paint}, plain(number(s.Bad)), plain(text))
			} else {
				t.add(plain(""), plain(""), plain(""), plain(""), plain(""), plain(""), plain(text))
			}
		}
	}
	for i, line := range t.lines(o.Width) {
		if i == 0 {
			line = o.Style.heading(line)
		}
		p.line(line)
	}
	p.line("")
	text, paint := p.verdict()
	p.entry("STATUS", text, paint)
	return p.b.String()
}

func (p *page) outcome(o wire.Outcome) (string, func(string) string) {
	switch o {
	case wire.Well:
		return "healthy", p.o.Style.good
	case wire.Broken:
		return "problems", p.o.Style.bad
	}
	return "cannot tell", p.o.Style.Unsure
}
