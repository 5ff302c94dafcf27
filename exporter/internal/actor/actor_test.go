package actor_test

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/exporter/internal/actor"
	"routewatch/exporter/internal/kernel"
	"routewatch/shared/expect"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
)

var subnet = netip.MustParsePrefix("10.244.3.0/24")

// node is a namespace whose route to one subnet is watched, with its actors.
type node struct {
	*netns.NS
	t      *testing.T
	index  int
	states chan *netstate.State
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{NS: netns.NewT(t), t: t, states: make(chan *netstate.State)}
	netns.Must(t, n.AddVeth("ul0", netns.NewT(t), "ul0"))
	netns.Must(t, n.AddAddr("ul0", netip.MustParsePrefix("192.0.2.1/24")))
	netns.Must(t, n.SetUp("ul0"))
	n.index = n.MustIndex(t, "ul0")
	r, err := actor.Open(n.Path())
	netns.Must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	interests, done := make(chan expect.Interest, 1), make(chan error)
	interests <- expect.Interest{Generation: 1, Subnets: []netip.Prefix{subnet}, Peers: []netip.Prefix{subnet}, Devices: []string{"ul0"}}
	go func() {
		done <- kernel.Watch(ctx, kernel.Config{NetNS: n.Path(), AuditInterval: time.Hour, Actor: r.Resolve}, interests, n.states)
	}()
	t.Cleanup(func() { cancel(); netns.Must(t, <-done); r.Close() })
	for s := range n.states {
		if s.Complete && s.Generation == 1 {
			break
		}
	}
	n.add()
	return n
}

// hint waits for one.
func (n *node) hint(kind netstate.HintKind) netstate.Hint {
	n.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case s := <-n.states:
			for _, h := range s.Hints {
				if h.Kind == kind && h.Prefix == subnet {
					return h
				}
			}
		case <-timeout:
			n.t.Fatalf("no %s", kind)
		}
	}
}

// add puts the route there; this process does it, over a socket of its own.
func (n *node) add() {
	n.t.Helper()
	netns.Must(n.t, n.RouteAdd(netstate.Route{Dst: subnet, Device: n.index}))
	n.hint(netstate.RouteAdded)
}

// deletedBy demands that the child is found out. Where the machine is so loaded
// that a look takes longer than it may, the honest answer is nobody: then once more.
func (n *node) deletedBy(c *child, want verdict.ActorHow) {
	n.t.Helper()
	var got netstate.Process
	for tries := 0; got == (netstate.Process{}) && tries < 20; tries++ {
		c.do("del", subnet)
		got = n.hint(netstate.RouteDeleted).Process
		n.add()
	}
	n.is(c, got, want)
}

func (n *node) is(c *child, got netstate.Process, want verdict.ActorHow) {
	n.t.Helper()
	if got != (netstate.Process{PID: c.pid(), Comm: "exe", How: want}) && got != (netstate.Process{PID: c.pid(), Comm: "actor.test", How: want}) {
		n.t.Errorf("it was %+v, want pid %d by %s", got, c.pid(), want)
	}
}

func TestResolve_LongLived(t *testing.T) {
	n := newNode(t)
	c := start(t, n.NS, 0)
	if port := c.open(0); int(port) != c.pid() {
		t.Logf("the port %d is not the pid %d", port, c.pid())
	}
	for range 3 {
		n.deletedBy(c, verdict.ByInode)
	}
}

// The second socket of a process has a random port.
func TestResolve_SecondSocket(t *testing.T) {
	n := newNode(t)
	c := start(t, n.NS, 0)
	c.open(0)
	if second := c.open(0); int32(second) >= 0 {
		t.Fatalf("the second port is %d", second)
	}
	n.deletedBy(c, verdict.ByInode)
}

// Port 1 is not the host's init.
func TestResolve_PID1OfANamespace(t *testing.T) {
	n := newNode(t)
	c := start(t, n.NS, syscall.CLONE_NEWPID)
	if port := c.open(0); port != 1 {
		t.Fatalf("the port is %d", port)
	}
	n.deletedBy(c, verdict.ByInode)
}

func TestResolve_PID1WithAClosedSocket(t *testing.T) {
	n := newNode(t)
	c := start(t, n.NS, syscall.CLONE_NEWPID)
	c.open(0)
	c.do("del", subnet)
	c.do("close")
	if h := n.hint(netstate.RouteDeleted); h.PortID != 1 || h.Process.PID != c.pid() && h.Process.PID != 0 {
		t.Errorf("port %d was %+v, want the child, %d, or none", h.PortID, h.Process, c.pid())
	}
}

