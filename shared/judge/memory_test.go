package judge

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"routewatch/shared/verdict"
)

// What is picked out of a list by what changed in it is what is picked out of all of it.
func TestProperty_Sift(t *testing.T) {
	even := func(n int) bool { return n%2 == 0 }
	rapid.Check(t, func(t *rapid.T) {
		var s sifted[int]
		for _, list := range rapid.SliceOf(rapid.SliceOf(rapid.IntRange(0, 5))).Draw(t, "lists") {
			s.sift(list, even)
			var want []int
			for i, n := range list {
				if even(n) {
					want = append(want, i)
				}
			}
			if !slices.Equal(s.picked, want) || !slices.Equal(s.list, list) {
				t.Fatalf("of %v it picks %v, want %v", list, s.picked, want)
			}
		}
	})
}

// Packets of pods that fail to a lease which is broken say nothing of forwarding.
func TestNext_ForwardingIsToldByWhatIsWell(t *testing.T) {
	w := newWorld(1, ip4)
	w.pods = true
	well := w.input()
	faults[0].do(w, w.peers[0])
	broken := w.input()
	for want, in := range map[int]Input{1: well, 0: broken} {
		s, _ := Next(opts, nil, in)
		got := 0
		for _, p := range s.NodeProblems {
			if p.Problem == verdict.ForwardingOff && p.Device == "cni0" {
				got++
			}
		}
		if got != want {
			t.Errorf("%d times %s where the lease is %s: %+v", got, verdict.ForwardingOff, s.Leases[0].State, s.NodeProblems)
		}
	}
}
