package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// nobody is the user of the container image.
const nobody = 65532

// TestUnprivileged: the exporter as its pod runs it, as an ordinary user without
// any capability and without a way to get one (no_new_privs), is right about the
// kernel: before a change, and at once after it.
func TestUnprivileged(t *testing.T) {
	n := newNode(t)
	dir, err := os.MkdirTemp("", "routewatch-e2e-")
	netns.Must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	netns.Must(t, os.Chmod(dir, 0o755)) // the other user has to read it
	program := filepath.Join(dir, "routewatch-exporter")
	nodes := filepath.Join(dir, "nodes.json")
	copyFile(t, filepath.Join(programs, "routewatch-exporter"), program, 0o755)
	copyFile(t, n.file, nodes, 0o644)

	// Loopback inside the namespace: it needs --netns no more, for which it would need CAP_SYS_ADMIN.
	running := exec.Command(program, "--node-name", "node-1", "--leases.file", nodes, "--web.listen-address", "127.0.0.1:10098")
	running.Stderr = &bytes.Buffer{}
	running.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if netns.InUserNamespace() {
		running.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER, // has no capability over the network namespace
			UidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getuid(), Size: 1}},
		}
	}
	netns.Must(t, n.startUnprivileged(running))
	t.Cleanup(func() {
		_ = running.Process.Kill()
		_ = running.Wait()
		if t.Failed() {
			t.Logf("the exporter's log:\n%s", running.Stderr)
		}
	})
	client := n.clientInside()
	var s wire.NodeStatus
	ask := func() bool {
		resp, err := client.Get("http://127.0.0.1:10098/api/v1/status")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return err == nil && json.Unmarshal(body, &s) == nil
	}
	within(t, startup, "healthy", func() bool { return ask() && s.Healthy })
	hasNothing(t, running.Process.Pid)

	netns.Must(t, n.NS.SetDown("flannel.1"))
	netns.Must(t, n.NS.SetUp("flannel.1"))
	eventually(t, "the flap is seen, and what it broke", func() bool {
		return ask() && s.Complete && s.Summary.States[verdict.Missing] == 3 && s.Problems[0].Cause == verdict.CauseLinkDown
	})
}

// startUnprivileged starts a program in the node's namespace with no_new_privs.
func (n *node) startUnprivileged(cmd *exec.Cmd) error {
	return n.NS.Do(func() error { // on a thread that ends with it, so the flag is the child's alone
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return os.NewSyscallError("prctl", err)
		}
		return cmd.Start()
	})
}

// clientInside connects from inside the node.
func (n *node) clientInside() *http.Client {
	dial := func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err = n.NS.Do(func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return err
		})
		return c, err
	}
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

// hasNothing holds what the kernel says of a process: an ordinary user in each
// respect, no capability in any set that counts, and none to be had.
func hasNothing(t *testing.T, pid int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	netns.Must(t, err)
	none := strings.Repeat("0", 16)
	want := map[string]string{"NoNewPrivs": "1", "CapEff": none, "CapPrm": none, "CapInh": none, "CapAmb": none}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if w, ok := want[name]; ok && strings.TrimSpace(value) != w {
			t.Errorf("%s is %s, want %s", name, strings.TrimSpace(value), w)
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("the kernel does not say %v", want)
	}
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	b, err := os.ReadFile(from)
	netns.Must(t, err)
	netns.Must(t, os.WriteFile(to, b, mode))
	netns.Must(t, os.Chmod(to, mode))
}
