package kernel

import (
	"errors"
	"math"
	"net/netip"
	"testing"

	"github.com/jsimonetti/rtnetlink/v2"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
)

// TestReadAhead: a dump that is longer than a batch is read ahead. It has every
// route once, and whatever ends it, nothing is left that receives.
func TestReadAhead(t *testing.T) {
	const count = 20_000
	n := newHost(t)
	ul0 := n.MustIndex(t, "ul0")
	for i := range count {
		dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32)
		netns.Must(t, n.RouteAdd(netstate.Route{Dst: dst, Device: ul0}))
	}
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	main := rtnetlink.RouteMessage{Family: unix.AF_INET, Attributes: rtnetlink.RouteAttributes{Table: unix.RT_TABLE_MAIN}}

	t.Run("whole", func(t *testing.T) {
		req, seen, ahead := n.requests(t), map[netip.Prefix]int{}, false
		all := &foreigns{spans: &spans{ipv4: []span{{0, math.MaxUint64}}}}
		err := req.routes(tableKey{netstate.IPv4, unix.RT_TABLE_MAIN}, 0, all, func(r *netstate.Route) bool {
			seen[r.Dst]++
			ahead = ahead || req.ahead != nil
			return false
		})
		netns.Must(t, err)
		for i := range count {
			dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32)
			if seen[dst] != 1 {
				t.Fatalf("%s came %d times", dst, seen[dst])
			}
		}
		if !ahead || req.ahead != nil {
			t.Errorf("read ahead: %t; afterwards: %t", ahead, req.ahead != nil)
		}
		dst := netip.MustParseAddr("198.18.1.2")
		answers, err := req.lookups([]netstate.Query{{Dst: dst}})
		netns.Must(t, err)
		if got := answers[0].Route.Dst; got != netip.PrefixFrom(dst, 32) {
			t.Errorf("the socket's next answer is %s", got)
		}
	})
	t.Run("error", func(t *testing.T) {
		req, left := n.requests(t), 10_000
		err := req.dump(unix.RTM_GETROUTE, &main, nil, func([]byte) error {
			if left--; left == 0 {
				return errShort
			}
			return nil
		})
		if !errors.Is(err, errShort) || left != 0 || req.ahead != nil {
			t.Errorf("error %v, want %v; %d routes left; still read ahead: %t", err, errShort, left, req.ahead != nil)
		}
	})
}
