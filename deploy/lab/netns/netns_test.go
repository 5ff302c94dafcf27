//go:build linux

package netns_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
)

func TestMain(m *testing.M) { netns.Main(m) }

func TestNew_LoopbackIsUp(t *testing.T) {
	ns := netns.NewT(t)
	lo, err := ns.Link("lo")
	netns.Must(t, err)
	if !lo.Up || lo.Index != 1 {
		t.Errorf("lo = %+v, want it up", lo)
	}
}

// The first thread must stay in the host's namespace: HTTP servers listen
// there, and /proc/PID/ns/net shows it.
func TestDo_LeavesTheProcessOutside(t *testing.T) {
	ns := netns.NewT(t)
	before := namespace(t, "/proc/self/ns/net")
	for range 50 {
		var inside string
		netns.Must(t, ns.Do(func() error {
			inside = namespace(t, "/proc/thread-self/ns/net")
			return nil
		}))
		if inside == before {
			t.Fatal("Do ran outside the namespace")
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, path := range []string{"/proc/self/ns/net", "/proc/thread-self/ns/net"} {
		if got := namespace(t, path); got != before {
			t.Errorf("%s = %s, want the host's %s", path, got, before)
		}
	}
}

func TestDo_FromTheFirstThread(t *testing.T) {
	ns := netns.NewT(t)
	host := namespace(t, "/proc/self/ns/net")
	// Enough goroutines at once that some of them meet the first thread.
	done := make(chan error)
	for range 200 {
		go func() { done <- ns.Do(func() error { return nil }) }()
	}
	for range 200 {
		netns.Must(t, <-done)
	}
	if got := namespace(t, "/proc/self/ns/net"); got != host {
		t.Errorf("the first thread is in %s, want the host's %s", got, host)
	}
}

func TestDo_ReturnsTheError(t *testing.T) {
	want := errors.New("no")
	if got := netns.NewT(t).Do(func() error { return want }); !errors.Is(got, want) {
		t.Errorf("Do returned %v, want %v", got, want)
	}
}

func TestClose_RemovesTheNamespace(t *testing.T) {
	netns.Require(t)
	a := netns.NewT(t)
	b, err := netns.New()
	netns.Must(t, err)
	netns.Must(t, a.AddVeth("eth0", b, "eth0"))
	b.Close()
	waitFor(t, "the peer device to go", func() bool {
		_, err := a.Link("eth0")
		return errors.Is(err, unix.ENODEV)
	})
}

func TestPath_IsReadByOtherProcesses(t *testing.T) {
	ns := netns.NewT(t)
	var inside string
	netns.Must(t, ns.Do(func() error {
		inside = namespace(t, "/proc/thread-self/ns/net")
		return nil
	}))
	if got := namespace(t, ns.Path()); got != inside {
		t.Errorf("%s is %s, want %s", ns.Path(), got, inside)
	}
}

func TestSysctl(t *testing.T) {
	ns := netns.NewT(t)
	netns.Must(t, ns.AddBridge("flannel.1"))
	for name, file := range map[string]string{
		"net.ipv4.ip_forward":                "net/ipv4/ip_forward",
		"net/ipv6/conf/flannel.1/forwarding": "net/ipv6/conf/flannel.1/forwarding",
	} {
		netns.Must(t, ns.Sysctl(name, "1"))
		netns.Must(t, ns.Do(func() error {
			got, err := os.ReadFile(filepath.Join("/proc/sys", file))
			if string(got) != "1\n" {
				t.Errorf("%s = %q, want 1", name, got)
			}
			return err
		}))
	}
	if err := ns.Sysctl("net.ipv4.nonsense", "1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an unknown sysctl: %v, want os.ErrNotExist", err)
	}
}

// A datagram crosses a veth pair, over IPv4 and IPv6: addresses are usable at once.
func TestVeth_CarriesDatagrams(t *testing.T) {
	a, b := netns.NewT(t), netns.NewT(t)
	netns.Must(t, a.AddVeth("eth0", b, "eth1"))
	netns.Must(t, b.AddAddr("eth1", netip.MustParsePrefix("192.0.2.2/24")))
	netns.Must(t, b.AddAddr("eth1", netip.MustParsePrefix("2001:db8::2/64")))
	netns.Must(t, a.AddAddr("eth0", netip.MustParsePrefix("192.0.2.1/24")))
	netns.Must(t, a.AddAddr("eth0", netip.MustParsePrefix("2001:db8::1/64")))
	netns.Must(t, a.SetUp("eth0"))
	netns.Must(t, b.SetUp("eth1"))
	for _, to := range []string{"192.0.2.2:7", "[2001:db8::2]:7"} {
		var server net.PacketConn
		netns.Must(t, b.Do(func() (err error) { server, err = net.ListenPacket("udp", to); return err }))
		defer server.Close()
		var client net.Conn
		netns.Must(t, a.Do(func() (err error) { client, err = net.Dial("udp", to); return err }))
		defer client.Close()
		if _, err := client.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		netns.Must(t, server.SetReadDeadline(time.Now().Add(5*time.Second)))
		buf := make([]byte, 16)
		n, _, err := server.ReadFrom(buf)
		if err != nil || string(buf[:n]) != "hello" {
			t.Errorf("to %s: received %q, %v", to, buf[:n], err)
		}
	}
}

func TestLinks(t *testing.T) {
	ns := netns.NewT(t)
	netns.Must(t, ns.AddVeth("ens33", ns, "cable"))
	netns.Must(t, ns.AddBridge("cni0"))
	want := netstate.MAC{0x12, 0xc6, 0x65, 0x89, 0xb4, 0xe3}
	local := netip.MustParseAddr("192.168.1.59")
	netns.Must(t, ns.AddVXLAN(netns.VXLAN{Name: "flannel.1", VNI: 1, Port: 8472, Lower: "ens33", Local: local, MTU: 1450, MAC: want}))
	netns.Must(t, ns.SetUp("flannel.1"))
	ens33, cni0 := ns.MustIndex(t, "ens33"), ns.MustIndex(t, "cni0")

	got, err := ns.Link("flannel.1")
	netns.Must(t, err)
	wantLink := netstate.Link{
		Index: got.Index, Name: "flannel.1", Kind: "vxlan", Up: true, LowerUp: true, MTU: 1450, MAC: want, Lower: ens33,
		VXLAN: netstate.VXLAN{VNI: 1, Port: 8472, Local: local},
	}
	if diff := cmp.Diff(wantLink, got, netipCmp()); diff != "" {
		t.Errorf("flannel.1 (-want +got):\n%s", diff)
	}

	other := netstate.MAC{2, 0, 0, 0, 0, 1}
	netns.Must(t, ns.SetMAC("ens33", other))
	netns.Must(t, ns.SetMTU("ens33", 9000))
	netns.Must(t, ns.SetMaster("ens33", "cni0"))
	got, err = ns.Link("ens33")
	netns.Must(t, err)
	if got.MAC != other || got.MTU != 9000 || got.Master != cni0 {
		t.Errorf("ens33 = %+v, want MAC %s, MTU 9000, master %d", got, other, cni0)
	}
	netns.Must(t, ns.SetMaster("ens33", ""))
	netns.Must(t, ns.SetDown("flannel.1"))
	netns.Must(t, ns.DelLink("cni0"))
	links, err := ns.Links()
	netns.Must(t, err)
	if names := linkNames(links); !slices.Equal(names, []string{"lo", "cable", "ens33", "flannel.1"}) || links[3].Up || links[2].Master != 0 {
		t.Errorf("links are %+v", links)
	}
	if err := ns.AddBridge("a-very-long-name"); err == nil {
		t.Error("a name of 16 bytes was accepted")
	}
}

func TestRenameMoveAndChange(t *testing.T) {
	ns, other := netns.NewT(t), netns.NewT(t)
	netns.Must(t, ns.AddVXLAN(netns.VXLAN{Name: "flannel.1", VNI: 1, Port: 8472, Local: netip.MustParseAddr("192.168.1.59"), MTU: 1450}))
	netns.Must(t, ns.SetUp("flannel.1"))
	local := netip.MustParseAddr("192.168.1.60")
	netns.Must(t, ns.SetVXLANLocal("flannel.1", local))
	netns.Must(t, ns.Rename("flannel.1", "renamed"))
	got, err := ns.Link("renamed")
	netns.Must(t, err)
	if want := (netstate.VXLAN{VNI: 1, Port: 8472, Local: local}); got.VXLAN != want || !got.Up {
		t.Errorf("renamed = %+v, want it up with %+v", got, want)
	}
	netns.Must(t, ns.Move("renamed", other))
	if _, err := ns.Link("renamed"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("after the move: %v, want ENODEV", err)
	}
	if _, err := other.Link("renamed"); err != nil {
		t.Error(err)
	}
}

func TestLink_ThatIsNotThere(t *testing.T) {
	if err := netns.NewT(t).SetUp("flannel.1"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("SetUp of an absent device: %v, want ENODEV", err)
	}
}

func namespace(t *testing.T, path string) string {
	t.Helper()
	s, err := os.Readlink(path)
	if err != nil {
		t.Error(err)
	}
	return s
}

func linkNames(links []netstate.Link) []string {
	var names []string
	for _, l := range links {
		names = append(names, l.Name)
	}
	return names
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 5 s for %s", what)
		}
	}
}

// netipCmp compares netip values by ==.
func netipCmp() cmp.Option {
	return cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
}
