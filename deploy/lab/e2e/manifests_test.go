//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"routewatch/deploy/lab/cluster"
	"routewatch/deploy/lab/netns"
)

// TestCluster_Manifests: the manifests as they are, on a control plane with all
// its controllers.
func TestCluster_Manifests(t *testing.T) {
	c := cluster.StartT(t, cluster.Config{Controllers: true})
	for _, crd := range []string{"podmonitors", "prometheusrules"} {
		file, err := cluster.Part("monitoring.coreos.com_" + crd + ".yaml")
		netns.Must(t, err)
		c.MustKubectl(t, "apply", "--server-side", "-f", file)
		c.MustKubectl(t, "wait", "--for=condition=Established", "--timeout=30s", "crd/"+crd+".monitoring.coreos.com")
	}
	t.Run("accepted", func(t *testing.T) { testAccepted(t, c) })
	t.Run("a typo is rejected", func(t *testing.T) { testTypo(t, c) })
	t.Run("the DaemonSet rolls out on 20 nodes", func(t *testing.T) { testRollout(t, c) })
	t.Run("README's commands", func(t *testing.T) { testReadme(t, c) })
	t.Run("pod security", func(t *testing.T) { testPodSecurity(t, c) })
	t.Run("the service account may read nodes, make events about them, and nothing else", func(t *testing.T) { testRights(t, c) })
}

// strict refuses fields that the API server does not know, and duplicate ones.
var strict = []string{"apply", "--server-side", "--validate=strict"}

// kind is in every object of Kubernetes.
var kind = regexp.MustCompile(`(?m)^kind: `)

// testAccepted applies every way to install: the plain manifests, and what
// kustomize makes of the folders. A namespace of a dry run does not exist for
// what is in it, so that is there before.
func testAccepted(t *testing.T, c *cluster.Cluster) {
	dir := deployDir(t)
	plain, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	netns.Must(t, err)
	folders, err := filepath.Glob(filepath.Join(dir, "*", "kustomization.yaml"))
	netns.Must(t, err)
	var sources [][]string
	for _, file := range plain {
		if raw, err := os.ReadFile(file); err != nil || kind.Match(raw) { // not a Prometheus's own configuration
			sources = append(sources, []string{"-f", file})
		}
	}
	for _, file := range folders {
		sources = append(sources, []string{"-k", filepath.Dir(file)})
	}
	if len(sources) < 4 {
		t.Fatalf("manifests %q in %s: want at least two plain ones and two kustomizations", sources, dir)
	}
	c.MustKubectl(t, append(strict, "-f", filepath.Join(dir, "base", "namespace.yaml"))...)
	for _, mode := range [][]string{{"--dry-run=server"}, nil} {
		for _, source := range sources {
			if mode == nil && strings.HasSuffix(source[1], "node-condition") {
				continue // its right would stay; TestCluster_Notify is about it
			}
			start := time.Now()
			out, warnings, err := c.Kubectl(slices.Concat(strict, mode, source)...)
			netns.Must(t, err)
			onlyHostNetwork(t, warnings)
			name, err := filepath.Rel(dir, source[1])
			netns.Must(t, err)
			say(t, time.Since(start), "deploy/%s: %d objects accepted %s", name, strings.Count(out, "\n"), strings.Join(mode, ""))
		}
	}
}

// What keeps the pods from Pod Security's level "restricted", and nothing else:
// the host's network, and that the probes ask over loopback.
const (
	hostNetwork  = `host namespaces (hostNetwork=true)`
	hostPort     = `hostPort (container "exporter" uses hostPort 10098)`
	loopbackOnly = `probe or lifecycle host (container "exporter" uses probe or lifecycle host "127.0.0.1")`
)

// onlyHostNetwork fails the test for any other warning. The port of the host
// is not written in the DaemonSet, but derived in its pods.
func onlyHostNetwork(t *testing.T, warnings string) {
	t.Helper()
	expected := `Warning: would violate PodSecurity "restricted:latest": ` + hostNetwork + ", " + loopbackOnly
	for line := range strings.Lines(warnings) {
		if line = strings.TrimSpace(line); line != expected {
			t.Errorf("kubectl says %q, want only %q", line, expected)
		}
	}
}

