package render

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// Each state has a letter of its own: the grid must be readable without colors.
func TestMatrix_Letters(t *testing.T) {
	seen := map[rune]verdict.State{letterSelf: "self", letterNone: "none", '!': "other"}
	for _, w := range verdict.States() {
		s := verdict.State(w.Name)
		letter, ok := s.Letter()
		if other, taken := seen[letter]; !ok || taken {
			t.Errorf("the letter of %s is %q, which is that of %q", s, letter, other)
		}
		seen[letter] = s
	}
}

func bigCluster(nodes int, broken map[string]verdict.State) MatrixView {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var v MatrixView
	for i := 1; i <= nodes; i++ {
		s := &wire.NodeStatus{Node: fmt.Sprintf("node-%d", i), Time: now, Complete: true, Healthy: true}
		var leases []wire.Lease
		for j := 1; j <= nodes; j++ {
			l := wire.Lease{Peer: fmt.Sprintf("node-%d", j), State: verdict.OK}
			if state, ok := broken[fmt.Sprintf("%d-%d", i, j)]; ok {
				l.State, s.Healthy = state, false
				s.Problems = append(s.Problems, l)
			}
			if i != j {
				leases = append(leases, l)
			}
		}
		s.Summary.Leases = len(leases)
		v.Nodes = append(v.Nodes, NodeView{Status: s, Now: now})
		v.Leases = append(v.Leases, leases)
	}
	return v
}

// The grid of many nodes has the rows and the columns that matter, and no line
// is wider than the terminal.
func TestMatrix_Many(t *testing.T) {
	v := bigCluster(300, map[string]verdict.State{"7-12": verdict.Missing, "7-9": "melted", "200-12": verdict.Unknown})
	got := Matrix(v, Options{Width: 80, Command: "routewatch matrix"})
	_, grid, _ := strings.Cut(got, "\n\n")
	want := `FROM \ TO  node-9  node-12
node-7     !       M
node-200   .       ?
... and 298 nodes and 298 peers, with which all is well: routewatch matrix -o wide
LETTERS   . ok, ? unknown, ! a word that this version does not know, M missing
`
	if diff := cmp.Diff(want, grid); diff != "" {
		t.Errorf("the grid (-want +got):\n%s", diff)
	}
}

func TestMatrix_FitsTheTerminal(t *testing.T) {
	broken := map[string]verdict.State{}
	for i := 1; i <= 60; i++ {
		broken[fmt.Sprintf("%d-%d", i, 61-i)] = verdict.NeighborMissing
	}
	for _, width := range []int{40, 80, 200} {
		for line := range strings.Lines(Matrix(bigCluster(60, broken), Options{Width: width})) {
			if line = strings.TrimSuffix(line, "\n"); Width(line) > width {
				t.Errorf("width %d: this line has %d:\n%s", width, Width(line), line)
			}
		}
	}
	got := Matrix(bigCluster(60, broken), Options{Width: 200, Style: Style{Color: true}})
	if n := strings.Count(got, "\x1b[1;97;41mN \x1b[0m"); n != 60 {
		t.Errorf("%d cells are painted as bad, want 60", n)
	}
}

func TestNatural(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"node-2", "node-10", -1}, {"node-10", "node-2", 1}, {"a", "b", -1}, {"node-2", "node-2", 0}, {"9", "10", -1}, {"node-02", "node-2", -1}} {
		if got := natural(tt.a, tt.b); got != tt.want {
			t.Errorf("natural(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
