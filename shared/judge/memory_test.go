package judge

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
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
