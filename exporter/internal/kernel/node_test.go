package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"routewatch/deploy/lab/netns"
	"routewatch/exporter/internal/enter"
	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

func TestMain(m *testing.M) {
	if os.Getenv(childInterest) != "" { // the child of TestWithoutCapability wants no privileges
		os.Exit(m.Run())
	}
	if err := netns.Reexec(); err != nil {
		fmt.Fprintln(os.Stderr, "netns:", err)
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for a State. It says nothing of how fast
// they come: the kernel may hold its network lock for seconds while it removes
// the namespaces of other tests. Nothing but an event can bring a State in this
// time, see config.
const patience = 20 * time.Second

// peer is one other node of the cluster, in one address family.
type peer struct {
	subnet   netip.Prefix
	publicIP netip.Addr
	mac      netstate.MAC
}

func (p peer) family() netstate.Family { return netstate.FamilyOf(p.subnet.Addr()) }

// node is a namespace set up as flannel sets up a node with two families:
//
//	ul0        192.0.2.1/24, 2001:db8::1/64, default routes
//	flannel.1  10.244.0.0/32, flannel-v6.1 fd00:10::/128
//	cni0       10.244.0.1/24, fd00:10::1/64
type node struct {
	*netns.NS
	other *netns.NS // holds the other end of ul0
	peers []peer
	in    *expect.Interest // instead of vxlan's in the peers
}

var (
	ownSubnets = []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24"), netip.MustParsePrefix("fd00:10::/64")}
	flannel4   = netip.MustParsePrefix("10.244.0.0/32")
	flannel6   = netip.MustParsePrefix("fd00:10::/128")
)

// newHost is a node without anything of flannel's, and without pods.
func newHost(tb testing.TB) *node {
	tb.Helper()
	n := &node{NS: netns.NewT(tb), other: netns.NewT(tb)}
	netns.Must(tb, n.AddVeth("ul0", n.other, "ul0"))
	netns.Must(tb, n.other.SetUp("ul0"))
	for _, a := range []string{"192.0.2.1/24", "2001:db8::1/64"} {
		netns.Must(tb, n.AddAddr("ul0", netip.MustParsePrefix(a)))
	}
	netns.Must(tb, n.SetUp("ul0"))
	netns.Must(tb, n.Sysctl("net.ipv4.ip_forward", "1"))
	netns.Must(tb, n.Sysctl("net.ipv6.conf.all.forwarding", "1"))
	netns.Must(tb, n.defaults(tb))
	return n
}

func newNode(tb testing.TB, peers int) *node {
	tb.Helper()
	n := newHost(tb)
	n.bridge(tb)
	n.flannelDevice(tb, netstate.IPv4)
	n.flannelDevice(tb, netstate.IPv6)
	for i := 1; i <= peers; i++ {
		b := [2]byte{byte(i >> 8), byte(i)}
		p4 := peer{
			subnet:   netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244 + b[0], b[1], 0}), 24),
			publicIP: netip.AddrFrom4([4]byte{192, 0, 2, 10 + b[1]%200}),
			mac:      netstate.MAC{2, 4, 0, 0, b[0], b[1]},
		}
		p6 := peer{
			subnet:   netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0, 0, 0x10, 0, 0, b[0], b[1]}), 64),
			publicIP: netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: 1, 15: b[1]}),
			mac:      netstate.MAC{2, 6, 0, 0, b[0], b[1]},
		}
		for _, p := range []peer{p4, p6} {
			n.peers = append(n.peers, p)
			netns.Must(tb, n.program(tb, p))
		}
	}
	return n
}

// bridge makes cni0 with one pod.
func (n *node) bridge(tb testing.TB) {
	netns.Must(tb, n.AddBridge("cni0"))
	netns.Must(tb, n.SetMAC("cni0", netstate.MAC{2, 0, 0, 0, 0, 1})) // as the CNI plugin does: else each port may change it
	netns.Must(tb, n.AddVeth("pod0", n.other, "pod0"))
	netns.Must(tb, n.other.SetUp("pod0"))
	netns.Must(tb, n.SetMaster("pod0", "cni0"))
	for _, d := range []string{"pod0", "cni0"} {
		netns.Must(tb, n.SetUp(d))
	}
	for _, a := range []string{"10.244.0.1/24", "fd00:10::1/64"} {
		netns.Must(tb, n.AddAddr("cni0", netip.MustParsePrefix(a)))
	}
}

func (n *node) defaults(tb testing.TB) error {
	ul0 := n.MustIndex(tb, "ul0")
	var errs []error
	for _, gw := range []string{"192.0.2.254", "2001:db8::fe"} {
		a := netip.MustParseAddr(gw)
		dst := netip.PrefixFrom(a, 0).Masked()
		errs = append(errs, n.RouteReplace(netstate.Route{Dst: dst, Gateway: a, Device: ul0}))
	}
	return errors.Join(errs...)
}

func (n *node) flannelDevice(tb testing.TB, f netstate.Family) {
	v := netns.VXLAN{Name: "flannel.1", VNI: 1, Port: 8472, Lower: "ul0", Local: netip.MustParseAddr("192.0.2.1"), MTU: 1450}
	addr := flannel4
	if f == netstate.IPv6 {
		v.Name, v.Local, v.MTU = "flannel-v6.1", netip.MustParseAddr("2001:db8::1"), 1430
		addr = flannel6
	}
	netns.Must(tb, n.AddVXLAN(v))
	netns.Must(tb, n.AddAddr(v.Name, addr))
	netns.Must(tb, n.SetUp(v.Name))
}

func device(f netstate.Family) string {
	if f == netstate.IPv6 {
		return "flannel-v6.1"
	}
	return "flannel.1"
}