// testTypo is the proof that strict validation is on, for a built-in type and
// for one of a CRD.
func testTypo(t *testing.T, c *cluster.Cluster) {
	for _, typo := range []struct{ file, from, to, says string }{
		{"routewatch.yaml", "dnsPolicy:", "dnsPolcy:", "dnsPolcy"},
		{"routewatch.yaml", "runAsNonRoot: true", "runAsNonRoot: \"yes\"", "runAsNonRoot"},
		{"monitoring.yaml", "podMetricsEndpoints:", "podMetricsEndpoint:", "podMetricsEndpoint"},
		{"monitoring.yaml", "expr: ", "exp: ", "exp"},
	} {
		raw, err := os.ReadFile(filepath.Join(deployDir(t), typo.file))
		netns.Must(t, err)
		wrong := strings.Replace(string(raw), typo.from, typo.to, 1)
		if wrong == string(raw) {
			t.Fatalf("%s has no %q", typo.file, typo.from)
		}
		_, _, err = c.KubectlIn(wrong, append(strict, "--dry-run=server", "-f", "-")...)
		if err == nil || !strings.Contains(err.Error(), typo.says) {
			t.Errorf("%s with %q: %v, want an error that names it", typo.file, typo.to, err)
		}
	}
}

// testRollout: with taints of every effect, cordoned, and one node of Windows
// that gets none.
func testRollout(t *testing.T, c *cluster.Cluster) {
	const nodes = 20
	taint := func(key, effect string) map[string]any {
		return map[string]any{"key": key, "value": "yes", "effect": effect}
	}
	taints := [][]map[string]any{
		nil,
		{taint("node-role.kubernetes.io/control-plane", "NoSchedule")},
		{taint("dedicated", "NoExecute"), taint("gpu", "NoSchedule")},
		{taint("spot", "PreferNoSchedule"), taint("node.kubernetes.io/network-unavailable", "NoSchedule")},
	}
	for i := range nodes + 1 {
		system, spec := "linux", map[string]any{"taints": taints[i%len(taints)], "unschedulable": i%5 == 4}
		if i == nodes {
			system = "windows"
		}
		netns.Must(t, c.Do(t.Context(), http.MethodPost, "/api/v1/nodes", map[string]any{
			"apiVersion": "v1", "kind": "Node", "spec": spec,
			"metadata": map[string]any{
				"name":        fmt.Sprintf("kwok-%d", i),
				"labels":      map[string]string{"kubernetes.io/os": system},
				"annotations": map[string]string{cluster.KwokNode: "fake"},
			},
			// kwok derives the rest.
			"status": map[string]any{"nodeInfo": map[string]string{"operatingSystem": system}},
		}, nil))
	}
	start := time.Now()
	within(t, time.Minute, "the DaemonSet counts all nodes", func() bool {
		return daemonSet(t, c).DesiredNumberScheduled == nodes
	})
	c.MustKubectl(t, "rollout", "status", "daemonset/routewatch", "-n", namespace, "--timeout=90s")
	if s := daemonSet(t, c); s.NumberReady != nodes || s.UpdatedNumberScheduled != nodes || s.NumberMisscheduled != 0 {
		t.Errorf("%+v: want %d ready and updated", s, nodes)
	}
	on := strings.Fields(c.MustKubectl(t, "get", "pods", "-n", namespace, "-o", "jsonpath={.items[*].spec.nodeName}"))
	slices.Sort(on)
	if on = slices.Compact(on); len(on) != nodes || slices.Contains(on, fmt.Sprintf("kwok-%d", nodes)) {
		t.Errorf("pods on %q: want one on each of %d nodes with Linux", on, nodes)
	}
	say(t, time.Since(start), "DaemonSet rolled out: %d of %d nodes with Linux ready, tainted and cordoned ones included", len(on), nodes)
}

type daemonSetStatus struct {
	DesiredNumberScheduled, NumberReady, UpdatedNumberScheduled, NumberMisscheduled int
}

func daemonSet(t *testing.T, c *cluster.Cluster) daemonSetStatus {
	t.Helper()
	var ds struct{ Status daemonSetStatus }
	netns.Must(t, c.Do(t.Context(), http.MethodGet, "/apis/apps/v1/namespaces/"+namespace+"/daemonsets/routewatch", nil, &ds))
	return ds.Status
}

// testPodSecurity: the level that the namespace enforces admits the pods, the
// next lower one does not, and nothing but the host's network is the reason.
func testPodSecurity(t *testing.T, c *cluster.Cluster) {
	var ds struct {
		Spec struct{ Template map[string]any }
	}
	netns.Must(t, c.Do(t.Context(), http.MethodGet, "/apis/apps/v1/namespaces/"+namespace+"/daemonsets/routewatch", nil, &ds))
	pod := ds.Spec.Template
	pod["apiVersion"], pod["kind"], pod["metadata"] = "v1", "Pod", map[string]any{"name": "probe"}
	try := func(ns string) error {
		return c.Do(t.Context(), http.MethodPost, "/api/v1/namespaces/"+ns+"/pods?dryRun=All", pod, nil)
	}
	if err := try(namespace); err != nil {
		t.Errorf("in the manifest's namespace: %v", err)
	}
	for _, level := range []string{"baseline", "restricted"} {
		c.MustKubectl(t, "create", "namespace", level)
		c.MustKubectl(t, "label", "namespace", level, "pod-security.kubernetes.io/enforce="+level)
		c.MustKubectl(t, "create", "serviceaccount", serviceAccount, "-n", level)
		want := fmt.Sprintf(`pods "probe" is forbidden: violates PodSecurity "%s:latest": %s, %s, %s`, level, hostNetwork, hostPort, loopbackOnly)
		if err := try(level); cluster.Forbidden(err) != want {
			t.Errorf("where %s is enforced: %v, want %s", level, err, want)
		}
	}
}

