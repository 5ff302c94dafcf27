//go:build linux

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// apiServer is a stand-in for one of a cluster with an exporter on each node:
// it has the Nodes, the pods, their logs and their proxies. Package
// deploy/lab/e2e asks a real one.
type apiServer struct {
	dir     string   // has a folder for each node with what its exporter answers
	nodes   []string // names
	hang    []string // nodes whose exporter never answers
	lost    []string // nodes that the API server cannot reach
	without []string // nodes without an exporter
	forbid  []string // resources that this user may not get
	flannel string   // "ok", "crash" or "none": how flannel's pods are
	log     string   // of each of them
	secret  string   // is in everything that nobody needs
	// versions are those of the exporters, where they are another than this program's.
	versions map[string]string
	status   []byte // not nil: what each exporter answers, with NODE for its name
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/api/v1/")
	if !ok {
		a.refuse(w, http.StatusNotFound, "the server could not find the requested resource")
		return
	}
	parts := strings.Split(path, "/")
	namespace := ""
	if parts[0] == "namespaces" && len(parts) > 2 {
		namespace, parts = parts[1], parts[2:]
	}
	resource := parts[0]
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	if slices.Contains(a.forbid, resource) {
		where := "at the cluster scope"
		if namespace != "" {
			where = fmt.Sprintf("in the namespace %q", namespace)
		}
		a.refuse(w, http.StatusForbidden, fmt.Sprintf(`%s is forbidden: User "jane" cannot get resource %q in API group "" %s`, parts[0], resource, where))
		return
	}
	switch {
	case resource == "nodes":
		reply(w, a.nodeList(r.URL.Query().Get("fieldSelector")))
	case resource == "pods" && len(parts) == 1:
		reply(w, a.podList(namespace, r.URL.Query().Get("labelSelector"), r.URL.Query().Get("fieldSelector")))
	case resource == "pods":
		a.pod(w, namespace, parts[1])
	case resource == "pods/log":
		_, _ = fmt.Fprint(w, a.log) // the program may have gone
	case resource == "pods/proxy":
		a.proxy(w, r, parts[1], strings.Join(parts[3:], "/"))
	default:
		a.refuse(w, http.StatusNotFound, path+" not found")
	}
}

const flannelLog = `I1123 11:58:40.100000       1 main.go:212] CLI flags config: {etcdEndpoints:http://127.0.0.1:4001}
I1123 11:58:41.200000       1 vxlan.go:141] VXLAN config: VNI=1 Port=0 GBP=false Learning=false DirectRouting=false
E1123 11:58:42.300000       1 vxlan_network.go:167] failed to add vxlanRoute (10.244.9.0/24 -> 10.244.9.0): network is down
I1123 11:58:43.400000       1 main.go:412] Running backend. token=eyJhbGciOiJSUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl
`

func (a *apiServer) refuse(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Message: message, Code: int32(code), //nolint:gosec // an HTTP status
	})
}

func reply(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object) // the program may have gone
}

// nodeList has the Nodes, or one, whole as they are; gateway is none of flannel's.
func (a *apiServer) nodeList(fields string) corev1.NodeList {
	var list corev1.NodeList
	for i, n := range append(slices.Clone(a.nodes), "gateway") {
		if some, ok := strings.CutPrefix(fields, "metadata.name="); ok && some != n {
			continue
		}
		object := corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: n, Annotations: map[string]string{"example.com/secret": a.secret}},
			Spec:       corev1.NodeSpec{ProviderID: a.secret},
		}
		if n != "gateway" {
			object.Annotations["flannel.alpha.coreos.com/backend-type"] = "vxlan"
			object.Annotations["flannel.alpha.coreos.com/public-ip"] = fmt.Sprintf("192.168.1.%d", 57+i)
			object.Spec.PodCIDRs = []string{fmt.Sprintf("10.244.%d.0/24", i+1)}
		}
		list.Items = append(list.Items, object)
	}
	return list
}

func (a *apiServer) podList(namespace, labels, fields string) corev1.PodList {
	var list corev1.PodList
	for i, n := range a.nodes {
		node, some := strings.CutPrefix(fields, "spec.nodeName=")
		switch {
		case some && node != n:
		case strings.Contains(labels, "routewatch") && namespace == "routewatch" && !slices.Contains(a.without, n):
			list.Items = append(list.Items, exporterPod(n, i))
		case labels == "app=flannel" && a.flannel != "none":
			list.Items = append(list.Items, a.flannelPod(n))
		}
	}
	return list
}

func exporterPod(node string, i int) corev1.Pod {
	ip := fmt.Sprintf("192.168.1.%d", 57+i)
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "routewatch", Name: "routewatch-" + node},
		Spec: corev1.PodSpec{NodeName: node, HostNetwork: true, Containers: []corev1.Container{
			{Name: "exporter", Ports: []corev1.ContainerPort{{Name: "metrics", ContainerPort: 10098}}},
		}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
}

func (a *apiServer) flannelPod(node string) corev1.Pod {
	started := metav1.NewTime(now.Add(-26 * time.Hour))
	status := corev1.ContainerStatus{Name: "kube-flannel", Ready: true, RestartCount: 2,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			Reason: "Error", ExitCode: 1, FinishedAt: started,
		}},
	}
	if a.flannel == "crash" {
		status.Ready, status.State = false, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	}
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-flannel", Name: "kube-flannel-ds-" + node},
		Spec: corev1.PodSpec{NodeName: node, HostNetwork: true, Containers: []corev1.Container{
			{Name: "kube-flannel", Env: []corev1.EnvVar{{Name: "PASSWORD", Value: a.secret}}},
		}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{status}},
	}
}

