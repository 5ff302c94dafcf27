package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"testing"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/expect"
	"routewatch/shared/judge"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

var podNetwork = netip.MustParsePrefix("10.244.0.0/16")

// member is a node of a cluster with a backend other than vxlan, in IPv4. What
// the kernel layer delivers is judged, as only that tells whether it is enough.
type member struct {
	*node
	set  *lease.Set
	conf expect.Config
	// remove deletes flannel's device; nil if the backend has none.
	remove func() error
}

// newMember makes a node with what the backend's flannel needs for some leases.
func newMember(tb testing.TB, backend string) *member {
	tb.Helper()
	m := &member{node: newHost(tb), conf: expect.Config{Backend: backend, Network: []netip.Prefix{podNetwork}}}
	published := backend
	if backend == "udp" {
		published = ""
	}
	of := func(i byte) lease.Lease {
		return lease.Lease{
			Peer: fmt.Sprint("node-", i), Family: netstate.IPv4, BackendType: published,
			Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, i, 0}), 24), PublicIP: netip.AddrFrom4([4]byte{192, 0, 2, 10 + i}),
			PublicKey: wgtypes.Key{i, 1}.String(), Port: 51820, // of wireguard only
		}
	}
	own := of(0)
	own.PublicIP = netip.MustParseAddr("192.0.2.1")
	m.set = &lease.Set{
		Source: "file", Self: own.Peer, Own: []lease.Lease{own}, Families: []netstate.Family{netstate.IPv4},
		Leases: []lease.Lease{of(1), of(2), of(3)}, Complete: true, Generation: 1,
	}
	if name := m.device(); name != "ul0" {
		m.tunnel(tb, name)
		netns.Must(tb, m.SetMTU(name, 1400))
		netns.Must(tb, m.AddAddr(name, flannel4))
		netns.Must(tb, m.SetUp(name))
	}
	m.flannel(tb)
	m.ask()
	return m
}

// tunnel makes flannel's device, which is known by its name, whatever its kind.
func (m *member) tunnel(tb testing.TB, name string) {
	tb.Helper()
	tun, err := m.AddTUN(name)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		tb.Logf("%v: a veth device stands for it", err)
		netns.Must(tb, m.AddVeth(name, m.other, name))
		netns.Must(tb, m.other.SetUp(name))
		m.remove = func() error { return m.DelLink(name) }
		return
	}
	netns.Must(tb, err)
	m.remove = tun.Close // as when flannel's process ends
	tb.Cleanup(func() { _ = tun.Close() })
}

// ask makes the interest that of the leases.
func (m *member) ask() {
	in := expect.InterestOf(m.conf, m.set)
	m.in = &in
}

// device is the one that flannel's routes leave by.
func (m *member) device() string {
	if names := m.conf.DevicesOf(m.set, netstate.IPv4, 0); len(names) > 0 {
		return names[0]
	}
	return "ul0"
}

// routes are flannel's.
func (m *member) routes(tb testing.TB) (all []netstate.Route) {
	for _, l := range m.set.Leases {
		f := expect.ChainOf(m.conf, m.set, l).Forms[0]
		r := netstate.Route{Dst: f.Dst, Gateway: f.Gateway, OnLink: f.OnLink, Device: m.MustIndex(tb, m.device())}
		if !slices.Contains(all, r) { // one for the whole pod network
			all = append(all, r)
		}
	}
	return all
}

func (m *member) flannel(tb testing.TB) {
	for _, r := range m.routes(tb) {
		netns.Must(tb, m.RouteReplace(r))
	}
}

// judged is what is made of a State.
func (m *member) judged(s *netstate.State) *wire.Snapshot {
	snapshot, _ := judge.Next(judge.Options{Node: m.set.Self, Flannel: m.conf}, nil, judge.Input{Set: m.set, State: s, Now: s.At})
	return snapshot
}

// states are those of the leases, in their order, and the node's problems.
func (m *member) states(s *netstate.State) (all []string) {
	snapshot := m.judged(s)
	for _, l := range snapshot.Leases {
		all = append(all, string(l.State))
	}
	for _, p := range snapshot.NodeProblems {
		all = append(all, string(p.Problem)+" "+p.Device)
	}
	return all
}

func (m *member) untilStates(w *watched, want ...string) {
	m.untilSeen(w, func(s *netstate.State) bool { return slices.Equal(m.states(s), want) }, want)
}

