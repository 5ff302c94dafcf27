//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/deploy/lab/netns"
	"routewatch/deploy/lab/shell"
	"routewatch/deploy/lab/topology"
	"routewatch/shared/lease"
)

// silence is how long the page may call a status true that nobody could read again.
const silence = 15 * time.Second

// TestCluster_Page opens the exporter's page in a real browser: it is true
// within a second, it can be used by everybody, and it is never green on no data.
func TestCluster_Page(t *testing.T) {
	b := startBrowser(t)
	t.Run("incident", func(t *testing.T) { testPageIncident(t, b) })
	t.Run("proxy", func(t *testing.T) { testPageProxied(t, b) })
	t.Run("no answer", func(t *testing.T) { testPageNoAnswer(t, b) })
	t.Run("verdicts", func(t *testing.T) { testPageVerdicts(t, b) })
	t.Run("5000 leases", func(t *testing.T) { testPageLarge(t, b) })
}

func (n *node) flapOnce(t *testing.T) time.Time {
	t.Helper()
	start := time.Now()
	netns.Must(t, n.NS.SetDown("flannel.1"))
	netns.Must(t, n.NS.SetUp("flannel.1"))
	return start
}

// testPageIncident: a flap is on the page within a second, and what the page
// gives to copy mends it.
func testPageIncident(t *testing.T, b *browser) {
	n := newNode(t)
	n.start(t)
	defer b.do(t, "close", nil, nil)
	within(t, startup, "healthy at the start", func() bool { return n.status(t).Healthy })
	b.do(t, "open", with{"url": n.url}, nil)
	b.shows(t, "#verdict", "HEALTHY", "all 6 leases ok")
	b.everybody(t, "healthy", "", "-phone-dark")

	start := n.flapOnce(t)
	say(t, b.until(t, "bad", start, time.Second), "flannel.1 set down and up: the page says so")
	b.shows(t, "#verdict", "PROBLEMS", "3 of 6 leases bad (3 leaking)")
	b.shows(t, "#problem-list", "3 leases: Route missing", "Packets leave the node by a wider route",
		"via 192.168.1.1 dev ens33 by the default route", "Device set down", "10.244.2.0/24", "To mend, as root on node-1", "Or all at once")
	b.shows(t, "#timeline", "Device set down on flannel.1", "3 leases, at worst ", "leaking", "open")
	b.do(t, "keys", with{"selector": "#grid > .bad", "keys": []string{"Enter"}}, nil)
	b.shows(t, "#lease", "node-2 10.244.2.0/24", "192.168.1.57", "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink")
	b.everybody(t, "broken", "", "-dark", "-phone", "-phone-dark")
	b.do(t, "open", with{"url": n.url}, nil)
	b.keyboard(t)

	copied := n.copyAdvice(t, b)
	start = time.Now()
	for _, command := range copied {
		netns.Must(t, shell.Type(n.NS, command))
	}
	say(t, b.until(t, "good", start, time.Second), "the %d copied commands typed: the page is healthy", len(copied))
	b.shows(t, "#problem-list", "None.")
	b.shows(t, "#timeline", "over after")
	b.quiet(t)
}

// copyAdvice copies what mends the node, with the clipboard and without one, as
// where the page has no TLS, and demands that it is what the API says.
func (n *node) copyAdvice(t *testing.T, b *browser) []string {
	t.Helper()
	var want []string
	for _, p := range n.status(t).Problems {
		for _, a := range p.Advice {
			if a.Why == "" {
				want = append(want, a.Command)
			}
		}
	}
	var copied, pasted string
	b.do(t, "copy", nil, &copied)
	if diff := cmp.Diff(want, strings.Split(copied, "\n")); diff != "" {
		t.Errorf("copied (-want +got):\n%s", diff)
	}
	b.do(t, "open", with{"url": n.url, "clipboard": false}, nil)
	b.do(t, "copy", with{"field": true}, &pasted)
	if diff := cmp.Diff(strings.Join(want, " "), pasted); diff != "" {
		t.Errorf("copied without a clipboard (-want +got):\n%s", diff)
	}
	return strings.Split(copied, "\n")
}

// shows waits until a part of the page shows all of these texts.
func (b *browser) shows(t *testing.T, selector string, parts ...string) {
	t.Helper()
	b.do(t, "shows", with{"selector": selector, "parts": parts}, nil)
}

