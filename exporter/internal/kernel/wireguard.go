package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"routewatch/exporter/internal/enter"
	"routewatch/shared/netstate"
)

const (
	kindWireGuard = "wireguard" // IFLA_INFO_KIND of the kernel's own

	// pollInterval is how often WireGuard peers are read: no event tells of them.
	pollInterval = 5 * time.Second
	// programPatience is how long a user-space WireGuard may take to answer. The
	// kernel's own is waited for like any other of its answers.
	programPatience = time.Second
)

// wireGuards reads the peers of WireGuard devices, each time with sockets of its
// own: a client that was made before the kernel had WireGuard would not find it.
// It belongs to the goroutine that reads.
type wireGuards struct {
	netns *os.File // nil: the process's own
	// late are user-space devices that were asked and have not answered yet.
	late map[string]<-chan wgAnswer

	// For tests.
	ask      func(netns *os.File, name string) (*wgtypes.Device, error) // nil is askWireGuard
	patience time.Duration                                              // 0 is programPatience
}

type wgAnswer struct {
	device *wgtypes.Device
	err    error
}

// wireGuard reads the peers of the flannel devices that are WireGuard's.
func (r *reader) wireGuard(links []netstate.Link) []netstate.WireGuard {
	var all []netstate.WireGuard
	for _, l := range links {
		if r.in.wireGuard(l) {
			all = append(all, r.peers.read(l))
		}
	}
	return all
}

func (i *interest) wireGuard(l netstate.Link) bool {
	return l.Kind != kindVXLAN && slices.Contains(i.WireGuard, l.Name)
}

// read returns the peers of one device, or why they cannot be read: that is no
// failure to read the kernel, of which all else is known.
func (w *wireGuards) read(l netstate.Link) netstate.WireGuard {
	ask := w.ask
	if ask == nil {
		ask = askWireGuard
	}
	var a wgAnswer
	if l.Kind == kindWireGuard {
		a.device, a.err = ask(w.netns, l.Name)
	} else {
		a = w.program(l.Name, ask)
	}
	wg := netstate.WireGuard{Device: l.Index}
	if a.err != nil {
		wg.Problem = wireGuardProblem(l, a.err)
		return wg
	}
	wg.Peers = peersOf(a.device)
	return wg
}

// program asks a user-space WireGuard, which may hang, but never twice at once.
func (w *wireGuards) program(name string, ask func(*os.File, string) (*wgtypes.Device, error)) wgAnswer {
	answer, asked := w.late[name]
	if !asked {
		c := make(chan wgAnswer, 1)
		go func() {
			d, err := ask(nil, name) // its socket is a file
			c <- wgAnswer{d, err}
		}()
		answer = c
	}
	patience := cmp.Or(w.patience, programPatience)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case a := <-answer:
		delete(w.late, name)
		return a
	case <-timer.C:
		if w.late == nil {
			w.late = map[string]<-chan wgAnswer{}
		}
		w.late[name] = answer
		return wgAnswer{err: fmt.Errorf("the program behind it did not answer within %s", patience)}
	}
}

// askWireGuard reads a device by name. The answer holds the private key, too.
func askWireGuard(netns *os.File, name string) (d *wgtypes.Device, err error) {
	var c *wgctrl.Client
	err = enter.Do(netns, func() error {
		c, err = wgctrl.New()
		return err
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	return c.Device(name)
}

// wireGuardProblem says in words why the peers of a device could not be read.
func wireGuardProblem(l netstate.Link, err error) string {
	inKernel := l.Kind == kindWireGuard
	switch {
	case inKernel && errors.Is(err, os.ErrPermission):
		return "no_capability: the kernel tells the WireGuard peers of " + l.Name + " only to CAP_NET_ADMIN: give it to the exporter, " +
			"in Kubernetes with NET_ADMIN in securityContext.capabilities.add"
	case !inKernel && errors.Is(err, os.ErrNotExist):
		return fmt.Sprintf("%s is no WireGuard device of the kernel's (its kind is %q), and the socket of a user-space one, "+
			"/var/run/wireguard/%s.sock, is not among the files that the exporter sees", l.Name, l.Kind, l.Name)
	}
	return fmt.Sprintf("cannot read the WireGuard peers of %s: %v", l.Name, err)
}

// peersOf takes what is needed of a device, sorted.
func peersOf(d *wgtypes.Device) []netstate.WireGuardPeer {
	peers := make([]netstate.WireGuardPeer, 0, len(d.Peers))
	for i := range d.Peers {
		p := &d.Peers[i]
		peer := netstate.WireGuardPeer{PublicKey: p.PublicKey.String(), LastHandshake: p.LastHandshakeTime}
		if p.Endpoint != nil {
			e := p.Endpoint.AddrPort()
			peer.Endpoint = netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
		}
		for _, ip := range p.AllowedIPs {
			if prefix, ok := prefixOf(ip); ok {
				peer.AllowedIPs = append(peer.AllowedIPs, prefix)
			}
		}
		slices.SortFunc(peer.AllowedIPs, netip.Prefix.Compare)
		peers = append(peers, peer)
	}
	slices.SortFunc(peers, func(a, b netstate.WireGuardPeer) int { return cmp.Compare(a.PublicKey, b.PublicKey) })
	return peers
}

func prefixOf(n net.IPNet) (netip.Prefix, bool) {
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones), ok
}

// samePeers reports whether two pictures agree on WireGuard. Handshakes tell of
// now, and come every two minutes.
func samePeers(a, b []netstate.WireGuard) bool {
	return slices.EqualFunc(a, b, func(a, b netstate.WireGuard) bool {
		return a.Device == b.Device && a.Problem == b.Problem && slices.EqualFunc(a.Peers, b.Peers, func(a, b netstate.WireGuardPeer) bool {
			return a.PublicKey == b.PublicKey && a.Endpoint == b.Endpoint && slices.Equal(a.AllowedIPs, b.AllowedIPs)
		})
	})
}
