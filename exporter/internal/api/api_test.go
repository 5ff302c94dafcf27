package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"routewatch/exporter/internal/api"
	"routewatch/exporter/internal/eventlog"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is an exporter whose state a test can change.
type server struct {
	snapshot *wire.Snapshot
	idle     time.Duration
	events   *eventlog.Log
	history  *wire.History
	explain  func(netip.Addr) wire.Explanation
	stop     chan struct{}
	http.Handler
}

func newServer(s *wire.Snapshot) *server {
	srv := &server{snapshot: s, events: eventlog.New(eventlog.Start{Base: 1, Whole: true}), stop: make(chan struct{})}
	srv.Handler = api.Handler(api.Config{
		Latest:      func() *wire.Snapshot { return srv.snapshot },
		Version:     "v1.4.0",
		Idle:        func() time.Duration { return srv.idle },
		Metrics:     http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "a_metric 1") }),
		MetricsPath: "/metrics",
		Events:      srv.events,
		History:     func() *wire.History { return srv.history },
		Explain:     func(_ context.Context, a netip.Addr) wire.Explanation { return srv.explain(a) },
		Stop:        srv.stop,
	})
	return srv
}

func (s *server) do(method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	if method == "GET" {
		conforms(target, w)
	}
	return w
}

func peers(n int) *wire.Snapshot {
	s := &wire.Snapshot{Node: "alpha"}
	for i := range n {
		state := verdict.OK
		if i%2 == 1 {
			state = verdict.Missing
		}
		s.Leases = append(s.Leases, &wire.Lease{
			Peer: fmt.Sprintf("peer%d", i), Family: netstate.IPv4, State: state,
			Lease: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 0}), 24),
		})
	}
	return s
}

func TestStatus(t *testing.T) {
	w := newServer(peers(3)).do("GET", "/api/v1/status")
	var got wire.NodeStatus
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if w.Code != 200 || got.Kind != wire.KindNodeStatus || got.ProblemsTotal != 1 || got.Version != "v1.4.0" {
		t.Errorf("got %d %+v, want 200 and a NodeStatus of v1.4.0 with one problem", w.Code, got)
	}
}

func TestHeaders(t *testing.T) {
	for target, contentType := range map[string]string{
		"/":                       "text/html; charset=utf-8",
		"/api/v1/status":          "application/json",
		"/api/v1/leases":          "application/json",
		"/api/v1/leases?limit=no": "application/problem+json",
		"/api/v1/events":          "application/json",
		"/page/main.js":           "text/javascript; charset=utf-8",
		"/page/page.css":          "text/css; charset=utf-8",
		"/page/icon.svg":          "image/svg+xml",
		"/page/nothing.js":        "application/problem+json",
		"/nowhere":                "application/problem+json",
		"/-/healthy":              "text/plain; charset=utf-8",
		"/-/ready":                "application/problem+json",
		"/metrics":                "",
	} {
		h := newServer(&wire.Snapshot{}).do("GET", target).Header()
		if got := h.Get("Content-Type"); got != contentType && contentType != "" {
			t.Errorf("%s: Content-Type is %q, want %q", target, got, contentType)
		}
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: Cache-Control or X-Content-Type-Options is missing: %v", target, h)
		}
	}
}

