//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// hostile is what somebody may call a node, harmless how it is shown.
const (
	hostile  = "<img src=x onerror=alert(1)>\u202e"
	harmless = "<img src=x onerror=alert(1)>\ufffd"
)

// statuses are made of a healthy one.
var statuses = map[string]func(*wire.NodeStatus){
	"healthy":              func(*wire.NodeStatus) {},
	"no leases":            func(s *wire.NodeStatus) { s.Summary.Leases, s.Summary.States = 0, map[verdict.State]int{} },
	"pending":              func(s *wire.NodeStatus) { s.Summary.States[verdict.Pending] = 1 },
	"unknown lease":        func(s *wire.NodeStatus) { s.Summary.States[verdict.Unknown] = 1 },
	"not complete":         func(s *wire.NodeStatus) { s.Complete = false },
	"not healthy":          func(s *wire.NodeStatus) { s.Healthy = false },
	"bad in the summary":   func(s *wire.NodeStatus) { s.Summary.States[verdict.Shadowed] = 1 },
	"bad in the list":      func(s *wire.NodeStatus) { s.Problems = []wire.Lease{{State: verdict.Missing}} },
	"bad and not complete": func(s *wire.NodeStatus) { s.Complete, s.Summary.States[verdict.Missing] = false, 1 },
	"a newer state":        func(s *wire.NodeStatus) { s.Summary.States["entangled"] = 1 },
	"a state of Object's":  func(s *wire.NodeStatus) { s.Summary.States["constructor"] = 1 },
	"node problem":         func(s *wire.NodeStatus) { s.NodeProblems = []wire.NodeProblem{{Problem: verdict.RPFilter}} },
	"newer node problem":   func(s *wire.NodeStatus) { s.NodeProblems = []wire.NodeProblem{{Problem: "gremlins"}} },
	"information":          func(s *wire.NodeStatus) { s.NodeProblems = []wire.NodeProblem{{Problem: verdict.DeviceMTU}} },
	"old":                  func(s *wire.NodeStatus) { s.Time = s.Time.Add(-2 * wire.MaxAge) },
}

// foreign is a status with a bit of everything, all of it named by an enemy.
func foreign(s wire.NodeStatus) wire.NodeStatus {
	advice := func(command string) []wire.Advice { return []wire.Advice{{Command: command}} }
	s.Node = hostile
	s.Problems = []wire.Lease{{Peer: hostile, State: "entangled", Lookup: hostile, Reason: hostile, Advice: advice(hostile + "\nrm -r x")}}
	s.NodeProblems = []wire.NodeProblem{
		{Problem: verdict.RPFilter, Device: hostile, Message: hostile, Since: s.Time},
		{Problem: verdict.DeviceMTU, Device: hostile, Message: hostile, Since: s.Time},
	}
	s.Incidents = []wire.Incident{{
		ID: hostile, Cause: verdict.LinkDeleted, Device: hostile, Start: s.Time, Leases: 1, State: verdict.Missing, Effect: verdict.EffectBlackhole,
		Actor:  &wire.Actor{Kind: verdict.ActorProcess, PID: 7, Comm: hostile},
		Around: []wire.Change{{Time: s.Time, Type: verdict.LinkGone, Device: hostile, Detail: hostile}},
	}}
	s.Sources = []wire.Source{{Name: "kernel", Problem: hostile}}
	s.History = &wire.History{Problem: "history is " + hostile}
	s.Stale = []wire.Stale{{Kind: wire.StaleRoute, Object: "10.9.9.0/24 dev " + hostile, Since: s.Time, Advice: advice("ip route del " + hostile)}}
	return s
}

// testPageVerdicts: the page sums any status up as wire.Outcome does, shows
// foreign text as text, and takes nothing for a status that is none.
func testPageVerdicts(t *testing.T, b *browser) {
	n := newNode(t)
	n.start(t)
	within(t, startup, "healthy at the start", func() bool { return n.status(t).Healthy })
	var answer func(http.ResponseWriter)
	target, err := url.Parse(n.url)
	netns.Must(t, err)
	mux := http.NewServeMux()
	mux.Handle("/", httputil.NewSingleHostReverseProxy(target))
	mux.HandleFunc("/api/v1/status", func(w http.ResponseWriter, _ *http.Request) { answer(w) })
	server := httptest.NewServer(mux)
	defer server.Close()                  // waits for its streams
	defer b.do(t, "complaints", nil, nil) // of the answers that are errors
	defer b.do(t, "close", nil, nil)

	shown := map[wire.Outcome]string{wire.Well: "HEALTHY", wire.Broken: "PROBLEMS", wire.CannotTell: "CANNOT TELL"}
	for name, change := range statuses {
		s := n.status(t)
		change(&s)
		answer = func(w http.ResponseWriter) { _ = json.NewEncoder(w).Encode(s) }
		b.do(t, "open", with{"url": server.URL, "known": false}, nil)
		t.Log(name) // which is the last line where it fails
		b.shows(t, "#verdict strong", shown[s.Outcome(time.Now())])
	}
	s := foreign(n.status(t))
	answer = func(w http.ResponseWriter) { _ = json.NewEncoder(w).Encode(s) }
	b.do(t, "open", with{"url": server.URL}, nil)
	b.shows(t, "#node", harmless)
	b.shows(t, "#problem-list", "1 lease: entangled", "A word that this page does not know.", harmless+" rm -r x",
		"Node: Reverse path filter", "MTU differs (information)")
	b.shows(t, "#timeline", "Device deleted on "+harmless, "by "+harmless+" (pid 7)", "1 lease, at worst route missing and blackholed")
	b.shows(t, "#facts", "kernel NOT COMPLETE, never read: "+harmless, "history is "+harmless)
	b.shows(t, "#info", "10.9.9.0/24 dev "+harmless, "ip route del "+harmless)
	b.accessible(t, "foreign")
	b.quiet(t)
	for name, reply := range map[string]func(http.ResponseWriter){
		"no status": func(w http.ResponseWriter) { _, _ = w.Write([]byte(`{"kind":"LeaseList","items":[]}`)) },
		"a page":    func(w http.ResponseWriter) { _, _ = w.Write([]byte("<h1>HEALTHY: please log in</h1>")) },
		"an error":  func(w http.ResponseWriter) { http.Error(w, "{}", http.StatusBadGateway) },
		"half of it": func(w http.ResponseWriter) {
			_, _ = w.Write([]byte(`{"kind":"NodeStatus","healthy":true,"complete":true}`))
		},
	} {
		answer = reply
		b.do(t, "open", with{"url": server.URL, "known": false}, nil)
		t.Log(name) // which is the last line where it fails
		b.shows(t, "#verdict", "NOT KNOWN")
		b.do(t, "until", with{"kind": "unsure", "limit": 1000}, nil)
	}
}
