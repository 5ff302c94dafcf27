package kernel

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"routewatch/exporter/internal/enter"
)

// socket is an rtnetlink socket that sends through a netlink.Conn and receives
// into buffers of its own, which costs neither the second system call nor the
// allocations of Conn.Receive. It is not safe for concurrent use.
type socket struct {
	conn *netlink.Conn
	raw  syscall.RawConn
	in   *batch // received last
	// ahead receives meanwhile; nil: nothing does.
	ahead *ahead

	// The callbacks of receive and send, made once, as batch.look.
	wait func(fd uintptr) bool
	put  func(fd uintptr) bool
	out  []byte     // what put sends
	sent unix.Errno // what came of it
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
	s := &socket{conn: conn, raw: raw, in: newBatch()}
	s.put = func(fd uintptr) bool {
		s.sendto(fd)
		return s.sent != unix.EAGAIN
	}
	s.wait = func(fd uintptr) bool {
		s.in.fill(fd)
		return s.in.errno != unix.EAGAIN
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

// receive waits for a datagram, which is valid until the next one. The kernel
// answers a request while it is sent, and goes on with a dump while one is
// received, so there nearly always is one: what it takes to wait with a deadline
// is left for when there is none.
func (s *socket) receive(timeout time.Duration) ([]byte, error) {
	if s.in.left() > 0 {
		return s.in.datagram()
	}
	if s.ahead != nil {
		if b := s.ahead.next(s.in); b != nil {
			s.in = b
			return s.in.datagram()
		}
	}
	if err := s.raw.Control(s.in.look); err != nil {
		return nil, err
	}
	if s.in.errno != unix.EAGAIN {
		return s.in.datagram()
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	if err := s.raw.Read(s.wait); err != nil {
		return nil, err
	}
	return s.in.datagram()
}

// full reports whether all that was received is taken, and was as much as can be
// at once: more is likely to come.
func (s *socket) full() bool { return s.in.received == batchLength && s.in.left() == 0 }

// readAhead makes the next calls of receive, until readNoMore, find datagrams
// that were received while the ones before were looked at.
func (s *socket) readAhead() {
	if s.ahead == nil {
		s.ahead = startAhead(s.raw)
	}
}

func (s *socket) readNoMore() {
	if s.ahead != nil {
		s.ahead.stop()
		s.ahead = nil
	}
}

// send sends messages to the kernel, as they are.
func (s *socket) send(b []byte) error {
	s.out = b
	if err := s.raw.Write(s.put); err != nil {
		return err
	}
	if s.sent != 0 {
		return os.NewSyscallError("sendto", s.sent)
	}
	return nil
}

func (s *socket) sendto(fd uintptr) {
	for {
		to := unix.RawSockaddrNetlink{Family: unix.AF_NETLINK} // the kernel
		_, _, s.sent = unix.Syscall6(unix.SYS_SENDTO, fd,
			uintptr(unsafe.Pointer(&s.out[0])), uintptr(len(s.out)), 0,
			uintptr(unsafe.Pointer(&to)), unix.SizeofSockaddrNetlink)
		if s.sent != unix.EINTR {
			return
		}
	}
}

func (s *socket) close() { _ = s.conn.Close() }
