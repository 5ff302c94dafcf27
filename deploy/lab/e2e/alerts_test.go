//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"routewatch/dashboards"
	"routewatch/deploy/lab/monitoring"
	"routewatch/deploy/lab/netns"
)

var (
	// forClause is how long a condition must hold: seconds here, so that the test
	// need not wait for minutes. promtool tests the rules with their own times.
	forClause = regexp.MustCompile(`(?m)^(\s+for: )\d+[mh]$`)
	execLine  = regexp.MustCompile(`(?m)^kubectl -n routewatch exec "\$\(kubectl -n routewatch get pod -o name .* spec\.nodeName=node-1\)" -- (routewatch .*)$`)
)

// monitored is a node with a Prometheus and an Alertmanager.
type monitored struct {
	*node
	*monitoring.Monitoring
}

func newMonitored(t *testing.T) *monitored {
	t.Helper()
	n := newNode(t)
	n.start(t, "--grace", "2s")
	return &monitored{n, startMonitoring(t, targetOf("node-1", n.url))}
}

func targetOf(name, address string) monitoring.Target {
	return monitoring.Target{Address: strings.TrimPrefix(address, "http://"), Labels: map[string]string{
		"node": name, "instance": name, "namespace": "routewatch", "cluster": "lab",
	}}
}

// startMonitoring has the rules, with seconds for minutes, and the inhibitions.
func startMonitoring(t *testing.T, targets ...monitoring.Target) *monitoring.Monitoring {
	t.Helper()
	inhibit, err := os.ReadFile(filepath.Join(deployDir(t), "alertmanager.yaml"))
	netns.Must(t, err)
	m, err := monitoring.Start(t.Context(), monitoring.Config{
		Dir: t.TempDir(), Rules: forClause.ReplaceAll(dashboards.Rules, []byte("${1}2s")), Inhibit: inhibit, Targets: targets,
	})
	netns.Must(t, err)
	t.Cleanup(m.Close)
	return m
}

// alert returns the one of the name that fires; nil if none does.
func (m *monitored) alert(t *testing.T, name string) *monitoring.Alert {
	t.Helper()
	alerts, err := m.Alerts(t.Context())
	netns.Must(t, err)
	i := slices.IndexFunc(alerts, func(a monitoring.Alert) bool { return a.Labels["alertname"] == name })
	if i < 0 {
		return nil
	}
	return &alerts[i]
}

// quiet waits until no alert is left.
func (m *monitored) quiet(t *testing.T, what string) time.Duration {
	t.Helper()
	return within(t, 60*time.Second, what, func() bool {
		alerts, err := m.Alerts(t.Context())
		netns.Must(t, err)
		return len(alerts) == 0
	})
}

// TestCluster_Alert goes the way of a person on call, as README has it: from the
// alert's text alone to the mended node. Prometheus and Alertmanager are real;
// what `kubectl exec` would do in the pod is done beside it.
func TestCluster_Alert(t *testing.T) {
	m := newMonitored(t)
	within(t, 20*time.Second, "every rule is evaluated without an error", func() bool {
		rules, err := m.Rules(t.Context())
		netns.Must(t, err)
		for _, r := range rules {
			if r.Health != "ok" && r.Health != "unknown" {
				t.Fatalf("rule %s: %s %s", r.Name, r.Health, r.LastError)
			}
		}
		return len(rules) > 20 && !slices.ContainsFunc(rules, func(r monitoring.Rule) bool { return r.Health != "ok" })
	})
	within(t, 20*time.Second, "the node is healthy, by Prometheus", func() bool {
		samples, err := m.Query(t.Context(), `sum(routewatch_leases{state="ok"}) == sum(routewatch_leases)`)
		return err == nil && len(samples) == 1
	})
	// In the seconds before the first scrape no exporter answers.
	m.quiet(t, "a healthy node has no alert")

	m.enter(t, "ip link set flannel.1 down")
	m.enter(t, "ip link set flannel.1 up")
	var alert *monitoring.Alert
	say(t, within(t, 30*time.Second, "the alert is in Alertmanager", func() bool {
		alert = m.alert(t, "RoutewatchFlannelRoutesMissing")
		return alert != nil
	}), "flannel.1 set down and up: RoutewatchFlannelRoutesMissing, %s", alert.Labels["severity"])
	text := alert.Annotations["description"]
	for _, want := range []string{"On node node-1 (cluster lab)", "- leaking: ", "missing, leaking, cause link_down, since "} {
		if !strings.Contains(text, want) {
			t.Errorf("the alert does not say %q:\n%s", want, text)
		}
	}
	within(t, 20*time.Second, "the warning of the same node is silenced by it", func() bool {
		a := m.alert(t, "RoutewatchLeasesBroken")
		return a != nil && len(a.Status.InhibitedBy) > 0
	})

	// 1: what the alert says to type.
	command := execLine.FindStringSubmatch(text)
	if command == nil {
		t.Fatalf("the alert does not say what to type:\n%s", text)
	}
	code, stdout, stderr := m.cli(t, strings.Fields(command[1])[1:]...)
	if code != 1 {
		t.Fatalf("%s: exit code %d, want 1; %s", command[1], code, stderr)
	}
	// 2: what that says to type.
	_, rest, _ := strings.Cut(stdout, "TO MEND, as root on node-1\n")
	mend, _, _ := strings.Cut(rest, "\n\n")
	if !strings.HasPrefix(mend, "ip route replace ") {
		t.Fatalf("it does not say what to type:\n%s", stdout)
	}
	for line := range strings.Lines(mend) {
		m.enter(t, strings.TrimSpace(line))
	}
	// 3: whether that was it.
	if code, stdout, stderr := m.cli(t, "wait", "--for", "healthy", "--timeout", "10s"); code != 0 {
		t.Fatalf("wait: exit code %d; %s%s", code, stdout, stderr)
	}
	say(t, m.quiet(t, "the alert is over"), "%d commands typed: no alert is left", len(strings.Split(mend, "\n")))
}
