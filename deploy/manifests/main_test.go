package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"routewatch/dashboards"
)

// What is in the checkout is what `make manifests` writes.
func TestRender_Committed(t *testing.T) {
	made, err := render(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range made {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("deploy/%s is not up to date, type make manifests (-want +got):\n%s", name, diff)
		}
	}
}

// A field that is not known here could change what kustomize makes.
func TestJoin_UnknownField(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "base"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := "kind: Kustomization\nnamePrefix: my-\nresources: []\n"
	if err := os.WriteFile(filepath.Join(dir, "base", "kustomization.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := join(os.DirFS(dir), "base", nil)
	if err == nil || !strings.Contains(err.Error(), "base/kustomization.yaml") || !strings.Contains(err.Error(), "namePrefix") {
		t.Errorf("got error %v, want one that names the file and namePrefix", err)
	}
}

// The kinds of the Prometheus operator, as far as they are used here.
type (
	podMonitor struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Metadata   metadata `json:"metadata"`
		Spec       struct {
			JobLabel string `json:"jobLabel"`
			Selector struct {
				MatchLabels map[string]string `json:"matchLabels"`
			} `json:"selector"`
			PodMetricsEndpoints []struct {
				Port        string `json:"port"`
				Path        string `json:"path"`
				Relabelings []struct {
					SourceLabels []string `json:"sourceLabels"`
					TargetLabel  string   `json:"targetLabel"`
				} `json:"relabelings"`
			} `json:"podMetricsEndpoints"`
		} `json:"spec"`
	}
	ruleObject struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Metadata   metadata `json:"metadata"`
		Spec       ruleSpec `json:"spec"`
	}
	ruleSpec struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Record      string            `json:"record,omitempty"`
				Alert       string            `json:"alert,omitempty"`
				Expr        string            `json:"expr"`
				For         string            `json:"for,omitempty"`
				Labels      map[string]string `json:"labels,omitempty"`
				Annotations map[string]string `json:"annotations,omitempty"`
			} `json:"rules"`
		} `json:"groups"`
	}
	metadata struct {
		Name      string            `json:"name"`
		Namespace string            `json:"namespace"`
		Labels    map[string]string `json:"labels"`
	}
)

// objects decodes a manifest. A field that the API does not know is an error,
// as it is for the API server with strict validation.
func objects(t *testing.T, file string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", file))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]any{}
	for i, document := range strings.Split("\n"+string(raw), "\n---\n") {
		if i == 0 && !strings.Contains(document, "\nkind: ") { // a comment
			continue
		}
		var kind struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Metadata   struct {
				Name string `json:"name"`
			} `json:"metadata"`
		}
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			t.Fatalf("%s, document %d: %v", file, i, err)
		}
		var object any
		switch kind.APIVersion + " " + kind.Kind {
		case "v1 Namespace":
			object = &corev1.Namespace{}
		case "v1 ServiceAccount":
			object = &corev1.ServiceAccount{}
		case "v1 ConfigMap":
			object = &corev1.ConfigMap{}
		case "rbac.authorization.k8s.io/v1 ClusterRole":
			object = &rbacv1.ClusterRole{}
		case "rbac.authorization.k8s.io/v1 ClusterRoleBinding":
			object = &rbacv1.ClusterRoleBinding{}
		case "rbac.authorization.k8s.io/v1 Role":
			object = &rbacv1.Role{}
		case "rbac.authorization.k8s.io/v1 RoleBinding":
			object = &rbacv1.RoleBinding{}
		case "apps/v1 DaemonSet":
			object = &appsv1.DaemonSet{}
		case "monitoring.coreos.com/v1 PodMonitor":
			object = &podMonitor{}
		case "monitoring.coreos.com/v1 PrometheusRule":
			object = &ruleObject{}
		default:
			t.Fatalf("%s, document %d: no test knows %s %s", file, i, kind.APIVersion, kind.Kind)
		}
		if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
			t.Errorf("%s, %s: %v", file, kind.Kind, err)
		}
		key := kind.Kind
		if found[key] != nil {
			key += " " + kind.Metadata.Name // another one of the kind
		}
		if found[key] != nil {
			t.Errorf("%s: %s is there twice", file, key)
		}
		found[key] = object
	}
	return found
}

