package render

import (
	"slices"
	"time"

	"routewatch/shared/wire"
)

// NodeEvents is what happened on one node, the oldest first, and the time by its
// clock.
type NodeEvents struct {
	Node   string
	Gap    bool // events before these are lost
	Events []wire.Event
	Now    time.Time
}

// Events renders what happened, the oldest first, with the times of the
// exporters' clocks in UTC, as their logs have them. One: of one node, which is
// not named.
func Events(nodes []NodeEvents, one bool, o Options) string {
	if o.Wide {
		o.Width = 0
	}
	type row struct {
		at    time.Time
		cells []cell
	}
	p := &page{o: o}
	var rows []row
	for _, n := range nodes {
		name := or(n.Node, "the node")
		if n.Gap && one {
			p.line(o.Style.Unsure("GAP: events before these are lost; what is open now: routewatch status"))
		} else if n.Gap {
			p.line(o.Style.Unsure(Clean("GAP: events of " + name + " before these are lost; what is open now: routewatch status")))
		}
		for _, e := range n.Events {
			rows = append(rows, row{e.Time, []cell{
				plain(e.Time.UTC().Format(time.DateTime)), plain(since(n.Now, e.Time)), plain(name), plain(string(e.Type)), plain(e.Message),
			}})
		}
	}
	if len(rows) == 0 {
		if p.b.Len() > 0 || o.Bare {
			return p.b.String()
		}
		where := "any node that answered"
		if len(nodes) == 1 {
			where = or(nodes[0].Node, "the node")
		}
		return "Nothing happened on " + Clean(where) + ".\n"
	}
	slices.SortStableFunc(rows, func(a, b row) int { return a.at.Compare(b.at) })
	t := &table{columns: []column{{title: "TIME"}, {title: "AGO"}, {title: "NODE", least: 12}, {title: "EVENT"}, {title: "WHAT", least: 30}}}
	if one {
		t.columns = slices.Delete(t.columns, 2, 3)
	}
	for _, r := range rows {
		if one {
			r.cells = slices.Delete(r.cells, 2, 3)
		}
		t.add(r.cells...)
	}
	return p.b.String() + t.text(o)
}
