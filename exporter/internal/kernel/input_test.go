package kernel

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// canal makes what Calico does for a node's pods: no bridge, a device and a
// route for each pod, and a blackhole for the rest of the node's subnet.
func (m *member) canal(tb testing.TB, pods ...byte) {
	tb.Helper()
	netns.Must(tb, m.RouteAdd(netstate.Route{Dst: ownSubnets[0], Type: netstate.Blackhole, Protocol: unix.RTPROT_BIRD}))
	for _, i := range pods {
		m.pod(tb, i)
	}
}

func (m *member) pod(tb testing.TB, i byte) {
	tb.Helper()
	name := cali(i)
	netns.Must(tb, m.AddVeth(name, m.other, name))
	netns.Must(tb, m.other.SetUp(name))
	netns.Must(tb, m.SetUp(name))
	netns.Must(tb, m.RouteAdd(m.podRoute(tb, i)))
}

func (m *member) podRoute(tb testing.TB, i byte) netstate.Route {
	return netstate.Route{Dst: host(podAddr(i)), Device: m.MustIndex(tb, cali(i)), Scope: unix.RT_SCOPE_LINK}
}

func cali(i byte) string { return fmt.Sprintf("cali%d", i) }

func podAddr(i byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 244, 0, i}) }

// pods are the routes to the node's own pods in a picture.
func (m *member) pods(s *netstate.State) (all []netip.Prefix) {
	for _, r := range s.RoutesInside(ownSubnets[0]) {
		if r.Table == netstate.TableMain {
			all = append(all, r.Dst)
		}
	}
	return all
}

// asked is the question for forwarded packets in a picture.
func asked(s *netstate.State) (src netip.Addr, device string) {
	for _, l := range s.Lookups {
		if l.Query.IIF != 0 {
			return l.Query.Src, s.LinkName(l.Query.IIF)
		}
	}
	return netip.Addr{}, ""
}

// TestCanal: without a bridge forwarded packets are asked for as coming from a
// pod's own device, whichever is there.
func TestCanal(t *testing.T) {
	for _, backend := range []string{"host-gw", "udp"} {
		t.Run(backend, func(t *testing.T) {
			m := newMember(t, backend)
			m.canal(t, 7, 9, 8)
			w := m.watch(t, m.config())
			m.untilStates(w, allOK...)
			at := func(i byte) {
				t.Helper()
				m.untilSeen(w, func(s *netstate.State) bool {
					src, device := asked(s)
					return src == podAddr(i) && device == cali(i)
				}, cali(i))
				w.inSync()
			}
			at(7)
			if got := m.pods(w.last); !slices.Equal(got, []netip.Prefix{host(podAddr(7))}) {
				t.Errorf("routes to pods %v, want one", got)
			}
			netns.Must(t, m.DelLink(cali(7)))
			at(8)
			netns.Must(t, m.SetDown(cali(8)))
			at(9)
			netns.Must(t, m.DelLink(cali(9)))
			m.untilSeen(w, func(s *netstate.State) bool { return len(m.pods(s)) == 0 }, "no pods")
			w.inSync()
			m.pod(t, 5)
			at(5)
			netns.Must(t, m.RouteDel(netstate.Route{Dst: host(podAddr(5))}))
			m.untilSeen(w, func(s *netstate.State) bool { return len(m.pods(s)) == 0 }, "no pods")
			netns.Must(t, m.RouteAdd(m.podRoute(t, 5)))
			at(5)
			m.untilStates(w, allOK...)
			m.bridge(t) // as when the CNI plugin is changed
			m.untilSeen(w, func(s *netstate.State) bool { _, device := asked(s); return device == "cni0" }, "cni0")
			if got := m.pods(w.last); len(got) != 0 {
				t.Errorf("routes to pods %v, want none beside a bridge", got)
			}
			netns.Must(t, m.DelLink("cni0"))
			at(5)
		})
	}
}

