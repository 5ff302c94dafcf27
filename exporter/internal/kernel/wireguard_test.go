package kernel

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
)

// childMounts marks the process that may put sockets into /var/run/wireguard.
const childMounts = "ROUTEWATCH_KERNEL_TEST_MOUNTS"

// program stands for a user-space WireGuard: it answers `get=1` as
// https://www.wireguard.com/xplatform has it. The real one, wireguard-go, would
// bring a network stack for Windows into the product's go.mod.
type program struct {
	listener net.Listener
	serving  sync.WaitGroup
	mu       sync.Mutex
	answer   string
}

func (m *member) program(tb testing.TB) *program {
	tb.Helper()
	netns.Must(tb, os.MkdirAll("/var/run/wireguard", 0o755))
	l, err := net.Listen("unix", "/var/run/wireguard/flannel-wg.sock")
	netns.Must(tb, err)
	p := &program{listener: l}
	p.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.serve(c)
		}
	})
	tb.Cleanup(p.stop)
	return p
}

func (p *program) stop() {
	_ = p.listener.Close()
	p.serving.Wait()
}

func (p *program) serve(c net.Conn) {
	defer c.Close()
	request, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && request == "get=1\n" {
		p.mu.Lock()
		defer p.mu.Unlock()
		_, _ = io.WriteString(c, p.answer)
	}
}

