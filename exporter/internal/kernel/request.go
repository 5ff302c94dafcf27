package kernel

import (
	"encoding"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// replyTimeout is how long the kernel may stay silent after it took a
	// request, before nothing is known any more. It answers in microseconds: the
	// wait for the RTNL lock is inside the system calls, where no deadline helps
	// (see await). This one is for a reply that got lost.
	replyTimeout = 5 * time.Second
	// requestBuffer is asked for so that a batch of replies cannot overflow it.
	requestBuffer = 1 << 20
	// maxInterrupted is how often a dump is repeated that the kernel calls inconsistent.
	maxInterrupted = 5
)

var errInterrupted = errors.New("the kernel's tables changed during each of several dumps")

// requests is the socket that questions are asked on. It belongs to one
// goroutine. After an error it must be closed: replies may still be under way.
type requests struct {
	*socket
	seq   uint32 // of the last lookup; only one kind of question is under way at a time
	batch []byte // reused by lookups
	// hops are the devices of the further hops of routes, since the last sweep:
	// Route.Device is but the first one's.
	hops map[int]bool
	// beside is for the other half of many lookups; it has none itself.
	beside *requests
}

func dialRequests(netns *os.File) (*requests, error) {
	r, err := dialOne(netns)
	if err != nil {
		return nil, err
	}
	if r.beside, err = dialOne(netns); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func dialOne(netns *os.File) (*requests, error) {
	// Strict makes the kernel honor the filters of dumps.
	s, err := dial(netns, &netlink.Config{Strict: true})
	if err != nil {
		return nil, err
	}
	if err := s.conn.SetReadBuffer(requestBuffer); err != nil {
		s.close()
		return nil, fmt.Errorf("set receive buffer: %w", err)
	}
	return &requests{socket: s}, nil
}

func (r *requests) close() {
	r.socket.close()
	if r.beside != nil {
		r.beside.close()
	}
}

// barrier returns when every change that the kernel has announced so far is
// carried out: it sends the event of a link or address first and drops the
// routes after it, all under the RTNL lock, which this request takes as well.
func (r *requests) barrier() error {
	m := rtnetlink.LinkMessage{Index: 1} // the loopback device, which every namespace has
	data, err := m.MarshalBinary()
	if err == nil {
		err = r.ask(unix.RTM_GETLINK, 0, data, func([]byte) error { return nil })
	}
	if err != nil {
		return fmt.Errorf("wait for the kernel's network lock: %w", err)
	}
	return nil
}

// dump asks for a table of one address family, or of all (AF_UNSPEC), and calls
// each with every entry. attrs are appended to what the message itself encodes.
//
// A kernel that has not got the family (IPv6 after ipv6.disable=1) refuses some
// requests and answers others with the entries of all families. Both mean that
// the table is empty.
func (r *requests) dump(typ netlink.HeaderType, m encoding.BinaryMarshaler, attrs []byte, each func(body []byte) error) error {
	data, err := m.MarshalBinary()
	if err != nil {
		return err
	}
	family := data[0] // the first byte of every message of rtnetlink, there and back
	err = r.ask(typ, netlink.Dump, append(data, attrs...), func(body []byte) error {
		if family != unix.AF_UNSPEC && len(body) > 0 && body[0] != family {
			return nil
		}
		return each(body)
	})
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

// ask sends one request and calls each with every answer.
func (r *requests) ask(typ netlink.HeaderType, flags netlink.HeaderFlags, data []byte, each func(body []byte) error) error {
	sent, err := r.conn.Send(netlink.Message{
		Header: netlink.Header{Type: typ, Flags: netlink.Request | flags},
		Data:   data,
	})
	if err != nil {
		return err
	}
	defer r.readNoMore()
	interrupted := false
	for done := false; !done; {
		if flags&netlink.Dump != 0 && r.full() {
			r.readAhead()
		}
		err := r.replies(func(h header, body []byte) (err error) {
			if h.Seq != sent.Header.Sequence || done {
				return nil
			}
			interrupted = interrupted || h.Flags&unix.NLM_F_DUMP_INTR != 0
			switch h.Type {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				done = true
				return replyError(body)
			}
			done = h.Flags&unix.NLM_F_MULTI == 0
			return each(body)
		})
		if err != nil {
			return err
		}
	}
	if interrupted {
		return errInterrupted
	}
	return nil
}

// replies waits for one datagram and calls each with its messages.
func (r *requests) replies(each func(h header, body []byte) error) error {
	b, err := r.receive(replyTimeout)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the kernel did not answer within %s: %w", replyTimeout, err)
	}
	if err != nil {
		return err
	}
	for len(b) > 0 {
		h, body, rest, err := nextMessage(b)
		if err != nil {
			return err
		}
		if err := each(h, body); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// replyError reads the error number that NLMSG_ERROR and NLMSG_DONE begin with.
func replyError(body []byte) error {
	n, err := attrIndex(body)
	if err != nil {
		return err
	}
	if n != 0 {
		return unix.Errno(-n)
	}
	return nil
}

// again repeats a dump that was interrupted; reset forgets what it yielded.
func again(reset func(), dump func() error) error {
	for range maxInterrupted {
		reset()
		if err := dump(); !errors.Is(err, errInterrupted) {
			return err
		}
	}
	return errInterrupted
}