// A port is one socket in each network namespace.
func TestResolve_SamePortInAnotherNamespace(t *testing.T) {
	n, other := newNode(t), netns.NewT(t)
	c, bystander := start(t, n.NS, 0), start(t, other, 0)
	port := bystander.open(0)
	if got := c.open(port); got != port || int(port) != bystander.pid() {
		t.Fatalf("ports %d and %d", port, got)
	}
	n.deletedBy(c, verdict.ByInode)
	c.do("del", subnet)
	c.do("close")
	if h := n.hint(netstate.RouteDeleted); h.Process.PID != c.pid() && h.Process.PID != 0 {
		t.Errorf("it was %+v, want %d or none", h.Process, c.pid())
	}
}

// resolver asks after the fact, when the socket is closed for certain.
func resolver(t *testing.T, ns *netns.NS) *actor.Resolver {
	t.Helper()
	r, err := actor.Open(ns.Path())
	netns.Must(t, err)
	t.Cleanup(r.Close)
	return r
}

func wholeProc() bool {
	b, err := os.ReadFile("/proc/2/comm")
	return err == nil && strings.TrimSpace(string(b)) == "kthreadd"
}

func TestResolve_ClosedSocket(t *testing.T) {
	ns, other := netns.NewT(t), netns.NewT(t)
	r := resolver(t, ns)
	c, bystander := start(t, ns, 0), start(t, other, 0)
	nobody := func(what string, port int, at time.Time) {
		t.Helper()
		if p := r.Resolve(uint32(port), at); p != (netstate.Process{}) {
			t.Errorf("%s: %+v, want none", what, p)
		}
	}
	p := r.Resolve(uint32(c.pid()), time.Now())
	switch {
	case !wholeProc():
		if p.PID != 0 {
			t.Errorf("%+v, though /proc does not show all", p)
		}
	case p.PID != c.pid() || p.How != verdict.ByPID:
		t.Errorf("%+v, want pid %d", p, c.pid())
	}
	nobody("lives in another namespace", bystander.pid(), time.Now())
	nobody("started after the event", c.pid(), time.Now().Add(-time.Hour))
	nobody("init", 1, time.Now())
	nobody("a kernel thread", 2, time.Now())
	nobody("random", 1<<31+7, time.Now())
	nobody("no process", 1<<22-1, time.Now())

	time.Sleep(1100 * time.Millisecond) // not a wait for anything: the process is to be older than a fresh one
	if p := r.Resolve(uint32(c.pid()), time.Now()); wholeProc() && p.PID != c.pid() {
		t.Errorf("an old process, and no other pid namespace: %+v", p)
	}
	start(t, ns, syscall.CLONE_NEWPID) // another one of it, that ended, may have had the number
	nobody("there is another pid namespace", c.pid(), time.Now())
}

// Commands are gone a moment after the event: none may be named wrongly.
func TestResolve_ShortLived(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("there is no ip to run: ", err)
	}
	n := newNode(t)
	how := map[verdict.ActorHow]int{}
	for range 100 {
		var cmd *exec.Cmd
		netns.Must(t, n.Do(func() error {
			cmd = exec.Command("ip", "route", "del", subnet.String())
			return cmd.Run()
		}))
		h := n.hint(netstate.RouteDeleted)
		if p := h.Process; p.PID != 0 && (p.PID != cmd.Process.Pid || p.Comm != "ip") {
			t.Errorf("it was %+v, want ip with pid %d", p, cmd.Process.Pid)
		}
		how[h.Process.How]++
		n.add()
		time.Sleep(20 * time.Millisecond) // so that the budget suffices
	}
	t.Logf("of 100: %d by inode, %d by pid, %d not known", how[verdict.ByInode], how[verdict.ByPID], how[""])
}

// As long as a storm lasts most of its changes are by nobody, and little time is spent.
func TestResolve_StormIsBounded(t *testing.T) {
	ns := netns.NewT(t)
	r := resolver(t, ns)
	c := start(t, ns, 0)
	c.open(0)
	second := c.open(0)
	begin, asked := time.Now(), 0
	for time.Since(begin) < time.Second {
		r.Resolve(second+uint32(asked%7), time.Now())
		asked++
	}
	if asked < 10_000 {
		t.Errorf("%d questions in a second: the rest took its time", asked)
	}
}

func BenchmarkResolve(b *testing.B) {
	ns := netns.NewT(b)
	r, err := actor.Open(ns.Path())
	netns.Must(b, err)
	defer r.Close()
	fds := map[string]uint32{}
	netns.Must(b, ns.Do(func() error {
		for _, name := range []string{"known"} {
			_, port, err := open(0)
			if err != nil {
				return err
			}
			fds[name] = port
		}
		return nil
	}))
	for name, port := range map[string]uint32{"known": fds["known"], "nobody": 1<<31 + 7} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				actor.Unbounded(r, port)
			}
		})
	}
	b.Run("search", func(b *testing.B) {
		for b.Loop() {
			actor.Forget(r)
			if p := actor.Unbounded(r, fds["known"]); p.PID != os.Getpid() {
				b.Fatalf("%+v", p)
			}
		}
	})
}
