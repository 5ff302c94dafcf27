//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/deploy/lab/cluster"
	"routewatch/deploy/lab/netns"
	"routewatch/deploy/lab/topology"
	"routewatch/shared/lease"
	"routewatch/shared/wire"
)

const etcdPrefix = "/example.org/network"

// etcdNode is a node whose leases are in a real etcd.
type etcdNode struct {
	*node
	etcd *cluster.Etcd
}

func newEtcdNode(t *testing.T, nodes int, opts cluster.EtcdOptions) *etcdNode {
	t.Helper()
	netns.Require(t)
	netns.Must(t, build())
	n := &etcdNode{}
	var err error
	n.etcd, err = cluster.StartEtcd(t.Context(), opts)
	netns.Must(t, err)
	t.Cleanup(func() { netns.Must(t, n.etcd.Close()) })
	netns.Must(t, n.etcd.Put(t.Context(), etcdPrefix+"/config", `{"Network": "10.0.0.0/8", "Backend": {"Type": "vxlan"}}`))
	var kvs []lease.KeyValue
	for i := 1; i <= nodes; i++ {
		key, value := etcdLease(i, 0)
		kvs = append(kvs, lease.KeyValue{Key: key, Value: []byte(value)})
		netns.Must(t, n.etcd.Put(t.Context(), n.key(i), value))
	}
	set := lease.FromEtcd(kvs, lease.EtcdOptions{Self: "node-1", Addrs: []netip.Addr{publicIP(1, 0)}})
	n.node = &node{Node: topology.Single(t, &set), log: &logs{}, peers: set.Leases}
	return n
}

// etcdLease is the key, below the subnets, and the value of a node.
func etcdLease(i, epoch int) (key, value string) {
	return strings.ReplaceAll(subnetOf(i).String(), "/", "-"), fmt.Sprintf(
		`{"PublicIP":%q,"PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":%q}}`, publicIP(i, epoch), macOf(i, epoch))
}

func (n *etcdNode) key(i int) string {
	key, _ := etcdLease(i, 0)
	return etcdPrefix + "/subnets/" + key
}

func (n *etcdNode) launch(t *testing.T, args ...string) {
	t.Helper()
	n.run(t, append([]string{"--etcd.endpoints", n.etcd.URL, "--etcd.prefix", etcdPrefix}, args...)...)
}

func (n *etcdNode) healthyIn(t *testing.T, limit time.Duration, peers int) time.Duration {
	t.Helper()
	return within(t, limit, "healthy", func() bool {
		s := n.status(t)
		return s.Healthy && s.Summary.Leases == peers
	})
}

// problem is what the exporter says of the source.
func (n *etcdNode) problem(t *testing.T) string {
	t.Helper()
	for _, s := range n.status(t).Sources {
		if s.Name == "etcd" && !s.Complete {
			return s.Problem
		}
	}
	return ""
}

// complains waits until the source's problem has the text.
func (n *etcdNode) complains(t *testing.T, limit time.Duration, text string) time.Duration {
	t.Helper()
	return within(t, limit, fmt.Sprintf("etcd: %q in %q", text, n.problem(t)), func() bool { return strings.Contains(n.problem(t), text) })
}

// TestCluster_EtcdKeys: what happens to keys, while etcd is well and while it is not.
func TestCluster_EtcdKeys(t *testing.T) {
	n := newEtcdNode(t, 4, cluster.EtcdOptions{})
	n.launch(t, "--grace", "2s")
	say(t, n.healthyIn(t, 10*time.Second, 3), "healthy at the start")

	key, value := etcdLease(5, 0)
	netns.Must(t, n.etcd.Put(t.Context(), etcdPrefix+"/subnets/"+key, value))
	say(t, within(t, 10*time.Second, "a new lease is missing", func() bool { return n.status(t).Summary.States["missing"] == 1 }),
		"a new lease: missing, as no flannel runs here")
	netns.Must(t, n.etcd.Delete(t.Context(), etcdPrefix+"/subnets/"+key))
	say(t, n.healthyIn(t, 2*time.Second, 3), "the lease deleted: healthy")
	_, changed := etcdLease(4, 1)
	netns.Must(t, n.etcd.Put(t.Context(), n.key(4), changed))
	say(t, within(t, 10*time.Second, "the changed lease is not well", func() bool { return n.status(t).ProblemsTotal == 1 }), "a lease changed")
	_, value = etcdLease(4, 0)
	netns.Must(t, n.etcd.Put(t.Context(), n.key(4), value))
	say(t, n.healthyIn(t, 5*time.Second, 3), "changed back: healthy")

	n.etcd.Kill()
	say(t, n.complains(t, 10*time.Second, "connection refused"), "etcd killed: %s", n.problem(t))
	if diff := cmp.Diff(3, n.status(t).Summary.States["ok"]); diff != "" {
		t.Errorf("leases that are ok while etcd is lost (-want +got):\n%s", diff)
	}
	netns.Must(t, n.etcd.Restart(t.Context()))
	say(t, n.healthyIn(t, 20*time.Second, 3), "etcd back: healthy")

	netns.Must(t, n.etcd.Pause())
	say(t, n.complains(t, 30*time.Second, "etcd"), "etcd hangs: %s", n.problem(t))
	netns.Must(t, n.etcd.Resume())
	say(t, n.healthyIn(t, 30*time.Second, 3), "etcd goes on: healthy")
}

