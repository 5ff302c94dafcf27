//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	vishvananda "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"routewatch/exporter/internal/kernel"
	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

const (
	stormEvents = 100_000
	flatEvents  = 400_000
	largeBuffer = 64 << 20
)

// storm is how fast events are read that wait already: each contestant is
// stopped while they are made.
func storm(options) scenario {
	return scenario{
		name: "storm", about: "read 100,000 route events that wait already, without the filter in the kernel",
		bars: []bar{
			{"time", "ms", "mdlayher/netlink", 0.25},
			{"CPU", "ms", "mdlayher/netlink", 0.25},
			{"allocations per event", "", "", 0.01},
		},
		prepare: func() ([]contestant, func(), error) {
			w, err := newWorld(1)
			if err != nil {
				return nil, nil, err
			}
			recv, err := compile()
			if err != nil {
				fmt.Println("  without the C peer:", err)
			}
			count := strconv.Itoa(stormEvents + 1)
			round := func(p *process, err error) (figures, error) { return w.stormRound(p, err, true, stormEvents) }
			return []contestant{
				{ours, func() (figures, error) {
					return round(startChild("", "storm-routewatch", w.Path(), strconv.Itoa(largeBuffer), strconv.Itoa(stormEvents)))
				}},
				{"mdlayher/netlink", func() (figures, error) {
					return round(startChild(w.Path(), "storm-mdlayher", count, strconv.Itoa(largeBuffer)))
				}},
				{"jsimonetti/rtnetlink", func() (figures, error) { return round(startChild(w.Path(), "storm-jsimonetti", count)) }},
				{"vishvananda/netlink", func() (figures, error) { return round(startChild(w.Path(), "storm-vishvananda", count)) }},
				{"C recvmsg, unparsed", func() (figures, error) {
					if recv == "" {
						return nil, errAbsent
					}
					return round(start(w.Path(), recv, "storm", count))
				}},
			}, w.Close, nil
		},
	}
}

// flat is whether events get lost while they are made as fast as the kernel can.
func flat(options) scenario {
	return scenario{
		name: "full speed", about: "400,000 route events as fast as the kernel makes them, 8 MiB of receive buffer, without the filter",
		bars: []bar{{"overruns", "", "", 0}},
		prepare: func() ([]contestant, func(), error) {
			w, err := newWorld(1)
			if err != nil {
				return nil, nil, err
			}
			const buffer = 4 << 20 // the kernel doubles it
			round := func(p *process, err error) (figures, error) { return w.stormRound(p, err, false, flatEvents) }
			return []contestant{
				{ours, func() (figures, error) {
					return round(startChild("", "storm-routewatch", w.Path(), strconv.Itoa(buffer), strconv.Itoa(flatEvents)))
				}},
			}, w.Close, nil
		},
	}
}

// stormRound makes the events, and as the last one the end of the lease's route.
func (w *world) stormRound(p *process, err error, stopped bool, events int) (figures, error) {
	if err != nil {
		return nil, err
	}
	if err := p.ready(); err != nil {
		return nil, err
	}
	time.Sleep(100 * time.Millisecond) // until it waits
	if stopped {
		if err := p.cmd.Process.Signal(unix.SIGSTOP); err != nil {
			return nil, err
		}
	}
	wr, err := newWriter(w.NS)
	if err != nil {
		return nil, err
	}
	defer wr.close()
	const each = 10_000
	for from := 0; from < events/2; from += each {
		err = errors.Join(err, wr.addForeign(from, each, gateway, w.uplink, unix.RT_TABLE_MAIN), wr.delForeign(from, each, unix.RT_TABLE_MAIN))
	}
	lease := w.set.Leases[0].Subnet
	if err := errors.Join(err, wr.del(lease, unix.RT_TABLE_MAIN), wr.flush()); err != nil {
		return nil, err
	}
	start := time.Now()
	if stopped {
		if err := p.cmd.Process.Signal(unix.SIGCONT); err != nil {
			return nil, err
		}
	}
	f, err := p.figures()
	if err != nil {
		return nil, err
	}
	f["time"] = milliseconds(time.Since(start))
	return f, w.RouteReplace(w.route(lease))
}

func stormRoutewatch(args []string) error {
	buffer, _ := strconv.Atoi(args[1])
	events, _ := strconv.Atoi(args[2])
	interests, states := make(chan expect.Interest, 1), make(chan *netstate.State)
	in := interest(1)
	interests <- in
	done := make(chan error, 1)
	go func() {
		done <- kernel.Watch(context.Background(), kernel.Config{NetNS: args[0], ReceiveBuffer: buffer, Unfiltered: true}, interests, states)
	}()
	var cpu, allocated float64
	for {
		select {
		case err := <-done:
			return err
		case s := <-states:
			here := len(s.RoutesTo(in.Peers[0])) > 0
			switch {
			case s.Generation != 1 || here && cpu > 0:
			case here:
				cpu, allocated = cpuSeconds(), mallocs()
				ready()
			default:
				return report(figures{
					"CPU": 1e3 * (cpuSeconds() - cpu), "allocations per event": (mallocs() - allocated) / float64(events),
					"overruns": float64(s.Counters.Overruns),
				})
			}
		}
	}
}

// readEvents reads so many events.
func readEvents(count int, receive func() (n int, err error)) error {
	ready()
	cpu := cpuSeconds()
	for n := 0; n < count; {
		got, err := receive()
		if err != nil {
			return err
		}
		n += got
	}
	return report(figures{"CPU": 1e3 * (cpuSeconds() - cpu)})
}

func subscribed(buffer int) (*netlink.Conn, error) {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, err
	}
	return c, errors.Join(c.SetReadBuffer(buffer), c.JoinGroup(unix.RTNLGRP_IPV4_ROUTE))
}

func stormMdlayher(args []string) error {
	count, _ := strconv.Atoi(args[0])
	buffer, _ := strconv.Atoi(args[1])
	c, err := subscribed(buffer)
	if err != nil {
		return err
	}
	return readEvents(count, func() (int, error) {
		messages, err := c.Receive()
		return len(messages), err
	})
}

func stormJsimonetti(args []string) error {
	count, _ := strconv.Atoi(args[0])
	c, err := subscribed(largeBuffer) // its own Conn offers no way to set a buffer
	if err != nil {
		return err
	}
	return readEvents(count, func() (int, error) {
		messages, err := c.Receive()
		if err != nil {
			return 0, err
		}
		for _, m := range messages {
			var r rtnetlink.RouteMessage
			if err := r.UnmarshalBinary(m.Data); err != nil {
				return 0, err
			}
		}
		return len(messages), nil
	})
}

func stormVishvananda(args []string) error {
	count, _ := strconv.Atoi(args[0])
	updates, done := make(chan vishvananda.RouteUpdate), make(chan struct{})
	defer close(done)
	err := vishvananda.RouteSubscribeWithOptions(updates, done, vishvananda.RouteSubscribeOptions{
		ReceiveBufferSize: largeBuffer, ReceiveBufferForceSize: true,
	})
	if err != nil {
		return err
	}
	return readEvents(count, func() (int, error) {
		if _, ok := <-updates; !ok {
			return 0, errors.New("the subscription ended")
		}
		return 1, nil
	})
}