func (n *node) route(tb testing.TB, p peer) netstate.Route {
	return netstate.Route{Dst: p.subnet, Gateway: p.subnet.Addr(), Device: n.MustIndex(tb, device(p.family())), OnLink: true}
}

func (n *node) neighbor(tb testing.TB, p peer) netstate.Neighbor {
	return netstate.Neighbor{Device: n.MustIndex(tb, device(p.family())), IP: p.subnet.Addr(), MAC: p.mac}
}

func (n *node) entry(tb testing.TB, p peer) netstate.FDBEntry {
	return netstate.FDBEntry{Device: n.MustIndex(tb, device(p.family())), MAC: p.mac, Dst: p.publicIP}
}

// program does what flannel does for a lease.
func (n *node) program(tb testing.TB, p peer) error {
	return errors.Join(n.NeighReplace(n.neighbor(tb, p)), n.FDBReplace(n.entry(tb, p)), n.RouteReplace(n.route(tb, p)))
}

func (n *node) interest() expect.Interest {
	if n.in != nil {
		return *n.in
	}
	in := expect.Interest{
		Generation: 1,
		Subnets:    slices.Clone(ownSubnets),
		Sources:    []netip.Addr{flannel4.Addr(), flannel6.Addr()},
		VNIs:       []uint32{1},
		Devices:    []string{"cni0"},
	}
	for _, p := range n.peers {
		in.Peers = append(in.Peers, p.subnet)
		in.Subnets = append(in.Subnets, p.subnet)
		if !slices.Contains(in.PublicIPs, p.publicIP) {
			in.PublicIPs = append(in.PublicIPs, p.publicIP)
		}
	}
	slices.SortFunc(in.Subnets, netip.Prefix.Compare)
	slices.SortFunc(in.Peers, netip.Prefix.Compare)
	slices.SortFunc(in.PublicIPs, netip.Addr.Compare)
	return in
}

// config is without audits and follow-ups, so that no lost event stays hidden,
// and takes a read for slow only when the test does.
func (n *node) config() Config {
	return Config{NetNS: n.Path(), AuditInterval: time.Hour, followUps: []time.Duration{}, patience: patience}
}

func (n *node) readOnce(tb testing.TB) *netstate.State {
	tb.Helper()
	s, err := ReadOnce(context.Background(), n.config(), n.interest())
	netns.Must(tb, err)
	return s
}

// watched is a running Watch and the States it sent.
type watched struct {
	tb        testing.TB
	node      *node
	watcher   *watcher // only for when it has stopped
	interests chan expect.Interest
	states    chan *netstate.State
	last      *netstate.State
	hints     []netstate.Hint // of all States so far
	stop      func()
}

// watch begins to watch the node and returns after the first picture.
func (n *node) watch(tb testing.TB, cfg Config) *watched {
	tb.Helper()
	w := &watched{tb: tb, node: n, interests: make(chan expect.Interest, 1), states: make(chan *netstate.State)}
	var err error
	w.watcher, err = newWatcher(cfg, w.states)
	netns.Must(tb, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	w.interests <- n.interest()
	go func() {
		defer close(done)
		w.watcher.run(ctx, w.interests)
		w.watcher.close()
	}()
	w.stop = func() { cancel(); <-done }
	tb.Cleanup(func() { w.stop() })
	w.until("the first picture", func(s *netstate.State) bool { return s.Complete && s.Generation == 1 })
	return w
}

// next returns the next State, nil if none comes in time.
func (w *watched) next(timeout time.Duration) *netstate.State {
	select {
	case s := <-w.states:
		w.last = s
		w.hints = append(w.hints, s.Hints...)
		return s
	case <-time.After(timeout):
		return nil
	}
}

// until waits for a State that ok accepts.
func (w *watched) until(what string, ok func(*netstate.State) bool) *netstate.State {
	w.tb.Helper()
	for end := time.Now().Add(patience); ; {
		s := w.next(time.Until(end))
		if s == nil {
			w.tb.Fatalf("%s: not seen\nhints: %+v\n%s", what, w.hints, summary(w.last))
		}
		if ok(s) {
			return s
		}
	}
}

// inSync fails the test unless the last State becomes what a fresh read gives.
func (w *watched) inSync() {
	w.tb.Helper()
	in := newInterest(w.node.interest())
	for end := time.Now().Add(patience); ; {
		want := w.node.readOnce(w.tb)
		for w.next(20*time.Millisecond) != nil { // until nothing is left to be read
		}
		n := drift(newScope(in, want, nil), w.last, want)
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			w.tb.Fatalf("%d objects differ from a fresh read:\n%s\nhints: %+v", n, stateDiff(want, w.last), w.hints)
		}
	}
}

// requests opens a socket for questions, until the test ends.
func (n *node) requests(tb testing.TB) *requests {
	tb.Helper()
	req, err := dialRequests(mustOpen(tb, n.Path()))
	netns.Must(tb, err)
	tb.Cleanup(req.close)
	return req
}

// reader makes pictures of the node, until the test ends.
func (n *node) reader(tb testing.TB) *reader {
	tb.Helper()
	return &reader{req: n.requests(tb), in: newInterest(n.interest())}
}

func mustOpen(tb testing.TB, path string) *os.File {
	tb.Helper()
	f, err := enter.Open(path)
	netns.Must(tb, err)
	tb.Cleanup(func() { _ = f.Close() })
	return f
}

// summary is the part of a State that fits on a screen.
func summary(s *netstate.State) string {
	if s == nil {
		return "no State"
	}
	return fmt.Sprintf("last State: generation %d, complete %v %s, %d routes, %d neighbors, %d forwarding entries, touched %v, counters %+v",
		s.Generation, s.Complete, s.Problem, len(s.Routes), len(s.Neighbors), len(s.FDB), s.Touched, s.Counters)
}