func TestProblems(t *testing.T) {
	tests := []struct {
		method, target string
		code           int
		detail         string
	}{
		{"GET", "/api/v1/nothing", 404, "there is nothing at /api/v1/nothing: / lists what there is"},
		{"GET", "/api/v1/status/", 404, "there is nothing at /api/v1/status/"},
		{"GET", "/page/", 404, "there is nothing at /page/: / lists what there is"},
		{"GET", "/page/..%2findex.html", 404, "there is nothing at /page/../index.html"},
		{"POST", "/page/main.js", 405, "POST is not possible here"},
		{"POST", "/nowhere", 404, "there is nothing at /nowhere"},
		{"POST", "/api/v1/status", 405, "POST is not possible here: expected GET or HEAD"},
		{"DELETE", "/", 405, "DELETE is not possible here"},
		{"OPTIONS", "/-/ready", 405, "OPTIONS is not possible here"},
		{"PUT", "/metrics", 405, "PUT is not possible here"},
		{"GET", "/api/v1/status?state=ok", 400, `there is no parameter "state": expected none`},
		{"GET", "/api/v1/leases?stat=ok", 400, `there is no parameter "stat": expected state, limit, continue`},
		{"GET", "/api/v1/leases?state=broken", 400, `state is "broken": expected one of unknown, unsupported, conflict,`},
		{"GET", "/api/v1/leases?state=", 400, `state is "": expected one of`},
		{"GET", "/api/v1/leases?limit=0", 400, `limit is "0": expected a number from 1 to 5000`},
		{"GET", "/api/v1/leases?limit=5001", 400, `limit is "5001"`},
		{"GET", "/api/v1/leases?limit=-1", 400, `limit is "-1"`},
		{"GET", "/api/v1/leases?limit=", 400, `limit is ""`},
		{"GET", "/api/v1/leases?limit=1&limit=2", 400, "limit is given 2 times: expected once"},
		{"GET", "/api/v1/leases?continue=%3F%3F", 400, `continue is "??": expected the value of continue in the page before`},
		{"GET", "/api/v1/leases?continue=e30x", 400, `continue is "e30x"`},
		{"GET", "/api/v1/explain", 400, "address is missing: expected ?address= with the IP address of a pod or node, e.g. 10.244.2.7"},
		{"GET", "/api/v1/explain?address=node-2", 400, `address is "node-2": expected an IPv4 or IPv6 address without a prefix length or a zone, e.g. 10.244.2.7`},
		{"GET", "/api/v1/explain?address=10.244.2.0/24", 400, `address is "10.244.2.0/24"`},
		{"GET", "/api/v1/explain?address=fe80::1%25eth0", 400, `address is "fe80::1%eth0"`},
		{"GET", "/api/v1/explain?address=", 400, `address is ""`},
		{"GET", "/api/v1/explain?address=1.1.1.1&address=1.1.1.2", 400, "address is given 2 times: expected once"},
		{"GET", "/api/v1/explain?addr=1.1.1.1", 400, `there is no parameter "addr": expected address`},
		{"GET", "/api/v1/events?since=1", 400, `there is no parameter "since": expected after, limit`},
		{"GET", "/api/v1/events?after=last", 400, `after is "last": expected the id of an event`},
		{"GET", "/api/v1/events?after=-1", 400, `after is "-1"`},
		{"GET", "/api/v1/events?after=", 400, `after is ""`},
		{"GET", "/api/v1/events?limit=1001", 400, `limit is "1001": expected a number from 1 to 1000`},
		{"POST", "/api/v1/events", 405, "POST is not possible here"},
		{"GET", "/api/v1/leases?state=%zz", 400, "the query cannot be read"},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			w := newServer(peers(1)).do(tt.method, tt.target)
			var got wire.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatalf("body is no problem document: %v\n%s", err, w.Body)
			}
			if w.Code != tt.code || got.Status != tt.code || got.Title != http.StatusText(tt.code) || got.Type != "about:blank" {
				t.Errorf("got %d and %+v, want %d", w.Code, got, tt.code)
			}
			if !strings.HasPrefix(got.Detail, tt.detail) {
				t.Errorf("detail is %q, want %q", got.Detail, tt.detail)
			}
			if allow := w.Header().Get("Allow"); (allow == "GET, HEAD") != (tt.code == 405) {
				t.Errorf("Allow is %q", allow)
			}
		})
	}
}

func TestHead(t *testing.T) {
	srv := httptest.NewServer(newServer(peers(2)))
	defer srv.Close()
	for _, path := range []string{"/", "/api/v1/status", "/api/v1/leases", "/-/healthy", "/metrics"} {
		r, err := srv.Client().Head(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != 200 {
			t.Errorf("HEAD %s: got %d, want 200", path, r.StatusCode)
		}
	}
}

func page(t *testing.T, s *server, query url.Values) wire.LeaseList {
	t.Helper()
	w := s.do("GET", "/api/v1/leases?"+query.Encode())
	var got wire.LeaseList
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 {
		t.Fatalf("got %d, %v: %s", w.Code, err, w.Body)
	}
	return got
}

func names(list wire.LeaseList) []string {
	out := []string{}
	for _, l := range list.Items {
		out = append(out, l.Peer)
	}
	return out
}

func TestLeases_Filter(t *testing.T) {
	s := newServer(peers(5))
	for query, want := range map[string][]string{
		"":                       {"peer0", "peer1", "peer2", "peer3", "peer4"},
		"state=missing":          {"peer1", "peer3"},
		"state=ok&limit=2":       {"peer0", "peer2"},
		"state=missing&state=ok": {"peer0", "peer1", "peer2", "peer3", "peer4"},
		"state=conflict":         {},
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, names(page(t, s, values))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", query, diff)
		}
	}
	if body := s.do("GET", "/api/v1/leases?state=conflict").Body.String(); !strings.Contains(body, `"items":[]`) {
		t.Errorf("no leases are not an empty list: %s", body)
	}
}

// walk reads all pages and calls between before each but the first.
func walk(t *testing.T, s *server, query url.Values, between func()) []string {
	t.Helper()
	var all []string
	for range 100 {
		list := page(t, s, query)
		all = append(all, names(list)...)
		if list.Continue == "" {
			return all
		}
		query.Set("continue", list.Continue)
		between()
	}
	t.Fatal("the pages do not end")
	return nil
}

