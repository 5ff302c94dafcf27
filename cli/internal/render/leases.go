package render

import (
	"strings"
	"time"

	"routewatch/shared/wire"
)

// NodeLeases are the leases that one node knows of, and the time by its clock.
type NodeLeases struct {
	Node   string
	Leases []wire.Lease
	Now    time.Time
}

// Leases renders a table of leases. One: of one node, which is not named.
func Leases(nodes []NodeLeases, one bool, o Options) string {
	if o.Wide {
		o.Width = 0
	}
	t := &table{columns: []column{
		{title: "NODE", least: 12}, {title: "PEER", least: 12}, {title: "LEASE"}, {title: "STATE"}, {title: "EFFECT"},
		{title: "CAUSE", spare: true}, {title: "SINCE"}, {title: "PUBLIC IP"},
	}}
	if o.Wide {
		t.columns = append(t.columns, column{title: "BACKEND"}, column{title: "MAC"}, column{title: "LOOKUP"})
	}
	if one {
		t.columns = t.columns[1:]
	}
	for _, n := range nodes {
		for _, l := range n.Leases {
			row := append([]cell{plain(or(n.Node, "-"))}, o.leaseRow(l, n.Now)...)
			if one {
				row = row[1:]
			}
			t.add(row...)
		}
	}
	return t.text(o)
}

func (o Options) leaseRow(l wire.Lease, now time.Time) []cell {
	row := []cell{
		plain(l.Peer), plain(prefix(l.Lease)), o.state(l), plain(effect(l)), plain(or(string(l.Cause), "-")),
		plain(since(now, l.Since)), plain(address(l.PublicIP)),
	}
	if o.Wide {
		mac := "-"
		if !l.MAC.IsZero() {
			mac = l.MAC.String()
		}
		row = append(row, plain(or(l.Backend, "-")), plain(mac), plain(or(l.Lookup, "-")))
	}
	return row
}

// state is the word, and how good it is.
func (o Options) state(l wire.Lease) cell {
	c := cell{text: Clean(string(l.State))}
	switch {
	case l.State.Bad():
		c.paint = o.Style.bad
	case !l.State.Healthy():
		c.paint = o.Style.Unsure
	}
	return c
}

// text is the whole table; bare: without its head.
func (t *table) text(o Options) string {
	lines := t.lines(o.Width)
	if o.Bare {
		lines = lines[1:]
	} else {
		lines[0] = o.Style.heading(lines[0])
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}