// everybody looks for what somebody could not use, in these color schemes and on
// a desk or a phone.
func (b *browser) everybody(t *testing.T, name string, looks ...string) {
	t.Helper()
	b.do(t, "cells", with{"count": 6, "limit": 2000}, nil)
	defer b.do(t, "look", nil, nil)
	for _, look := range looks {
		args := with{"dark": strings.HasSuffix(look, "-dark")}
		if strings.HasPrefix(look, "-phone") {
			args["width"], args["height"] = 320, 640
		}
		b.do(t, "look", args, nil)
		if look != "-phone-dark" {
			b.shot(t, name+look, "html")
		}
		b.accessible(t, name+look)
	}
	b.quiet(t)
}

func (b *browser) accessible(t *testing.T, name string) {
	t.Helper()
	var found struct {
		Passed     int
		Violations []string
		TooWide    int
	}
	b.do(t, "axe", nil, &found)
	if len(found.Violations) > 0 || found.Passed < 20 || found.TooWide > 0 {
		t.Errorf("%s: %d rules passed, %d pixels too wide, violations %q", name, found.Passed, found.TooWide, found.Violations)
	}
}

// keyboard walks through the whole page without a mouse.
func (b *browser) keyboard(t *testing.T) {
	t.Helper()
	b.do(t, "cells", with{"count": 6, "limit": 2000}, nil)
	var walk []struct {
		Name string
		Seen bool
	}
	b.do(t, "walk", nil, &walk)
	var names []string
	for _, w := range walk {
		names = append(names, w.Name)
		if !w.Seen {
			t.Errorf("that %.60q has the focus cannot be seen", w.Name)
		}
	}
	// One cell of the grid: the arrow keys reach the others.
	want := []string{
		"To the problems", "ip route replace", "Copy 6 commands", "kubectl", "Copy 1 command", "state", "text", "M", "changes around it",
		"api/v1/status", "api/v1/leases", "api/v1/events", "api/v1/explain", "api/v1/openapi.json", "metrics", "-/healthy", "-/ready",
	}
	if !slices.EqualFunc(want, names, func(want, name string) bool { return strings.Contains(name, want) }) {
		t.Errorf("Tab leads to %q, want what contains %q", names, want)
	}
	for keys, want := range map[string]string{
		"ArrowRight": "node-3 10.244.3.0/24: Route missing, leaking",
		"ArrowLeft":  "node-2 10.244.2.0/24: Route missing, leaking",
		"End":        "node-4 fd00:10:244:4::/64: OK",
		"End Home":   "node-2 10.244.2.0/24: Route missing, leaking",
	} {
		var at string
		b.do(t, "keys", with{"selector": `#grid > :first-child`, "keys": strings.Fields(keys)}, &at)
		if at != want {
			t.Errorf("%s leads to %q, want %q", keys, at, want)
		}
	}
	var selected string
	b.do(t, "keys", with{"selector": "#grid > .good", "keys": []string{"Enter"}}, nil)
	b.do(t, "attribute", with{"selector": "#grid > .good", "name": "aria-selected"}, &selected)
	if selected != "true" {
		t.Errorf("Enter: aria-selected is %q", selected)
	}
	b.shows(t, "#lease", "The whole chain is as the lease says")
}

// testPageProxied: through the API server's pod proxy the page is below another path.
func testPageProxied(t *testing.T, b *browser) {
	n := newNode(t)
	n.start(t)
	target, err := url.Parse(n.url)
	netns.Must(t, err)
	const below = "/api/v1/namespaces/routewatch/pods/routewatch-abcde:10098/proxy"
	proxy := httptest.NewServer(http.StripPrefix(below, &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, FlushInterval: -1,
	}))
	defer proxy.Close() // waits for its streams
	defer b.do(t, "close", nil, nil)
	within(t, startup, "healthy at the start", func() bool { return n.status(t).Healthy })
	b.do(t, "open", with{"url": proxy.URL + below + "/"}, nil)
	b.do(t, "cells", with{"count": 6, "limit": 2000}, nil)
	start := n.flapOnce(t)
	say(t, b.until(t, "bad", start, time.Second), "flannel.1 set down and up, seen through a proxy")
	b.quiet(t)
}

