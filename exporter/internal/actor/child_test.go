package actor_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
)

// asChild is set in the processes that change routes in these tests. They take
// commands on standard input and answer each with a line.
const asChild = "ROUTEWATCH_ACTOR_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) == "" {
		netns.Main(m)
	}
	var sockets []int
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var verb, arg string
		var port uint32
		_, _ = fmt.Sscan(in.Text(), &verb, &arg, &port)
		var err error
		switch verb {
		case "open": // -, the port or 0
			var fd int
			if fd, port, err = open(port); err == nil {
				sockets = append(sockets, fd)
				fmt.Println("port", port)
				continue
			}
		case "del": // the prefix, over the newest socket
			err = del(sockets[len(sockets)-1], netip.MustParsePrefix(arg))
		case "close": // the newest socket
			err = unix.Close(sockets[len(sockets)-1])
			sockets = sockets[:len(sockets)-1]
		}
		fmt.Println("done", err)
	}
	os.Exit(0)
}

func open(port uint32) (int, uint32, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return 0, 0, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: port}); err != nil {
		return 0, 0, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, 0, err
	}
	return fd, name.(*unix.SockaddrNetlink).Pid, nil
}

// del does what `ip route del` does, and waits for the answer.
func del(fd int, p netip.Prefix) error {
	a := p.Addr().As4()
	b := binary.NativeEndian.AppendUint32(nil, 16+12+8)
	b = binary.NativeEndian.AppendUint16(b, unix.RTM_DELROUTE)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	b = append(b, make([]byte, 8)...)
	b = append(b, unix.AF_INET, byte(p.Bits()), 0, 0, unix.RT_TABLE_MAIN, 0, unix.RT_SCOPE_NOWHERE, 0, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, 8)
	b = binary.NativeEndian.AppendUint16(b, unix.RTA_DST)
	b = append(b, a[:]...)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	n, _, err := unix.Recvfrom(fd, b, 0)
	if err != nil {
		return err
	}
	if errno := int32(binary.NativeEndian.Uint32(b[16:])); n < 20 || errno != 0 {
		return unix.Errno(-errno)
	}
	return nil
}

// child is one of these processes.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  interface{ Write([]byte) (int, error) }
	out *bufio.Reader
}

// start starts one in the namespace; in a pid namespace of its own it is pid 1.
func start(t *testing.T, ns *netns.NS, clone uintptr) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command("/proc/self/exe")}
	c.cmd.Env = append(os.Environ(), asChild+"=1")
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: clone}
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	netns.Must(t, err)
	out, err := c.cmd.StdoutPipe()
	netns.Must(t, err)
	c.in, c.out = in, bufio.NewReader(out)
	netns.Must(t, ns.Do(c.cmd.Start))
	t.Cleanup(c.end)
	return c
}

func (c *child) end() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) do(command string, args ...any) string {
	c.t.Helper()
	_, err := fmt.Fprintln(c.in, append([]any{command}, args...)...)
	netns.Must(c.t, err)
	line, err := c.out.ReadString('\n')
	netns.Must(c.t, err)
	if line = strings.TrimSpace(line); line != "done <nil>" && command != "open" {
		c.t.Fatalf("%s %v: %s", command, args, line)
	}
	return line
}

// open opens a socket, at a port of its choice or the kernel's, and returns the port.
func (c *child) open(at uint32) uint32 {
	c.t.Helper()
	var port uint32
	if _, err := fmt.Sscanf(c.do("open", "-", at), "port %d", &port); err != nil {
		c.t.Fatal(err)
	}
	return port
}
