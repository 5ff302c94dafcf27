package render

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

const (
	// keyWidth is the width of the words at the left of the head of a page.
	keyWidth = 10
	// maxRows is how many leases a table shows; wide shows all that the document has.
	maxRows = 20
	// maxExamples is how many incidents or peers of a group are named.
	maxExamples = 3
	// narrow is the width, in columns, below which a line for each lease is
	// worth more than all that could be said of it.
	narrow = 100
)

// Options say for what a page is rendered.
type Options struct {
	Wide  bool // everything that the document has, nothing shortened
	Brief bool // without the meaning of the words, for a screen that is drawn again and again
	Bare  bool // a table without its head
	Width int  // columns of the terminal; 0: no limit
	Style Style
	Now   time.Time // ages are reckoned to it
	// Command is what was typed for this page, without a format, and LeasesURL
	// is where all leases are: for the advice where to see more.
	Command, LeasesURL string
}

// Status renders a NodeStatus for a person on call: is this node well, which
// peers are cut off, since when, where do their packets go, why, what to type.
func Status(s *wire.NodeStatus, o Options) string {
	if o.Wide {
		o.Width = 0
	}
	p := &page{o: o, s: s}
	p.head()
	p.nodeProblems()
	p.leases()
	p.reasons()
	p.notKnown()
	p.details()
	if !o.Brief {
		p.glossary()
	}
	p.advice()
	p.wideInfo()
	return p.b.String()
}

// page collects the lines of one status.
type page struct {
	b strings.Builder
	o Options
	s *wire.NodeStatus
}

func (p *page) line(text string) { p.b.WriteString(text + "\n") }

// section starts a part of the page.
func (p *page) section(title string) {
	p.line("")
	if title != "" {
		p.line(p.o.Style.heading(title))
	}
}

// tableSection is a section of one table, left out if it has no rows.
func (p *page) tableSection(t *table) {
	if len(t.rows) == 0 {
		return
	}
	p.section("")
	for i, line := range t.lines(p.o.Width) {
		if i == 0 {
			line = p.o.Style.heading(line)
		}
		p.line(line)
	}
}

// entry prints text behind a key, wrapped to the terminal. Paint may be nil.
func (p *page) entry(key, text string, paint func(string) string) {
	for _, line := range wrap(Clean(text), keyWidth, p.o.Width) {
		if paint != nil {
			line = paint(line)
		}
		p.line(p.o.Style.heading(fmt.Sprintf("%-*s", keyWidth, key)) + line)
		key = ""
	}
}

func (p *page) head() {
	p.entry("NODE", or(p.s.Node, "not known"), nil)
	text, paint := p.verdict()
	p.entry("STATUS", text, paint)
	if rest := p.counts(); p.s.Outcome(p.o.Now) == wire.Broken && rest != "" {
		p.entry("", rest, nil)
	}
	if p.s.Outcome(p.o.Now) == wire.Broken && !p.s.Complete {
		p.entry("", "CANNOT TELL about the rest: not everything could be read, see SOURCES", p.o.Style.Unsure)
	}
	if p.s.Time.IsZero() || p.s.Old(p.o.Now) {
		p.entry("", fmt.Sprintf("OLD: %s, the exporter may be stuck; look at: kubectl -n routewatch get pods -o wide",
			past("judged", p.o.Now, p.s.Time)), p.o.Style.Unsure)
	}
	p.entry("BACKEND", p.backend(), nil)
	p.sources()
	p.incidents()
	p.history()
	p.info()
}

// history is said where something is wrong with it, and in full where all is.
func (p *page) history() {
	h := p.s.History
	switch {
	case h == nil:
	case h.Problem != "":
		p.entry("HISTORY", fmt.Sprintf("%s: %s (%s lost, %s to write)", h.Path, h.Problem, plural(int(h.Lost), "record"),
			plural(int(h.WriteErrors), "failure")), p.o.Style.Unsure)
	case p.o.Wide:
		p.entry("HISTORY", fmt.Sprintf("%s, %s of at most %s bytes", h.Path, number(int(h.Bytes)), number(int(h.MaxSize))), nil)
	}
}

