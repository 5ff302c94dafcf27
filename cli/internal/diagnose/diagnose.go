// Package diagnose goes through everything that can be wrong between a pod and a
// pod on another node, in the order in which a person would look, and says of
// each step what was seen. It is pure: it is given what others asked for.
package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// Result is how a step ended.
type Result string

// The results.
const (
	Good    Result = "ok"
	Bad     Result = "bad"
	Unknown Result = "unknown" // it could not be seen
	Noted   Result = "noted"   // worth reading, and judges nothing
	Skipped Result = "skipped" // nobody looked, or there is nothing to see
)

// Step is one thing that was looked at.
type Step struct {
	Name   string   `json:"name"`
	Result Result   `json:"result"`
	Saw    string   `json:"saw"`             // in a sentence
	Lines  []string `json:"lines,omitempty"` // of it, the first few
}

// Evidence is what was asked for.
type Evidence struct {
	Node   string
	Status *wire.NodeStatus // nil if the exporter did not answer
	Err    error            // why
	Leases []wire.Lease     // the bad and the unknown ones, all of them
	Now    time.Time        // by the exporter's clock
	Pods   Pods
}

// maxLines is how many examples a step has.
const maxLines = 3

// Steps are all of them, in order.
func Steps(e Evidence) []Step {
	steps := []Step{e.exporter()}
	if e.Status != nil {
		steps = append(steps, e.leases(), e.device(), e.routes(), e.lookup(), e.neighbors())
		switch e.Status.Backend {
		case "vxlan":
			steps = append(steps, e.objects("forwarding entries", wire.ObjectFDB, verdict.FDBMissing, verdict.FDBWrong))
		case "wireguard":
			steps = append(steps, e.objects("WireGuard peers", wire.ObjectPeer, verdict.PeerMissing, verdict.PeerWrong))
		}
		steps = append(steps, e.underlay(), e.forwarding(), e.history())
	}
	return append(steps, e.Pods.steps(e.Now)...)
}

// Outcome is that of the worst step.
func Outcome(steps []Step) wire.Outcome {
	outcome := wire.Well
	for _, s := range steps {
		switch s.Result {
		case Bad:
			return wire.Broken
		case Unknown:
			outcome = wire.CannotTell
		}
	}
	return outcome
}

func (e *Evidence) exporter() Step {
	s := Step{Name: "exporter", Result: Good}
	switch {
	case e.Status == nil:
		s.Result, s.Saw = Unknown, fmt.Sprint(e.Err)
	case e.Status.Old(e.Now):
		s.Result, s.Saw = Unknown, fmt.Sprintf("it judged last at %s: it may be stuck", e.Status.Time.UTC().Format(time.RFC3339))
	default:
		s.Saw = fmt.Sprintf("it answers, and judged at %s", e.Status.Time.UTC().Format(time.RFC3339))
	}
	return s
}

// leases is whether it is known what should be there.
func (e *Evidence) leases() Step {
	s := Step{Name: "leases", Result: Good}
	var names []string
	for _, src := range e.Status.Sources {
		if src.Name == "kernel" {
			continue
		}
		names = append(names, src.Name)
		if !src.Complete || src.Problem != "" {
			s.Result = Unknown
			s.Lines = append(s.Lines, src.Name+": "+cmp.Or(src.Problem, "not complete"))
		}
	}
	s.Saw = fmt.Sprintf("%d of other nodes, by %s", e.Status.Summary.Leases, cmp.Or(strings.Join(names, ", "), "no source"))
	if n := len(e.Status.Skipped); n > 0 {
		s.Saw += fmt.Sprintf("; %s has none", count(n, "node"))
	}
	wrong := e.of(verdict.Conflict, verdict.VNIMismatch)
	if len(wrong) > 0 {
		s.Result, s.Saw = Bad, fmt.Sprintf("%d of %d cannot be right", len(wrong), e.Status.Summary.Leases)
		s.Lines = append(s.Lines, reasons(wrong)...)
	}
	return s
}

