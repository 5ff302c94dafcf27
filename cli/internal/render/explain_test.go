package render

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// The way to a pod is right, and its answers do not come back: that is said,
// and what mends it on the other node.
func TestExplanation_WayBack(t *testing.T) {
	e := &wire.Explanation{
		Node: "node-1", Complete: true, Address: netip.MustParseAddr("10.244.2.9"), Family: netstate.IPv4, Place: wire.PlacePeer,
		Answer: "all that it needs is there",
		Lease:  &wire.Lease{Lease: netip.MustParsePrefix("10.244.2.0/24"), Peer: "node-2", State: verdict.OK, Effect: verdict.Delivered},
	}
	back := &wire.Lease{
		Lease: netip.MustParsePrefix("10.244.1.0/24"), Peer: "node-1", State: verdict.Missing, Effect: verdict.Leaking,
		Lookup: "10.244.1.2 via 192.168.1.1 dev ens33 by the default route",
		Advice: []wire.Advice{{Command: "ip route replace 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink"}},
	}
	v := ExplainedView{Address: e.Address, Owner: "node-2", Nodes: []ExplainedNode{{Explanation: e, Back: back, Now: time.Now()}}}
	want := `ADDRESS   10.244.2.9, as node-1 sees it
ANSWER    all that it needs is there
LEASE     10.244.2.0/24 of node-2: ok, delivered
BACK      from node-2 to 10.244.1.0/24: missing, leaking, packets go via 192.168.1.1 dev ens33 by the default route

TO MEND, as root on node-2
ip route replace 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink
`
	if diff := cmp.Diff(want, Explanation(e, v, Options{})); diff != "" {
		t.Errorf("one node (-want +got):\n%s", diff)
	}
	v.Absences = Absences{Unreachable: []wire.Unreachable{{Node: "node-4", Problem: "no exporter runs there"}}}
	want = `ADDRESS   10.244.2.9
ANSWER    its answers do not come back to 1 more node
LEASE     10.244.2.0/24 of node-2, public IP -
NO ANSWER node-4: no exporter runs there

FROM    TO IT  SINCE  BACK              PACKETS GO NOW
node-1  ok     -      missing, leaking  -

TO MEND, as root on node-2
ip route replace 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink
`
	if diff := cmp.Diff(want, Explanations(v, Options{})); diff != "" {
		t.Errorf("all nodes (-want +got):\n%s", diff)
	}
	v.Nodes[0].Back, v.Problem = nil, "no answer from node-2"
	if got := Explanation(e, v, Options{}); !strings.Contains(got, "BACK      from node-2: not known: no answer from node-2\n") {
		t.Errorf("the way back is not known, and that is not said:\n%s", got)
	}
}
