package render

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"routewatch/shared/wire"
)

// NodeView is what one exporter said, and the time by its clock.
type NodeView struct {
	Status *wire.NodeStatus
	Now    time.Time
}

// ClusterView is what the exporters of several nodes said.
type ClusterView struct {
	Name  string // of the cluster; "" if the exporters were named one by one
	Nodes []NodeView
	Absences
}

// Absences are what is not known of a cluster.
type Absences struct {
	Unreachable []wire.Unreachable
	Problem     string // why there may be more nodes; "" if there are none
}

// Lines say it, a line for each.
func (a Absences) Lines() []string {
	var lines []string
	for _, u := range a.Unreachable {
		lines = append(lines, Clean(or(u.Node, u.Exporter)+": "+u.Problem))
	}
	if a.Problem != "" {
		lines = append(lines, Clean(a.Problem))
	}
	return lines
}

// maxMended is how many nodes' commands are printed.
const maxMended = 3

// Cluster renders the answers of several nodes: one line a node, worst first,
// then the problems, then what to type.
func Cluster(c ClusterView, o Options) string {
	if o.Wide {
		o.Width = 0
	}
	p := &clusterPage{page: page{o: o, s: &wire.NodeStatus{}}, c: c}
	p.rows = p.sorted()
	p.head()
	p.nodes()
	p.peersCutOff()
	p.nodeProblems()
	p.problems()
	p.advice()
	return p.b.String()
}

// clusterPage collects the lines of one page.
type clusterPage struct {
	page
	c    ClusterView
	rows []nodeRow
}

// nodeRow is a node as the table shows it.
type nodeRow struct {
	view    NodeView
	page    *page // of this node alone
	outcome wire.Outcome
}

func (p *clusterPage) sorted() []nodeRow {
	var rows []nodeRow
	for _, n := range p.c.Nodes {
		o := p.o
		o.Now = n.Now
		rows = append(rows, nodeRow{n, &page{o: o, s: n.Status}, n.Status.Outcome(n.Now)})
	}
	rank := map[wire.Outcome]int{wire.Broken: 0, wire.CannotTell: 1, wire.Well: 2}
	slices.SortStableFunc(rows, func(a, b nodeRow) int {
		return cmp.Or(rank[a.outcome]-rank[b.outcome], b.view.Status.BadLeases()-a.view.Status.BadLeases())
	})
	return rows
}

func (p *clusterPage) count(o wire.Outcome) (n int) {
	for _, r := range p.rows {
		if r.outcome == o {
			n++
		}
	}
	return n
}

func (p *clusterPage) head() {
	p.entry("CLUSTER", or(p.c.Name, "the exporters that were named"), nil)
	var parts []string
	for _, part := range []struct {
		n    int
		text string
	}{
		{p.count(wire.Broken), "with problems"}, {len(p.c.Unreachable), "without an answer"},
		{p.count(wire.CannotTell), "cannot tell"}, {p.count(wire.Well), "healthy"},
	} {
		if part.n > 0 {
			parts = append(parts, number(part.n)+" "+part.text)
		}
	}
	total := len(p.rows) + len(p.c.Unreachable)
	text := plural(total, "node") + ": " + strings.Join(parts, ", ")
	switch {
	case total == 0:
		p.entry("STATUS", "CANNOT TELL: no exporter was found", p.o.Style.Unsure)
	case p.count(wire.Broken) > 0:
		p.entry("STATUS", "PROBLEMS: "+text, p.o.Style.bad)
	case p.count(wire.Well) < total || p.c.Problem != "":
		p.entry("STATUS", "CANNOT TELL: "+text, p.o.Style.Unsure)
	default:
		p.entry("STATUS", "HEALTHY: "+text, p.o.Style.good)
	}
	if p.c.Problem != "" {
		p.entry("", p.c.Problem, p.o.Style.Unsure)
	}
}

