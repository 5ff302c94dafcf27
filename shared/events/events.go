// Package events says what happened from one snapshot to the next, as events of
// the JSON contract. It is pure: the same two snapshots give the same events.
package events

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// Between lists what happened between two snapshots that follow each other,
// without ids: changes first, then what they led to. There is nothing before
// the first snapshot.
func Between(old, next *wire.Snapshot) []wire.Event {
	if old == nil {
		return nil
	}
	return slices.Concat(
		sources(old, next), changes(old, next), opened(old, next), closed(old, next), nodeProblems(old, next))
}

func sources(old, next *wire.Snapshot) []wire.Event {
	var events []wire.Event
	for _, s := range next.Sources {
		i := slices.IndexFunc(old.Sources, func(o wire.Source) bool { return o.Name == s.Name })
		var was wire.Source
		if i >= 0 {
			was = old.Sources[i]
		}
		unheard := i < 0 || was.Problem == wire.NotReadYet
		e := wire.Event{Time: next.Time, Source: &s}
		switch {
		case !s.Complete && s.Problem != wire.NotReadYet && (was.Complete || unheard):
			e.Type, e.Message = verdict.SourceLost, s.Name+" cannot be read: "+cmp.Or(s.Problem, "no reason is known")
		case s.Complete && !was.Complete && !unheard:
			e.Type, e.Message = verdict.SourceBack, s.Name+" is read again"
		default:
			continue
		}
		events = append(events, e)
	}
	return events
}

func changes(old, next *wire.Snapshot) []wire.Event {
	var events []wire.Event
	for _, c := range next.Recent {
		if c.Seq > old.ChangeSeq {
			events = append(events, wire.Event{Time: c.Time, Type: c.Type, Message: c.Text(), Change: &c})
		}
	}
	return events
}

func opened(old, next *wire.Snapshot) []wire.Event {
	var events []wire.Event
	before := byID(old.Incidents)
	for _, i := range next.Incidents {
		was, known := before[i.ID]
		e := wire.Event{Time: next.Time, Type: verdict.IncidentOpened, Incident: &i}
		switch {
		case !known:
			e.Message = fmt.Sprintf("%s broke %s: %s, %s", Cause(i), leases(i.Leases), i.State, i.Effect)
		case i.State != was.State || i.Effect != was.Effect || grew(was.Leases, i.Leases):
			e.Type = verdict.IncidentChanged
			e.Message = fmt.Sprintf("%s has broken %s by now: %s, %s", Cause(i), leases(i.Leases), i.State, i.Effect)
		default:
			continue
		}
		events = append(events, e)
	}
	return events
}

// oneByOne is up to which number each further lease of an incident is told; of
// more only each doubling is, so that thousands that break one after the other
// make a few events.
const oneByOne = 20

func grew(was, is int) bool {
	return is > was && (is <= oneByOne || bits.Len(uint(is)) != bits.Len(uint(was)))
}

func closed(old, next *wire.Snapshot) []wire.Event {
	var events []wire.Event
	open := byID(next.Incidents)
	for _, i := range old.Incidents {
		if _, still := open[i.ID]; still {
			continue
		}
		i = i.With(next.Recent, old.ChangeSeq)
		i.End = next.Time
		events = append(events, wire.Event{
			Time: next.Time, Type: verdict.IncidentClosed, Incident: &i,
			Message: fmt.Sprintf("%s: over after %s", Cause(i), i.End.Sub(i.Start).Round(1e6)),
		})
	}
	return events
}

func byID(incidents []wire.Incident) map[string]wire.Incident {
	m := make(map[string]wire.Incident, len(incidents))
	for _, i := range incidents {
		m[i.ID] = i
	}
	return m
}

// Cause says in a few words what an incident is about.
func Cause(i wire.Incident) string {
	if i.Device == "" {
		return string(i.Cause)
	}
	return string(i.Cause) + " on " + i.Device
}

func leases(n int) string {
	if n == 1 {
		return "1 lease"
	}
	return fmt.Sprintf("%d leases", n)
}

// nodeProblems compares what was found last: while the kernel cannot be read
// nothing is found, and nothing is gone.
func nodeProblems(old, next *wire.Snapshot) []wire.Event {
	var events []wire.Event
	has := func(all []wire.NodeProblem, p wire.NodeProblem) bool {
		return slices.ContainsFunc(all, func(o wire.NodeProblem) bool {
			return o.Problem == p.Problem && o.Family == p.Family && o.Device == p.Device
		})
	}
	for _, p := range next.KnownNodeProblems {
		if !has(old.KnownNodeProblems, p) {
			events = append(events, wire.Event{
				Time: next.Time, Type: verdict.NodeProblemAppeared, NodeProblem: &p, Message: string(p.Problem) + ": " + p.Message,
			})
		}
	}
	for _, p := range old.KnownNodeProblems {
		if !has(next.KnownNodeProblems, p) {
			events = append(events, wire.Event{
				Time: next.Time, Type: verdict.NodeProblemGone, NodeProblem: &p, Message: string(p.Problem) + " is gone",
			})
		}
	}
	return events
}
