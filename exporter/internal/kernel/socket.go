package kernel

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"routewatch/exporter/internal/enter"
)

// receiveBytes is the size of a socket's own buffer. The kernel fills a dump's
// datagram up to 32 KiB when the buffer allows it.
const receiveBytes = 64 << 10

// errTruncated is a datagram that did not fit the buffer.
var errTruncated = errors.New("netlink datagram is longer than the receive buffer")

// socket is an rtnetlink socket that sends through a netlink.Conn and receives
// into a buffer of its own, which costs neither the second system call nor the
// allocations of Conn.Receive. It is not safe for concurrent use.
type socket struct {
	conn *netlink.Conn
	raw  syscall.RawConn
	buf  []byte

	// The result of the last recvfrom.
	n       int
	errno   unix.Errno
	from    unix.RawSockaddrNetlink
	fromLen uint32

	wait func(fd uintptr) bool // receive's callback, made once: a closure for each call would be an allocation
}

// dial opens a socket in the network namespace (nil: the caller's).
func dial(netns *os.File, cfg *netlink.Config) (*socket, error) {
	conn, err := dialIn(netns, cfg)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	s := &socket{conn: conn, raw: raw, buf: make([]byte, receiveBytes)}
	s.wait = func(fd uintptr) bool {
		s.recvfrom(fd)
		return s.errno != unix.EAGAIN
	}
	return s, nil
}

// dialIn dials in the namespace. netlink.Config.NetNS would enter the old one again, see enter.Do.
func dialIn(netns *os.File, cfg *netlink.Config) (conn *netlink.Conn, err error) {
	err = enter.Do(netns, func() error {
		conn, err = netlink.Dial(unix.NETLINK_ROUTE, cfg)
		return err
	})
	return conn, err
}

// recvfrom reads one datagram without waiting. unix.Recvfrom would allocate the
// sender's address.
func (s *socket) recvfrom(fd uintptr) {
	for {
		s.fromLen = unix.SizeofSockaddrNetlink
		n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, fd,
			uintptr(unsafe.Pointer(&s.buf[0])), uintptr(len(s.buf)), unix.MSG_DONTWAIT|unix.MSG_TRUNC,
			uintptr(unsafe.Pointer(&s.from)), uintptr(unsafe.Pointer(&s.fromLen)))
		if s.n, s.errno = int(n), errno; errno != unix.EINTR {
			return
		}
	}
}

// datagram returns what the last recvfrom read; it is valid until the next one.
// It is empty if another process sent it: only the kernel has port id 0.
func (s *socket) datagram() ([]byte, error) {
	switch {
	case s.errno != 0:
		return nil, os.NewSyscallError("recvfrom", s.errno)
	case s.fromLen < unix.SizeofSockaddrNetlink || s.from.Pid != 0:
		return nil, nil
	case s.n > len(s.buf):
		return nil, errTruncated
	}
	return s.buf[:s.n], nil
}

// receive waits for a datagram.
func (s *socket) receive(timeout time.Duration) ([]byte, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if err := s.raw.Read(s.wait); err != nil {
		return nil, err
	}
	return s.datagram()
}

func (s *socket) close() { _ = s.conn.Close() }