func (m *member) untilSeen(w *watched, ok func(*netstate.State) bool, want any) {
	w.tb.Helper()
	defer func() {
		if w.tb.Failed() {
			w.tb.Logf("want %v, at last %v", want, m.states(w.last))
		}
	}()
	if !ok(w.last) {
		w.until(fmt.Sprint(want), ok)
	}
}

var allOK = []string{"ok", "ok", "ok"}

// TestBackends has what takes the routes of backends other than vxlan away, as
// events or without any, and what the leases are then.
func TestBackends(t *testing.T) {
	gateway := netip.MustParseAddr("192.0.2.254")
	tests := []struct {
		name   string
		change func(t *testing.T, m *member)
		hint   netstate.HintKind
		// want is of the one lease that is touched with a route for each, else of all.
		want map[string]verdict.State
		all  bool
	}{
		{
			name: "route deleted", hint: netstate.RouteDeleted,
			want: map[string]verdict.State{"host-gw": verdict.Missing, "ipip": verdict.Missing, "udp": verdict.Missing},
			change: func(t *testing.T, m *member) {
				netns.Must(t, m.RouteDel(netstate.Route{Dst: m.routes(t)[0].Dst}))
			},
		},
		{
			name: "route replaced", hint: netstate.RouteReplaced,
			want: map[string]verdict.State{"host-gw": verdict.WrongGateway, "ipip": verdict.WrongDevice, "udp": verdict.WrongDevice},
			change: func(t *testing.T, m *member) {
				netns.Must(t, m.RouteReplace(netstate.Route{Dst: m.routes(t)[0].Dst, Gateway: gateway, Device: m.MustIndex(t, "ul0")}))
			},
		},
		{
			name: "device flapped", hint: netstate.LinkChanged, all: true,
			want: map[string]verdict.State{"host-gw": verdict.Missing, "ipip": verdict.Missing, "udp": verdict.Missing},
			change: func(t *testing.T, m *member) {
				netns.Must(t, m.SetDown(m.device()))
				netns.Must(t, m.SetUp(m.device()))
			},
		},
		{
			name: "device down", hint: netstate.LinkChanged, all: true,
			want: map[string]verdict.State{"host-gw": verdict.Missing, "ipip": verdict.LinkDown, "udp": verdict.LinkDown},
			change: func(t *testing.T, m *member) {
				netns.Must(t, m.SetDown(m.device()))
			},
		},
		{
			name: "device deleted", hint: netstate.LinkDeleted, all: true,
			want: map[string]verdict.State{"host-gw": verdict.Missing, "ipip": verdict.LinkDown, "udp": verdict.LinkDown},
			change: func(t *testing.T, m *member) {
				if m.remove != nil {
					netns.Must(t, m.remove())
					return
				}
				netns.Must(t, m.DelLink("ul0"))
			},
		},
		{
			name: "address removed", hint: netstate.AddrDeleted, all: true,
			want: map[string]verdict.State{"host-gw": verdict.Missing, "ipip": verdict.LinkDown, "udp": verdict.LinkDown},
			change: func(t *testing.T, m *member) {
				a := flannel4
				if m.remove == nil {
					a = netip.MustParsePrefix("192.0.2.1/24")
				}
				netns.Must(t, m.DelAddr(m.device(), a))
			},
		},
	}
	for _, test := range tests {
		for backend, state := range test.want {
			t.Run(backend+"/"+test.name, func(t *testing.T) {
				m := newMember(t, backend)
				w := m.watch(t, m.config())
				m.untilStates(w, allOK...)
				test.change(t, m)
				want := slices.Clone(allOK)
				for i := range want {
					if i == 0 || test.all || backend == "udp" {
						want[i] = string(state)
					}
				}
				m.untilSeen(w, func(s *netstate.State) bool { return slices.Equal(m.states(s)[:3], want) }, want)
				if !w.has(test.hint) {
					t.Errorf("no hint %s: %+v", test.hint, w.hints)
				}
				w.inSync()
				if test.name == "device deleted" {
					return
				}
				// And back again.
				netns.Must(t, m.AddAddr("ul0", netip.MustParsePrefix("192.0.2.1/24")))
				if m.remove != nil {
					netns.Must(t, m.AddAddr(m.device(), flannel4))
				}
				netns.Must(t, m.SetUp(m.device()))
				m.flannel(t)
				m.untilStates(w, allOK...)
				w.inSync()
			})
		}
	}
}
