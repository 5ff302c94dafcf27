package render

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// bad returns the listed leases that are bad, worst first, and unknown those
// that could not be judged.
func (p *page) bad() (bad, unknown []wire.Lease) {
	for _, l := range p.s.Problems {
		if l.State.Bad() {
			bad = append(bad, l)
		} else {
			unknown = append(unknown, l)
		}
	}
	return bad, unknown
}

// shown limits the rows of a table.
func (p *page) shown(leases []wire.Lease) []wire.Lease {
	if p.o.Wide {
		return leases
	}
	return leases[:min(len(leases), maxRows)]
}

// effects says what happens to the packets, worst first.
func (p *page) effects() string {
	bad, _ := p.bad()
	count := map[verdict.Effect]int{}
	for _, l := range bad {
		count[l.Effect]++
	}
	atLeast := ""
	if p.s.BadLeases() > len(bad) {
		// The list is cut. The summary is not, but it also counts leases that
		// are pending.
		atLeast = "at least "
		if p.s.Summary.States[verdict.Pending] == 0 {
			atLeast = ""
			for e, n := range p.s.Summary.Effects {
				if n > 0 && e != verdict.Delivered && e != verdict.EffectUnknown {
					count[e] = n
				}
			}
		}
	}
	effects := slices.SortedFunc(maps.Keys(count), func(a, b verdict.Effect) int {
		return cmp.Or(a.Rank()-b.Rank(), cmp.Compare(a, b))
	})
	var parts []string
	for _, e := range effects {
		text := atLeast + number(count[e]) + " " + string(e)
		if e == verdict.EffectUnknown {
			text = atLeast + number(count[e]) + " with unknown effect"
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// peers says how many peers lost all their leases, all of one family, or a
// part, as far as the document lists them.
func (p *page) peers() string {
	bad, _ := p.bad()
	lost := map[string]map[netstate.Family]bool{} // by peer, the families that are lost altogether
	for _, l := range bad {
		if l.Effect == verdict.Delivered || l.Effect == verdict.EffectUnknown {
			continue
		}
		if lost[l.Peer] == nil {
			lost[l.Peer] = map[netstate.Family]bool{}
		}
		if !l.Partial {
			lost[l.Peer][l.Family] = true
		}
	}
	families := max(1, len(p.s.Summary.Families))
	count := map[string]int{}
	for _, lostOf := range lost {
		how := " cut off in part"
		switch len(lostOf) {
		case families:
			how = " cut off"
		case 1:
			for f := range lostOf {
				how = " cut off for " + f.String()
			}
		}
		count[how]++
	}
	text := ""
	for _, how := range slices.Sorted(maps.Keys(count)) {
		text += ", "
		if p.s.BadLeases() > len(bad) {
			text += "at least "
		}
		text += plural(count[how], "peer") + how
	}
	return text
}

func (p *page) nodeProblems() {
	t := &table{columns: []column{{title: "NODE PROBLEM"}, {title: "DEVICE"}, {title: "SINCE"}, {title: "WHAT", least: 30}}}
	if p.o.Wide {
		t.columns = slices.Insert(t.columns, 2, column{title: "FAMILY"})
	}
	for _, np := range p.s.NodeProblems {
		if np.Problem.Info() {
			continue // in the head
		}
		row := []cell{{text: Clean(string(np.Problem)), paint: p.o.Style.bad}, plain(or(np.Device, "-"))}
		if p.o.Wide {
			row = append(row, plain(family(np.Family)))
		}
		t.add(append(row, plain(since(p.o.Now, np.Since)), plain(np.Message))...)
	}
	p.tableSection(t)
}

// leases prints the bad leases. Where there are many, the groups come first:
// one event breaks thousands of leases in the same way.
func (p *page) leases() {
	bad, _ := p.bad()
	if len(bad) == 0 {
		return
	}
	shown := p.shown(bad)
	if len(shown) < p.s.BadLeases() {
		p.groups(bad)
	}
	columns := []column{
		{title: "PEER", least: 12}, {title: "LEASE"}, {title: "STATE"}, {title: "EFFECT"},
		{title: "CAUSE", spare: true}, {title: "SINCE"}, {title: "PACKETS GO NOW", least: 16},
	}
	if p.o.Wide {
		columns = append(columns, column{title: "ACTOR"}, column{title: "PUBLIC IP"}, column{title: "FAMILY"})
	}
	t := &table{columns: columns}
	for _, l := range shown {
		row := []cell{
			plain(l.Peer), plain(prefix(l.Lease)), {text: Clean(string(l.State)), paint: p.o.Style.bad}, plain(effect(l)),
			plain(or(string(l.Cause), "-")), plain(since(p.o.Now, l.Since)), plain(p.packets(l)),
		}
		if p.o.Wide {
			row = append(row, plain(actor(l.Actor)), plain(address(l.PublicIP)), plain(family(l.Family)))
		}
		t.add(row...)
	}
	p.tableSection(t)
	p.more(len(shown), p.s.BadLeases(), len(bad), bad[0].State)
}

// more says how to see the leases that the table does not show: wide has those
// in the document, the API has all.
func (p *page) more(shown, total, listed int, state verdict.State) {
	if shown >= total {
		return
	}
	text := fmt.Sprintf("... and %s more", number(total-shown))
	switch {
	case listed == total:
		text += fmt.Sprintf(": %s -o wide", p.o.Command)
	case listed > shown:
		text += fmt.Sprintf(" (%s of them: %s -o wide)", number(listed-shown), p.o.Command)
	}
	if total > listed {
		text += fmt.Sprintf("; all: curl '%s?state=%s'", p.o.LeasesURL, Clean(string(state)))
	}
	p.line(text)
}

// groups counts the listed leases that are broken in the same way.
func (p *page) groups(bad []wire.Lease) {
	type key struct {
		state  verdict.State
		effect string
		cause  verdict.Cause
	}
	type group struct {
		key
		n     int
		peers []string
	}
	var groups []*group
	index := map[key]*group{}
	for _, l := range bad {
		k := key{l.State, effect(l), l.Cause}
		g := index[k]
		if g == nil {
			g = &group{key: k}
			index[k] = g
			groups = append(groups, g)
		}
		g.n++
		g.peers = append(g.peers, l.Peer)
	}
	t := &table{columns: []column{{title: "LEASES"}, {title: "STATE"}, {title: "EFFECT"}, {title: "CAUSE"}, {title: "PEERS", least: 12}}}
	for _, g := range groups {
		count := number(g.n)
		switch total := p.s.Summary.States[g.state]; {
		case p.s.BadLeases() == len(bad):
		case len(groups) == 1 && total > g.n:
			count = number(total) // all that are listed are alike, and so many have this state
		default:
			count += " or more"
		}
		names := strings.Join(g.peers[:min(len(g.peers), maxExamples)], ", ")
		if len(g.peers) > maxExamples {
			names += ", ..."
		}
		state := cell{text: Clean(string(g.state)), paint: p.o.Style.bad}
		t.add(plain(count), state, plain(g.effect), plain(or(string(g.cause), "-")), plain(names))
	}
	p.tableSection(t)
}

// notKnown prints the leases that could not be judged, and why.
func (p *page) notKnown() {
	_, unknown := p.bad()
	if len(unknown) == 0 {
		return
	}
	t := &table{columns: []column{{title: "NOT KNOWN", least: 12}, {title: "LEASE"}, {title: "WHY", least: 30}}}
	shown := p.shown(unknown)
	for _, l := range shown {
		name := l.Peer
		if l.State != verdict.Unknown {
			name += " (" + string(l.State) + ")"
		}
		t.add(cell{text: Clean(name), paint: p.o.Style.Unsure}, plain(prefix(l.Lease)), plain(or(l.Reason, "no reason given")))
	}
	p.tableSection(t)
	p.more(len(shown), p.s.UnknownLeases(), len(unknown), verdict.Unknown)
}

func effect(l wire.Lease) string {
	if l.Partial {
		return string(l.Effect) + " (part)"
	}
	return or(string(l.Effect), "-")
}

// packets is what the kernel's lookup answered, without the address that was
// asked for, which is one of the lease's, and in a narrow terminal without the
// route that led there: "via 192.168.1.1 dev ens33 by the default route".
func (p *page) packets(l wire.Lease) string {
	text := l.Lookup
	first, rest, ok := strings.Cut(text, " ")
	if _, err := netip.ParseAddr(first); err == nil && ok {
		text = rest
	}
	if p.o.Width > 0 && p.o.Width < narrow {
		text, _, _ = strings.Cut(text, " by ")
	}
	return or(text, "-")
}

func prefix(p netip.Prefix) string {
	if !p.IsValid() {
		return "-"
	}
	return p.String()
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}
