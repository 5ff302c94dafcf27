package render

import (
	"strings"

	"routewatch/shared/wire"
)

// Leases renders a table of leases; bare: without its head.
func Leases(leases []wire.Lease, bare bool, o Options) string {
	if o.Wide {
		o.Width = 0
	}
	t := &table{columns: []column{
		{title: "PEER", least: 12}, {title: "LEASE"}, {title: "STATE"}, {title: "EFFECT"}, {title: "CAUSE", spare: true},
		{title: "SINCE"}, {title: "PUBLIC IP"},
	}}
	if o.Wide {
		t.columns = append(t.columns, column{title: "BACKEND"}, column{title: "MAC"}, column{title: "LOOKUP"})
	}
	for _, l := range leases {
		state := cell{text: Clean(string(l.State))}
		switch {
		case l.State.Bad():
			state.paint = o.Style.bad
		case !l.State.Healthy():
			state.paint = o.Style.Unsure
		}
		row := []cell{
			plain(l.Peer), plain(prefix(l.Lease)), state, plain(effect(l)), plain(or(string(l.Cause), "-")),
			plain(since(o.Now, l.Since)), plain(address(l.PublicIP)),
		}
		if o.Wide {
			mac := "-"
			if !l.MAC.IsZero() {
				mac = l.MAC.String()
			}
			row = append(row, plain(or(l.Backend, "-")), plain(mac), plain(or(l.Lookup, "-")))
		}
		t.add(row...)
	}
	lines := t.lines(o.Width)
	if bare {
		lines = lines[1:]
	} else {
		lines[0] = o.Style.heading(lines[0])
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}
