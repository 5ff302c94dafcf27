package notify

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

func well(at time.Time) *wire.Snapshot {
	return &wire.Snapshot{Node: node, Time: at, Complete: true, Healthy: true, Summary: wire.Summary{Leases: 6, States: map[verdict.State]int{verdict.OK: 6}}}
}

func ill(at time.Time) *wire.Snapshot {
	s := well(at)
	s.Healthy = false
	s.Summary.States = map[verdict.State]int{verdict.OK: 3, verdict.Missing: 2, verdict.NeighborMissing: 1}
	s.Summary.Effects = map[verdict.Effect]int{verdict.Delivered: 3, verdict.Leaking: 2, verdict.Undeliverable: 1}
	return s
}

func blind(at time.Time) *wire.Snapshot {
	return &wire.Snapshot{Node: node, Time: at, Sources: []wire.Source{{Name: "kernel", Problem: "no answer"}}}
}

func TestObserve(t *testing.T) {
	info, mac := well(noon), well(noon)
	info.NodeProblems = []wire.NodeProblem{{Problem: verdict.DeviceMTU}}
	mac.Healthy, mac.NodeProblems = false, []wire.NodeProblem{{Problem: verdict.DeviceMAC, Message: "is another"}}
	illAndBlind := ill(noon)
	illAndBlind.Complete = false
	for name, tt := range map[string]struct {
		s    *wire.Snapshot
		want string
	}{
		"well":          {well(noon), "False RoutesComplete 6 leases, and the kernel has what each needs"},
		"ill":           {ill(noon), "True Missing 3 of 6 leases broken, 2 leaking, 1 undeliverable; `routewatch status` on the node prints what mends them"},
		"ill, and more": {illAndBlind, "True Missing 3 of 6 leases broken, 2 leaking, 1 undeliverable; `routewatch status` on the node prints what mends them"},
		"blind":         {blind(noon), "Unknown CannotTell kernel: no answer"},
		"info":          {info, "False RoutesComplete 6 leases, and the kernel has what each needs"},
		"node problem":  {mac, "True DeviceMac device_mac: is another"},
		"old":           {well(noon.Add(-time.Hour)), "Unknown NotJudged the kernel was last judged at 2026-11-23T11:00:00Z"},
	} {
		status, reason, message := observe(tt.s, noon)
		if got := string(status) + " " + reason + " " + message; got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

// play runs the condition for a while and returns what was written.
func play(c *condition, from time.Time, seconds int, of func(second int, at time.Time) *wire.Snapshot) []Condition {
	var written []Condition
	for s := range seconds {
		now := from.Add(time.Duration(s) * time.Second)
		if next, due := c.next(of(s, now), now); due {
			c.written = next
			written = append(written, next)
		}
	}
	return written
}

func TestCondition(t *testing.T) {
	c := &condition{}
	always := func(f func(time.Time) *wire.Snapshot) func(int, time.Time) *wire.Snapshot {
		return func(_ int, at time.Time) *wire.Snapshot { return f(at) }
	}
	from := noon
	step := func(what string, seconds int, of func(int, time.Time) *wire.Snapshot, want ...Status) []Condition {
		t.Helper()
		got := play(c, from, seconds, of)
		from = from.Add(time.Duration(seconds) * time.Second)
		var statuses []Status
		for _, g := range got {
			statuses = append(statuses, g.Status)
		}
		if len(statuses) != len(want) {
			t.Fatalf("%s: written %v, want %v", what, statuses, want)
		}
		for i := range want {
			if statuses[i] != want[i] {
				t.Fatalf("%s: written %v, want %v", what, statuses, want)
			}
		}
		return got
	}
	step("nothing known", 50, always(blind))
	step("well, not yet for a minute", 59, always(well))
	step("well", 10, always(well), False)
	step("well, an hour less a little", 3500, always(well), False, False, False, False, False, False, False, False, False, False, False)
	got := step("broken", 10, always(ill), True)
	if !got[0].LastTransitionTime.Equal(from.Add(-10 * time.Second)) {
		t.Errorf("told %s late", got[0].LastTransitionTime.Sub(from.Add(-10*time.Second)))
	}
	broke := got[0].LastTransitionTime
	flap := func(s int, at time.Time) *wire.Snapshot {
		if s%20 < 3 {
			return ill(at)
		}
		return well(at)
	}
	got = step("flaps for ten minutes", 600, flap, True, True)
	if !got[1].LastTransitionTime.Equal(broke) || !got[1].LastHeartbeatTime.After(broke) {
		t.Errorf("a heartbeat changed the transition: %+v", got[1])
	}
	step("blind, not yet for a minute", 50, always(blind))
	step("blind", 100, always(blind), Unknown)
	step("well again", 100, always(well), False)
}

// What is written is never False or Unknown unless it was so for a minute, True
// whenever it is so, and never older than a heartbeat.
func TestCondition_Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &condition{}
		now, since, last := noon, noon, Status("")
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 100).Draw(t, "seconds")) * time.Second)
			s := rapid.SampledFrom([]func(time.Time) *wire.Snapshot{well, ill, blind}).Draw(t, "snapshot")(now)
			status, _, _ := observe(s, now)
			if status != last {
				last, since = status, now
			}
			before := c.written
			next, due := c.next(s, now)
			if due {
				c.written = next
			}
			w := c.written
			switch {
			case status == True && w.Status != True:
				t.Fatal("broken, and not written")
			case w.Status != before.Status && w.Status != True && (w.Status != status || now.Sub(since) < hold):
				t.Fatalf("%s was written after %s of %s", w.Status, now.Sub(since), status)
			case w.Status != "" && now.Sub(w.LastHeartbeatTime) >= heartbeat:
				t.Fatalf("the last heartbeat is of %s ago", now.Sub(w.LastHeartbeatTime))
			case w.Status == before.Status && !w.LastTransitionTime.Equal(before.LastTransitionTime):
				t.Fatal("a transition to the same")
			}
		}
	})
}
