package cluster

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Pod is what is worth knowing of one.
type Pod struct {
	Namespace, Name string
	Node            string // "" while it is on none
	Addresses       []netip.Addr
	HostNetwork     bool
}

// Pod returns a pod by NAME, in the namespace of the kubeconfig's context, or NAMESPACE/NAME.
func (c *Cluster) Pod(ctx context.Context, name string) (p Pod, err error) {
	namespace, short, ok := strings.Cut(name, "/")
	if !ok {
		namespace, short = c.own, name
	}
	var object corev1.Pod
	err = c.get(ctx, "namespaces/"+url.PathEscape(namespace)+"/pods/"+url.PathEscape(short), nil, asJSON, &object)
	if is(err, http.StatusNotFound) {
		return p, fmt.Errorf("there is no pod %s in namespace %s of context %s; look for it: kubectl get pods -A -o wide", short,
			namespace, c.Name())
	}
	if err != nil {
		return p, granted(err, "")
	}
	p = Pod{Namespace: namespace, Name: short, Node: object.Spec.NodeName, HostNetwork: object.Spec.HostNetwork}
	for _, ip := range object.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			p.Addresses = append(p.Addresses, a)
		}
	}
	if len(p.Addresses) == 0 {
		return p, fmt.Errorf("pod %s/%s has no address yet: it is %s; look at: kubectl -n %s describe pod %s",
			namespace, short, object.Status.Phase, namespace, short)
	}
	return p, nil
}

// FlannelPod is a pod of flannel's on one node.
type FlannelPod struct {
	Node      string    `json:"node"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Container string    `json:"container"`
	Phase     string    `json:"phase"` // or why it waits, as kubectl's STATUS
	Ready     bool      `json:"ready"`
	Restarts  int       `json:"restarts"`
	Started   time.Time `json:"started,omitzero"`  // of its container; zero if it does not run
	LastEnd   string    `json:"lastEnd,omitempty"` // why its container ended last; "" if it never did
}

// flannels are the labels of flannel's pods: of its own manifest, of its chart
// and of canal.
const flannels = "k8s-app in (flannel,canal)"

// FlannelPods are flannel's pods on a node, or where that is "" on all; none where
// flannel is embedded, as in k3s.
func (c *Cluster) FlannelPods(ctx context.Context, node string) ([]FlannelPod, error) {
	var found []FlannelPod
	query := url.Values{}
	if node != "" {
		query.Set("fieldSelector", "spec.nodeName="+node)
	}
	for _, selector := range []string{"app=flannel", flannels} {
		query.Set("labelSelector", selector)
		pods, err := c.pods(ctx, "", maps.Clone(query))
		if err != nil {
			return nil, granted(err, "")
		}
		for i := range pods {
			if p := flannelPod(&pods[i]); !contains(found, p) {
				found = append(found, p)
			}
		}
	}
	return found, nil
}

func contains(pods []FlannelPod, p FlannelPod) bool {
	for _, other := range pods {
		if other.Namespace == p.Namespace && other.Name == p.Name {
			return true
		}
	}
	return false
}

func flannelPod(p *corev1.Pod) FlannelPod {
	f := FlannelPod{Node: p.Spec.NodeName, Namespace: p.Namespace, Name: p.Name, Phase: string(p.Status.Phase), Container: "kube-flannel"}
	for _, s := range p.Status.ContainerStatuses {
		if !strings.Contains(s.Name, "flannel") {
			continue
		}
		f.Container, f.Ready, f.Restarts = s.Name, s.Ready, int(s.RestartCount)
		switch {
		case s.State.Running != nil:
			f.Started = s.State.Running.StartedAt.Time
		case s.State.Waiting != nil && s.State.Waiting.Reason != "":
			f.Phase = s.State.Waiting.Reason
		}
		if end := s.LastTerminationState.Terminated; end != nil {
			f.LastEnd = fmt.Sprintf("%s, exit code %d, at %s", end.Reason, end.ExitCode, end.FinishedAt.UTC().Format(time.RFC3339))
		}
	}
	return f
}

// Log returns the last lines of a container's log.
func (c *Cluster) Log(ctx context.Context, namespace, pod, container string, lines int) (string, error) {
	query := url.Values{"container": {container}, "tailLines": {strconv.Itoa(lines)}, "limitBytes": {strconv.Itoa(4 << 20)}}
	body, err := c.raw(ctx, "namespaces/"+url.PathEscape(namespace)+"/pods/"+url.PathEscape(pod)+"/log", query, "*/*")
	return string(body), granted(err, namespace)
}
