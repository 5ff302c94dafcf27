package wire

import (
	"time"

	"routewatch/shared/verdict"
)

// MaxAge is how old a status may be before it says nothing about now: an
// exporter judges at least at each audit, every half a minute by default.
const MaxAge = 5 * time.Minute

// Outcome is what a NodeStatus means for whoever has to act on it. Its number
// is the exit code of every command that prints a status.
type Outcome int

// The outcomes.
const (
	Well       Outcome = 0 // healthy
	Broken     Outcome = 1 // at least one bad lease, or a node problem above info
	CannotTell Outcome = 2 // nothing known to be bad, but not everything is known
)

// Outcome sums the status up. What is known to be bad outweighs what is not
// known, a word that this version does not know is bad, and a status that was
// judged long before now tells nothing.
func (s *NodeStatus) Outcome(now time.Time) Outcome {
	if s.BadLeases() > 0 {
		return Broken
	}
	for _, p := range s.NodeProblems {
		if !p.Problem.Info() {
			return Broken
		}
	}
	if !s.Complete || !s.Healthy || s.UnknownLeases() > 0 || s.Old(now) {
		return CannotTell
	}
	return Well
}

// Old reports whether the status was judged too long before now to be believed.
func (s *NodeStatus) Old(now time.Time) bool { return now.Sub(s.Time) > MaxAge }

// BadLeases is how many leases are bad, also those beyond MaxProblems.
func (s *NodeStatus) BadLeases() int {
	return s.count(verdict.State.Bad)
}

// UnknownLeases is how many leases could not be judged, also those beyond
// MaxProblems.
func (s *NodeStatus) UnknownLeases() int {
	return s.count(func(state verdict.State) bool { return state == verdict.Unknown })
}

// count counts the leases whose state matches. The summary and the list should
// agree; where they do not, the larger number is the one that hides nothing.
func (s *NodeStatus) count(match func(verdict.State) bool) int {
	counted, listed := 0, 0
	for state, n := range s.Summary.States {
		if match(state) {
			counted += n
		}
	}
	for i := range s.Problems {
		if match(s.Problems[i].State) {
			listed++
		}
	}
	return max(counted, listed)
}