// TestCanalSettings: what drops packets of pods is found without a bridge, too.
func TestCanalSettings(t *testing.T) {
	tests := map[string]struct {
		backend     string
		name, value string
		back        string
		want        string
	}{
		"forwarding off on the pod's device": {"host-gw", "net.ipv4.conf.cali7.forwarding", "0", "1", "forwarding_off cali7"},
		"forwarding off":                     {"udp", "net.ipv4.ip_forward", "0", "1", "forwarding_off cali7"},
		"strict reverse path filter":         {"host-gw", "net.ipv4.conf.cali7.rp_filter", "1", "0", "rp_filter cali7"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMember(t, test.backend)
			m.canal(t, 7)
			if test.want == "rp_filter cali7" { // the way back to the pod is another
				netns.Must(t, m.Sysctl("net.ipv4.conf.all.rp_filter", "0"))
				netns.Must(t, m.Sysctl("net.ipv4.conf.cali7.rp_filter", "0"))
				m.pod(t, 8)
				netns.Must(t, m.RouteAdd(netstate.Route{Dst: host(podAddr(7)), Device: m.MustIndex(t, "cali8"), Table: 100}))
				netns.Must(t, m.RuleAdd(netstate.Rule{Family: netstate.IPv4, Priority: 50, Table: 100, Dst: host(podAddr(7))}))
			}
			w := m.watch(t, m.config())
			m.untilStates(w, allOK...)
			netns.Must(t, m.Sysctl(test.name, test.value))
			m.untilSeen(w, func(s *netstate.State) bool {
				states := m.states(s)
				return slices.Equal(states[:3], allOK) && len(states) > 3 && states[3] == test.want
			}, test.want)
			w.inSync()
			netns.Must(t, m.Sysctl(test.name, test.back))
			m.untilStates(w, allOK...)
			w.inSync()
		})
	}
}

// TestPodsAreIrrelevant: pods without a bridge come and go without a read, as
// those with one do.
func TestPodsAreIrrelevant(t *testing.T) {
	m := newMember(t, "host-gw")
	m.canal(t, 7)
	w := m.stepped(t, m.config())
	before := w.reads
	for range 50 {
		m.pod(t, 9)
		if s := w.step(); s != nil {
			t.Fatalf("a State with hints %+v", s.Hints)
		}
		netns.Must(t, m.DelLink(cali(9)))
	}
	w.idle()
	if w.reads != before {
		t.Errorf("%d reads, want none", w.reads-before)
	}
}

// TestUnderlayReturns: the device with the own public IP is watched even when no
// route and no answer leads through it any more.
func TestUnderlayReturns(t *testing.T) {
	m := newMember(t, "host-gw")
	w := m.watch(t, m.config())
	netns.Must(t, m.SetDown("ul0"))
	m.untilStates(w, "missing", "missing", "missing")
	w.inSync()
	netns.Must(t, m.SetUp("ul0"))
	m.untilSeen(w, func(s *netstate.State) bool { l, _ := s.Link(m.MustIndex(t, "ul0")); return l.Up }, "ul0 up")
	w.inSync()
	for _, f := range families() {
		if _, ok := w.last.NetConfOf(f, m.MustIndex(t, "ul0")); !ok {
			t.Errorf("the %s settings of ul0 are not there", f)
		}
	}
}

// TestNetworks: of the routes in the pod network that no lease explains those are
// kept that may be flannel's, and no others.
func TestNetworks(t *testing.T) {
	m := newMember(t, "host-gw")
	ul0, gateway := m.MustIndex(t, "ul0"), netip.MustParseAddr("192.0.2.77")
	stale := netstate.Route{Dst: netip.MustParsePrefix("10.244.77.0/24"), Gateway: gateway, Device: ul0}
	others := []netstate.Route{
		{Dst: netip.MustParsePrefix("10.244.78.0/24"), Device: ul0},
		{Dst: netip.MustParsePrefix("10.244.79.0/24"), Type: netstate.Blackhole},
		{Dst: netip.MustParsePrefix("10.244.80.0/26"), Gateway: gateway, Device: ul0, Protocol: unix.RTPROT_BIRD},
		{Dst: netip.MustParsePrefix("10.244.81.0/24"), Gateway: gateway, Device: ul0, Table: 100},
		{Dst: netip.MustParsePrefix("10.99.0.0/24"), Gateway: gateway, Device: ul0},
	}
	for _, r := range others {
		netns.Must(t, m.RouteAdd(r))
	}
	w := m.watch(t, m.config())
	if n := len(w.last.Routes); n > 10 {
		t.Errorf("%d routes: %v", n, w.last.Routes)
	}
	for _, r := range others {
		if got := w.last.RoutesTo(r.Dst); len(got) > 0 {
			t.Errorf("kept %+v", got)
		}
	}
	netns.Must(t, m.RouteAdd(stale))
	s := w.until("the stale route", func(s *netstate.State) bool { return len(s.RoutesTo(stale.Dst)) == 1 })
	if got := m.judged(s).Stale; len(got) != 1 || len(s.Touched) != 0 || s.Touched == nil {
		t.Errorf("stale %+v, touched %v", got, s.Touched)
	}
	w.inSync()
	netns.Must(t, m.RouteDel(netstate.Route{Dst: stale.Dst}))
	w.until("its end", func(s *netstate.State) bool { return len(m.judged(s).Stale) == 0 })
}