// testPageNoAnswer: an exporter that hangs or is killed leaves nothing green.
func testPageNoAnswer(t *testing.T, b *browser) {
	n := newNode(t)
	kill := n.startToKill(t)
	b.do(t, "open", with{"url": n.url}, nil)
	b.do(t, "cells", with{"count": 6, "limit": 2000}, nil)
	start := time.Now()
	netns.Must(t, syscall.Kill(n.pid, syscall.SIGSTOP))
	say(t, b.until(t, "unsure", start, silence), "exporter stopped: not known")
	b.shot(t, "lost", "html")
	b.shows(t, "header", "NOT KNOWN", "no answer within 4 s", "Not connected: last read")
	netns.Must(t, syscall.Kill(n.pid, syscall.SIGCONT))
	say(t, b.until(t, "good", time.Now(), silence), "exporter goes on: healthy")
	b.quiet(t)

	start = time.Now()
	kill()
	say(t, b.until(t, "unsure", start, 5*time.Second), "exporter killed: not known")
	b.shows(t, "header", "NOT KNOWN", "Not connected: last read")
	b.do(t, "close", nil, nil)
	b.do(t, "complaints", nil, nil) // of the connection that is refused
}

// startToKill starts an exporter that may end as it likes.
func (n *node) startToKill(t *testing.T) (kill func()) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, "routewatch-exporter"), "--node-name", "node-1",
		"--netns", n.NS.Path(), "--web.listen-address", "127.0.0.1:0", "--leases.file", n.file)
	out, err := cmd.StderrPipe()
	netns.Must(t, err)
	netns.Must(t, cmd.Start())
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	address := make(chan string, 1)
	go n.log.follow(out, address)
	select {
	case a := <-address:
		n.url, n.pid = "http://"+a, cmd.Process.Pid
	case <-time.After(startup):
		t.Fatalf("the exporter does not listen; its log:\n%s", n.log)
	}
	return kill
}

// testPageLarge: 5,000 leases can be read and searched.
func testPageLarge(t *testing.T, b *browser) {
	const nodes = 5000
	n := newLargeNode(t, nodes)
	n.start(t)
	within(t, 30*time.Second, "healthy with all leases", func() bool { return n.status(t).Healthy })
	start := time.Now()
	b.do(t, "open", with{"url": n.url}, nil)
	b.do(t, "cells", with{"count": nodes - 1, "limit": 10_000}, nil)
	say(t, time.Since(start), "page opened: %d leases shown", nodes-1)
	for _, filter := range []struct {
		text  string
		count int
	}{{"node-49", 111}, {"10.128.77.0", 1}, {"", nodes - 1}} { // the last one stays
		var took float64
		b.do(t, "filter", with{"text": filter.text}, &took)
		b.do(t, "cells", with{"count": filter.count, "limit": 1000}, nil)
		say(t, time.Duration(took*float64(time.Millisecond)), "filter %q: %d leases", filter.text, filter.count)
		if took > 1000 {
			t.Errorf("filter %q takes %.0f ms", filter.text, took)
		}
	}
	start = n.flapOnce(t)
	say(t, b.until(t, "bad", start, startup), "flannel.1 set down and up: the page says so")
	b.do(t, "select", with{"state": "missing"}, nil)
	b.do(t, "cells", with{"count": nodes - 1, "limit": 10_000}, nil)
	say(t, time.Since(start), "all %d leases are shown as missing", nodes-1)
	b.shot(t, "many", "#leases-title")
	defer b.do(t, "close", nil, nil)
	b.quiet(t)
}

// newLargeNode is node-1 of so many, in a file, as flannel leaves it.
func newLargeNode(t *testing.T, nodes int) *node {
	t.Helper()
	netns.Require(t)
	netns.Must(t, build())
	var items []any
	for i := 1; i <= nodes; i++ {
		items = append(items, kubeNode(i, 0))
	}
	list, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	netns.Must(t, err)
	set, err := lease.Read(strings.NewReader(string(list)), lease.Options{Self: "node-1"})
	netns.Must(t, err)
	n := &node{Node: topology.Single(t, &set), log: &logs{}, file: filepath.Join(t.TempDir(), "nodes.json"), peers: set.Leases}
	netns.Must(t, os.WriteFile(n.file, list, 0o600))
	return n
}
