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

	// The callbacks of receive and send, made once: a closure for each call would
	// be an allocation.
	look func(fd uintptr)
	wait func(fd uintptr) bool
	put  func(fd uintptr) bool
	out  []byte // what put sends
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
	s.look = func(fd uintptr) { s.recvfrom(fd) }
	s.put = func(fd uintptr) bool {
		s.sendto(fd)
		return s.errno != unix.EAGAIN
	}
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

// receive waits for a datagram. The kernel answers a request while it is sent,
// and goes on with a dump while one is received, so there nearly always is one:
// what it takes to wait with a deadline is left for when there is none.
func (s *socket) receive(timeout time.Duration) ([]byte, error) {
	if err := s.raw.Control(s.look); err != nil {
		return nil, err
	}
	if s.errno != unix.EAGAIN {
		return s.datagram()
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if err := s.raw.Read(s.wait); err != nil {
		return nil, err
	}
	return s.datagram()
}

// send sends messages to the kernel, as they are.
func (s *socket) send(b []byte) error {
	s.out = b
	if err := s.raw.Write(s.put); err != nil {
		return err
	}
	if s.errno != 0 {
		return os.NewSyscallError("sendto", s.errno)
	}
	return nil
}

func (s *socket) sendto(fd uintptr) {
	for {
		to := unix.RawSockaddrNetlink{Family: unix.AF_NETLINK} // the kernel
		_, _, s.errno = unix.Syscall6(unix.SYS_SENDTO, fd,
			uintptr(unsafe.Pointer(&s.out[0])), uintptr(len(s.out)), 0,
			uintptr(unsafe.Pointer(&to)), unix.SizeofSockaddrNetlink)
		if s.errno != unix.EINTR {
			return
		}
	}
}

func (s *socket) close() { _ = s.conn.Close() }