// verdict is the one line that says how the node is.
func (p *page) verdict() (string, func(string) string) {
	counts := p.counts()
	switch p.s.Outcome(p.o.Now) {
	case wire.Well:
		if p.s.Summary.Leases == 0 {
			return "HEALTHY: no other node has a lease, so there is nothing to compare", p.o.Style.good
		}
		return "HEALTHY: " + counts, p.o.Style.good
	case wire.Broken:
		return "PROBLEMS: " + p.broken(), p.o.Style.bad
	}
	switch {
	case !p.s.Complete:
		if len(p.s.Summary.States) > 0 {
			counts = "; as last known: " + counts
		} else {
			counts = ""
		}
		return "CANNOT TELL: not everything could be read, see SOURCES" + counts, p.o.Style.Unsure
	case p.s.UnknownLeases() > 0:
		return "CANNOT TELL: " + counts, p.o.Style.Unsure
	}
	if p.s.Healthy && p.s.Old(p.o.Now) {
		return "CANNOT TELL: this is an old answer; then it was healthy: " + counts, p.o.Style.Unsure
	}
	if slices.ContainsFunc(p.s.Sources, func(src wire.Source) bool { return src.Problem != "" }) {
		return "CANNOT TELL: something is wrong with what was read, see SOURCES; " + counts, p.o.Style.Unsure
	}
	return "CANNOT TELL: the exporter says not healthy and names no reason; " + counts, p.o.Style.Unsure
}

// broken says how much is bad.
func (p *page) broken() string {
	var parts []string
	if bad := p.s.BadLeases(); bad > 0 {
		parts = append(parts, fmt.Sprintf("%s of %s bad%s%s",
			number(bad), plural(max(bad, p.s.Summary.Leases), "lease"), p.effects(), p.peers()))
	}
	nodeProblems := 0
	for _, np := range p.s.NodeProblems {
		if !np.Problem.Info() {
			nodeProblems++
		}
	}
	if nodeProblems > 0 {
		parts = append(parts, plural(nodeProblems, "problem")+" of the node itself")
	}
	return strings.Join(parts, ", ")
}

// counts names how many leases are in each state that is not bad.
func (p *page) counts() string {
	if p.s.Summary.Leases == 0 && len(p.s.Problems) == 0 {
		return "no leases"
	}
	ok := p.s.Summary.States[verdict.OK]
	var parts []string
	switch {
	case ok == p.s.Summary.Leases && ok > 0:
		if ok == 1 {
			return "the only lease is ok"
		}
		return fmt.Sprintf("all %s ok", plural(ok, "lease"))
	case p.s.BadLeases() > 0:
		if ok > 0 {
			parts = append(parts, number(ok)+" ok")
		}
	default:
		parts = append(parts, fmt.Sprintf("%s of %s ok", number(ok), plural(p.s.Summary.Leases, "lease")))
	}
	for _, other := range []struct {
		n    int
		text string
	}{
		{p.s.Summary.States[verdict.Pending], "pending (new, not yet complete)"},
		{p.s.Summary.States[verdict.Unsupported], "unsupported (not checked)"},
		{p.s.UnknownLeases(), "not known"},
	} {
		if other.n > 0 {
			parts = append(parts, number(other.n)+" "+other.text)
		}
	}
	return strings.Join(parts, ", ")
}

func (p *page) backend() string {
	backend := or(p.s.Backend, "not known")
	switch {
	case len(p.s.Devices) > 0:
	case p.s.Backend == "host-gw":
		return backend + ", which has no device of its own"
	default:
		return backend + ", no flannel device"
	}
	var devices []string
	for _, d := range p.s.Devices {
		state := "up"
		switch {
		case !d.Present:
			state = "MISSING"
		case !d.Up:
			state = "DOWN"
		}
		text := d.Name + " " + state
		if p.o.Wide && d.Present {
			text += fmt.Sprintf(" (%s, %smtu %d)", d.Family, p.vtep(d), d.MTU)
		}
		devices = append(devices, text)
	}
	return backend + ", " + strings.Join(devices, ", ")
}