// The main manifest applies where there is no Prometheus operator.
func TestKinds(t *testing.T) {
	for file, want := range map[string][]string{
		"routewatch.yaml": {"ClusterRole", "ClusterRoleBinding", "DaemonSet", "Namespace", "Role", "RoleBinding", "ServiceAccount"},
		"monitoring.yaml": {"ConfigMap", "PodMonitor", "PrometheusRule"},
	} {
		var got []string
		for kind := range objects(t, file) {
			got = append(got, kind)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

func TestClusterRole_ReadsNodesOnly(t *testing.T) {
	all := objects(t, "routewatch.yaml")
	want := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list", "watch"}}}
	if diff := cmp.Diff(want, all["ClusterRole"].(*rbacv1.ClusterRole).Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Name: "routewatch", Namespace: "routewatch"}}
	if diff := cmp.Diff(subjects, all["ClusterRoleBinding"].(*rbacv1.ClusterRoleBinding).Subjects); diff != "" {
		t.Errorf("subjects (-want +got):\n%s", diff)
	}
}

// Whoever looks at the cluster may read, and nothing of the network's.
func TestReader(t *testing.T) {
	all := objects(t, "reader.yaml")
	want := []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list"}},
		{APIGroups: []string{""}, Resources: []string{"pods/proxy"}, Verbs: []string{"get"}},
	}
	role := all["Role"].(*rbacv1.Role)
	if diff := cmp.Diff(want, role.Rules); diff != "" || role.Namespace != "routewatch" {
		t.Errorf("in %s; rules (-want +got):\n%s", role.Namespace, diff)
	}
	for name, want := range map[string][]rbacv1.PolicyRule{
		"ClusterRole": {
			{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list"}},
			{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list"}},
		},
		"ClusterRole routewatch-log-reader": {{APIGroups: []string{""}, Resources: []string{"pods/log"}, Verbs: []string{"get"}}},
	} {
		if diff := cmp.Diff(want, all[name].(*rbacv1.ClusterRole).Rules); diff != "" {
			t.Errorf("%s: rules (-want +got):\n%s", name, diff)
		}
	}
}

// Events about Nodes are in this namespace, and nowhere else may it make any.
func TestRole_EventsOnly(t *testing.T) {
	all := objects(t, "routewatch.yaml")
	role, binding := all["Role"].(*rbacv1.Role), all["RoleBinding"].(*rbacv1.RoleBinding)
	want := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}}}
	if diff := cmp.Diff(want, role.Rules); diff != "" || role.Namespace != "default" || binding.Namespace != "default" {
		t.Errorf("in %s, bound in %s; rules (-want +got):\n%s", role.Namespace, binding.Namespace, diff)
	}
	if !slices.Contains(all["DaemonSet"].(*appsv1.DaemonSet).Spec.Template.Spec.Containers[0].Args, "--notify.events") {
		t.Error("the right is there, and nobody uses it")
	}
}