func (e *Evidence) device() Step {
	s := Step{Name: "flannel device", Result: Good}
	if e.Status.Backend == "" {
		return Step{Name: s.Name, Result: Unknown, Saw: "which backend this node has is not known"}
	}
	var seen []string
	for _, d := range e.Status.Devices {
		state := "up"
		switch {
		case !d.Present:
			state, s.Result = "MISSING", Bad
		case !d.Up:
			state, s.Result = "DOWN", Bad
		}
		seen = append(seen, d.Name+" "+state)
	}
	s.Saw = cmp.Or(strings.Join(seen, ", "), e.Status.Backend+" has no device of its own")
	for _, l := range e.of(verdict.LinkDown) {
		s.Result = Bad
		if l.Reason != "" && !slices.Contains(s.Lines, l.Reason) {
			s.Lines = append(s.Lines, l.Reason)
		}
	}
	e.nodeProblems(&s, func(p verdict.NodeProblem) bool { return strings.HasPrefix(string(p), "device_") && !p.Info() })
	return s
}

// routes counts route objects.
func (e *Evidence) routes() Step {
	sum := e.Status.Summary
	s := Step{Name: "routes", Result: Good, Saw: fmt.Sprintf("all %d are there", sum.Expected)}
	if e.blind(&s) {
		return s
	}
	if sum.Missing > 0 {
		s.Result, s.Saw = Bad, fmt.Sprintf("%d of %d are missing", sum.Missing, sum.Expected)
		s.Lines = e.missing(wire.ObjectRoute)
	}
	e.notJudged(&s)
	return s
}

// lookup is what the kernel itself does with packets.
func (e *Evidence) lookup() Step {
	s := Step{Name: "lookup", Result: Good, Saw: "the kernel sends packets to each peer by flannel's path"}
	if e.blind(&s) {
		return s
	}
	effects := map[verdict.Effect]int{}
	for _, l := range e.Leases {
		if offPath(l) {
			effects[l.Effect]++
			s.Lines = append(s.Lines, l.Peer+": "+l.Lookup)
		}
	}
	var parts []string
	for _, w := range verdict.Effects() {
		if n := effects[verdict.Effect(w.Name)]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, w.Name))
			delete(effects, verdict.Effect(w.Name))
		}
	}
	for effect, n := range effects {
		parts = append(parts, fmt.Sprintf("%d %s", n, effect))
	}
	if len(parts) > 0 {
		s.Result, s.Saw = Bad, fmt.Sprintf("packets to %d of %s go elsewhere: %s", len(s.Lines),
			count(e.Status.Summary.Leases, "lease"), strings.Join(parts, ", "))
	}
	if wins := e.of(verdict.Shadowed, verdict.Diverted, verdict.Blackholed); len(wins) > 0 {
		s.Saw += fmt.Sprintf("; for %d of them another route or a policy rule wins", len(wins))
	}
	e.notJudged(&s)
	return s
}

// offPath reports whether packets do not take flannel's path, or may not: by
// the kernel's answer, or by a state of which no other step tells.
func offPath(l wire.Lease) bool {
	switch l.State {
	case verdict.Shadowed, verdict.Diverted, verdict.Blackholed, verdict.WrongDevice, verdict.WrongGateway:
		return true
	}
	if word := verdict.Lookup(verdict.States(), string(l.State)); word.Title == word.Name {
		return true // this version does not know it
	}
	switch l.Effect {
	case verdict.Undeliverable, verdict.Delivered, verdict.EffectUnknown:
		return false
	}
	return l.State.Bad()
}

func (e *Evidence) neighbors() Step {
	if e.Status.Backend != "vxlan" {
		return Step{Name: "neighbors", Result: Skipped, Saw: e.Status.Backend + " needs none"}
	}
	return e.objects("neighbors", wire.ObjectNeighbor, verdict.NeighborMissing, verdict.NeighborWrong)
}

// objects are those of a kind: an object is bad if it is missing, whatever is
// said of its lease, whose state is that of the first thing that is wrong.
func (e *Evidence) objects(name string, kind wire.ObjectKind, states ...verdict.State) Step {
	s := Step{Name: name, Result: Good, Saw: "those of each lease are there"}
	if e.blind(&s) {
		return s
	}
	s.Lines = e.missing(kind)
	for _, l := range e.of(states...) {
		if len(l.Expected) == 0 {
			s.Lines = append(s.Lines, l.Peer+": "+string(l.State))
		}
	}
	if n := len(s.Lines); n > 0 {
		s.Result, s.Saw = Bad, fmt.Sprintf("missing or wrong for %d of %s", n, count(e.Status.Summary.Leases, "lease"))
	}
	e.notJudged(&s)
	return s
}

// underlay is judged only where the rest of a lease is right.
func (e *Evidence) underlay() Step {
	s := Step{Name: "underlay", Result: Good, Saw: "there is a path to the public IP of each peer that else is right"}
	if e.blind(&s) {
		return s
	}
	if down := e.of(verdict.UnderlayDown); len(down) > 0 {
		s.Result, s.Saw = Bad, fmt.Sprintf("no path to the public IP of %d of %d peers' leases", len(down), e.Status.Summary.Leases)
		s.Lines = reasons(down)
	}
	e.notJudged(&s)
	return s
}

