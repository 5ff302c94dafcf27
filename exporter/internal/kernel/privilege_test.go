package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

const (
	childInterest = "ROUTEWATCH_KERNEL_TEST_INTEREST" // JSON of the interest: this process is the child
	childUID      = 65532
	uidTable      = 100
)

// TestWithoutCapability: as an ordinary user without any capability all is read
// and watched, and a rule on that user's id does not divert the lookups.
func TestWithoutCapability(t *testing.T) {
	n := newNode(t, 2)
	p := n.peers[0]
	netns.Must(t, n.RouteAdd(netstate.Route{Dst: p.subnet, Type: netstate.Unreachable, Table: uidTable}))
	err := addUIDRule(n)
	onlyRoot := errors.Is(err, unix.EINVAL) // in a user namespace without other users
	if err != nil && !onlyRoot {
		t.Fatal(err)
	}
	in, err := json.Marshal(n.interest())
	netns.Must(t, err)
	netns.Must(t, n.Do(func() error { // the child inherits the namespace
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestChildWithoutCapability$", "-test.v")
		cmd.Env = append(os.Environ(), childInterest+"="+string(in))
		if onlyRoot { // and has no capability over the network namespace in one more user namespace
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: childUID, HostID: os.Getuid(), Size: 1}},
			}
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		t.Logf("%s", out)
		return nil
	}))
}

// addUIDRule sends what a user id other than root's looks up to another table.
func addUIDRule(n *node) error {
	header := make([]byte, fibRuleHdrBytes)
	header[0], header[7] = unix.AF_INET, ruleToTable
	header = appendAttr32(header, unix.FRA_PRIORITY, 10)
	header = appendAttr32(header, unix.FRA_TABLE, uidTable)
	header = appendAttr(header, unix.FRA_UID_RANGE, native.AppendUint32(native.AppendUint32(nil, 1), 1<<31))
	return n.Do(func() error {
		c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.RTM_NEWRULE, Flags: netlink.Request | netlink.Acknowledge | netlink.Create}, Data: header,
		})
		return err
	})
}

// TestChildWithoutCapability is the child's part of TestWithoutCapability.
func TestChildWithoutCapability(t *testing.T) {
	if os.Getenv(childInterest) == "" {
		return // no skip: TestWithoutCapability runs it
	}
	var in expect.Interest
	netns.Must(t, json.Unmarshal([]byte(os.Getenv(childInterest)), &in))
	if os.Getuid() != childUID {
		netns.Must(t, syscall.Setuid(childUID)) // which takes every capability away
	}
	if err := unix.Sethostname([]byte("x")); err == nil {
		t.Fatal("still privileged")
	}
	once, err := ReadOnce(t.Context(), Config{}, in)
	netns.Must(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	interests, states, done := make(chan expect.Interest, 1), make(chan *netstate.State), make(chan error)
	interests <- in
	go func() { done <- Watch(ctx, Config{AuditInterval: time.Hour}, interests, states) }()
	watched := <-states
	cancel()
	netns.Must(t, <-done)
	for _, s := range []*netstate.State{once, watched} {
		if len(s.Neighbors) == 0 || len(s.FDB) == 0 || len(s.NetConf) == 0 || !s.Complete {
			t.Errorf("not all was read: %s", summary(s))
		}
		for _, peer := range in.Peers {
			if l, ok := s.Lookup(netstate.Query{Dst: expect.PodAddress(peer)}); !ok || l.Errno != 0 || l.Route.Dst != peer {
				t.Errorf("lookup of %s: %+v", peer, l)
			}
		}
	}
	if watched.Counters.ReceiveBytes == 0 {
		t.Error("the size of the receive buffer is not known")
	}
}

// TestOpensInNamespace: sockets are opened in another namespace although the
// process stays, and must stay, in its own.
func TestOpensInNamespace(t *testing.T) {
	inode := func() string {
		s, err := os.Readlink("/proc/self/ns/net")
		netns.Must(t, err)
		return s
	}
	before := inode()
	n := newNode(t, 1)
	for range 20 { // whichever thread it runs on
		if s := n.readOnce(t); !hasRoute(s, n.peers[0]) {
			t.Fatalf("not the namespace's routes: %s", summary(s))
		}
	}
	if after := inode(); after != before {
		t.Errorf("the process moved from %s to %s", before, after)
	}
}
