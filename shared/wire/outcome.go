package wire

import "routewatch/shared/verdict"

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
// known, and a word that this version does not know is bad.
func (s *NodeStatus) Outcome() Outcome {
	if s.BadLeases() > 0 {
		return Broken
	}
	for _, p := range s.NodeProblems {
		if !p.Problem.Info() {
			return Broken
		}
	}
	if !s.Complete || !s.Healthy || s.UnknownLeases() > 0 {
		return CannotTell
	}
	return Well
}

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
