//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"routewatch/deploy/lab/cluster"
	"routewatch/deploy/lab/netns"
	"routewatch/deploy/lab/podnet"
	"routewatch/shared/netstate"
)

// TestCluster_Story plays an incident as the person on call lives through it:
// with `routewatch` alone, which asks through a real API server's pod proxy, as
// somebody who has the rights of deploy/reader.yaml and no more. flannel and the
// API server are real; package podnet stands in for the kubelets.
func TestCluster_Story(t *testing.T) {
	netns.Require(t)
	netns.Must(t, build())
	pods := podnet.Start()
	t.Cleanup(pods.Close)
	control := cluster.StartT(t, cluster.Config{Proxy: pods.URL()})
	cmds := commands(scenarioCommands)
	cmds["pods"] = commands(map[string]func(*scenario, []string) error{
		"pods": func(s *scenario, _ []string) error { return s.pods(pods) },
	})["pods"]
	cmds["code"], cmds["paste"] = cmdCode, cmdPaste
	testscript.RunT(sequential{t}, testscript.Params{
		Dir: "testdata/story",
		Setup: func(env *testscript.Env) error {
			s := &scenario{control: func() *cluster.Cluster { return control }, ctx: t.Context()}
			env.Values[scenarioKey{}] = s
			env.Defer(s.close)
			env.Setenv("PATH", programs+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("KUBECONFIG", filepath.Join(env.WorkDir, "kubeconfig"))
			return reader(t, control, env.WorkDir)
		},
		Cmds: cmds,
	})
}

// reader writes a kubeconfig of somebody who is bound to the roles of
// deploy/reader.yaml.
func reader(t *testing.T, c *cluster.Cluster, dir string) error {
	t.Helper()
	base := filepath.Join(deployDir(t), "base")
	for _, file := range []string{filepath.Join(base, "namespace.yaml"), filepath.Join(deployDir(t), "reader.yaml")} {
		c.MustKubectl(t, "apply", "-f", file)
	}
	const account = "--serviceaccount=" + namespace + ":oncall"
	for _, args := range [][]string{
		{"create", "namespace", "kube-flannel"},
		{"-n", namespace, "create", "serviceaccount", "oncall"},
		{"-n", namespace, "create", "rolebinding", "oncall", "--role=routewatch-reader", account},
		{"create", "clusterrolebinding", "oncall", "--clusterrole=routewatch-reader", account},
		{"-n", "kube-flannel", "create", "rolebinding", "oncall", "--clusterrole=routewatch-log-reader", account},
	} {
		if _, stderr, err := c.Kubectl(args...); err != nil && !strings.Contains(stderr, "already exists") {
			return fmt.Errorf("kubectl %v: %w: %s", args, err, stderr)
		}
	}
	token, err := c.Token(t.Context(), namespace, "oncall")
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		return err
	}
	return c.TokenKubeconfig(filepath.Join(dir, "kubeconfig"), file)
}

// pods makes the Pods of the exporters and of flannel, and one of a user on each
// node: pods.
func (s *scenario) pods(net *podnet.Net) error {
	for _, n := range s.cluster.Nodes() {
		host := n.PublicIPs()[0]
		for _, p := range []podnet.Pod{{
			Namespace: namespace, Name: "routewatch-" + n.Name, Container: "exporter", Port: 10098, Target: n.URL,
			Labels: map[string]string{"app.kubernetes.io/name": "routewatch", "app.kubernetes.io/component": "exporter"},
		}, {
			Namespace: "kube-flannel", Name: "kube-flannel-ds-" + n.Name, Container: "kube-flannel", Log: n.FlannelLogFile(),
			Labels: map[string]string{"app": "flannel"},
		}, {
			Namespace: "default", Name: "web-" + n.Name, Container: "web", IP: n.Pods[netstate.IPv4],
		}} {
			p.Node = n.Name
			if !p.IP.IsValid() {
				p.IP = host
			}
			if err := net.Pod(s.ctx, s.control(), p, host); err != nil {
				return err
			}
		}
	}
	return nil
}

// cmdCode runs a program and checks its exit code, as the CLI's own scripts do:
// code N program args...
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, expected %d", got, want)
	}
}

// cmdPaste types on a node what the last output says "TO MEND, as root on" it,
// line by line: paste NODE.
func cmdPaste(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: paste NODE")
	}
	s := ts.Value(scenarioKey{}).(*scenario)
	n, err := s.nodeOf(args[0])
	ts.Check(err)
	_, rest, ok := strings.Cut(ts.ReadFile("stdout"), "TO MEND, as root on "+n.Name+"\n")
	if !ok {
		ts.Fatalf("the last output does not say what to type on %s", n.Name)
	}
	block, _, _ := strings.Cut(rest, "\n\n")
	for command := range strings.Lines(block) {
		ts.Logf("%s # %s", n.Name, command)
		ts.Check(s.enter(n, strings.TrimSpace(command)))
	}
}