// TestPodSource: which device forwarded packets are asked for, and from where.
func TestPodSource(t *testing.T) {
	pfx, at := netip.MustParsePrefix, netip.MustParseAddr
	own := pfx("10.244.0.0/24")
	route := func(dst string, device int) netstate.Route {
		return netstate.Route{Table: netstate.TableMain, Dst: pfx(dst), Type: netstate.Unicast, Device: device}
	}
	links := []netstate.Link{
		{Index: 1, Name: "lo", Up: true},
		{Index: 2, Name: "flannel.1", Up: true, Kind: kindVXLAN, VXLAN: netstate.VXLAN{VNI: 1}},
		{Index: 3, Name: "docker0", Up: true},
		{Index: 4, Name: "cni0", Up: true},
		{Index: 5, Name: "cali5", Up: true},
		{Index: 6, Name: "down"},
		{Index: 7, Name: "flannel0", Up: true, Kind: "tun"},
	}
	tests := map[string]struct {
		addrs  []netstate.Addr
		routes []netstate.Route
		src    string
		device int
	}{
		"nothing":                {},
		"cni0":                   {addrs: []netstate.Addr{{Device: 4, Prefix: pfx("10.244.0.1/24")}}, src: "10.244.0.2", device: 4},
		"docker0":                {addrs: []netstate.Addr{{Device: 3, Prefix: pfx("10.244.0.1/24")}}, src: "10.244.0.2", device: 3},
		"cni0 first":             {addrs: []netstate.Addr{{Device: 3, Prefix: pfx("10.244.0.5/24")}, {Device: 4, Prefix: pfx("10.244.0.1/24")}}, src: "10.244.0.2", device: 4},
		"own address":            {addrs: []netstate.Addr{{Device: 4, Prefix: pfx("10.244.0.2/24")}}, src: "10.244.0.3", device: 4},
		"part of the subnet":     {addrs: []netstate.Addr{{Device: 3, Prefix: pfx("10.244.0.129/25")}}, src: "10.244.0.130", device: 3},
		"wider than the subnet":  {addrs: []netstate.Addr{{Device: 3, Prefix: pfx("10.244.0.1/16")}}, src: "10.244.0.2", device: 3},
		"flannel's own address":  {addrs: []netstate.Addr{{Device: 2, Prefix: pfx("10.244.0.0/32")}, {Device: 7, Prefix: pfx("10.244.0.3/24")}}},
		"left over from flannel": {addrs: []netstate.Addr{{Device: 5, Prefix: pfx("10.244.0.0/32")}}},
		"virtual address":        {addrs: []netstate.Addr{{Device: 1, Prefix: pfx("10.244.0.9/32")}, {Device: 5, Prefix: pfx("10.244.0.9/32")}}},
		"down":                   {addrs: []netstate.Addr{{Device: 6, Prefix: pfx("10.244.0.1/24")}}, routes: []netstate.Route{route("10.244.0.9/32", 6)}},
		"route to a pod":         {routes: []netstate.Route{route("10.244.0.9/32", 5)}, src: "10.244.0.9", device: 5},
		"route to the subnet":    {routes: []netstate.Route{route("10.244.0.0/24", 3)}, src: "10.244.0.2", device: 3},
		"route by flannel":       {routes: []netstate.Route{route("10.244.0.0/24", 7), route("10.244.0.9/32", 2)}},
		"gone device":            {routes: []netstate.Route{route("10.244.0.9/32", 99)}},
	}
	in := newInterest(expect.Interest{
		Subnets: []netip.Prefix{own}, Sources: []netip.Addr{own.Addr()}, VNIs: []uint32{1}, Tunnels: []string{"flannel0"}, Devices: []string{"cni0"},
	})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := &netstate.State{Links: links, Addrs: test.addrs, Routes: netstate.Refs(test.routes)}
			s.Sort()
			src, device, ok := in.podSource(s, netstate.IPv4)
			var want netip.Addr
			if test.src != "" {
				want = at(test.src)
			}
			if src != want || device != test.device || ok != (test.src != "") {
				t.Errorf("from %s at %d, %v; want %s at %d", src, device, ok, want, test.device)
			}
			if _, _, ok := in.podSource(s, netstate.IPv6); ok {
				t.Error("there is one for IPv6")
			}
		})
	}
}