// vtep is what only a vxlan device has.
func (p *page) vtep(d wire.Device) string {
	if d.VNI == 0 {
		return ""
	}
	return fmt.Sprintf("vni %d, mac %s, ", d.VNI, or(d.MAC.String(), "-"))
}

// sources names what was read and when. One that is complete is a few words;
// one that is not says why, on a line of its own.
func (p *page) sources() {
	key := "SOURCES"
	var good []string
	for _, src := range p.s.Sources {
		if src.Complete && src.Problem != "" {
			p.entry(key, fmt.Sprintf("%s, but %s", p.read(src), src.Problem), p.o.Style.Unsure)
			key = ""
			continue
		}
		if src.Complete {
			good = append(good, p.read(src))
			continue
		}
		text := fmt.Sprintf("%s NOT COMPLETE, %s: %s", src.Name, past("last read", p.o.Now, src.LastSync), or(src.Problem, "no reason given"))
		p.entry(key, text, p.o.Style.Unsure)
		key = ""
	}
	switch {
	case len(good) > 0:
		p.entry(key, strings.Join(good, ", "), nil)
	case len(p.s.Sources) == 0:
		p.entry(key, "none named by the exporter", p.o.Style.Unsure)
	}
}

// read says when a source was read and, where that is known, how old it is: a
// file that nobody writes any more is read as well as any other.
func (p *page) read(src wire.Source) string {
	text := past("read", p.o.Now, src.LastSync)
	if !src.Written.IsZero() {
		text = past("written", p.o.Now, src.Written) + ", " + text
	}
	return src.Name + " " + text
}

func (p *page) incidents() {
	key := "INCIDENT"
	for i, in := range p.s.Incidents {
		if i == maxExamples && !p.o.Wide {
			p.entry(key, fmt.Sprintf("... and %s more: %s -o wide", number(len(p.s.Incidents)-i), p.o.Command), nil)
			return
		}
		text := string(in.Cause)
		if in.Device != "" {
			text += " on " + in.Device
		}
		text += fmt.Sprintf(" %s ago broke %s", since(p.o.Now, in.Start), plural(in.Leases, "lease"))
		if by := actor(in.Actor); by != "-" {
			text += ", by " + by
		}
		p.entry(key, text, nil)
		key = ""
	}
}

// info names what is worth knowing and no fault: a line each, with one example.
func (p *page) info() {
	key := "INFO"
	say := func(n int, what, example string) {
		if n == 0 {
			return
		}
		text := fmt.Sprintf("%s: %s", plural(n, what), example)
		if n > 1 {
			text = fmt.Sprintf("%s, such as %s; all: %s -o wide", plural(n, what), example, p.o.Command)
		}
		p.entry(key, text, nil)
		key = ""
	}
	stale, skipped := "(not listed)", ""
	if len(p.s.Stale) > 0 {
		stale = fmt.Sprintf("%s %s", p.s.Stale[0].Kind, p.s.Stale[0].Object)
	}
	if len(p.s.Skipped) > 0 {
		skipped = fmt.Sprintf("%s (%s)", p.s.Skipped[0].Node, p.s.Skipped[0].Reason)
	}
	// The summary and the list should agree; the larger number hides nothing.
	say(max(p.s.Summary.Stale, len(p.s.Stale)), "stale object", stale)
	say(len(p.s.Skipped), "skipped node", skipped)
	for _, np := range p.s.NodeProblems {
		if np.Problem.Info() {
			p.entry(key, fmt.Sprintf("%s on %s since %s: %s", np.Problem, or(np.Device, "this node"), since(p.o.Now, np.Since), np.Message), nil)
			key = ""
		}
	}
}

func actor(a *wire.Actor) string {
	switch {
	case a == nil:
		return "-"
	case a.Kind == verdict.ActorKernel:
		return "the kernel"
	case a.PID != 0 && a.Comm != "":
		return fmt.Sprintf("%s (pid %d)", a.Comm, a.PID)
	case a.PID != 0:
		return fmt.Sprintf("pid %d", a.PID)
	case a.PortID != 0:
		return fmt.Sprintf("%s, netlink port %d", a.Kind, a.PortID)
	case a.Kind == verdict.ActorUnknown:
		return "-"
	}
	return string(a.Kind)
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
