//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"routewatch/deploy/lab/cluster"
	"routewatch/deploy/lab/netns"
)

// testReadme types README's commands for a cluster, as they stand there. The
// image is pushed by the image builder's own test, and the device is flapped by
// TestIncident: neither needs a control plane.
func testReadme(t *testing.T, c *cluster.Cluster) {
	root := filepath.Dir(deployDir(t))
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	netns.Must(t, err)
	_, section, ok := strings.Cut(string(readme), "\n## On a cluster\n")
	if !ok {
		t.Fatal("README has no section \"On a cluster\"")
	}
	commands := strings.Split(strings.TrimSpace(strings.Split(section, "```")[1]), "\n")
	if len(commands) != 5 {
		t.Fatalf("README promises five commands and has %d: %q", len(commands), commands)
	}
	kubectl, err := cluster.Part("kubectl")
	netns.Must(t, err)
	typed := 0
	for _, command := range commands {
		if !strings.Contains(command, "kubectl ") {
			continue
		}
		typed++
		sh := exec.Command("sh", "-c", command)
		sh.Dir = root
		sh.Env = append(os.Environ(), "KUBECONFIG="+c.AdminKubeconfig(), "PATH="+filepath.Dir(kubectl)+":"+os.Getenv("PATH"))
		start := time.Now()
		out, err := sh.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		say(t, time.Since(start), "README: %s", command)
	}
	if typed != 3 {
		t.Errorf("%d of README's commands use kubectl, want 3", typed)
	}
	image := c.MustKubectl(t, "get", "daemonset", "routewatch", "-n", namespace, "-o", "jsonpath={.spec.template.spec.containers[0].image}")
	if image != "registry.example/routewatch:v1" {
		t.Errorf("the image is %q: README's sed does not replace it", image)
	}
}