func TestLeases_Pages(t *testing.T) {
	for limit := 1; limit <= 6; limit++ {
		got := walk(t, newServer(peers(5)), url.Values{"limit": {fmt.Sprint(limit)}}, func() {})
		if diff := cmp.Diff([]string{"peer0", "peer1", "peer2", "peer3", "peer4"}, got); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
	}
}

// A lease that stays is listed exactly once, whatever comes, goes and changes
// its state while somebody turns the pages.
func TestLeases_PagesWhileLeasesChange(t *testing.T) {
	s := newServer(peers(8))
	steps := 0
	got := walk(t, s, url.Values{"limit": {"2"}}, func() {
		steps++
		next := peers(8)
		for i := range next.Leases {
			next.Leases[i].State = verdict.Missing
		}
		switch steps {
		case 1: // the last one of the first page is gone, another appeared before it
			next.Leases = slices.Delete(next.Leases, 1, 2)
			next.Leases = slices.Insert(next.Leases, 0, &wire.Lease{Peer: "abel", Family: netstate.IPv4})
		case 2:
			next.Leases = next.Leases[5:]
		}
		s.snapshot = next
	})
	if diff := cmp.Diff([]string{"peer0", "peer1", "peer2", "peer3", "peer5", "peer6", "peer7"}, got); diff != "" {
		t.Errorf("all pages (-want +got):\n%s", diff)
	}
}

func TestLeases_PagesOfOddNames(t *testing.T) {
	s := &wire.Snapshot{}
	for _, peer := range []string{"a\xfe", "a\xff", "b&\"\n", "ü"} {
		s.Leases = append(s.Leases, &wire.Lease{Peer: peer, Family: netstate.IPv6}) // malformed: no subnet
	}
	got := walk(t, newServer(s), url.Values{"limit": {"1"}}, func() {})
	if diff := cmp.Diff([]string{"a\ufffd", "a\ufffd", "b&\"\n", "ü"}, got); diff != "" {
		t.Errorf("all pages (-want +got):\n%s", diff)
	}
}

func TestHealthy(t *testing.T) {
	s := newServer(&wire.Snapshot{})
	s.idle = api.MaxIdle
	if w := s.do("GET", "/-/healthy"); w.Code != 200 || w.Body.String() != "healthy: the loop turned 15s ago\n" {
		t.Errorf("got %d %s, want 200: the node's state is not the process's", w.Code, w.Body)
	}
	s.idle = api.MaxIdle + time.Millisecond
	if w := s.do("GET", "/-/healthy"); w.Code != 503 || !strings.Contains(w.Body.String(), "the loop turned 15.001s ago: expected at most 15s; restart the exporter") {
		t.Errorf("got %d %s, want 503 and how long ago the loop turned", w.Code, w.Body)
	}
}

func TestReady(t *testing.T) {
	sources := []wire.Source{{Name: "file", Problem: "nodes.json: no such file"}, {Name: "kernel"}}
	tests := []struct {
		leases, kernel bool
		code           int
		body           string
	}{
		{false, false, 503, "waiting for the leases: nodes.json: no such file; and for the kernel"},
		{false, true, 503, "waiting for the leases: nodes.json: no such file"},
		{true, false, 503, "waiting for the kernel"},
		{true, true, 200, "ready"}, // once is enough: a source that is lost later is no reason to take the exporter away
	}
	for _, tt := range tests {
		w := newServer(&wire.Snapshot{LeasesRead: tt.leases, KernelRead: tt.kernel, Sources: sources}).do("GET", "/-/ready")
		if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.body) {
			t.Errorf("leases %t, kernel %t: got %d %s, want %d %s", tt.leases, tt.kernel, w.Code, w.Body, tt.code, tt.body)
		}
	}
}

func TestIndex(t *testing.T) {
	s := newServer(&wire.Snapshot{Node: "alpha"})
	s.explain = explanation
	w := s.do("GET", "/")
	if w.Code != 200 || !strings.Contains(w.Body.String(), "<title>routewatch on alpha</title>") {
		t.Errorf("got %d %s, want the page of alpha", w.Code, w.Body)
	}
	for _, link := range []string{"api/v1/status", "api/v1/leases", "api/v1/events", "api/v1/explain?address=10.244.1.1", "api/v1/openapi.json", "metrics", "-/healthy", "-/ready", "page/main.js", "page/page.css"} {
		if !strings.Contains(w.Body.String(), `"`+link+`"`) {
			t.Errorf("there is no link to %s", link)
		}
		if target := "/" + link; s.do("GET", target).Code == 404 {
			t.Errorf("there is nothing at %s", target)
		}
	}
}