// testRights asks the API server for everything that the service account may
// do beyond what every service account may, and does what it may not.
func testRights(t *testing.T, c *cluster.Cluster) {
	token, err := c.Token(t.Context(), namespace, serviceAccount)
	netns.Must(t, err)
	anybody, err := c.Token(t.Context(), "default", "default")
	netns.Must(t, err)
	everybodys := rights(t, c, anybody)
	own := slices.DeleteFunc(rights(t, c, token), func(right string) bool { return slices.Contains(everybodys, right) })
	slices.Sort(own)
	if want := []string{"events [] [] [create patch]", "nodes [] [] [get list watch]"}; !slices.Equal(own, want) {
		t.Errorf("the service account may %q, want %q", own, want)
	}

	as := c.As(token)
	for _, path := range []string{"/api/v1/nodes", "/api/v1/nodes/kwok-1", "/api/v1/nodes?watch=1&timeoutSeconds=1"} {
		if err := as.Do(t.Context(), http.MethodGet, path, nil, nil); err != nil {
			t.Errorf("it may not read nodes: %v", err)
		}
	}
	node := map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": "evil"}}
	annotated := map[string]any{"metadata": map[string]any{"annotations": map[string]any{"flannel.alpha.coreos.com/public-ip": "192.0.2.66"}}}
	review := map[string]any{"spec": map[string]any{"expirationSeconds": 600}}
	start, refused := time.Now(), 0
	for _, r := range []struct {
		method, path string
		body         any
	}{
		{"POST", "/api/v1/nodes", node},
		{"PUT", "/api/v1/nodes/kwok-1", node},
		{"PATCH", "/api/v1/nodes/kwok-1", annotated},
		{"DELETE", "/api/v1/nodes/kwok-1", nil},
		{"DELETE", "/api/v1/nodes", nil},
		{"GET", "/api/v1/nodes/kwok-1/status", nil},
		{"PATCH", "/api/v1/nodes/kwok-1/status", annotated},
		{"GET", "/api/v1/nodes/kwok-1/proxy/metrics", nil},
		{"GET", "/api/v1/pods", nil},
		{"GET", "/api/v1/namespaces/routewatch/pods", nil},
		{"GET", "/api/v1/secrets", nil},
		{"GET", "/api/v1/namespaces/routewatch/secrets", nil},
		{"GET", "/api/v1/namespaces/routewatch/configmaps", nil},
		{"GET", "/api/v1/services", nil},
		{"GET", "/api/v1/namespaces", nil},
		{"GET", "/apis/apps/v1/daemonsets", nil},
		{"GET", "/apis/coordination.k8s.io/v1/leases", nil},
		{"POST", "/api/v1/namespaces/routewatch/events", map[string]any{"metadata": map[string]any{"name": "x"}}},
		{"POST", "/api/v1/namespaces/kube-system/events", map[string]any{"metadata": map[string]any{"name": "x"}}},
		{"GET", "/api/v1/namespaces/default/events", nil},
		{"DELETE", "/api/v1/namespaces/default/events/x", nil},
		{"POST", "/api/v1/namespaces/routewatch/serviceaccounts/routewatch/token", review},
		{"GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles", nil},
		{"GET", "/metrics", nil},
	} {
		if err := as.Do(t.Context(), r.method, r.path, r.body, nil); cluster.Forbidden(err) == "" {
			t.Errorf("%s %s: %v, want 403 Forbidden", r.method, r.path, err)
			continue
		}
		refused++
	}
	say(t, time.Since(start), "service account: nodes read, %d other requests refused", refused)
}

// rights are the lines of `kubectl auth can-i --list`.
func rights(t *testing.T, c *cluster.Cluster, token string) []string {
	t.Helper()
	dir := t.TempDir()
	kubeconfig, file := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "token")
	netns.Must(t, os.WriteFile(file, []byte(token), 0o600))
	netns.Must(t, c.TokenKubeconfig(kubeconfig, file))
	var lines []string
	for line := range strings.Lines(c.MustKubectl(t, "auth", "can-i", "--list", "--kubeconfig", kubeconfig)) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}
