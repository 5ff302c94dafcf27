package render

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// Where there are more than maxCommands, a table shows fewCommands as an
// example: nobody types dozens. Wide shows all.
const (
	maxCommands = 12
	fewCommands = 4
)

// glossary explains every word that the page uses. The kind of a word is said
// as well: link_down is a state and a cause.
func (p *page) glossary() {
	type entry struct{ name, meaning string }
	var entries []entry
	explain := func(kind string, words []verdict.Word, name string) {
		e := entry{Clean(kind + " " + name), verdict.Lookup(words, name).Meaning}
		if name != "" && !slices.Contains(entries, e) {
			entries = append(entries, e)
		}
	}
	for _, np := range p.s.NodeProblems {
		if np.Problem.Info() {
			continue
		}
		explain("problem", verdict.NodeProblems(), string(np.Problem))
	}
	bad, _ := p.bad()
	shown := p.shown(bad)
	for _, l := range shown {
		explain("state", verdict.States(), string(l.State))
	}
	for _, l := range shown {
		explain("effect", verdict.Effects(), string(l.Effect))
	}
	for _, l := range shown {
		explain("cause", verdict.Causes(), string(l.Cause))
	}
	if len(entries) == 0 {
		return
	}
	width := 0
	for _, e := range entries {
		width = max(width, utf8.RuneCountInString(e.name))
	}
	p.section("WHAT IT MEANS")
	for _, e := range entries {
		name := fmt.Sprintf("  %-*s  ", width, e.name)
		for _, line := range wrap(e.meaning, width+4, p.o.Width) {
			p.line(name + line)
			name = strings.Repeat(" ", width+4)
		}
	}
}

// reasons gives the words of the judge where the objects do not speak for
// themselves.
func (p *page) reasons() {
	bad, _ := p.bad()
	t := &table{columns: []column{{title: "PEER", least: 12}, {title: "LEASE"}, {title: "WHY", least: 30}}}
	for _, l := range p.shown(bad) {
		if l.Reason != "" {
			t.add(plain(l.Peer), plain(prefix(l.Lease)), plain(l.Reason))
		}
	}
	p.tableSection(t)
}

// details sets what is expected against what is there. Only wide has it.
func (p *page) details() {
	if !p.o.Wide {
		return
	}
	bad, _ := p.bad()
	for i, l := range bad {
		if i == 0 {
			p.section("DETAILS (- expected, + is there, > the kernel's answer for a packet now)")
		}
		p.line("  " + Clean(l.Peer) + " " + prefix(l.Lease))
		for _, object := range l.Expected {
			p.line("    - " + Clean(object))
		}
		for _, object := range l.Actual {
			p.line("    + " + Clean(object))
		}
		p.line("    > " + Clean(or(l.Lookup, "not asked")))
		if len(l.Unchecked) > 0 {
			p.line("    ? not checked: " + Clean(strings.Join(l.Unchecked, ", ")))
		}
	}
}

// advice prints what to type: the commands that mend the single objects, then
// those that do more. Commands are neither wrapped nor
// indented: they are to be copied.
func (p *page) advice() {
	var single, wider []wire.Advice
	collect := func(advice []wire.Advice) {
		for _, a := range advice {
			list := &single
			if a.Why != "" {
				list = &wider
			}
			if !slices.Contains(*list, a) {
				*list = append(*list, a)
			}
		}
	}
	for _, np := range p.s.NodeProblems {
		if !np.Problem.Info() || p.o.Wide {
			collect(np.Advice)
		}
	}
	bad, unknown := p.bad()
	for _, l := range slices.Concat(bad, unknown) {
		collect(l.Advice)
	}
	if len(single) > 0 {
		p.section("TO MEND, as root on " + Clean(or(p.s.Node, "the node")))
		p.commands(single)
	}
	for i, a := range wider {
		if i == 0 || a.Why != wider[i-1].Why {
			title := "TO MEND"
			if len(single) > 0 {
				title = "OR ALL AT ONCE"
			}
			p.section(title)
			for _, line := range wrap(Clean(a.Why), 2, p.o.Width) {
				p.line("# " + line)
			}
		}
		p.line(Clean(a.Command))
	}
}

func (p *page) commands(advice []wire.Advice) {
	shown := len(advice)
	if shown > maxCommands && !p.o.Wide {
		shown = fewCommands
	}
	for _, a := range advice[:shown] {
		p.line(Clean(a.Command))
	}
	if shown < len(advice) {
		p.line(fmt.Sprintf("... and %s more: %s -o wide", number(len(advice)-shown), p.o.Command))
	}
}

// wideInfo lists in full what the head of the page only counts.
func (p *page) wideInfo() {
	if !p.o.Wide {
		return
	}
	t := &table{columns: []column{{title: "STALE (info)"}, {title: "FAMILY"}, {title: "SINCE"}, {title: "OBJECT"}, {title: "TO REMOVE"}}}
	for _, o := range p.s.Stale {
		var commands []string
		for _, a := range o.Advice {
			commands = append(commands, a.Command)
		}
		t.add(plain(string(o.Kind)), plain(family(o.Family)), plain(since(p.o.Now, o.Since)), plain(o.Object),
			plain(or(strings.Join(commands, "; "), "-")))
	}
	p.tableSection(t)
	t = &table{columns: []column{{title: "SKIPPED (info)"}, {title: "WHY"}}}
	for _, n := range p.s.Skipped {
		t.add(plain(n.Node), plain(n.Reason))
	}
	p.tableSection(t)
}

func family(f netstate.Family) string {
	if f == 0 {
		return "-"
	}
	return f.String()
}
