// Package actor finds the process behind a netlink port.
//
// A port id is a pid only by custom: it is what the opener's own pid namespace
// calls it, if the port was free, and else a random negative number; port 1 is
// seldom the host's init (reference/kernel.md A2). So there are two proofs:
//
//   - inode: the socket with that port, in the watched network namespace, is
//     open, and one process holds it. True for any pid namespace.
//   - pid: the socket is closed, as that of a command is a moment later. The
//     process with that pid is named if it lives in the watched namespace, may
//     change routes, was there before the event, and nobody else there can have
//     had the number: see closed.
//
// Everything else is no answer: a process, which one is not known. What is left
// to be wrong about: a socket that was bound to the port of one that was closed
// within the microseconds since the event, one that is shared over a fork, and a
// program that binds to the pid of another on purpose.
package actor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"routewatch/exporter/internal/enter"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
)

const (
	// maxScan is how long a look at all processes may take.
	maxScan = 25 * time.Millisecond
	// fresh is the age up to which a process counts as a command that was just started.
	fresh = time.Second
	// maxKnown bounds the sockets whose holder is remembered.
	maxKnown = 256
)

// Why no process is named as the holder of a socket.
var (
	errNobody = errors.New("nobody can be named")
	errHidden = errors.New("not every process can be looked into") // the pid may still tell
	errGone   = errors.New("no process holds it")                  // if it is closed by now, the pid may tell
)

// errOpen is why all of it cannot work.
var errOpen = errors.New("cannot tell which process changes a route: mount procfs at /proc")

// Resolver resolves the ports of one network namespace. It is not safe for
// concurrent use.
type Resolver struct {
	table  *os.File      // /proc/net/netlink of the namespace, which it keeps alive
	netns  unix.Stat_t   // of table: the same file is in /proc/PID/net of who lives there
	whole  bool          // /proc shows the processes of all pid namespaces
	known  map[uint64]fd // by inode where it was found, to look there first
	budget budget
	buf    []byte
}

// fd is a place where a socket was found.
type fd struct {
	pid  int
	name string
}

// Open makes a Resolver for the network namespace, "" for the process's own.
func Open(netns string) (*Resolver, error) {
	ns, err := enter.Open(netns)
	if err != nil {
		return nil, err
	}
	if ns != nil {
		defer ns.Close()
	}
	r := &Resolver{known: map[uint64]fd{}, buf: make([]byte, 8<<10), budget: budget{left: maxBurst, at: time.Now()}}
	err = enter.Do(ns, func() error {
		r.table, err = os.Open("/proc/thread-self/net/netlink")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOpen, err)
	}
	if err := unix.Fstat(int(r.table.Fd()), &r.netns); err != nil {
		return nil, fmt.Errorf("%w: %w", errOpen, errors.Join(err, r.table.Close()))
	}
	r.whole = r.showsKernelThreads()
	return r, nil
}

// showsKernelThreads: they are in the initial pid namespace only, kthreadd with number 2.
func (r *Resolver) showsKernelThreads() bool {
	p, err := openProcess(2)
	if err != nil {
		return false
	}
	defer p.close()
	s, err := p.stat(r.buf)
	return err == nil && s.kernel()
}

// Close gives the namespace up.
func (r *Resolver) Close() { _ = r.table.Close() }

// Resolve names the process behind a port that a change was asked for at, or
// none. It takes at most a little more than maxScan, and on average a twentieth
// of the time: beyond that it says none.
func (r *Resolver) Resolve(portID uint32, received time.Time) netstate.Process {
	start := time.Now()
	if !r.budget.allows(start) {
		return netstate.Process{}
	}
	p := r.resolve(portID, received, start.Add(maxScan))
	r.budget.spend(time.Since(start))
	return p
}

func (r *Resolver) resolve(portID uint32, received, deadline time.Time) netstate.Process {
	suspect, err := r.suspect(portID) // first: a command is gone in a moment
	if err == nil {
		defer suspect.close()
	}
	ino, tableErr := r.inode(portID)
	if tableErr != nil {
		return netstate.Process{}
	}
	if ino != 0 {
		p, err := r.holder(ino, suspect, deadline)
		if err == nil || errors.Is(err, errNobody) {
			return p
		}
		if again, err2 := r.inode(portID); errors.Is(err, errGone) && (err2 != nil || again == ino) {
			return netstate.Process{} // still open, and not the suspect's
		}
	}
	if err != nil || !r.closed(suspect, received, deadline) {
		return netstate.Process{}
	}
	return netstate.Process{PID: suspect.pid, Comm: suspect.comm, How: verdict.ByPID}
}

// suspect is a process as it was right after the event.
type suspect struct {
	*process
	comm  string
	start time.Duration // since boot
}

