//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

func (d *daemon) events(t *testing.T, query string) wire.EventList {
	t.Helper()
	var list wire.EventList
	code, body := d.get("/api/v1/events" + query)
	if err := json.Unmarshal([]byte(body), &list); err != nil || code != 200 {
		t.Fatalf("events: %d %v %s", code, err, body)
	}
	return list
}

func (d *daemon) explain(t *testing.T, address string) wire.Explanation {
	t.Helper()
	var x wire.Explanation
	code, body := d.get("/api/v1/explain?address=" + address)
	if err := json.Unmarshal([]byte(body), &x); err != nil || code != 200 {
		t.Fatalf("explain: %d %v %s", code, err, body)
	}
	return x
}

// stream follows the events of a daemon until the test ends.
func (d *daemon) stream(t *testing.T) <-chan wire.Event {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", d.urls[0]+"/api/v1/events", http.NoBody)
	netns.Must(t, err)
	r.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(r)
	netns.Must(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	events := make(chan wire.Event, 1000)
	go func() {
		defer close(events)
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			var e wire.Event
			if data, ok := strings.CutPrefix(s.Text(), "data: "); ok && json.Unmarshal([]byte(data), &e) == nil {
				events <- e
			}
		}
	}()
	return events
}

// next waits for an event of a type and returns it and the types before it.
func next(t *testing.T, events <-chan wire.Event, typ verdict.EventType) (wire.Event, []verdict.EventType) {
	t.Helper()
	var before []verdict.EventType
	for deadline := time.After(patience); ; {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("the stream ended before %s; before that: %v", typ, before)
			}
			if e.Type == typ {
				return e, before
			}
			before = append(before, e.Type)
		case <-deadline:
			t.Fatalf("no %s within %s, but %v", typ, patience, before)
		}
	}
}

// A flap is one incident, from its first moment to its end, over kill -9 and a
// restart: in the status, the events, the stream and the metrics.
func TestDaemon_HistoryOutlivesKill(t *testing.T) {
	ns, file := node(t)
	args := append(flagsOf(ns, file), "--history.file", filepath.Join(t.TempDir(), "history"))
	d := startDaemon(t, 1, args...)
	well := d.awaitHealthy(t)
	if well.History == nil || well.History.Bytes == 0 || well.History.Problem != "" {
		t.Errorf("history %+v", well.History)
	}
	restore := remember(t, ns)
	stream := d.stream(t)
	netns.Must(t, ns.SetDown("flannel.1"))
	netns.Must(t, ns.SetUp("flannel.1"))
	opened, before := next(t, stream, verdict.IncidentOpened)
	if !slices.Contains(before, verdict.LinkWentDown) || opened.Incident.Device != "flannel.1" || opened.Incident.Cause != verdict.CauseLinkDown {
		t.Errorf("before the incident: %v; it is %+v", before, opened.Incident)
	}
	s := d.await(t, "broken", func(s wire.NodeStatus) bool { return len(s.Incidents) == 1 && s.ProblemsTotal > 0 })
	bad := s.Problems[0]
	x := d.explain(t, bad.Lease.Addr().Next().String())
	if x.Place != wire.PlacePeer || x.Lease.State != bad.State || len(x.Incidents) != 1 || len(x.Lookups) == 0 || !x.Lookups[0].Live {
		t.Errorf("explained: %+v", x)
	}
	d.await(t, "written", func(s wire.NodeStatus) bool { return s.History.Bytes > well.History.Bytes })
	last := d.events(t, "")
	d.kill(t)

	d = startDaemon(t, 1, args...)
	again := d.await(t, "broken after the restart", func(s wire.NodeStatus) bool { return s.Complete && s.ProblemsTotal > 0 })
	if len(again.Incidents) != 1 || again.Incidents[0].ID != s.Incidents[0].ID || again.Incidents[0].Leases != s.Incidents[0].Leases {
		t.Errorf("incidents were %+v and are %+v", s.Incidents, again.Incidents)
	}
	if p := again.Problems[0]; p.Cause != verdict.CauseLinkDown || !p.Since.Equal(s.Incidents[0].Start) {
		t.Errorf("after the restart a problem has cause %s since %s, want %s since %s", p.Cause, p.Since, verdict.CauseLinkDown, s.Incidents[0].Start)
	}
	if _, body := d.get("/metrics"); !strings.Contains(body, "\nroutewatch_incidents_total{cause=\"link_down\"} 0\n") || !strings.Contains(body, "\nroutewatch_history_write_errors_total 0\n") {
		t.Error("the metrics count the incident again, or not the history's errors")
	}
	if list := d.events(t, ""); list.Gap || len(list.Items) < len(last.Items) || list.Items[0].ID != last.Items[0].ID {
		t.Errorf("events were %+v and are %+v", last.Items, list.Items)
	}
	stream = d.stream(t)
	restore()
	d.awaitHealthy(t)
	closed, _ := next(t, stream, verdict.IncidentClosed)
	if closed.Incident.ID != s.Incidents[0].ID || closed.Incident.End.IsZero() || closed.ID <= last.Last {
		t.Errorf("closed: %d %+v", closed.ID, closed.Incident)
	}
	if code, took := d.terminate(t); code != 0 || took > 2*time.Second {
		t.Errorf("with a stream open it ends with code %d after %s", code, took)
	}
	d = startDaemon(t, 1, args...)
	opens := 0
	for _, e := range d.events(t, "").Items {
		if e.Type == verdict.IncidentOpened {
			opens++
		}
	}
	if s := d.awaitHealthy(t); opens != 1 || len(s.Incidents) != 0 {
		t.Errorf("opened %d times, open now %v", opens, s.Incidents)
	}
}

// The history's file is no reason not to watch.
func TestDaemon_HistoryCannotBeWritten(t *testing.T) {
	ns, file := node(t)
	path := filepath.Join(t.TempDir(), "precious")
	netns.Must(t, os.WriteFile(path, []byte("not yours\n"), 0o600))
	d := startDaemon(t, 1, append(flagsOf(ns, file), "--history.file", path)...)
	if s := d.awaitHealthy(t); s.History == nil || !strings.Contains(s.History.Problem, "is not a history of routewatch: move it away") {
		t.Errorf("history %+v", s.History)
	}
	if list := d.events(t, ""); len(list.Items) == 0 || list.Items[0].Type != verdict.HistoryFailing {
		t.Errorf("events %+v", list.Items)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "not yours\n" {
		t.Errorf("the file is now %q, %v", b, err)
	}
}

func (d *daemon) kill(t *testing.T) {
	t.Helper()
	netns.Must(t, d.cmd.Process.Kill())
	<-d.exited
}

// remember returns what puts flannel.1's routes and neighbors back.
func remember(t *testing.T, ns *netns.NS) (restore func()) {
	t.Helper()
	device := ns.MustIndex(t, "flannel.1")
	routes, err := ns.Routes(netstate.IPv4)
	netns.Must(t, err)
	neighbors, err := ns.Neighbors(netstate.IPv4)
	netns.Must(t, err)
	return func() {
		for _, r := range routes {
			if r.Device == device && r.Gateway.IsValid() {
				netns.Must(t, ns.RouteReplace(r))
			}
		}
		for _, n := range neighbors {
			if n.Device == device && n.Permanent() {
				netns.Must(t, ns.NeighReplace(n))
			}
		}
	}
}
