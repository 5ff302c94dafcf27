//go:build linux

// Package netns makes real network namespaces for tests, the lab and the demo,
// without any outside tool, as root or as an ordinary user in a user namespace.
//
// A namespace lives exactly as long as this process (or a child that opened
// Path) holds it: nothing is mounted and nothing is left behind, not even after
// kill -9. All changes go through netlink.
//
// In a test:
//
//	func TestMain(m *testing.M) { netns.Main(m) } // enters a user namespace if it must
//
//	func TestRoutes(t *testing.T) {
//		a, b := netns.NewT(t), netns.NewT(t) // skip here where namespaces cannot be made; fail in CI
//		netns.Must(t, a.AddVeth("ens33", b, "ens33"))
//		netns.Must(t, a.AddAddr("ens33", netip.MustParsePrefix("192.168.1.57/24")))
//		netns.Must(t, a.SetUp("ens33"))
//		netns.Must(t, a.AddVXLAN(netns.VXLAN{Name: "flannel.1", VNI: 1, Port: 8472, Lower: "ens33",
//			Local: netip.MustParseAddr("192.168.1.57"), MTU: 1450}))
//		...
//		netns.Must(t, a.RouteReplace(netstate.Route{Dst: s, Gateway: s.Addr(), Device: a.MustIndex(t, "flannel.1"), OnLink: true}))
//	}
//
// Changes take and reads return the values of shared/netstate; a zero field
// takes the default of `ip`: table main, type unicast, protocol boot, neighbors
// and FDB entries permanent.
//
//	namespace  New NewT Close Path Do Sysctl
//	links      AddVeth AddBridge AddVXLAN AddTUN SetUp SetDown SetMaster SetMAC SetMTU SetVXLANLocal Rename Move DelLink
//	           LinkIndex Link Links
//	addresses  AddAddr DelAddr Addrs
//	routes     RouteAdd RouteReplace RouteReplaceFor RouteAppend RouteDel Routes (hops make a multipath route)
//	neighbors  NeighReplace NeighDel Neighbors FDBReplace FDBDel FDB
//	rules      RuleAdd RuleDel; next-hop objects and groups NextHopReplace NextHopDel
//	tests      Main Require NewT Must MustIndex WithoutSysAdmin IsNotThere
//	programs   Reexec, the first call of a main; InUserNamespace
//
// An exporter or a netlink socket enters the namespace by Path; any other
// socket is opened inside Do. A socket stays in the namespace it was made in.
package netns

import (
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// NS is a network namespace with its loopback device up. Its methods may be
// called from any goroutine.
type NS struct {
	file *os.File      // the nsfs handle, which keeps the namespace alive
	conn *netlink.Conn // a NETLINK_ROUTE socket that was opened inside
}

// New makes a network namespace. It needs CAP_SYS_ADMIN in its user namespace:
// see Reexec. Sysctls have the kernel's defaults; IPv4 ones may be inherited
// from the host (net.core.devconf_inherit_init_net), so set those that matter.
func New() (*NS, error) {
	ns := &NS{}
	err := onThrowawayThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("%w\nThe kernel says: %w", ErrForbidden, os.NewSyscallError("unshare", err))
		}
		var err error
		if ns.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		ns.conn, err = dial()
		return err
	})
	if err == nil {
		err = ns.SetUp("lo")
	}
	if err != nil {
		ns.Close()
		return nil, err
	}
	return ns, nil
}

// dial opens a netlink socket in the namespace of the calling thread.
func dial() (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	// The kernel then says in words what is wrong with a request.
	if err := conn.SetOption(netlink.ExtendedAcknowledge, true); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// Close gives the namespace up. The kernel removes it, with all its devices,
// once no process or socket is left in it.
func (ns *NS) Close() {
	if ns.conn != nil {
		_ = ns.conn.Close()
	}
	if ns.file != nil {
		_ = ns.file.Close()
	}
}

// Path names the namespace for other processes while this one lives, e.g. for
// `routewatch-exporter --netns` and `nsenter --net=`: /proc/PID/fd/N.
func (ns *NS) Path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.file.Fd())
}

// Do runs f on an OS thread inside the namespace. Sockets that f opens stay in
// it; goroutines that f starts run outside. The thread is thrown away
// afterwards: an unprivileged process could not bring it back.
func (ns *NS) Do(f func() error) error {
	return onThrowawayThread(func() error {
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network namespace %s: %w", ns.Path(), err)
		}
		return f()
	})
}

// Sysctl sets a sysctl of the namespace, e.g. "net.ipv4.ip_forward" to "1". A
// device name that holds a dot is written with a slash, as sysctl(8) does:
// "net/ipv6/conf/flannel.1/accept_ra".
func (ns *NS) Sysctl(name, value string) error {
	return ns.Do(func() error {
		return os.WriteFile(path.Join("/proc/sys", sysctlPath(name)), []byte(value), 0)
	})
}

// sysctlPath turns a name into a path: dots separate, unless the name holds a slash.
func sysctlPath(name string) string {
	b := []byte(name)
	for i, c := range b {
		switch c {
		case '/':
			return name
		case '.':
			b[i] = '/'
		}
	}
	return string(b)
}

// onThrowawayThread runs f on a locked OS thread that ends with it. It must not
// be the process's first thread: that one never ends, and /proc/PID/ns/net
// would show its namespace from then on.
func onThrowawayThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		if unix.Gettid() != unix.Getpid() {
			done <- f()
			return
		}
		done <- onThrowawayThread(f) // another thread, since this goroutine holds the first one
		runtime.UnlockOSThread()
	}()
	return <-done
}
