package wire

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"routewatch/shared/verdict"
)

// Event is one thing that happened. Besides its type it has at most one of
// Incident, NodeProblem, Source and Change, which says to what.
type Event struct {
	// ID grows from event to event, also over a restart; it need not be the next number.
	ID      uint64            `json:"id"`
	Time    time.Time         `json:"time"`
	Type    verdict.EventType `json:"type"`
	Message string            `json:"message"` // for a person, in one line

	Incident    *Incident    `json:"incident,omitempty"` // as it was then
	NodeProblem *NodeProblem `json:"nodeProblem,omitempty"`
	Source      *Source      `json:"source,omitempty"`
	Change      *Change      `json:"change,omitempty"`
}

// EventList is the document of /api/v1/events. Over server-sent events the same
// items come one by one, and a gap as an event of that type.
type EventList struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Node       string    `json:"node"`
	Time       time.Time `json:"time"`
	// Gap: events between the one that was asked after and the first item are lost.
	Gap   bool    `json:"gap"`
	Items []Event `json:"items"` // oldest first
	// Last is the value for ?after= that gives what happens from now on, or
	// the next page if Continue is set.
	Last uint64 `json:"last"`
	// Continue is the value for ?after= that gives the next page; "" on the last.
	Continue string `json:"continue,omitempty"`
}

// History is the state of the file that holds the history.
type History struct {
	Path    string `json:"path"`
	Bytes   int64  `json:"bytes"`
	MaxSize int64  `json:"maxSize"` // bytes
	// Lost is how many records could not be read at the start, or not be
	// written since, and are gone.
	Lost uint64 `json:"lost"`
	// WriteErrors counts the attempts to write that failed, since start.
	WriteErrors uint64 `json:"writeErrors"`
	// Problem says for a person what is wrong now, or was found damaged; "" if
	// nothing is and was.
	Problem string `json:"problem,omitempty"`
}

// aroundBefore is how long before its start an incident's surroundings begin.
const aroundBefore = 30 * time.Second

// With returns the incident with those of the changes that have a higher number
// and belong to it. It keeps the first half of MaxAround, and the newest.
func (i Incident) With(changes []Change, after uint64) Incident {
	around := slices.Clone(i.Around)
	for _, c := range changes {
		if c.Seq > after && !c.Time.Before(i.Start.Add(-aroundBefore)) {
			around = append(around, c)
		}
	}
	if len(around) == len(i.Around) {
		return i
	}
	slices.SortStableFunc(around, func(a, b Change) int { return a.Time.Compare(b.Time) })
	if excess := len(around) - MaxAround; excess > 0 {
		around = slices.Delete(around, MaxAround/2, MaxAround/2+excess)
	}
	i.Around = around
	return i
}

// Text says in a few words what changed.
func (c Change) Text() string {
	var words []string
	for _, s := range []string{c.Device, c.Peer, c.Object} {
		if s != "" {
			words = append(words, s)
		}
	}
	what := strings.ToLower(verdict.Lookup(verdict.EventTypes(), string(c.Type)).Title)
	if c.Count > 0 {
		what = fmt.Sprintf("%d times %s", c.Count, what)
	}
	text := what
	if len(words) > 0 {
		text = strings.Join(words, " ") + ": " + what
	}
	if c.Detail != "" {
		text += ", " + c.Detail
	}
	return text
}

// Normal returns the event with lists that are [] and not null in JSON.
func (e Event) Normal() Event {
	if e.Incident != nil {
		i := e.Incident.Normal()
		e.Incident = &i
	}
	return e
}
