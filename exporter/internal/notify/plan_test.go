package notify

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const node = "node-1"

func incident(id string, leases int) wire.Incident {
	return wire.Incident{
		ID: id, Cause: verdict.CauseLinkDown, Device: "flannel.1", Start: noon, Actor: &wire.Actor{Kind: verdict.ActorKernel},
		State: verdict.Missing, Effect: verdict.Leaking, Leases: leases, Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.2.0/24")},
	}
}

// happened makes an event; at seconds after noon.
func happened(typ verdict.EventType, at int, i wire.Incident) wire.Event {
	e := wire.Event{Time: noon.Add(time.Duration(at) * time.Second), Type: typ, Incident: &i}
	if typ == verdict.IncidentClosed {
		i.End = e.Time
		e.Incident = &i
	}
	return e
}

func brokenSnapshot(i wire.Incident) *wire.Snapshot {
	return &wire.Snapshot{Node: node, Time: noon, Incidents: []wire.Incident{i}, Leases: []*wire.Lease{{
		Lease: i.Subnets[0], State: verdict.Missing, Effect: verdict.Leaking, Incident: i.ID,
		Advice: []wire.Advice{{Command: "ip route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"}},
	}}}
}

func TestPlan_OneIncident(t *testing.T) {
	p := newPlan(node, noon)
	i := incident("a-1", 3)
	s := brokenSnapshot(i)
	name := incidentName(node, i)
	worse := incident("a-1", 4)
	got := p.next([]wire.Event{happened(verdict.IncidentOpened, 1, i)}, s, noon.Add(time.Second))
	got = append(got, p.next([]wire.Event{happened(verdict.IncidentChanged, 2, worse)}, s, noon.Add(2*time.Second))...)
	got = append(got, p.next([]wire.Event{happened(verdict.IncidentClosed, 5, worse)}, &wire.Snapshot{}, noon.Add(5*time.Second))...)
	text := func(leases int) string {
		return fmt.Sprintf("link_down on flannel.1 broke %d leases: missing, leaking. "+
			"Packets leave the node by a wider route that is not flannel's, typically unencapsulated to the default gateway. "+
			"Cause: the kernel did it. The flannel device was set down; the kernel removed its IPv4 routes without a route event. "+
			"To mend 10.244.2.0/24, as root: `ip route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink`; "+
			"`routewatch status` on the node prints what mends all of it.", leases)
	}
	want := []Event{
		{name, ReasonBroken, true, text(3), noon, noon.Add(time.Second), 1},
		{name, ReasonBroken, true, text(4), noon, noon.Add(2 * time.Second), 1},
		{name + ".over", ReasonRestored, false, "link_down on flannel.1: over after 5s; it broke 4 leases, at worst missing, leaking.",
			noon.Add(5 * time.Second), noon.Add(5 * time.Second), 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Events (-want +got):\n%s", diff)
	}
	if at := p.wake(noon.Add(time.Minute)); !at.IsZero() {
		t.Errorf("wants to be woken at %s", at)
	}
}

func TestPlan_NodeProblem(t *testing.T) {
	p := newPlan(node, noon)
	problem := func(typ verdict.EventType, word verdict.NodeProblem) wire.Event {
		return wire.Event{Time: noon, Type: typ, NodeProblem: &wire.NodeProblem{
			Problem: word, Family: netstate.IPv4, Device: "flannel.1", Message: "is wrong", Advice: []wire.Advice{{Command: "ip link"}},
		}}
	}
	var got []string
	for _, e := range p.next([]wire.Event{
		problem(verdict.NodeProblemAppeared, verdict.DeviceMAC), problem(verdict.NodeProblemGone, verdict.DeviceMAC),
		problem(verdict.NodeProblemAppeared, verdict.DeviceMTU),
	}, &wire.Snapshot{}, noon) {
		got = append(got, fmt.Sprint(e.Reason, " ", e.Warning, " ", e.Message))
	}
	want := []string{
		"FlannelNodeProblem true device_mac: is wrong. To mend, as root: `ip link`",
		"FlannelNodeProblemSolved false device_mac is gone",
		"FlannelNodeInfo false device_mtu: is wrong. To mend, as root: `ip link`",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Events (-want +got):\n%s", diff)
	}
}

// 200 flaps in 200 s are ten incidents with their ends, and one Event that sums
// up the others and says at last that it is over.
func TestPlan_Flaps(t *testing.T) {
	p := newPlan(node, noon)
	var all []Event
	last := map[string]Event{}
	for second := 0; second < 400; second++ {
		now := noon.Add(time.Duration(second) * time.Second)
		var events []wire.Event
		if second < 200 {
			i := incident(fmt.Sprint("a-", second), 3)
			events = []wire.Event{happened(verdict.IncidentOpened, second, i), happened(verdict.IncidentClosed, second, i)}
		}
		for _, e := range p.next(events, &wire.Snapshot{Healthy: true}, now) {
			all = append(all, e)
			last[e.Reason] = e
		}
	}
	if len(all) > 30 || p.summed < 180 {
		t.Errorf("%d Events, %d incidents summed up: want at most 30", len(all), p.summed)
	}
	want := fmt.Sprintf("%d incidents in the last 3 minutes, too many to be told one by one; the last: link_down on flannel.1. "+
		"None is open now, the node is healthy. `routewatch events` on the node lists them.", p.summed)
	if got := last[ReasonMany].Message; got != want {
		t.Errorf("the last of them says %q, want %q", got, want)
	}
	if at := p.wake(noon.Add(time.Hour)); !at.IsZero() {
		t.Errorf("something is left to tell at %s", at)
	}
}

func TestPlan_Resume(t *testing.T) {
	i := incident("a-1", 3)
	first, second := newPlan(node, noon), newPlan(node, noon)
	made := first.next([]wire.Event{happened(verdict.IncidentOpened, 0, i)}, brokenSnapshot(i), noon)
	again := second.resume(brokenSnapshot(i))
	if len(again) != 1 || again[0].Name != made[0].Name || again[0].Times != 0 {
		t.Errorf("after the restart %+v, before it %+v: want the same name, and nothing that happened anew", again, made)
	}
	if over := second.next([]wire.Event{happened(verdict.IncidentClosed, 9, i)}, &wire.Snapshot{}, noon); len(over) != 1 || over[0].Reason != ReasonRestored {
		t.Errorf("at the end: %+v", over)
	}
	unknown, other := i, incident("b-7", 3)
	unknown.Cause, other.Cause = verdict.CauseUnknown, verdict.CauseUnknown
	if incidentName(node, unknown) != incidentName(node, other) || incidentName(node, unknown) == incidentName("node-2", unknown) {
		t.Error("what was broken before the start has another name after each start, or the same on two nodes")
	}
}

func TestNameOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		host := rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?){0,3}`).Draw(t, "node")
		name := nameOf(host[:min(len(host), 253)], rapid.String().Draw(t, "key"))
		if errs := validation.IsDNS1123Subdomain(name); len(errs) > 0 {
			t.Fatalf("%s: %v", name, errs)
		}
	})
}

// Whatever happens: no more Events than the rate allows, the end of each
// incident that was told, and every other one summed up.
func TestPlan_Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPlan(node, noon)
		now, seq := noon, 0
		open := map[string]wire.Incident{}
		told, over, opened, told1 := map[string]bool{}, map[string]bool{}, 0, 0
		snapshot := func() *wire.Snapshot {
			s := &wire.Snapshot{Node: node, Time: now}
			for _, i := range open {
				s.Incidents = append(s.Incidents, i)
			}
			return s
		}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 90_000).Draw(t, "ms")) * time.Millisecond)
			var e wire.Event
			ids := []string{""}
			for n := range seq {
				if _, ok := open[fmt.Sprint("a-", n)]; ok {
					ids = append(ids, fmt.Sprint("a-", n))
				}
			}
			switch id := rapid.SampledFrom(ids).Draw(t, "incident"); id {
			case "":
				i := incident(fmt.Sprint("a-", seq), 1)
				open[i.ID] = i
				e = wire.Event{Type: verdict.IncidentOpened, Incident: &i}
				seq++
				opened++
			default:
				i := open[id]
				e = wire.Event{Type: verdict.IncidentChanged, Incident: &i}
				if rapid.Bool().Draw(t, "closes") {
					delete(open, id)
					e.Type = verdict.IncidentClosed
				}
			}
			e.Time = now
			for _, out := range p.next([]wire.Event{e}, snapshot(), now) {
				if len(out.Message) > maxMessage || out.Message == "" {
					t.Fatalf("message %q", out.Message)
				}
				switch out.Reason {
				case ReasonBroken:
					told[out.Name] = true
					told1++
				case ReasonMany:
					told1++
				case ReasonRestored:
					if name := strings.TrimSuffix(out.Name, ".over"); !told[name] || over[name] {
						t.Fatalf("the end of %s, which was not told, or has ended", name)
					}
					over[strings.TrimSuffix(out.Name, ".over")] = true
				}
			}
		}
		if allowed := burst + int(now.Sub(noon)/refill) + 1; told1 > allowed {
			t.Errorf("%d Events in %s, allowed are %d", told1, now.Sub(noon), allowed)
		}
		if len(told)+int(p.summed) != opened {
			t.Errorf("%d incidents told, %d summed up, of %d", len(told), p.summed, opened)
		}
		for _, i := range open {
			delete(told, incidentName(node, i))
		}
		if len(told) != len(over) {
			t.Errorf("%d incidents that are over were told, of %d the end", len(told), len(over))
		}
	})
}
