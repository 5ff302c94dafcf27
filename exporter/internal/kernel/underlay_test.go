package kernel

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
)

// TestRecheck_Underlay: after events of flannel's device alone the paths to the
// public IPs are taken from the picture before, but not those that can have changed.
func TestRecheck_Underlay(t *testing.T) {
	n := newNode(t, 3)
	r := n.reader(t)
	before, err := r.sweep(nil, &work{})
	netns.Must(t, err)
	flannel, ul0 := n.MustIndex(t, "flannel.1"), n.MustIndex(t, "ul0")
	publicIP := func(s *netstate.State, a netip.Addr) *netstate.Lookup {
		i := slices.IndexFunc(s.Lookups, func(l *netstate.Lookup) bool { return l.Query == netstate.Query{Dst: a} })
		return s.Lookups[i]
	}
	netns.Must(t, n.SetDown("flannel.1"))
	closed := n.peers[0].publicIP
	netns.Must(t, n.RouteAdd(netstate.Route{Dst: host(closed), Type: netstate.Unreachable}))

	for name, tt := range map[string]struct {
		job    work
		reused bool
	}{
		"flannel's device":             {work{devices: map[int]bool{flannel: true}}, true},
		"the underlay's as well":       {work{devices: map[int]bool{flannel: true, ul0: true}}, false},
		"a rule as well":               {work{devices: map[int]bool{flannel: true, 0: true}}, false},
		"a read that follows later":    {work{}, false},
		"too many routes to say which": {work{devices: map[int]bool{flannel: true}, anywhere: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tt.job.recheck, tt.job.touched, tt.job.prefixes = true, true, []netip.Prefix{host(closed)}
			after, err := r.perform(before, &tt.job)
			netns.Must(t, err)
			if got := publicIP(after, closed); got.Route.Type != netstate.Unreachable && got.Errno == 0 {
				t.Errorf("the path to %s was not looked up again: %+v", closed, got)
			}
			reused := map[bool]int{}
			for _, p := range n.peers[1:] {
				reused[publicIP(after, p.publicIP) == publicIP(before, p.publicIP)]++
			}
			if want := map[bool]int{tt.reused: len(n.peers) - 1}; !maps.Equal(reused, want) {
				t.Errorf("taken from before: %v, want %v", reused, want)
			}
			fresh := n.readOnce(t)
			if len(after.Lookups) != len(fresh.Lookups) {
				t.Fatalf("%d lookups, want %d", len(after.Lookups), len(fresh.Lookups))
			}
			for i, l := range fresh.Lookups {
				if *after.Lookups[i] != *l {
					t.Errorf("lookup %+v, want %+v", *after.Lookups[i], *l)
				}
			}
		})
	}
}
