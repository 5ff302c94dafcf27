//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
)

// TestCluster_AsInPod runs the exporter as the kubelet would: with the command
// line, the environment and the user of the DaemonSet, in the node's network
// namespace, the service account's token where pods find it, no capability and
// no way to get one.
func TestCluster_AsInPod(t *testing.T) {
	n := newClusterNode(t, 5)
	start := time.Now()
	host := n.startPod(t)
	within(t, startup, "healthy at the start", func() bool { return n.status(t).Healthy })
	say(t, time.Since(start), "exporter as the DaemonSet's pod has it: healthy")
	n.unprivileged(t)

	onLoopback := n.url
	n.url = "http://" + n.forward(t, net.JoinHostPort(host, "10098"))
	if code, _, err := n.get("/-/ready"); code != http.StatusOK {
		t.Errorf("ready on the host IP: %d %v", code, err)
	}
	n.url = onLoopback
	n.flap(t)
	say(t, eventually(t, "every peer is missing", func() bool { return n.allIPv4(t, flapped) }), "flannel.1 set down and up: missing, leaking")
}

// container is what the DaemonSet says of the exporter's.
type container struct {
	Args []string
	Env  []struct {
		Name, Value string
		ValueFrom   struct {
			FieldRef         struct{ FieldPath string }
			ResourceFieldRef struct{ Resource, Divisor string }
		}
	}
}

// startPod returns the host IP.
func (n *clusterNode) startPod(t *testing.T) (host string) {
	t.Helper()
	n.api.MustKubectl(t, "apply", "-f", filepath.Join(deployDir(t), "base", "daemonset.yaml"))
	var ds struct {
		Spec struct {
			Template struct {
				Spec struct{ Containers []container }
			}
		}
	}
	netns.Must(t, n.api.Do(t.Context(), http.MethodGet, "/apis/apps/v1/namespaces/"+namespace+"/daemonsets/routewatch", nil, &ds))
	host = publicIP(1, 0).String()
	// The API server listens on the loopback device of this test.
	server := strings.TrimPrefix(n.api.URL, "https://")
	n.forwardInto(t, server)
	args, env := ds.Spec.Template.Spec.Containers[0].resolve(t, map[string]string{
		"spec.nodeName": "node-1", "status.hostIP": host, "limits.memory/1Mi": "128",
	})
	api, port, err := net.SplitHostPort(server)
	netns.Must(t, err)
	netns.Must(t, os.Chmod(programs, 0o755))
	cmd := exec.Command(filepath.Join(programs, "routewatch-exporter"), args...)
	cmd.Env = append(env, "KUBERNETES_SERVICE_HOST="+api, "KUBERNETES_SERVICE_PORT="+port)
	cmd.Dir = "/"
	if hasUsers(t) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	}
	token, err := n.api.Token(t.Context(), namespace, serviceAccount)
	netns.Must(t, err)
	ca, err := os.ReadFile(n.api.CA())
	netns.Must(t, err)
	n.supervise(t, cmd, func() error {
		return n.NS.Do(func() error {
			if err := mountServiceAccount(map[string]string{"token": token, "ca.crt": string(ca), "namespace": namespace}); err != nil {
				return err
			}
			if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				return err
			}
			return cmd.Start()
		})
	})
	n.url = "http://" + n.forward(t, "127.0.0.1:10098")
	return host
}

// hasUsers reports whether other users exist here: in an ordinary user's
// namespace there is but one.
func hasUsers(t *testing.T) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/self/uid_map")
	netns.Must(t, err)
	var inside, outside, count int64
	_, err = fmt.Sscan(string(b), &inside, &outside, &count)
	netns.Must(t, err)
	return inside+count > 65532
}

// unprivileged holds the running exporter to the security context of the manifest.
func (n *clusterNode) unprivileged(t *testing.T) {
	t.Helper()
	want := map[string]string{"NoNewPrivs": "1"}
	if hasUsers(t) {
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
			want[set] = "0000000000000000"
		}
		want["Uid"] = strings.Repeat("65532 ", 3) + "65532"
		want["Groups"] = ""
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.pid))
	netns.Must(t, err)
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.Join(strings.Fields(value), " ")
		if w, ok := want[name]; ok && value != w {
			t.Errorf("the exporter's %s is %q, want %q", name, value, w)
		}
	}
}

// resolve does what the kubelet does: $(NAME) of an earlier variable.
func (c container) resolve(t *testing.T, fields map[string]string) (args, env []string) {
	t.Helper()
	var known []string // old, new, ...
	for _, e := range c.Env {
		value := strings.NewReplacer(known...).Replace(e.Value)
		if from := e.ValueFrom; value == "" {
			key := from.FieldRef.FieldPath
			if key == "" {
				key = from.ResourceFieldRef.Resource + "/" + from.ResourceFieldRef.Divisor
			}
			if value = fields[key]; value == "" {
				t.Fatalf("the test knows no value for %s of %s", key, e.Name)
			}
		}
		known = append(known, "$("+e.Name+")", value)
		env = append(env, e.Name+"="+value)
	}
	for _, a := range c.Args {
		args = append(args, strings.NewReplacer(known...).Replace(a))
	}
	if i := slices.IndexFunc(append(args, env...), func(s string) bool { return strings.Contains(s, "$(") }); i >= 0 {
		t.Fatalf("not resolved: %q", append(args, env...)[i])
	}
	return args, env
}

// mountServiceAccount puts files where pods find them, for this thread and
// what it starts.
func mountServiceAccount(files map[string]string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	run, err := filepath.EvalSymlinks("/var/run")
	if err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", run, "tmpfs", 0, "mode=755"); err != nil {
		return os.NewSyscallError("mount", err)
	}
	dir := filepath.Join(run, "secrets/kubernetes.io/serviceaccount")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// forwardInto makes an address of this test's loopback device reachable on
// that of the node.
func (n *clusterNode) forwardInto(t *testing.T, address string) {
	t.Helper()
	var l net.Listener
	netns.Must(t, n.NS.Do(func() (err error) { l, err = net.Listen("tcp", address); return err }))
	relay(t, l, func() (net.Conn, error) { return net.Dial("tcp", address) })
}

// forward makes an address of the node reachable on the loopback device of
// this test.
func (n *clusterNode) forward(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	netns.Must(t, err)
	relay(t, l, func() (conn net.Conn, err error) {
		err = n.NS.Do(func() (err error) { conn, err = net.Dial("tcp", address); return err })
		return conn, err
	})
	return l.Addr().String()
}

// relay connects whom l accepts with whom dial reaches, until the test ends.
func relay(t *testing.T, l net.Listener, dial func() (net.Conn, error)) {
	t.Cleanup(func() { _ = l.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := dial()
				if err != nil {
					return
				}
				defer out.Close()
				stop := context.AfterFunc(ctx, func() { _ = in.Close(); _ = out.Close() })
				defer stop()
				go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
				_, _ = io.Copy(in, out)
			}()
		}
	}()
}