// nodes is the table with a line a node. Healthy nodes are left out where there
// are many nodes: they are counted above.
func (p *clusterPage) nodes() {
	t := &table{columns: []column{
		{title: "NODE", least: 12}, {title: "STATUS"}, {title: "LEASES", spare: true}, {title: "BAD"}, {title: "CAUSE", spare: true},
		{title: "SINCE"}, {title: "WHAT", least: 30},
	}}
	all := p.o.Wide || len(p.rows)+len(p.c.Unreachable) <= maxRows
	left := maxRows
	skipped := map[string]int{}
	show := func(kind string, healthy bool, cells ...cell) {
		if !all && (healthy || left == 0) {
			skipped[kind]++
			return
		}
		left--
		t.add(cells...)
	}
	for _, r := range p.rows {
		if r.outcome == wire.Broken {
			show("with problems", false, p.row(r, "PROBLEMS", p.o.Style.bad)...)
		}
	}
	for _, u := range p.c.Unreachable {
		show("without an answer", false, cell{text: Clean(or(u.Node, u.Exporter))}, cell{text: "NO ANSWER", paint: p.o.Style.Unsure},
			plain("-"), plain("-"), plain("-"), plain("-"), plain(u.Problem))
	}
	for _, r := range p.rows {
		switch r.outcome {
		case wire.CannotTell:
			show("cannot tell", false, p.row(r, "CANNOT TELL", p.o.Style.Unsure)...)
		case wire.Well:
			show("healthy", true, p.row(r, "HEALTHY", p.o.Style.good)...)
		}
	}
	p.tableSection(t)
	var more []string
	for _, kind := range slices.Sorted(maps.Keys(skipped)) {
		more = append(more, number(skipped[kind])+" "+kind)
	}
	if len(more) > 0 {
		p.line(fmt.Sprintf("... and %s: %s -o wide", strings.Join(more, ", "), p.o.Command))
	}
}

func (p *clusterPage) row(r nodeRow, word string, paint func(string) string) []cell {
	s := r.view.Status
	bad, _ := r.page.bad()
	cause, began := "-", time.Time{}
	for i, l := range bad {
		if c := or(string(l.Cause), "-"); i == 0 || c == cause {
			cause = c
		} else {
			cause = "several"
		}
		if began.IsZero() || l.Since.Before(began) {
			began = l.Since
		}
	}
	for _, np := range s.NodeProblems {
		if !np.Problem.Info() && (began.IsZero() || np.Since.Before(began)) {
			began = np.Since
		}
	}
	text, _ := r.page.verdict()
	_, what, _ := strings.Cut(text, ": ")
	return []cell{
		plain(or(s.Node, "-")), {text: word, paint: paint}, plain(number(s.Summary.Leases)), plain(number(s.BadLeases())), plain(cause),
		plain(since(r.page.o.Now, began)), plain(what),
	}
}

// peersCutOff names the peers that many nodes lost: then the fault is rather
// the peer's than theirs.
func (p *clusterPage) peersCutOff() {
	lost := map[string]int{}
	for _, r := range p.rows {
		peers := map[string]bool{}
		bad, _ := r.page.bad()
		if 2*len(bad) >= r.view.Status.Summary.Leases {
			continue // the fault is its own
		}
		for _, l := range bad {
			peers[l.Peer] = true
		}
		for peer := range peers {
			lost[peer]++
		}
	}
	t := &table{columns: []column{{title: "PEER", least: 12}, {title: "BAD ON"}, {title: "LOOK AT IT FIRST"}}}
	peers := slices.SortedFunc(maps.Keys(lost), func(a, b string) int { return cmp.Or(lost[b]-lost[a], cmp.Compare(a, b)) })
	for _, peer := range peers[:min(len(peers), maxExamples)] {
		others := 0
		for _, r := range p.rows {
			if r.view.Status.Node != peer {
				others++
			}
		}
		if lost[peer] < 2 || 2*lost[peer] < others {
			continue
		}
		t.add(cell{text: Clean(peer), paint: p.o.Style.bad}, plain(fmt.Sprintf("%d of %s", lost[peer], plural(others, "node"))),
			plain("the same peer is bad for many: "+p.nodeCommand(peer)))
	}
	p.tableSection(t)
}

