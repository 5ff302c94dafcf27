package e2e

import (
	"strconv"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
)

// TestOverrun: with the smallest buffer that can be asked for, a storm of 20,000
// changes of routes that matter makes the kernel drop events. That is counted,
// all is read again, and what was changed amid the storm and after it is known
// within a second of its end.
func TestOverrun(t *testing.T) {
	const storm = 20_000
	n := newNode(t)
	n.start(t, "--netlink.receive-buffer", "4096")
	within(t, startup, "healthy at the start", func() bool { return n.status(t).Healthy })
	if got := n.metric(t, "routewatch_netlink_receive_buffer_bytes"); got != "8192" {
		t.Errorf("receive buffer: %s bytes, want 8192, the double of what was asked for", got)
	}

	began := time.Now()
	other := n.victim(t, netstate.IPv6).Subnet // changed once, and no event may be left of it
	for i := range storm / 2 {
		r := netstate.Route{Dst: hostRoute(victim.Addr().Next()), Type: netstate.Blackhole}
		netns.Must(t, n.NS.RouteAdd(r))
		netns.Must(t, n.NS.RouteDel(r))
		if i == storm/4 {
			netns.Must(t, n.NS.RouteDel(netstate.Route{Dst: other}))
		}
	}
	t.Logf("%d changes took %s", storm, time.Since(began))
	missing := verdictOf{verdict.Missing, verdict.Leaking, verdict.CauseUnknown}
	took := eventually(t, "only the route that was deleted amid the storm is missing", func() bool {
		problems := n.problems(t)
		got := problems[other.String()]
		got.Cause = verdict.CauseUnknown // the event that tells it may be among those dropped
		return len(problems) == 1 && got == missing
	})
	t.Logf("right again %s after the storm", took)
	if overruns := n.number(t, "routewatch_netlink_overruns_total"); overruns == 0 {
		t.Error("no overrun: the storm was too weak to test anything")
	} else if swept := n.number(t, `routewatch_resyncs_total{reason="overrun"}`); swept == 0 {
		t.Errorf("%v overruns and no resync", overruns)
	} else {
		t.Logf("%v overruns, %v resyncs", overruns, swept)
	}

	// Events are heard again: the cause of a last change can only come from one.
	netns.Must(t, n.NS.RouteDel(netstate.Route{Dst: victim}))
	eventually(t, "a change after the storm, by its event", func() bool {
		return n.problems(t)[victim.String()] == verdictOf{verdict.Missing, verdict.Leaking, verdict.Deleted}
	})
}

// number is a sample of /metrics as a number.
func (n *node) number(t *testing.T, series string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(n.metric(t, series), 64)
	netns.Must(t, err)
	return v
}
