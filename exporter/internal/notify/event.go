package notify

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"routewatch/shared/events"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// The reasons of Events: words for programs, of which each is always of one type.
const (
	ReasonBroken      = "FlannelRoutesBroken"      // Warning
	ReasonRestored    = "FlannelRoutesRestored"    // Normal
	ReasonMany        = "FlannelRoutesUnstable"    // Warning: more incidents than are told one by one
	ReasonProblem     = "FlannelNodeProblem"       // Warning
	ReasonProblemInfo = "FlannelNodeInfo"          // Normal: only worth knowing
	ReasonProblemGone = "FlannelNodeProblemSolved" // Normal
)

// maxMessage is the longest message in bytes; events.k8s.io allows no more.
const maxMessage = 1024

// Event is what an Event about the Node should say.
type Event struct {
	Name    string // the same for the same incident, whoever makes it
	Reason  string
	Warning bool
	Message string
	First   time.Time // when it began
	Last    time.Time // when this was so
	// Times is how often it happened since the Event was told last; 0: it need
	// only be there.
	Times int
}

// nameOf makes a name of an Event: that of its Node, as a kubelet does, and
// what tells it from others.
func nameOf(node string, key ...string) string {
	sum := sha256.Sum256([]byte(node + "\x00" + strings.Join(key, "\x00")))
	const most = 253 - 17 // of a DNS subdomain
	short := strings.TrimRight(node[:min(len(node), most)], "-.")
	return fmt.Sprintf("%s.%x", short, sum[:8])
}

// incidentName is by the incident's id, which a history keeps over a restart.
// What was broken before routewatch looked gets a new id at each start, so its
// name is by what is broken: a pod that restarts again and again tells it once.
func incidentName(node string, i wire.Incident) string {
	if i.Cause != verdict.CauseUnknown {
		return nameOf(node, "incident", i.ID)
	}
	first := netip.Prefix{}
	if len(i.Subnets) > 0 {
		first = i.Subnets[0]
	}
	return nameOf(node, "unknown", i.Device, first.String())
}

// broken tells of an open incident.
func broken(s *wire.Snapshot, name string, i wire.Incident, at time.Time, times int) Event {
	effect := verdict.Lookup(verdict.Effects(), string(i.Effect))
	cause := verdict.Lookup(verdict.Causes(), string(i.Cause))
	text := fmt.Sprintf("%s broke %s: %s, %s. %s Cause: %s%s %s",
		events.Cause(i), count(i.Leases, "lease"), i.State, i.Effect, effect.Meaning, by(i.Actor), cause.Meaning, toType(s, i))
	return Event{Name: name, Reason: ReasonBroken, Warning: true, Message: clip(text), First: i.Start, Last: at, Times: times}
}

func by(a *wire.Actor) string {
	switch {
	case a == nil || a.Kind == verdict.ActorUnknown:
		return ""
	case a.Kind == verdict.ActorKernel:
		return "the kernel did it. "
	case a.PID != 0:
		return fmt.Sprintf("%s did it (pid %d). ", cmp.Or(a.Comm, "a process"), a.PID)
	}
	return fmt.Sprintf("a %s did it (netlink port %d). ", a.Kind, a.PortID)
}

// toType is what mends a lease of the incident, which routewatch knows while it is broken.
func toType(s *wire.Snapshot, i wire.Incident) string {
	const all = "`routewatch status` on the node prints what mends all of it."
	for _, l := range s.Leases {
		if l.Incident == i.ID && l.State.Bad() && len(l.Advice) > 0 {
			return fmt.Sprintf("To mend %s, as root: `%s`; %s", l.Lease, l.Advice[0].Command, all)
		}
	}
	return all
}

// restored tells that an incident is over.
func restored(name string, i wire.Incident) Event {
	text := fmt.Sprintf("%s: over after %s; it broke %s, at worst %s, %s.",
		events.Cause(i), i.End.Sub(i.Start).Round(time.Millisecond), count(i.Leases, "lease"), i.State, i.Effect)
	return Event{Name: name + ".over", Reason: ReasonRestored, Message: clip(text), First: i.End, Last: i.End, Times: 1}
}

func problemName(node string, p wire.NodeProblem) string {
	return nameOf(node, "problem", string(p.Problem), p.Family.String(), p.Device)
}

func appeared(name string, p wire.NodeProblem, at time.Time) Event {
	text := string(p.Problem) + ": " + p.Message
	if len(p.Advice) > 0 {
		text += ". To mend, as root: `" + p.Advice[0].Command + "`"
	}
	e := Event{Name: name, Reason: ReasonProblem, Warning: true, Message: clip(text), First: at, Last: at, Times: 1}
	if p.Problem.Info() {
		e.Reason, e.Warning = ReasonProblemInfo, false
	}
	return e
}

func solved(name string, p wire.NodeProblem, at time.Time) Event {
	return Event{Name: name + ".over", Reason: ReasonProblemGone, Message: clip(string(p.Problem) + " is gone"), First: at, Last: at, Times: 1}
}

// many tells of what was too much to be told one by one.
func many(name string, m *storm, s *wire.Snapshot, now time.Time) Event {
	text := fmt.Sprintf("%s in the last %s, too many to be told one by one; the last: %s. ",
		count(m.total, "incident"), span(now.Sub(m.first)), cmp.Or(m.what, "none"))
	switch n := len(s.Incidents); {
	case n > 0:
		text += fmt.Sprintf("Open now: %s. ", count(n, "incident"))
	case s.Healthy:
		text += "None is open now, the node is healthy. "
	default:
		text += "No incident is open now, but the node is not known to be healthy. "
	}
	text += "`routewatch events` on the node lists them."
	return Event{Name: name, Reason: ReasonMany, Warning: true, Message: clip(text), First: m.first, Last: now, Times: m.untold}
}

func span(d time.Duration) string {
	if d < time.Minute {
		return count(int(d.Seconds())+1, "second")
	}
	return count(int(d.Minutes()), "minute")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// clip makes a message that an API server accepts.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxMessage {
		return s
	}
	const more = "..."
	s = s[:maxMessage-len(more)]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + more
}
