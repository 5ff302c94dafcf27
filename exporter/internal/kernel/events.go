package kernel

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

const (
	// drainBatch is how many datagrams are read at most while the lock is held.
	drainBatch = 256
	// settleBatch is more than any receive buffer holds.
	settleBatch = 1 << 17
)

// groups are those that tell of everything which changes a route or the way a
// packet takes: an IPv4 route that goes with its link, its last address or its
// next-hop object has no event of its own.
func groups() []uint32 {
	return []uint32{
		unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_NEXTHOP,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_NETCONF,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_IPV6_NETCONF,
	}
}

// events is the subscription. One goroutine waits in run; the owner of the
// picture takes the work that the events make, and drains the socket itself
// when it must know that nothing is left.
type events struct {
	nudge    chan struct{} // has room for one: there is work
	bytes    int           // effective size of the receive buffer
	callback func(fd uintptr) bool
	actor    func(portID uint32, received time.Time) netstate.Process // may be nil
	filters  bool

	mu       sync.Mutex // guards everything below
	sock     *socket
	failed   error // of the socket; it is then of no use anymore
	scope    *scope
	filter   []bpf.RawInstruction // in force in the kernel; nil: none
	seen     seen
	work     work
	counters netstate.Counters           // routes, overruns and undecodables only
	actors   map[uint32]netstate.Process // of the ports in the drain under way
}

// subscribe opens the event socket.
func subscribe(netns *os.File, cfg Config, s *scope, counters netstate.Counters) (*events, error) {
	// Without groups: netlink.Config.Groups would bind before the buffer is set.
	sock, err := dial(netns, nil)
	if err != nil {
		return nil, err
	}
	sock.in.atOnce = true // it is never asked for a dump
	e := &events{nudge: make(chan struct{}, 1), actor: cfg.Actor, filters: !cfg.Unfiltered, sock: sock, counters: counters}
	e.callback = e.readable
	e.adopt(s) // before there is a group whose events could come unfiltered
	if err := e.configure(cfg.ReceiveBuffer); err != nil {
		sock.close()
		return nil, fmt.Errorf("subscribe to rtnetlink events: %w", err)
	}
	return e, nil
}

func (e *events) configure(bytes int) error {
	if err := e.sock.conn.SetReadBuffer(bytes); err != nil {
		return err
	}
	// SetReadBuffer says nothing when the kernel grants less.
	var err error
	if e.bytes, err = e.sock.conn.ReadBuffer(); err != nil {
		return err
	}
	for _, g := range groups() {
		if err := e.sock.conn.JoinGroup(g); err != nil {
			return fmt.Errorf("join group %d: %w", g, err)
		}
	}
	return nil
}

// run waits for events until the socket is closed or fails.
func (e *events) run() {
	for {
		err := e.sock.raw.Read(e.callback)
		e.mu.Lock()
		if err != nil && e.failed == nil {
			e.failed = err
		}
		failed, work := e.failed != nil, !e.work.empty()
		e.mu.Unlock()
		if failed || work {
			select {
			case e.nudge <- struct{}{}:
			default:
			}
		}
		if failed {
			return
		}
	}
}

// readable is run's callback for the network poller, which calls it when there
// may be something to read and waits again once it returns false.
func (e *events) readable(fd uintptr) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.drain(fd, drainBatch) > 0 || e.failed != nil
}

// drain reads datagrams until there are none, or at least max of them, and
// returns how many there were.
func (e *events) drain(fd uintptr, max int) int {
	clear(e.actors) // a port can belong to another process by now
	for n := 0; ; n++ {
		if e.sock.in.left() == 0 {
			if n >= max {
				return n
			}
			e.sock.in.fill(fd)
		}
		if e.sock.in.errno == unix.EAGAIN {
			return n
		}
		now := time.Now()
		b, err := e.sock.in.datagram()
		switch {
		case errors.Is(err, unix.ENOBUFS): // told once, before what is still queued
			e.counters.Overruns++
			e.work.add(netstate.Hint{At: now, Kind: netstate.Overrun})
		case errors.Is(err, errTruncated):
			e.undecodable(now)
		case err != nil:
			e.failed = err
			return n
		default:
			e.datagram(b, now)
		}
	}
}

func (e *events) datagram(b []byte, now time.Time) {
	for len(b) > 0 {
		h, body, rest, err := nextMessage(b)
		if err == nil {
			err = e.message(h, body, now)
		}
		if err != nil {
			e.undecodable(now)
		}
		b = rest // nil after a broken header
	}
}

func (e *events) undecodable(now time.Time) {
	e.counters.Undecodable++
	e.work.add(netstate.Hint{At: now, Kind: netstate.Undecodable})
}

// take returns the work that events made since the last call.
func (e *events) take() (work, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.takeLocked(), e.failed
}

func (e *events) takeLocked() work {
	w := e.work
	e.work = work{}
	return w
}

// catchUp drains the socket into a work whose reading has not begun.
func (e *events) catchUp(w *work) {
	e.mu.Lock()
	defer e.mu.Unlock()
	// An error is settle's to tell.
	_ = e.sock.raw.Control(func(fd uintptr) { e.drain(fd, settleBatch) })
	w.merge(e.takeLocked())
}

// settle is called after a picture was read: it drains the socket and returns
// what has happened since the last take. next is in force from here on. quiet
// is true if no event that matters for next can have been missed or is left;
// the picture is then consistent. If one can have been missed, since it did not
// matter before, late says to recheck: see adopt for why nothing is missed then.
func (e *events) settle(next *scope, readLinks bool) (late work, quiet bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	drained := false
	err = e.sock.raw.Control(func(fd uintptr) { drained = e.drain(fd, settleBatch) < settleBatch })
	if err != nil {
		return work{}, false, err
	}
	late = e.takeLocked()
	late.recheck = late.recheck || !next.within(e.scope)
	quiet = drained && late.empty()
	e.adopt(next)
	if quiet && readLinks {
		e.seen = seen{} // next.base is as new
	}
	return late, quiet, e.failed
}

// setScope makes other events matter, from here on.
func (e *events) setScope(s *scope) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.adopt(s)
}

// count copies the event counters.
func (e *events) count(c *netstate.Counters) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.IPv4Routes, c.IPv6Routes = e.counters.IPv4Routes, e.counters.IPv6Routes
	c.Overruns, c.Undecodable = e.counters.Overruns, e.counters.Undecodable
	c.ReceiveBytes, c.Filtered = e.bytes, e.filter != nil
}

func (e *events) close() { e.sock.close() }
