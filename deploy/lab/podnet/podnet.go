//go:build linux

// Package podnet stands in for what lies between an API server and the pods: the
// way to their ports, and the kubelets that serve their logs. The API server
// takes it for its HTTP proxy (cluster.Config.Proxy), for which it needs neither
// a pod network nor the pods' addresses to exist:
//
//	net := podnet.Start()
//	control, err := cluster.Start(ctx, cluster.Config{Proxy: net.URL()})
//	net.Pod(control, podnet.Pod{...})   the object, with the status that a kubelet would give it
//
// What it does not stand in for: a kubelet's own checks of who asks.
package podnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"routewatch/deploy/lab/cluster"
)

// Net is the stand-in.
type Net struct {
	proxy   *httptest.Server
	kubelet *httptest.Server

	mu   sync.Mutex
	pods map[string]Pod // by NAMESPACE/NAME
}

// Pod is one that can be asked through an API server.
type Pod struct {
	Namespace, Name, Node string
	Container             string
	Labels                map[string]string
	IP                    netip.Addr
	Port                  int           // of the container; 0: none
	Target                func() string // URL of the server behind IP:Port
	Log                   string        // file
	Restarts              int
}

// Start listens on loopback.
func Start() *Net {
	n := &Net{pods: map[string]Pod{}}
	n.proxy = httptest.NewServer(http.HandlerFunc(n.serve))
	n.kubelet = httptest.NewTLSServer(http.HandlerFunc(n.logs))
	return n
}

// URL is what HTTP_PROXY is set to.
func (n *Net) URL() string { return n.proxy.URL }

// Close ends it.
func (n *Net) Close() {
	for _, s := range []*httptest.Server{n.proxy, n.kubelet} {
		s.CloseClientConnections()
		s.Close()
	}
}

// serve forwards a request for a pod's port to what listens behind it, and
// every tunnel, which is for a kubelet, to the one that plays all of them.
func (n *Net) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect {
		n.tunnel(w)
		return
	}
	target, err := n.behind(r.Header.Get("X-Forwarded-Uri"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }, FlushInterval: -1}
	proxy.ServeHTTP(w, r)
}

// behind finds the pod by the path that the API server was asked for,
// /api/v1/namespaces/NAMESPACE/pods/NAME:PORT/proxy/...: the host of the request is
// the API server's own (apimachinery's pkg/util/proxy keeps it).
func (n *Net) behind(forwarded string) (*url.URL, error) {
	parts := strings.Split(forwarded, "/")
	if len(parts) < 8 || parts[3] != "namespaces" || parts[5] != "pods" || parts[7] != "proxy" {
		return nil, fmt.Errorf("%q is not what an API server's pod proxy forwards", forwarded)
	}
	name, port, _ := strings.Cut(parts[6], ":")
	n.mu.Lock()
	defer n.mu.Unlock()
	p, ok := n.pods[parts[4]+"/"+name]
	if !ok || p.Target == nil || port != strconv.Itoa(p.Port) {
		return nil, fmt.Errorf("the lab has no pod %s that listens on port %s", name, port)
	}
	return url.Parse(p.Target())
}

func (n *Net) tunnel(w http.ResponseWriter) {
	kubelet, err := net.Dial("tcp", n.kubelet.Listener.Addr().String())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = kubelet.Close() }() // the other side has gone
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = client.Close() }() // likewise
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(kubelet, buffered) // what was read already, too; ends with either side
		_ = kubelet.Close()
	}()
	_, _ = io.Copy(client, kubelet)
}

// logs answers as a kubelet: /containerLogs/NAMESPACE/POD/CONTAINER, with tailLines
// and limitBytes.
func (n *Net) logs(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/containerLogs/"), "/")
	n.mu.Lock()
	pod, ok := n.pods[strings.Join(parts[:min(2, len(parts))], "/")]
	n.mu.Unlock()
	if !ok || len(parts) != 3 || parts[2] != pod.Container {
		http.NotFound(w, r)
		return
	}
	text, err := os.ReadFile(pod.Log)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n")
	if tail, err := strconv.Atoi(r.URL.Query().Get("tailLines")); err == nil {
		lines = lines[max(0, len(lines)-tail):]
	}
	out := strings.Join(lines, "")
	if limit, err := strconv.Atoi(r.URL.Query().Get("limitBytes")); err == nil {
		out = out[:min(len(out), limit)]
	}
	_, _ = io.WriteString(w, out) // the API server may have gone
}

// object is a value in the JSON of an API object.
type object = map[string]any

// Pod makes the Pod object, or only writes its status anew if it is there: it
// runs, is ready, and has been restarted as often as it says. host is its
// node's address, which it shares if it is its own.
func (n *Net) Pod(ctx context.Context, control *cluster.Cluster, p Pod, host netip.Addr) error {
	n.mu.Lock()
	n.pods[p.Namespace+"/"+p.Name] = p
	n.mu.Unlock()
	container := object{"name": p.Container, "image": "none"}
	if p.Port != 0 {
		container["ports"] = []object{{"name": "metrics", "containerPort": p.Port}}
	}
	path := "/api/v1/namespaces/" + p.Namespace + "/pods"
	if err := n.surroundings(ctx, control, p, host); err != nil {
		return err
	}
	err := create(ctx, control, path, object{
		"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": p.Name, "labels": p.Labels},
		"spec": object{
			"nodeName": p.Node, "hostNetwork": p.IP == host, "automountServiceAccountToken": false, "containers": []object{container},
		},
	})
	if err != nil {
		return err
	}
	started := time.Now().UTC().Format(time.RFC3339)
	status := object{
		"name": p.Container, "ready": true, "started": true, "restartCount": p.Restarts, "image": "none", "imageID": "none",
		"state": object{"running": object{"startedAt": started}},
	}
	if p.Restarts > 0 {
		status["lastState"] = object{"terminated": object{"reason": "Completed", "exitCode": 0, "startedAt": started, "finishedAt": started}}
	}
	return control.Do(ctx, http.MethodPatch, path+"/"+p.Name+"/status", object{"status": object{
		"phase": "Running", "podIP": p.IP.String(), "podIPs": []object{{"ip": p.IP.String()}}, "hostIP": host.String(),
		"startTime": started, "containerStatuses": []object{status},
		"conditions": []object{{"type": "Ready", "status": "True"}},
	}}, nil)
}

// surroundings are what a Pod needs before the API server accepts it, and what
// its Node needs before the API server finds its kubelet.
func (n *Net) surroundings(ctx context.Context, control *cluster.Cluster, p Pod, host netip.Addr) error {
	namespace := object{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": p.Namespace}}
	if err := create(ctx, control, "/api/v1/namespaces", namespace); err != nil {
		return err
	}
	account := object{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": object{"name": "default"}}
	if err := create(ctx, control, "/api/v1/namespaces/"+p.Namespace+"/serviceaccounts", account); err != nil {
		return err
	}
	return control.Do(ctx, http.MethodPatch, "/api/v1/nodes/"+p.Node+"/status", object{"status": object{
		"addresses":       []object{{"type": "InternalIP", "address": host.String()}},
		"daemonEndpoints": object{"kubeletEndpoint": object{"Port": 10250}},
	}}, nil)
}

// create makes an object unless it is there.
func create(ctx context.Context, control *cluster.Cluster, path string, body object) error {
	err := control.Do(ctx, http.MethodPost, path, body, nil)
	if e, ok := errors.AsType[*cluster.Error](err); ok && e.Code == http.StatusConflict {
		return nil
	}
	return err
}