// suspect returns the process whose pid is the port, if it can be it: one that
// lives in the watched namespace, has no other number in a pid namespace of its
// own, is no kernel thread and may change routes. Its directory stays open, so
// that what is read of it later is of no other process with that pid.
func (r *Resolver) suspect(portID uint32) (suspect, error) {
	if !r.whole || portID > 1<<22 { // PID_MAX_LIMIT
		return suspect{}, os.ErrNotExist
	}
	p, err := openProcess(int(portID))
	if err != nil {
		return suspect{}, err
	}
	s, err := r.check(p)
	if err != nil {
		p.close()
	}
	return s, err
}

func (r *Resolver) check(p *process) (suspect, error) {
	if !p.in(&r.netns) { // the first thing that ends with a process
		return suspect{}, os.ErrNotExist
	}
	stat, err := p.stat(r.buf)
	if err != nil {
		return suspect{}, err
	}
	status, err := p.status(r.buf)
	if err != nil {
		return suspect{}, err
	}
	if stat.kernel() || status.nested() || !status.netAdmin() {
		return suspect{}, os.ErrNotExist
	}
	return suspect{p, stat.comm, stat.start}, nil
}

// inode returns the inode of the socket with that port, 0 if there is none.
func (r *Resolver) inode(portID uint32) (uint64, error) {
	n := 0
	for {
		read, err := r.table.ReadAt(r.buf[n:], int64(n))
		n += read
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		if n == len(r.buf) {
			r.buf = append(r.buf, make([]byte, n)...)
		}
	}
	return inodeOf(r.buf[:n], portID), nil
}

// holder returns the process that holds the socket.
func (r *Resolver) holder(ino uint64, s suspect, deadline time.Time) (netstate.Process, error) {
	link := socketLink(ino)
	if at, ok := r.known[ino]; ok {
		if p, err := openProcess(at.pid); err == nil {
			defer p.close()
			if p.holds(at.name, link) {
				return r.found(p, ino, at.name)
			}
		}
		delete(r.known, ino)
	}
	if s.process != nil {
		if name, err := s.find(link); err == nil && name != "" {
			return r.found(s.process, ino, name)
		}
	}
	return r.search(ino, link, deadline)
}

func (r *Resolver) found(p *process, ino uint64, name string) (netstate.Process, error) {
	s, err := p.stat(r.buf)
	if err != nil {
		return netstate.Process{}, errGone
	}
	if len(r.known) == maxKnown {
		clear(r.known)
	}
	r.known[ino] = fd{p.pid, name}
	return netstate.Process{PID: p.pid, Comm: s.comm, How: verdict.ByInode}, nil
}

// search looks into every process.
func (r *Resolver) search(ino uint64, link string, deadline time.Time) (netstate.Process, error) {
	pids, err := processes()
	if err != nil {
		return netstate.Process{}, errNobody
	}
	who, result := netstate.Process{}, errGone
	for _, pid := range pids {
		if time.Now().After(deadline) {
			return netstate.Process{}, errNobody
		}
		p, err := openProcess(pid)
		if err != nil {
			continue
		}
		name, err := p.find(link)
		hidden := errors.Is(err, os.ErrPermission) && p.in(&r.netns) && !r.kernelThread(p)
		if name != "" && errors.Is(result, errGone) {
			who, result = r.found(p, ino, name)
			name = ""
		}
		p.close()
		switch {
		case hidden:
			result = errHidden
		case name != "":
			result = errNobody // a second one
		default:
			continue
		}
		delete(r.known, ino)
		return netstate.Process{}, result
	}
	return who, result
}

func (r *Resolver) kernelThread(p *process) bool {
	s, err := p.stat(r.buf)
	return err == nil && s.kernel()
}

// closed reports whether nobody but the suspect can have had the port of a
// socket that is closed. Another process can if it has the same number in a pid
// namespace of its own; such a one that has ended since leaves no trace. So where
// there are other pid namespaces only a command that was just started is named:
// that two processes get the same number in the same second is left out of account.
func (r *Resolver) closed(s suspect, received time.Time, deadline time.Time) bool {
	age := sinceBoot(received) - s.start
	if age < 0 {
		return false
	}
	pids, err := processes()
	if err != nil {
		return false
	}
	for _, pid := range pids {
		if pid == s.pid {
			continue
		}
		if time.Now().After(deadline) || !r.innocent(pid, s.pid, age) {
			return false
		}
	}
	return true
}

func (r *Resolver) innocent(pid, port int, age time.Duration) bool {
	p, err := openProcess(pid)
	if err != nil {
		return true // it has just ended
	}
	defer p.close()
	status, err := p.status(r.buf)
	if err != nil || !status.nested() || !p.in(&r.netns) {
		return errors.Is(err, unix.ESRCH) || err == nil
	}
	return age <= fresh && status.number() != port
}

func sinceBoot(t time.Time) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return -1
	}
	return time.Duration(now.Nano()) - time.Since(t)
}