// pod serves default/web, on node-3, and default/waiting, on none.
func (a *apiServer) pod(w http.ResponseWriter, namespace, name string) {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Status: corev1.PodStatus{Phase: corev1.PodPending}}
	switch namespace + "/" + name {
	case "default/web":
		p.Spec.NodeName, p.Status.PodIPs = "node-3", []corev1.PodIP{{IP: "10.244.3.7"}}
	case "default/waiting":
	default:
		a.refuse(w, http.StatusNotFound, fmt.Sprintf("pods %q not found", name))
		return
	}
	reply(w, p)
}

// proxy answers as the exporter in a pod does: pod is NAME:PORT.
func (a *apiServer) proxy(w http.ResponseWriter, r *http.Request, pod, path string) {
	name, port, _ := strings.Cut(pod, ":")
	node := strings.TrimPrefix(name, "routewatch-")
	switch {
	case port != "10098" || slices.Contains(a.lost, node):
		a.refuse(w, http.StatusServiceUnavailable, "error trying to reach service: dial tcp 192.168.1.60:10098: connect: no route to host")
		return
	case slices.Contains(a.hang, node):
		<-r.Context().Done()
		return
	}
	if a.status != nil {
		w.Header().Set("Date", now.Format(http.TimeFormat))
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(bytes.Replace(a.status, []byte("NODE"), []byte(node), 1)) // the program may have gone
		return
	}
	file := filepath.Base(path) + ".json"
	contentType := "application/json"
	switch file {
	case "metrics.json":
		file, contentType = "../node-1/metrics.txt", "text/plain; version=0.0.4"
	case "explain.json":
		address, err := netip.ParseAddr(r.URL.Query().Get("address"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		file = "explain-" + address.String() + ".json"
	}
	body, err := os.ReadFile(filepath.Join(a.dir, node, file))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	if states := r.URL.Query()["state"]; file == "leases.json" && len(states) > 0 {
		body = only(body, states)
	}
	if version, ok := a.versions[node]; !ok || version != "" {
		body = bytes.Replace(body, []byte(`"kind": "NodeStatus",`), fmt.Appendf(nil, `"kind": "NodeStatus", "version": %q,`, cmp.Or(version, "v1.4.0")), 1)
	}
	w.Header().Set("Date", now.Format(http.TimeFormat))
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write(body) // the program may have gone
}

// only keeps the leases in these states.
func only(body []byte, states []string) []byte {
	var list map[string]any
	if json.Unmarshal(body, &list) != nil {
		return body
	}
	items, _ := list["items"].([]any)
	list["items"] = slices.DeleteFunc(items, func(i any) bool {
		lease, _ := i.(map[string]any)
		state, _ := lease["state"].(string)
		return !slices.Contains(states, state)
	})
	filtered, err := json.Marshal(list)
	if err != nil {
		return body
	}
	return filtered
}

// cmdCluster starts an apiServer on loopback and sets $KUBECONFIG: cluster
// [flags] healthy|broken.
func cmdCluster(ts *testscript.TestScript, neg bool, args []string) {
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	flags.SetOutput(ts.Stderr())
	a := &apiServer{log: flannelLog, secret: "hunter2", versions: map[string]string{}}
	list := func(into *[]string) func(string) error {
		return func(s string) error { *into = strings.Split(s, ","); return nil }
	}
	flags.Func("hang", "", list(&a.hang))
	flags.Func("lost", "", list(&a.lost))
	flags.Func("without", "", list(&a.without))
	flags.Func("forbid", "", list(&a.forbid))
	flags.StringVar(&a.flannel, "flannel", "ok", "")
	flags.Func("log", "", func(file string) error {
		a.log = ts.ReadFile(file)
		return nil
	})
	flags.Func("version", "", func(s string) error {
		node, version, _ := strings.Cut(s, "=")
		a.versions[node] = version
		return nil
	})
	ts.Check(flags.Parse(args))
	if neg || flags.NArg() != 1 {
		ts.Fatalf("usage: cluster [-version NODE=VERSION]... [-hang NODES] [-lost NODES] [-without NODES] [-forbid RESOURCES] [-flannel STATE] [-log FILE] healthy|broken")
	}
	a.dir = ts.MkAbs(filepath.Join("cluster", flags.Arg(0)))
	entries, err := os.ReadDir(a.dir)
	ts.Check(err)
	for _, e := range entries {
		a.nodes = append(a.nodes, e.Name())
	}
	server := httptest.NewServer(a)
	ts.Defer(func() {
		server.CloseClientConnections() // a hanging answer would hold Close up
		server.Close()
	})
	ts.Setenv("SERVER", server.URL)
	ts.Setenv("KUBECONFIG", ts.MkAbs("kubeconfig"))
	ts.Check(os.WriteFile(ts.MkAbs("kubeconfig"), kubeconfig(server.URL), 0o600))
}

// kubeconfig has the contexts lab, which is current, and nowhere.
func kubeconfig(server string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: lab
clusters:
- {name: lab, cluster: {server: %q}}
- {name: nowhere, cluster: {server: "http://127.0.0.1:1"}}
users:
- {name: jane, user: {}}
contexts:
- {name: lab, context: {cluster: lab, user: jane}}
- {name: nowhere, context: {cluster: nowhere, user: jane}}
`, server)
}