// nodeCommand is what to type to see one node.
func (p *clusterPage) nodeCommand(node string) string {
	if p.c.Name == "" {
		return "routewatch status --exporter URL-OF-" + Clean(node)
	}
	return p.o.Command + " --node " + Clean(node)
}

func (p *clusterPage) nodeProblems() {
	t := &table{columns: []column{
		{title: "NODE", least: 12}, {title: "NODE PROBLEM"}, {title: "DEVICE"}, {title: "SINCE"}, {title: "WHAT", least: 30},
	}}
	total := 0
	for _, r := range p.rows {
		for _, np := range r.view.Status.NodeProblems {
			if np.Problem.Info() {
				continue
			}
			if total++; p.o.Wide || total <= maxRows {
				t.add(plain(or(r.view.Status.Node, "-")), cell{text: Clean(string(np.Problem)), paint: p.o.Style.bad}, plain(or(np.Device, "-")),
					plain(since(r.view.Now, np.Since)), plain(np.Message))
			}
		}
	}
	p.tableSection(t)
	if total > len(t.rows) {
		p.line(fmt.Sprintf("... and %s more: %s -o wide", number(total-len(t.rows)), p.o.Command))
	}
}

// problems is the table of the bad leases of all nodes, worst first.
func (p *clusterPage) problems() {
	type problem struct {
		row   nodeRow
		lease wire.Lease
	}
	var listed []problem
	total := 0
	for _, r := range p.rows {
		bad, _ := r.page.bad()
		for _, l := range bad {
			listed = append(listed, problem{r, l})
		}
		total += r.view.Status.BadLeases()
	}
	slices.SortStableFunc(listed, func(a, b problem) int { return a.lease.Effect.Rank() - b.lease.Effect.Rank() })
	t := &table{columns: []column{
		{title: "NODE", least: 12}, {title: "PEER", least: 12}, {title: "LEASE"}, {title: "STATE"}, {title: "EFFECT"},
		{title: "CAUSE", spare: true}, {title: "SINCE"}, {title: "PACKETS GO NOW", least: 16},
	}}
	for _, b := range listed {
		if len(t.rows) == maxRows && !p.o.Wide {
			break
		}
		l := b.lease
		t.add(plain(or(b.row.view.Status.Node, "-")), plain(l.Peer), plain(prefix(l.Lease)), cell{text: Clean(string(l.State)),
			paint: p.o.Style.bad},
			plain(effect(l)), plain(or(string(l.Cause), "-")), plain(since(b.row.view.Now, l.Since)), plain(b.row.page.packets(l)))
	}
	p.tableSection(t)
	if shown := len(t.rows); total > shown {
		p.line(fmt.Sprintf("... and %s more: %s -o wide", number(total-shown), p.o.Command))
	}
}

// advice is what to type for the worst nodes, and where to read the rest.
func (p *clusterPage) advice() {
	var others []string
	shown := 0
	for _, r := range p.rows {
		if r.outcome != wire.Broken {
			continue
		}
		if shown == maxMended && !p.o.Wide {
			others = append(others, Clean(or(r.view.Status.Node, "-")))
			continue
		}
		shown++
		r.page.o.Command = p.nodeCommand(r.view.Status.Node)
		r.page.advice()
		p.b.WriteString(r.page.b.String())
	}
	if len(others) > 0 {
		names := strings.Join(others[:min(len(others), maxExamples)], ", ")
		if len(others) > maxExamples {
			names += ", ..."
		}
		p.section(fmt.Sprintf("AND %s MORE", strings.ToUpper(plural(len(others), "node"))))
		p.line("# what mends " + names)
		p.line(p.nodeCommand("NODE"))
	}
}
