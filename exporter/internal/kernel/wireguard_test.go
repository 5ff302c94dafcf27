package kernel

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
)

// program stands in for a user-space WireGuard: it answers on the socket of the
// cross-platform interface (wireguard.com/xplatform), from which wgctrl reads.
type program struct {
	mu    sync.Mutex
	peers []string // each the lines of one
}

func (p *program) set(peers ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peers = peers
}

func wgPeer(key byte, endpoint, allowed string) string {
	return fmt.Sprintf("public_key=%s\nendpoint=%s\nallowed_ip=%s\n", hex.EncodeToString(wgKey(key)), endpoint, allowed)
}

func wgKey(b byte) []byte { return append([]byte{b}, make([]byte, 31)...) }

// socketDir is where wgctrl looks for the sockets.
const socketDir = "/var/run/wireguard"

// serve listens on the device's socket. An ordinary user may not: then it
// returns false.
func (p *program) serve(t *testing.T, device string) bool {
	t.Helper()
	err := os.MkdirAll(socketDir, 0o755)
	path := filepath.Join(socketDir, device+".sock")
	var l net.Listener
	if err == nil {
		l, err = net.Listen("unix", path)
	}
	if errors.Is(err, fs.ErrPermission) {
		t.Logf("%v: only root can stand in for a user-space WireGuard", err)
		return false
	}
	netns.Must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.answer(c)
		}
	}()
	return true
}

func (p *program) answer(c net.Conn) {
	defer c.Close()
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil || line == "\n" {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(c, "private_key=%s\nlisten_port=51820\n%serrno=0\n\n", hex.EncodeToString(wgKey(9)), strings.Join(p.peers, ""))
}

// TestWireGuard: the peers are read, and a change of them, which no event tells
// of, is found.
func TestWireGuard(t *testing.T) {
	p := &program{}
	if !p.serve(t, "flannel-wg") {
		return
	}
	m := newMember(t, "wireguard")
	for i := range m.set.Leases {
		m.set.Leases[i].PublicKey = base64.StdEncoding.EncodeToString(wgKey(byte(i + 1)))
		m.set.Leases[i].Port = 51820
	}
	m.ask()
	one, two := wgPeer(1, "192.0.2.11:51820", "10.244.1.0/24"), wgPeer(2, "192.0.2.12:51820", "10.244.2.0/24")
	three := wgPeer(3, "192.0.2.13:51820", "10.244.3.0/24")
	p.set(one, two, three)
	w := m.watch(t, m.config())
	m.untilStates(w, allOK...)
	p.set(one, three)
	m.untilStates(w, "ok", string(verdict.PeerMissing), "ok")
	p.set(one, wgPeer(2, "192.0.2.12:51820", "10.244.9.0/24"), three)
	m.untilStates(w, "ok", string(verdict.PeerWrong), "ok")
	p.set(one, two, three)
	m.untilStates(w, allOK...)
	if drift := w.last.Counters.AuditDrift; drift != 0 {
		t.Errorf("a change of peers counts as %d of what events missed", drift)
	}
}

// Why peers cannot be read is said, and no failure to read the kernel.
func TestWireGuard_Problem(t *testing.T) {
	for _, test := range []struct {
		kind string
		err  error
		want string
	}{
		{kindWireGuard, os.ErrPermission, "no_capability: the kernel tells the WireGuard peers of flannel-wg only to CAP_NET_ADMIN"},
		{"tun", os.ErrNotExist, "/var/run/wireguard/flannel-wg.sock, is not among the files"},
		{kindWireGuard, errors.New("boom"), "cannot read the WireGuard peers of flannel-wg: boom"},
	} {
		w := wireGuards{ask: func(*os.File, string) (*wgtypes.Device, error) { return nil, test.err }}
		got := w.read(netstate.Link{Index: 7, Name: "flannel-wg", Kind: test.kind})
		if got.Device != 7 || !strings.Contains(got.Problem, test.want) {
			t.Errorf("got %+v, want %q", got, test.want)
		}
	}
}

// A program that hangs is asked once, and its answer is taken when it comes.
func TestWireGuard_Hangs(t *testing.T) {
	asked, answer := 0, make(chan bool)
	w := wireGuards{patience: time.Millisecond, ask: func(*os.File, string) (*wgtypes.Device, error) {
		asked++
		<-answer
		return &wgtypes.Device{Peers: []wgtypes.Peer{{
			PublicKey: wgtypes.Key(wgKey(1)), Endpoint: net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.11:51820")),
		}}}, nil
	}}
	link := netstate.Link{Index: 7, Name: "flannel-wg", Kind: "tun"}
	for range 2 {
		if got := w.read(link); !strings.Contains(got.Problem, "did not answer") {
			t.Errorf("while it hangs: %+v", got)
		}
	}
	close(answer)
	w.patience = 10 * time.Second
	want := netstate.WireGuard{Device: 7, Peers: []netstate.WireGuardPeer{{
		PublicKey: base64.StdEncoding.EncodeToString(wgKey(1)), Endpoint: netip.MustParseAddrPort("192.0.2.11:51820"),
	}}}
	if diff := cmp.Diff(want, w.read(link), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" || asked != 1 {
		t.Errorf("asked %d times; (-want +got):\n%s", asked, diff)
	}
}
