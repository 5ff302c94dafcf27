//go:build e2e

package e2e

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"routewatch/deploy/lab/cluster"
	"routewatch/deploy/lab/netns"
)

// flannelPod has a secret where nobody needs it.
const flannelPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"kube-flannel-ds-x","namespace":"kube-flannel","labels":{"app":"flannel"}},
"spec":{"nodeName":"node-1","containers":[{"name":"kube-flannel","image":"x","env":[{"name":"ETCD_PASSWORD","value":"hunter2"}]}]}}`

// What the stand-in of cli's tests answers, a real API server does: Nodes, pods and
// why there are no logs. No exporter runs, which a ticket is about as well.
func TestCluster_Bundle(t *testing.T) {
	netns.Must(t, build())
	n := &clusterNode{api: cluster.StartT(t, cluster.Config{})}
	n.create(t, 1, 250) // more than a page
	n.api.MustKubectl(t, "create", "namespace", "kube-flannel")
	n.api.MustKubectl(t, "-n", "kube-flannel", "create", "serviceaccount", "default")
	if _, _, err := n.api.KubectlIn(flannelPod, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bundle.tar.gz")
	out, err := exec.Command(filepath.Join(programs, "routewatch"), "bundle", "-f", file, "--kubeconfig", n.api.AdminKubeconfig()).CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Fatalf("%v, want exit code 2\n%s", err, out)
	}
	files := unpack(t, file)
	if got := strings.Count(files["nodes.json"], "/backend-data\""); got != 250 {
		t.Errorf("nodes.json has %d nodes with flannel's annotations, want 250", got)
	}
	for name, want := range map[string]string{
		"nodes.json":        `"10.128.7.0/24"`,
		"flannel-pods.json": `"name": "kube-flannel-ds-x"`,
		"errors.txt":        "node-1: no exporter runs there",
		"README.txt":        "cluster/nodes.json",
		"version.json":      `"kind": "Versions"`,
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s has no %s:\n%.500s", name, want, files[name])
		}
	}
	if !strings.Contains(files["errors.txt"], "cluster/logs/kube-flannel/kube-flannel-ds-x.log: ") {
		t.Errorf("errors.txt does not say why there is no log:\n%.500s", files["errors.txt"])
	}
	for name, content := range files {
		if strings.Contains(content, "hunter2") {
			t.Errorf("%s has a password", name)
		}
	}
}

// unpack returns the files of a bundle, by the last part of their names.
func unpack(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	netns.Must(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	netns.Must(t, err)
	files := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		netns.Must(t, err)
		content, err := io.ReadAll(r)
		netns.Must(t, err)
		files[path.Base(h.Name)] = string(content)
	}
}