// forwarding is what the node itself does with its pods' packets.
func (e *Evidence) forwarding() Step {
	s := Step{Name: "forwarding", Result: Good, Saw: "the kernel forwards between this node's pods and flannel"}
	if e.blind(&s) {
		return s
	}
	e.nodeProblems(&s, func(p verdict.NodeProblem) bool { return !strings.HasPrefix(string(p), "device_") && !p.Info() })
	if s.Result == Bad {
		s.Saw = "not as pods need it"
	}
	return s
}

// history is what happened: it judges nothing.
func (e *Evidence) history() Step {
	s := Step{Name: "what happened", Result: Noted, Saw: "no incident is open"}
	for _, i := range e.Status.Incidents {
		text := string(i.Cause)
		if i.Device != "" {
			text += " on " + i.Device
		}
		text += fmt.Sprintf(" at %s broke %s", i.Start.UTC().Format(time.RFC3339), count(i.Leases, "lease"))
		if i.Actor != nil && i.Actor.Comm != "" {
			text += fmt.Sprintf(", by %s (pid %d)", i.Actor.Comm, i.Actor.PID)
		}
		s.Lines = append(s.Lines, text)
	}
	switch n := len(e.Status.Incidents); n {
	case 0:
		s.Result = Good
	case 1:
		s.Saw = "an incident is open"
	default:
		s.Saw = fmt.Sprintf("%d incidents are open", n)
	}
	return s
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// of are the leases in one of the states.
func (e *Evidence) of(states ...verdict.State) (found []wire.Lease) {
	for _, l := range e.Leases {
		if slices.Contains(states, l.State) {
			found = append(found, l)
		}
	}
	return found
}

// missing are the expected objects of a kind that are not there, of all leases.
func (e *Evidence) missing(kind wire.ObjectKind) (objects []string) {
	for _, l := range e.Leases {
		if !l.State.Bad() {
			continue
		}
		for _, o := range l.Difference().Missing {
			if wire.KindOf(o) == kind {
				objects = append(objects, l.Peer+": "+o)
			}
		}
	}
	return objects
}

func reasons(leases []wire.Lease) (lines []string) {
	for _, l := range leases {
		lines = append(lines, l.Peer+": "+cmp.Or(l.Reason, string(l.State)))
	}
	return lines
}

// nodeProblems adds those that match.
func (e *Evidence) nodeProblems(s *Step, match func(verdict.NodeProblem) bool) {
	for _, np := range e.Status.NodeProblems {
		if match(np.Problem) {
			s.Result = Bad
			s.Lines = append(s.Lines, string(np.Problem)+": "+np.Message)
		}
	}
}

// blind reports whether the kernel was not read, and says so.
func (e *Evidence) blind(s *Step) bool {
	for _, src := range e.Status.Sources {
		if src.Name == "kernel" && !src.Complete {
			s.Result, s.Saw = Unknown, "the kernel cannot be read: "+cmp.Or(src.Problem, "not complete")
			return true
		}
	}
	if len(e.Status.Sources) == 0 || e.Status.Summary.Leases == 0 && !e.Status.Complete {
		s.Result, s.Saw = Unknown, "what should be there is not known: see leases"
		return true
	}
	return false
}

// notJudged turns a good step into an unknown one where leases could not be judged.
func (e *Evidence) notJudged(s *Step) {
	unknown := e.of(verdict.Unknown)
	if s.Result != Good || len(unknown) == 0 {
		return
	}
	s.Result, s.Saw = Unknown, fmt.Sprintf("%d of %d leases could not be judged", len(unknown), e.Status.Summary.Leases)
	s.Lines = reasons(unknown)
}

// Advice is what to type, the commands for single objects first.
func (e *Evidence) Advice() []wire.Advice {
	all := []wire.Advice{}
	add := func(advice []wire.Advice, single bool) {
		for _, a := range advice {
			if (a.Why == "") == single && !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	if e.Status == nil {
		return all
	}
	for _, single := range []bool{true, false} {
		for _, np := range e.Status.NodeProblems {
			if !np.Problem.Info() {
				add(np.Advice, single)
			}
		}
		for _, l := range e.Leases {
			add(l.Advice, single)
		}
	}
	return all
}
