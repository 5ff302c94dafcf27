//go:build linux

package main

import (
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	flaps      = 10 // in one round
	flapLeases = 5000
	// quiet is how long nothing may happen before the next flap: routewatch reads
	// again 50 ms and 1 s after a link event.
	quiet = 1500 * time.Millisecond
)

// flap is how long it takes until every lease is judged after flannel's device
// was set down.
func flap(options) scenario {
	return scenario{
		name: "link flap", about: fmt.Sprintf("flannel.1 is set down; until all of its %d leases are missing in a snapshot", flapLeases),
		bars: []bar{
			{"p50 from the last event", "ms", "", noBar},
			{"p99 from the last event", "ms", "", 50},
			{"p50 from the request", "ms", "ip monitor all", 0},
		},
		prepare: func() ([]contestant, func(), error) {
			w, err := newWorld(flapLeases)
			if err != nil {
				return nil, nil, err
			}
			return []contestant{
				{ours, func() (figures, error) { return w.flapsJudged(startPipeline(w, flapLeases)) }},
				{"ip monitor all", func() (figures, error) {
					return w.flapsPrinted(start(w.Path(), "ip", "-rcvbuf", strconv.Itoa(4<<20), "monitor", "all"))
				}},
			}, w.Close, nil
		},
	}
}

// flapsJudged times the snapshot in which all leases are missing.
func (w *world) flapsJudged(p *process, err error) (figures, error) {
	if err != nil {
		return nil, err
	}
	defer p.kill()
	events, err := listen(w)
	if err != nil {
		return nil, err
	}
	defer events.close()
	var fromEvent, fromRequest []float64
	for range flaps {
		start := time.Now()
		if err := w.SetDown("flannel.1"); err != nil {
			return nil, err
		}
		if err := p.until(strconv.Itoa(flapLeases)); err != nil {
			return nil, err
		}
		judged := time.Now()
		time.Sleep(quiet)
		if events.last().Before(start) {
			return nil, errors.New("the flap made no event")
		}
		fromEvent = append(fromEvent, max(0, milliseconds(judged.Sub(events.last()))))
		fromRequest = append(fromRequest, milliseconds(judged.Sub(start)))
		if err := errors.Join(w.SetUp("flannel.1"), w.program(), p.until("0")); err != nil {
			return nil, err
		}
		time.Sleep(quiet)
	}
	return figures{
		"p50 from the last event": percentile(fromEvent, 0.5), "p99 from the last event": percentile(fromEvent, 0.99),
		"p50 from the request": percentile(fromRequest, 0.5),
	}, nil
}

// flapsPrinted times the last line that the child prints.
func (w *world) flapsPrinted(p *process, err error) (figures, error) {
	if err != nil {
		return nil, err
	}
	defer p.kill()
	var last atomic.Int64
	go func() {
		for {
			if _, err := p.lines.ReadSlice('\n'); err != nil {
				return
			}
			last.Store(time.Now().UnixNano())
		}
	}()
	time.Sleep(quiet) // it does not say when it listens
	var took []float64
	for range flaps {
		start := time.Now()
		if err := w.SetDown("flannel.1"); err != nil {
			return nil, err
		}
		time.Sleep(quiet)
		took = append(took, milliseconds(time.Duration(last.Load()-start.UnixNano())))
		if err := errors.Join(w.SetUp("flannel.1"), w.program()); err != nil {
			return nil, err
		}
		time.Sleep(quiet)
	}
	return figures{"p50 from the request": percentile(took, 0.5)}, nil
}

// until reads lines until one is as wanted.
func (p *process) until(wanted string) error {
	for {
		line, err := p.line()
		if err != nil || line == wanted {
			return err
		}
	}
}

// listener notes when the last event came.
type listener struct {
	conn *netlink.Conn
	at   atomic.Int64 // in nanoseconds since 1970
}

func listen(w *world) (*listener, error) {
	l := &listener{}
	err := w.Do(func() (err error) {
		l.conn, err = subscribed(largeBuffer)
		return err
	})
	if err != nil {
		return nil, err
	}
	raw, err := l.conn.SyscallConn()
	for _, group := range []uint32{unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV4_IFADDR} {
		err = errors.Join(err, l.conn.JoinGroup(group))
	}
	if err != nil {
		return nil, errors.Join(err, l.conn.Close())
	}
	go l.read(raw)
	return l, nil
}

// read ends when the connection is closed. It looks at no event, since the time
// for that would count as the event's.
func (l *listener) read(raw syscall.RawConn) {
	var b [64 << 10]byte
	receive := func(fd uintptr) (done bool) {
		for {
			_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_DONTWAIT)
			switch {
			case err == nil:
				l.at.Store(time.Now().UnixNano())
			case !errors.Is(err, unix.EINTR):
				return false
			}
		}
	}
	_ = raw.Read(receive)
}

func (l *listener) last() time.Time { return time.Unix(0, l.at.Load()) }

func (l *listener) close() { _ = l.conn.Close() }