// set makes the peers.
func (p *program) set(peers ...netstate.WireGuardPeer) {
	var b strings.Builder
	fmt.Fprintf(&b, "private_key=%s\nlisten_port=51820\n", strings.Repeat("01", 32))
	for _, peer := range peers {
		key, _ := wgtypes.ParseKey(peer.PublicKey)
		fmt.Fprintf(&b, "public_key=%s\nprotocol_version=1\n", hex.EncodeToString(key[:]))
		if peer.Endpoint.IsValid() {
			fmt.Fprintf(&b, "endpoint=%s\n", peer.Endpoint)
		}
		fmt.Fprintf(&b, "last_handshake_time_sec=%d\nlast_handshake_time_nsec=0\ntx_bytes=5\nrx_bytes=7\n", max(0, peer.LastHandshake.Unix()))
		for _, ip := range peer.AllowedIPs {
			fmt.Fprintf(&b, "allowed_ip=%s\n", ip)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = b.String() + "errno=0\n\n"
}

// wgPeers are what flannel makes of the leases.
func (m *member) wgPeers() (all []netstate.WireGuardPeer) {
	for _, l := range m.set.Leases {
		all = append(all, netstate.WireGuardPeer{
			PublicKey: l.PublicKey, Endpoint: netip.AddrPortFrom(l.PublicIP, l.Port), AllowedIPs: []netip.Prefix{l.Subnet},
		})
	}
	return all
}

// TestWireGuard runs in a process with a /var/run of its own: where user-space
// WireGuards have their sockets is fixed.
func TestWireGuard(t *testing.T) {
	netns.Require(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestChildWireGuard$", "-test.v")
	cmd.Env = append(os.Environ(), childMounts+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// TestChildWireGuard is the child's part of TestWireGuard.
func TestChildWireGuard(t *testing.T) {
	if os.Getenv(childMounts) == "" {
		return // no skip: TestWireGuard runs it
	}
	netns.Must(t, unix.Mount("tmpfs", "/var/run", "tmpfs", 0, ""))
	m := newMember(t, "wireguard")
	p := m.program(t)
	p.set(m.wgPeers()...)
	cfg := m.config()
	cfg.pollInterval = 10 * time.Millisecond
	w := m.watch(t, cfg)
	m.untilStates(w, allOK...)
	want := []netstate.WireGuard{{Device: m.MustIndex(t, "flannel-wg"), Peers: m.wgPeers()}}
	if diff := cmp.Diff(want, w.last.WireGuard, equateAddrs, cmpopts.EquateEmpty(), cmpopts.EquateApproxTime(0)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, test := range peerChanges(m) {
		t.Run(test.name, func(t *testing.T) {
			w.tb = t
			p.set(test.peers...)
			m.untilStates(w, test.want...)
			if w.last.Touched != nil || len(w.last.Hints) != 0 {
				t.Errorf("touched %v, want all; hints %v", w.last.Touched, w.last.Hints)
			}
			p.set(m.wgPeers()...)
			m.untilStates(w, allOK...)
		})
	}
	w.tb = t
	t.Run("handshakes", func(t *testing.T) { // tell of now: nothing is sent for them
		for i := range 5 {
			peers := m.wgPeers()
			peers[0].LastHandshake = time.Now().Add(time.Duration(i) * time.Second)
			p.set(peers...)
			if s := w.next(20 * time.Millisecond); s != nil {
				t.Errorf("a State: %s", summary(s))
			}
		}
	})
	t.Run("route", func(t *testing.T) {
		w.tb = t
		netns.Must(t, m.RouteDel(netstate.Route{Dst: podNetwork}))
		m.untilStates(w, "missing", "missing", "missing")
		m.flannel(t)
		m.untilStates(w, allOK...)
	})
	t.Run("gone", func(t *testing.T) {
		w.tb = t
		p.stop()
		m.untilStates(w, "unknown", "unknown", "unknown")
		if got := w.last.WireGuard[0].Problem; !strings.Contains(got, "/var/run/wireguard/flannel-wg.sock") && !strings.Contains(got, "connection refused") {
			t.Errorf("problem %q", got)
		}
	})
	once := m.readOnce(t)
	if len(once.WireGuard) != 1 || once.WireGuard[0].Problem == "" || !once.Complete {
		t.Errorf("read once: %+v", once.WireGuard)
	}
	if got := w.last.Counters; got.AuditDrift != 0 || len(got.Resyncs) != 1 {
		t.Errorf("polling counts as drift or as a sweep: %+v", got)
	}
}

var equateAddrs = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})

type peerChange struct {
	name  string
	peers []netstate.WireGuardPeer
	want  []string
}

func peerChanges(m *member) []peerChange {
	change := func(f func(p *netstate.WireGuardPeer)) []netstate.WireGuardPeer {
		all := m.wgPeers()
		f(&all[0])
		return all
	}
	return []peerChange{
		{"peer removed", m.wgPeers()[1:], []string{"peer_missing", "ok", "ok"}},
		{"all peers removed", nil, []string{"peer_missing", "peer_missing", "peer_missing"}},
		{"other key", change(func(p *netstate.WireGuardPeer) { p.PublicKey = wgtypes.Key{99}.String() }), []string{"peer_missing", "ok", "ok"}},
		{"allowed IPs", change(func(p *netstate.WireGuardPeer) { p.AllowedIPs = nil }), []string{"peer_wrong", "ok", "ok"}},
		{"endpoint", change(func(p *netstate.WireGuardPeer) { p.Endpoint = netip.MustParseAddrPort("[2001:db8::9]:51820") }), []string{"peer_wrong", "ok", "ok"}},
		{"no endpoint", change(func(p *netstate.WireGuardPeer) { p.Endpoint = netip.AddrPort{} }), []string{"peer_wrong", "ok", "ok"}},
	}
}

// TestWireGuardProblems: peers that cannot be read are said so in words, and all
// else is read nevertheless.
func TestWireGuardProblems(t *testing.T) {
	tests := map[string]struct {
		kind string
		err  error
		want string
	}{
		"no capability":    {kindWireGuard, unix.EPERM, "no_capability: the kernel tells the WireGuard peers of flannel-wg only to CAP_NET_ADMIN: "},
		"gone":             {kindWireGuard, os.ErrNotExist, "cannot read the WireGuard peers of flannel-wg: file does not exist"},
		"no socket":        {"tun", os.ErrNotExist, `flannel-wg is no WireGuard device of the kernel's (its kind is "tun"), and the socket`},
		"forbidden socket": {"tun", &os.SyscallError{Syscall: "connect", Err: unix.EACCES}, "cannot read the WireGuard peers of flannel-wg: connect: permission denied"},
		"forbidden setns":  {kindWireGuard, &os.SyscallError{Syscall: "setns", Err: unix.EPERM}, "no_capability: "},
		"anything else":    {kindWireGuard, errors.New("broken"), "cannot read the WireGuard peers of flannel-wg: broken"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := &wireGuards{ask: func(*os.File, string) (*wgtypes.Device, error) { return nil, test.err }}
			got := w.read(netstate.Link{Index: 7, Name: "flannel-wg", Kind: test.kind})
			if !strings.HasPrefix(got.Problem, test.want) || got.Device != 7 || got.Peers != nil {
				t.Errorf("got %+v, want the problem %q", got, test.want)
			}
		})
	}
}

// TestWireGuardHangs: a user-space WireGuard that does not answer is waited for
// a moment, and not asked again while it has not.
func TestWireGuardHangs(t *testing.T) {
	asked, free := 0, make(chan struct{})
	w := &wireGuards{patience: time.Millisecond, ask: func(*os.File, string) (*wgtypes.Device, error) {
		asked++
		<-free
		return &wgtypes.Device{Peers: []wgtypes.Peer{{}}}, nil
	}}
	link := netstate.Link{Index: 7, Name: "flannel-wg", Kind: "tun"}
	for range 3 {
		if got := w.read(link); !strings.HasSuffix(got.Problem, "did not answer within 1ms") {
			t.Errorf("%+v", got)
		}
	}
	close(free)
	w.patience = patience
	if got := w.read(link); got.Problem != "" || len(got.Peers) != 1 || asked != 1 {
		t.Errorf("%+v, asked %d times", got, asked)
	}
}

// TestWireGuardNamespace: the kernel is asked in the watched namespace, and the
// process stays in its own.
func TestWireGuardNamespace(t *testing.T) {
	n := netns.NewT(t)
	for _, file := range []*os.File{mustOpen(t, n.Path()), nil} {
		if _, err := askWireGuard(file, "flannel-wg"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v, want that there is no such device", err)
		}
	}
	notNamespace, err := os.Open("/dev/null")
	netns.Must(t, err)
	defer notNamespace.Close()
	if _, err := askWireGuard(notNamespace, "flannel-wg"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("error %v, want EINVAL of setns", err)
	}
}

// TestPollPace: polls come while there are peers to read, and take at most a
// thousandth of the time.
func TestPollPace(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	p.audit = now.Add(time.Hour)
	p.polled(now, 0, time.Second)
	if p.pollDue(now.Add(time.Hour), time.Second) || p.next(false) != p.audit {
		t.Error("there is a poll without peers")
	}
	p.poll = now
	for cost, want := range map[time.Duration]time.Duration{0: 5 * time.Second, 8 * time.Millisecond: 8 * time.Second, time.Second: 50 * time.Second} {
		if !p.pollDue(p.poll, 5*time.Second) || p.pollDue(p.poll.Add(-1), 5*time.Second) {
			t.Error("polls are not due when they are")
		}
		p.polled(now, cost, 5*time.Second)
		if got := p.next(false).Sub(now); got != want {
			t.Errorf("after a poll of %s the next one comes after %s, want %s", cost, got, want)
		}
	}
}

// TestPeersOf: what WireGuard tells, sorted, in IPv4 where it is that.
func TestPeersOf(t *testing.T) {
	cidr := func(s string) net.IPNet {
		_, n, err := net.ParseCIDR(s)
		netns.Must(t, err)
		n.IP = n.IP.To16() // as other clients may have it
		return *n
	}
	got := peersOf(&wgtypes.Device{Peers: []wgtypes.Peer{
		{PublicKey: wgtypes.Key{2}, AllowedIPs: []net.IPNet{cidr("fd00::/64"), cidr("10.244.2.0/24"), cidr("10.1.0.0/16"), {}}},
		{PublicKey: wgtypes.Key{1}, Endpoint: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5}, LastHandshakeTime: time.Unix(1, 0)},
	}})
	pfx := netip.MustParsePrefix
	want := []netstate.WireGuardPeer{
		{PublicKey: wgtypes.Key{1}.String(), Endpoint: netip.MustParseAddrPort("192.0.2.1:5"), LastHandshake: time.Unix(1, 0)},
		{PublicKey: wgtypes.Key{2}.String(), AllowedIPs: []netip.Prefix{pfx("10.1.0.0/16"), pfx("10.244.2.0/24"), pfx("fd00::/64")}},
	}
	if diff := cmp.Diff(want, got, equateAddrs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	a, b := []netstate.WireGuard{{Device: 1, Peers: got}}, []netstate.WireGuard{{Device: 1, Peers: slices.Clone(got)}}
	b[0].Peers[0].LastHandshake = time.Unix(2, 0)
	if !samePeers(a, b) {
		t.Error("a handshake makes a difference")
	}
	b[0].Peers[1].AllowedIPs = b[0].Peers[1].AllowedIPs[1:]
	if samePeers(a, b) {
		t.Error("allowed IPs make no difference")
	}
}
