package notify

import (
	"fmt"
	"strings"
	"time"

	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// ConditionType is that of the Node's condition: True is bad, as with all that
// node-problem-detector makes. NetworkUnavailable, which flannel clears once and
// never sets again, is another one.
const ConditionType = "FlannelRoutesBroken"

// Status of a condition.
type Status string

// The statuses.
const (
	True    Status = "True"
	False   Status = "False"
	Unknown Status = "Unknown"
)

const (
	// hold is how long something must be so before True gives way to it: a
	// device that flaps, however often, is one transition.
	hold = time.Minute
	// reword is how often another text of the same status is written at most.
	reword = 30 * time.Second
	// heartbeat is how often it is written although it is the same. Who reads
	// it can tell by that whether somebody is there.
	heartbeat = 5 * time.Minute
)

// Condition is the Node's condition. What it says of the API: reason is
// CamelCase, message for a person.
type Condition struct {
	Type               string    `json:"type"`
	Status             Status    `json:"status"`
	Reason             string    `json:"reason"`
	Message            string    `json:"message"`
	LastHeartbeatTime  time.Time `json:"lastHeartbeatTime"`
	LastTransitionTime time.Time `json:"lastTransitionTime"`
}

// observe says what a snapshot means for the condition. What is known to be bad
// outweighs what is not known, and what is not known is never False.
func observe(s *wire.Snapshot, now time.Time) (Status, string, string) {
	bad, worst := 0, verdict.State("")
	for _, w := range verdict.States() {
		state := verdict.State(w.Name)
		if n := s.Summary.States[state]; n > 0 && state.Bad() {
			if bad += n; worst == "" || n > s.Summary.States[worst] {
				worst = state
			}
		}
	}
	if bad > 0 {
		text := fmt.Sprintf("%d of %s broken", bad, count(s.Summary.Leases, "lease"))
		for _, w := range verdict.Effects() {
			effect := verdict.Effect(w.Name)
			if n := s.Summary.Effects[effect]; n > 0 && effect != verdict.Delivered && effect != verdict.EffectUnknown {
				text += fmt.Sprintf(", %d %s", n, w.Name)
			}
		}
		return True, camel(string(worst)), text + "; `routewatch status` on the node prints what mends them"
	}
	for _, p := range s.NodeProblems {
		if !p.Problem.Info() {
			return True, camel(string(p.Problem)), clip(string(p.Problem) + ": " + p.Message)
		}
	}
	switch {
	case now.Sub(s.Time) > wire.MaxAge:
		return Unknown, "NotJudged", "the kernel was last judged at " + s.Time.UTC().Format(time.RFC3339)
	case s.Healthy:
		return False, "RoutesComplete", count(s.Summary.Leases, "lease") + ", and the kernel has what each needs"
	}
	for _, o := range s.Sources {
		if !o.Complete || o.Problem != "" {
			return Unknown, "CannotTell", clip(o.Name + ": " + o.Problem)
		}
	}
	return Unknown, "CannotTell", fmt.Sprintf("%d of %s cannot be judged", s.Summary.States[verdict.Unknown], count(s.Summary.Leases, "lease"))
}

// camel makes a CamelCase reason of a word.
func camel(word string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(word, "_") {
		if part != "" {
			b.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return b.String()
}

// condition follows what the Node's condition should be. It does no I/O and
// reads no clock.
type condition struct {
	written Condition // by whomever, last; zero: never
	seen    Status
	since   time.Time // since when seen is so
}

// next returns the condition to write now, and whether it is to be written.
//
// Broken is told at once. Anything else is told after it was so for a minute
// without interruption, also after a start.
func (c *condition) next(s *wire.Snapshot, now time.Time) (Condition, bool) {
	status, reason, message := observe(s, now)
	if status != c.seen {
		c.seen, c.since = status, now
	}
	w := c.written
	if status != True && status != w.Status && now.Sub(c.since) < hold {
		if w.Status == "" || now.Sub(w.LastHeartbeatTime) < heartbeat {
			return Condition{}, false
		}
		status, reason, message = w.Status, w.Reason, w.Message // is still what is told
	}
	next := Condition{ConditionType, status, reason, message, now, w.LastTransitionTime}
	since := now.Sub(w.LastHeartbeatTime)
	switch {
	case status != w.Status:
		next.LastTransitionTime = now
		return next, true
	case reason != w.Reason || message != w.Message:
		return next, since >= reword
	}
	return next, since >= heartbeat
}
