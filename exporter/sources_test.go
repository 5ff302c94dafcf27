package main

import (
	"context"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// noCluster clears what could lead to a real cluster.
func noCluster(t *testing.T) {
	t.Helper()
	for _, name := range []string{"KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"} {
		t.Setenv(name, "")
	}
}

func TestChooseSource(t *testing.T) {
	const none = "there is no lease source: give --leases.file FILE with what \"kubectl get nodes -o json\" prints, or --kubeconfig FILE, or --etcd.endpoints URL, or run in a pod with a service account"
	inPod := map[string]string{"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
	for _, tt := range []struct {
		args string
		env  map[string]string
		name string
		why  string // or the error
	}{
		{args: "--leases.file x", name: "file", why: "--leases.file is given"},
		{args: "--leases.file x", env: inPod, name: "file", why: "--leases.file is given"},
		{args: "--leases.file x --kubeconfig y", name: "file", why: "--leases.file is given"},
		{args: "--leases file --leases.file x", env: inPod, name: "file", why: "--leases says so"},
		{args: "--kubeconfig y", env: inPod, name: "kubernetes", why: "--kubeconfig is given"},
		{args: "", env: map[string]string{"KUBECONFIG": "y"}, name: "kubernetes", why: "there is $KUBECONFIG"},
		{args: "", env: inPod, name: "kubernetes", why: "there is the pod's service account"},
		{args: "--kubernetes.api-server https://x", name: "kubernetes", why: "--kubernetes.api-server is given"},
		{args: "--etcd.endpoints https://e:2379", env: inPod, name: "etcd", why: "--etcd.endpoints is given"},
		{args: "--leases.file x --etcd.endpoints https://e:2379", name: "file", why: "--leases.file is given"},
		{args: "--leases etcd --etcd.endpoints https://e:2379", env: inPod, name: "etcd", why: "--leases says so"},
		{args: "--leases etcd", why: "there is no etcd: give --etcd.endpoints, e.g. https://127.0.0.1:2379"},
		{args: "--leases etcd --etcd.endpoints https://e:2379 --leases.file x", why: "--leases is etcd: expected no --leases.file with it"},
		{args: "--leases kubernetes", env: inPod, name: "kubernetes", why: "--leases says so"},

		{args: "", why: none},
		{args: "--leases file", env: inPod, why: "there is no lease file: give --leases.file FILE with what \"kubectl get nodes -o json\" prints"},
		{args: "--leases kubernetes --leases.file x", why: "--leases is kubernetes: expected no --leases.file with it"},
		{args: "--leases file --leases.file x --kubeconfig y", why: "--leases is file: expected no --kubeconfig with it"},
		{args: "--leases file --leases.file x --kubeconfig y --notify.events", name: "file", why: "--leases says so"},
		{args: "--kubeconfig y --notify.events", name: "kubernetes", why: "--kubeconfig is given"},
		{args: "--leases nodes", why: `--leases is "nodes": expected auto, kubernetes, etcd, file`},
	} {
		t.Run(tt.args, func(t *testing.T) {
			noCluster(t)
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			app := newApp(nil, nil, func(c *cli.Context) error {
				name, why, err := chooseSource(c)
				if err != nil {
					why = err.Error()
				}
				if name != tt.name || why != tt.why {
					t.Errorf("got %q, %q; want %q, %q", name, why, tt.name, tt.why)
				}
				return nil
			})
			if err := app.RunContext(context.Background(), append([]string{program}, strings.Fields(tt.args)...)); err != nil {
				t.Fatal(err)
			}
		})
	}
}
