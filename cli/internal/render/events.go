package render

import (
	"time"

	"routewatch/shared/wire"
)

// Events renders a list of events, the oldest first, with the times of the
// exporter's clock in UTC, as its log has them.
func Events(l *wire.EventList, o Options) string {
	if o.Wide {
		o.Width = 0
	}
	p := &page{o: o}
	if l.Gap {
		p.line(o.Style.Unsure("GAP: events before these are lost; what is open now: routewatch status"))
	}
	t := &table{columns: []column{{title: "TIME"}, {title: "AGO"}, {title: "EVENT"}, {title: "WHAT", least: 30}}}
	for _, e := range l.Items {
		t.add(plain(e.Time.UTC().Format(time.DateTime)), plain(since(o.Now, e.Time)), plain(string(e.Type)), plain(e.Message))
	}
	if len(t.rows) == 0 && !l.Gap {
		return "Nothing happened on " + Clean(or(l.Node, "the node")) + ".\n"
	}
	for i, line := range t.lines(o.Width) {
		if i == 0 {
			line = o.Style.heading(line)
		}
		p.line(line)
	}
	return p.b.String()
}