// TestCluster_EtcdCompacted: what is deleted and compacted while the exporter
// hears nothing of it is gone afterwards.
func TestCluster_EtcdCompacted(t *testing.T) {
	n := newEtcdNode(t, 4, cluster.EtcdOptions{})
	n.launch(t)
	n.healthyIn(t, 10*time.Second, 3)
	netns.Must(t, syscall.Kill(n.pid, syscall.SIGSTOP))
	netns.Must(t, n.etcd.Delete(t.Context(), n.key(4)))
	n.etcd.Kill() // the exporter's connection ends, and it has to begin anew
	netns.Must(t, n.etcd.Restart(t.Context()))
	netns.Must(t, n.etcd.Compact(t.Context()))
	netns.Must(t, syscall.Kill(n.pid, syscall.SIGCONT))
	say(t, n.healthyIn(t, 20*time.Second, 2), "a lease deleted and its revision compacted while the exporter slept: gone")
}

// TestCluster_EtcdTLS: with the right certificates all is well, with others it
// is said which is wrong.
func TestCluster_EtcdTLS(t *testing.T) {
	n := newEtcdNode(t, 3, cluster.EtcdOptions{TLS: true, ClientCerts: true})
	n.launch(t, "--etcd.cafile", n.etcd.CA(), "--etcd.certfile", n.etcd.ClientCert(), "--etcd.keyfile", n.etcd.ClientKey())
	say(t, n.healthyIn(t, 10*time.Second, 2), "TLS and a client certificate: healthy")
	for _, wrong := range []struct{ args, want string }{
		{"--etcd.cafile " + n.etcd.CA(), "client certificate"},
		{"", "its certificate is of another authority: give the right one with --etcd.cafile"},
	} {
		status, code := n.once(t, strings.Fields(wrong.args)...)
		if got := status.Sources[0].Problem; code != 2 || !strings.Contains(got, wrong.want) {
			t.Errorf("with %q: exit code %d, %q; want 2 and %q", wrong.args, code, got, wrong.want)
		}
	}
}

// TestCluster_EtcdAuth: a user with a password that may read the prefix.
func TestCluster_EtcdAuth(t *testing.T) {
	n := newEtcdNode(t, 3, cluster.EtcdOptions{})
	netns.Must(t, n.etcd.EnableAuth(t.Context(), "root's", "routewatch", "secret-word", etcdPrefix))
	password := filepath.Join(t.TempDir(), "password")
	netns.Must(t, os.WriteFile(password, []byte("secret-word\n"), 0o600))
	n.launch(t, "--etcd.username", "routewatch", "--etcd.password-file", password)
	say(t, n.healthyIn(t, 10*time.Second, 2), "user and password: healthy")
	wrong := password + ".wrong"
	netns.Must(t, os.WriteFile(wrong, []byte("other"), 0o600))
	for _, bad := range []struct{ args, want string }{
		{"", "it wants a user: give --etcd.username and --etcd.password-file"},
		{"--etcd.username routewatch --etcd.password-file " + wrong, `it refuses the user "routewatch"`},
		{"--etcd.username nobody --etcd.password-file " + password, `the user "nobody" may not read ` + etcdPrefix},
	} {
		status, code := n.once(t, strings.Fields(bad.args)...)
		if got := status.Sources[0].Problem; code != 2 || !strings.Contains(got, bad.want) {
			t.Errorf("with %q: exit code %d, %q; want 2 and %q", bad.args, code, got, bad.want)
		}
	}
	if strings.Contains(n.log.String(), "secret-word") {
		t.Error("the password is in the log")
	}
}

// once runs another exporter on the node with --once.
func (n *etcdNode) once(t *testing.T, args ...string) (s wire.NodeStatus, code int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, "routewatch-exporter"), append([]string{
		"--once", "--node-name", "node-1", "--netns", n.NS.Path(), "--etcd.endpoints", n.etcd.URL, "--etcd.prefix", etcdPrefix,
	}, args...)...)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	netns.Must(t, json.Unmarshal(out, &s))
	return s, cmd.ProcessState.ExitCode()
}
