package wire

import (
	"slices"
	"strings"

	"routewatch/shared/verdict"
)

// Difference is a lease's Expected beside its Actual.
type Difference struct {
	Missing    []string `json:"missing"`    // expected, and not there
	Unexpected []string `json:"unexpected"` // there instead, or as well
	Same       []string `json:"same"`
	// Unread are expected objects of a kind that could not be read, so that
	// nobody knows whether they are there.
	Unread []string `json:"unread,omitempty"`
}

// Difference sets what the lease needs against what is there. A line of Actual
// that begins with "no " says that there is none, and one that ends with " not
// read" that nobody could look (judge's describe.go).
func (l *Lease) Difference() Difference {
	d := Difference{Missing: []string{}, Unexpected: []string{}, Same: []string{}}
	for _, a := range l.Actual {
		if !strings.HasPrefix(a, "no ") && !strings.HasSuffix(a, " not read") && !l.needs(a) {
			d.Unexpected = append(d.Unexpected, a)
		}
	}
	for _, e := range l.Expected {
		switch {
		case l.has(e):
			d.Same = append(d.Same, e)
		case KindOf(e) == ObjectPeer && slices.ContainsFunc(l.Actual, func(a string) bool { return strings.HasSuffix(a, " not read") }):
			d.Unread = append(d.Unread, e)
		default:
			d.Missing = append(d.Missing, e)
		}
	}
	return d
}

// has reports whether an expected object is there, in a form that its backend
// accepts: the route may be one for the whole pod network, and the endpoint of
// a WireGuard peer one of several.
func (l *Lease) has(expected string) bool {
	switch KindOf(expected) {
	case ObjectRoute:
		return l.RoutePresent || slices.Contains(l.Actual, expected)
	case ObjectPeer:
		return l.State != verdict.PeerWrong && slices.ContainsFunc(l.Actual, isPeer)
	}
	return slices.Contains(l.Actual, expected)
}

// needs reports whether an object that is there is an expected one.
func (l *Lease) needs(actual string) bool {
	return slices.Contains(l.Expected, actual) || isPeer(actual) && l.State != verdict.PeerWrong
}

func isPeer(object string) bool { return KindOf(object) == ObjectPeer }

// ObjectKind is the kind of a line of Expected and Actual.
type ObjectKind string

// The kinds of objects, in the order of the chain.
const (
	ObjectRoute    ObjectKind = "route"
	ObjectNeighbor ObjectKind = "neighbor"
	ObjectFDB      ObjectKind = "fdb"
	ObjectPeer     ObjectKind = "peer" // of WireGuard
)

// KindOf tells the kind of an object by its form, which is that of ip, bridge
// and wg.
func KindOf(object string) ObjectKind {
	switch {
	case strings.Contains(object, " lladdr "):
		return ObjectNeighbor
	case strings.Contains(object, " self "):
		return ObjectFDB
	case strings.HasPrefix(object, "wg "):
		return ObjectPeer
	}
	return ObjectRoute
}

// BadStates are the states with which a node is not healthy.
func BadStates() []string {
	var names []string
	for _, w := range verdict.States() {
		if s := verdict.State(w.Name); !s.Healthy() {
			names = append(names, w.Name)
		}
	}
	return names
}
