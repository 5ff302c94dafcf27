package cluster

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"routewatch/cli/internal/client"
	"routewatch/shared/wire"
)

// Exporter is one that can be asked.
type Exporter struct {
	Node   string
	Client *client.Client
}

// Exporters are those of a cluster, by node.
type Exporters struct {
	Found []Exporter
	// Absent are nodes with a lease of flannel's and without a running exporter.
	Absent []wire.Unreachable
	// Problem says why there may be more of those; "" if there are none.
	Problem string
}

const (
	asJSON = "application/json"
	// asMetadata asks for nothing of an object but its metadata: 5,000 whole
	// Nodes are over 100 MB.
	asMetadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	pageSize   = 500
)

// Exporters finds the exporters' pods, and which nodes lack one.
func (c *Cluster) Exporters(ctx context.Context) (e Exporters, err error) {
	pods, err := c.pods(ctx, c.cfg.Namespace, url.Values{"labelSelector": {c.cfg.Selector}})
	if is(err, http.StatusForbidden) {
		return e, fmt.Errorf("%w; grant it: %s", err, client.Grant(c.cfg.Namespace))
	}
	if err != nil {
		return e, err
	}
	seen := map[string]bool{}
	for _, p := range running(pods) {
		seen[p.Spec.NodeName] = true
		pod := client.Pod{Namespace: p.Namespace, Name: p.Name}
		if why := notRunning(&p); why != "" {
			e.Absent = append(e.Absent, wire.Unreachable{Node: p.Spec.NodeName, Exporter: pod.String(),
				Problem: fmt.Sprintf("its exporter's pod is %s; look at: kubectl -n %s describe pod %s", why, p.Namespace, p.Name)})
			continue
		}
		e.Found = append(e.Found, Exporter{p.Spec.NodeName, c.proxied(&p, pod)})
	}
	nodes, err := c.leaseholders(ctx)
	if ctx.Err() != nil {
		return e, err
	}
	if err != nil {
		e.Problem = fmt.Sprintf("whether every node has an exporter is not known: %v", granted(err, ""))
	}
	for _, n := range nodes {
		if !seen[n] {
			e.Absent = append(e.Absent, wire.Unreachable{Node: n,
				Problem: fmt.Sprintf("no exporter runs there; look at: kubectl -n %s get daemonset,pods -o wide", c.cfg.Namespace)})
		}
	}
	if len(e.Found)+len(e.Absent) == 0 && e.Problem == "" {
		e.Problem = fmt.Sprintf("no pod in namespace %s of context %s matches %s; is routewatch deployed? look at: "+
			"kubectl get pods -A -l %s; then pass --namespace, or --selector", c.cfg.Namespace, c.Name(), c.cfg.Selector, c.cfg.Selector)
	}
	slices.SortFunc(e.Absent, func(a, b wire.Unreachable) int { return cmp.Compare(a.Node, b.Node) })
	return e, nil
}

// running is one pod for each node, by node: the one that runs, where the
// DaemonSet replaces one by another. Pods that ended are none.
func running(pods []corev1.Pod) []corev1.Pod {
	best := map[string]corev1.Pod{}
	for _, p := range pods {
		if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		if old, ok := best[p.Spec.NodeName]; !ok || notRunning(&old) != "" {
			best[p.Spec.NodeName] = p
		}
	}
	var all []corev1.Pod
	for _, p := range best {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b corev1.Pod) int { return cmp.Compare(a.Spec.NodeName, b.Spec.NodeName) })
	return all
}

// notRunning says why nobody can be asked there; "" if somebody can.
func notRunning(p *corev1.Pod) string {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Waiting != nil && s.State.Waiting.Reason != "" {
			return s.State.Waiting.Reason
		}
	}
	if p.Status.Phase != corev1.PodRunning || p.Status.PodIP == "" {
		return cmp.Or(string(p.Status.Phase), "not running")
	}
	return ""
}

// proxied is a client of the exporter in the pod. Where its probe speaks HTTPS,
// the exporter does; the API server does not verify its certificate.
func (c *Cluster) proxied(p *corev1.Pod, pod client.Pod) *client.Client {
	scheme, port := "", client.Port
	for _, container := range p.Spec.Containers {
		for _, cp := range container.Ports {
			if cp.Name == "metrics" {
				port = strconv.Itoa(int(cp.ContainerPort))
			}
		}
		if probe := container.ReadinessProbe; probe != nil && probe.HTTPGet != nil && probe.HTTPGet.Scheme == corev1.URISchemeHTTPS {
			scheme = "https:"
		}
	}
	base := c.base.JoinPath("api/v1/namespaces", p.Namespace, "pods", scheme+p.Name+":"+port, "proxy")
	return client.Proxied(base, c.http, pod, c.cfg.Timeout)
}

// leaseholders are the nodes that say in an annotation which backend flannel
// has there, by name.
func (c *Cluster) leaseholders(ctx context.Context) ([]string, error) {
	var names []string
	query := url.Values{"limit": {strconv.Itoa(pageSize)}}
	for {
		var page metav1.PartialObjectMetadataList
		if err := c.get(ctx, "nodes", query, asMetadata, &page); err != nil {
			return names, err
		}
		for i := range page.Items {
			if hasLease(page.Items[i].Annotations) {
				names = append(names, page.Items[i].Name)
			}
		}
		if page.Continue == "" {
			slices.Sort(names)
			return names, nil
		}
		query.Set("continue", page.Continue)
	}
}

// hasLease knows flannel's annotation whatever its prefix is: "/backend-type",
// or "-backend-type" where the prefix has a slash of its own (flannel's
// pkg/subnet/kube/annotations.go).
func hasLease(annotations map[string]string) bool {
	for name := range annotations {
		if strings.HasSuffix(name, "/backend-type") || strings.HasSuffix(name, "-backend-type") {
			return true
		}
	}
	return false
}

// pods lists pods, in pages.
func (c *Cluster) pods(ctx context.Context, namespace string, query url.Values) ([]corev1.Pod, error) {
	path := "pods"
	if namespace != "" {
		path = "namespaces/" + url.PathEscape(namespace) + "/pods"
	}
	query.Set("limit", strconv.Itoa(pageSize))
	var all []corev1.Pod
	for {
		var page corev1.PodList
		if err := c.get(ctx, path, query, asJSON, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Continue == "" {
			return all, nil
		}
		query.Set("continue", page.Continue)
	}
}