// The right to write a Node's status is only where it is asked for.
func TestNodeCondition(t *testing.T) {
	role := objects(t, "node-condition/rbac.yaml")["ClusterRole"].(*rbacv1.ClusterRole)
	want := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes/status"}, Verbs: []string{"patch"}}}
	if diff := cmp.Diff(want, role.Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

// Everything that Pod Security calls restricted, but for the host network.
func TestDaemonSet_Restricted(t *testing.T) {
	pod := objects(t, "routewatch.yaml")["DaemonSet"].(*appsv1.DaemonSet).Spec.Template.Spec
	id, yes, no := int64(65532), true, false
	wantPod := &corev1.PodSecurityContext{
		RunAsUser: &id, RunAsGroup: &id, RunAsNonRoot: &yes,
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if diff := cmp.Diff(wantPod, pod.SecurityContext); diff != "" {
		t.Errorf("pod (-want +got):\n%s", diff)
	}
	wantContainer := &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	if diff := cmp.Diff(wantContainer, pod.Containers[0].SecurityContext); diff != "" {
		t.Errorf("container (-want +got):\n%s", diff)
	}
	if len(pod.Containers) != 1 || len(pod.InitContainers) != 0 || len(pod.Volumes) != 0 || pod.HostPID || pod.HostIPC || pod.HostUsers != nil || !pod.HostNetwork {
		t.Error("want one container, no volume, the host's network and no other namespace of the host")
	}
}

// It runs on every Linux node, also on a broken one.
func TestDaemonSet_Everywhere(t *testing.T) {
	set := objects(t, "routewatch.yaml")["DaemonSet"].(*appsv1.DaemonSet)
	pod := set.Spec.Template.Spec
	if diff := cmp.Diff([]corev1.Toleration{{Operator: corev1.TolerationOpExists}}, pod.Tolerations); diff != "" {
		t.Errorf("tolerations (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"kubernetes.io/os": "linux"}, pod.NodeSelector); diff != "" {
		t.Errorf("node selector (-want +got):\n%s", diff)
	}
	if pod.PriorityClassName != "system-node-critical" || pod.DNSPolicy != corev1.DNSDefault {
		t.Errorf("got priority class %q, DNS policy %q, want system-node-critical, Default", pod.PriorityClassName, pod.DNSPolicy)
	}
	if got := set.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable; got == nil || *got != intstr.FromString("10%") {
		t.Errorf("got maxUnavailable %v, want 10%%", got)
	}
	for name, probe := range map[string]*corev1.Probe{"liveness": pod.Containers[0].LivenessProbe, "readiness": pod.Containers[0].ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Host != "127.0.0.1" {
			t.Errorf("the %s probe does not ask over loopback, so it fails with the network that is watched", name)
		}
	}
}

// GOMEMLIMIT is written as the number of MiB of the limit, taken as MB: that is
// below the limit, and not so far below that memory is wasted.
func TestDaemonSet_MemoryLimit(t *testing.T) {
	c := objects(t, "routewatch.yaml")["DaemonSet"].(*appsv1.DaemonSet).Spec.Template.Spec.Containers[0]
	env := map[string]corev1.EnvVar{}
	for _, e := range c.Env {
		env[e.Name] = e
	}
	ref := env["MEMORY_LIMIT_MIB"].ValueFrom
	if ref == nil || ref.ResourceFieldRef == nil || ref.ResourceFieldRef.Resource != "limits.memory" || ref.ResourceFieldRef.Divisor.String() != "1Mi" {
		t.Fatalf("got MEMORY_LIMIT_MIB from %v, want limits.memory in 1Mi", ref)
	}
	limit := c.Resources.Limits.Memory().Value()
	var soft int64
	value := strings.ReplaceAll(env["GOMEMLIMIT"].Value, "$(MEMORY_LIMIT_MIB)", fmt.Sprint(limit>>20))
	if _, err := fmt.Sscan(value, &soft); err != nil {
		t.Fatalf("GOMEMLIMIT %q: %v", value, err)
	}
	if share := float64(soft) / float64(limit); share < .9 || share > .96 {
		t.Errorf("GOMEMLIMIT is %.3f of the limit, want 0.90 to 0.96", share)
	}
	if slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "GOMEMLIMIT" }) <
		slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "MEMORY_LIMIT_MIB" }) {
		t.Error("a variable can refer only to those before it")
	}
}

// The PodMonitor finds the pods, and gives them the labels that the alerts need.
func TestPodMonitor(t *testing.T) {
	template := objects(t, "routewatch.yaml")["DaemonSet"].(*appsv1.DaemonSet).Spec.Template
	monitor := objects(t, "monitoring.yaml")["PodMonitor"].(*podMonitor)
	for name, value := range monitor.Spec.Selector.MatchLabels {
		if template.Labels[name] != value {
			t.Errorf("it selects %s=%s, the pods have %q", name, value, template.Labels[name])
		}
	}
	if got := template.Labels[monitor.Spec.JobLabel]; got != "routewatch" {
		t.Errorf("the job is %q, the alerts want routewatch", got)
	}
	endpoint := monitor.Spec.PodMetricsEndpoints[0]
	if endpoint.Port != template.Spec.Containers[0].Ports[0].Name {
		t.Errorf("it asks port %q, the pod has %q", endpoint.Port, template.Spec.Containers[0].Ports[0].Name)
	}
	var targets []string
	for _, r := range endpoint.Relabelings {
		targets = append(targets, strings.Join(r.SourceLabels, ",")+" to "+r.TargetLabel)
	}
	if diff := cmp.Diff([]string{"__meta_kubernetes_pod_node_name to node", "__meta_kubernetes_pod_node_name to instance"}, targets); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

// What the operator and Grafana get is what lies in dashboards/.
func TestMonitoring_SameContent(t *testing.T) {
	all := objects(t, "monitoring.yaml")
	var want ruleSpec
	if err := yaml.UnmarshalStrict(dashboards.Rules, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, all["PrometheusRule"].(*ruleObject).Spec); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	config := all["ConfigMap"].(*corev1.ConfigMap)
	if config.Labels["grafana_dashboard"] != "1" {
		t.Error("the ConfigMap lacks the label of Grafana's sidecar")
	}
	size, names := 0, []string{}
	for name, got := range config.Data {
		names = append(names, name)
		size += len(got)
		board, err := dashboards.Grafana.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(board), got); diff != "" || !json.Valid(board) {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"routewatch-node.json", "routewatch-overview.json"}, names); diff != "" {
		t.Errorf("dashboards (-want +got):\n%s", diff)
	}
	// `kubectl apply` keeps the whole object in an annotation, and those end at 256 KiB.
	if size > 200<<10 {
		t.Errorf("the dashboards have %d bytes, want at most 200 KiB", size)
	}
}