// TestKeeps: which routes belong into the picture.
func TestKeeps(t *testing.T) {
	pfx := netip.MustParsePrefix
	in := newInterest(expect.Interest{
		Subnets:  []netip.Prefix{pfx("10.244.0.0/24"), pfx("10.244.1.0/24")},
		Peers:    []netip.Prefix{pfx("10.244.1.0/24")},
		Networks: []netip.Prefix{podNetwork},
	})
	direct := netstate.Route{Type: netstate.Unicast, Table: netstate.TableMain, Protocol: unix.RTPROT_BOOT, Gateway: netip.MustParseAddr("192.0.2.7"), Device: 2}
	pod := netstate.Route{Type: netstate.Unicast, Table: netstate.TableMain, Device: 5}
	got := map[string]bool{}
	for dst, r := range map[string]netstate.Route{
		"10.244.1.0/24": pod, "10.244.1.7/32": pod, "10.244.0.0/24": pod, "10.244.0.0/16": pod, "0.0.0.0/0": direct,
		"10.244.0.7/32": pod, "10.244.0.8/32": direct, "10.244.9.0/24": direct, "10.244.8.0/24": pod, "10.9.0.0/24": direct,
	} {
		r.Dst = pfx(dst)
		got[dst] = in.keeps(&r, false)
	}
	want := map[string]bool{
		"10.244.1.0/24": true, "10.244.1.7/32": true, "10.244.0.0/24": true, "10.244.0.0/16": true, "0.0.0.0/0": true,
		"10.244.0.7/32": false, "10.244.0.8/32": true, "10.244.9.0/24": true, "10.244.8.0/24": false, "10.9.0.0/24": false,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOwnAddressReturns: the node's own public IP is noticed on a device that
// nothing else leads to. Its event was taken for another program's.
func TestOwnAddressReturns(t *testing.T) {
	m := newMember(t, "host-gw")
	w := m.stepped(t, m.config())
	own := netstate.Addr{Device: m.MustIndex(t, "ul0"), Prefix: netip.MustParsePrefix("192.0.2.1/24")}
	netns.Must(t, m.DelAddr("ul0", own.Prefix))
	w.until("the address is gone", func(s *netstate.State) bool { return !slices.Contains(s.Addrs, own) })
	w.idle()
	own.Prefix = host(own.Prefix.Addr()) // as some clouds have it: no route comes with it
	netns.Must(t, m.AddAddr("ul0", own.Prefix))
	w.until("the address is back", func(s *netstate.State) bool { return slices.Contains(s.Addrs, own) })
}

// TestSettingsFollowRoutes: where a route tells which device pods are behind, its
// settings come with it.
func TestSettingsFollowRoutes(t *testing.T) {
	m := newMember(t, "host-gw")
	netns.Must(t, m.AddBridge("docker0"))
	netns.Must(t, m.SetUp("docker0"))
	docker0 := m.MustIndex(t, "docker0")
	// The device matters already, so that the next route does not make all be read.
	netns.Must(t, m.RouteAdd(netstate.Route{Dst: netip.MustParsePrefix("10.0.0.0/8"), Device: docker0}))
	w := m.watch(t, m.config())
	if _, ok := w.last.NetConfOf(netstate.IPv4, docker0); ok {
		t.Error("the settings of docker0 are read without a reason")
	}
	netns.Must(t, m.RouteAdd(netstate.Route{Dst: ownSubnets[0], Device: docker0}))
	s := w.until("packets from docker0", func(s *netstate.State) bool { _, device := asked(s); return device == "docker0" })
	if _, ok := s.NetConfOf(netstate.IPv4, docker0); !ok {
		t.Error("the settings of docker0 are not read")
	}
	w.inSync()
}
