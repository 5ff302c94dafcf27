//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	vishvananda "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"routewatch/exporter/internal/kernel"
	"routewatch/shared/expect"
)

const million = 1_000_000

var gateway = netip.MustParseAddr("192.0.255.254")

// dump reads a million routes of others, and 50 of leases among them.
func dump(options) scenario {
	return scenario{
		name: "dump", about: "read a table with 1,000,000 routes of others and 50 of leases",
		bars: []bar{
			{"time", "ms", "C recvmsg, unparsed", 1.05},
			{"allocations per route", "", "", 0.001},
		},
		prepare: func() ([]contestant, func(), error) {
			recv, err := compile()
			if err != nil {
				fmt.Println("  without the C peer:", err)
			}
			w, err := newWorld(50)
			if err != nil {
				return nil, nil, err
			}
			if err := w.fill(million, unix.RT_TABLE_MAIN); err != nil {
				w.Close()
				return nil, nil, err
			}
			inside := func(name string, command ...string) contestant {
				return contestant{name, func() (figures, error) {
					if command[0] == "" {
						return nil, errAbsent
					}
					p, err := start(w.Path(), command...)
					if err != nil {
						return nil, err
					}
					return p.figures()
				}}
			}
			return []contestant{
				{ours, func() (figures, error) { return finished(startChild("", "dump-routewatch", w.Path())) }},
				inside("C recvmsg, unparsed", recv, "dump"),
				{"mdlayher/netlink", func() (figures, error) { return finished(startChild(w.Path(), "dump-mdlayher")) }},
				{"jsimonetti/rtnetlink", func() (figures, error) { return finished(startChild(w.Path(), "dump-jsimonetti")) }},
				{"vishvananda/netlink", func() (figures, error) { return finished(startChild(w.Path(), "dump-vishvananda")) }},
				{"ip route", func() (figures, error) { return ipRoute(w.Path()) }},
			}, w.Close, nil
		},
	}
}

// fill adds routes of others to a table.
func (w *world) fill(count int, table uint32) error {
	wr, err := newWriter(w.NS)
	if err != nil {
		return err
	}
	defer wr.close()
	return wr.addForeign(0, count, gateway, w.uplink, table)
}

// finished waits for a child that measures and ends.
func finished(p *process, err error) (figures, error) {
	if err != nil {
		return nil, err
	}
	return p.figures()
}

// interest is that of a world with so many leases.
func interest(leases int) expect.Interest {
	set := setOf(leases)
	return expect.InterestOf(expect.Config{}, &set)
}

func dumpRoutewatch(args []string) error {
	in := interest(50)
	before, start := mallocs(), time.Now()
	s, err := kernel.ReadOnce(context.Background(), kernel.Config{NetNS: args[0]}, in)
	took, allocated := time.Since(start), mallocs()-before
	if err != nil {
		return err
	}
	if len(s.RoutesTo(in.Peers[0])) != 1 {
		return errors.New("the route of a lease was not found")
	}
	return report(figures{"time": milliseconds(took), "allocations per route": allocated / million})
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }

// readAll reports how long it took to read at least a million routes.
func readAll(read func() (routes int, err error)) error {
	start := time.Now()
	n, err := read()
	took := time.Since(start)
	if err == nil && n < million {
		err = fmt.Errorf("%d routes", n)
	}
	if err != nil {
		return err
	}
	return report(figures{"time": milliseconds(took)})
}

func dumpMdlayher([]string) error {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Strict: true})
	if err != nil {
		return err
	}
	request := make([]byte, unix.SizeofRtMsg)
	request[0], request[4] = unix.AF_INET, unix.RT_TABLE_MAIN
	return readAll(func() (int, error) {
		all, err := c.Execute(netlink.Message{
			Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request | netlink.Dump}, Data: request,
		})
		return len(all), err
	})
}

func dumpJsimonetti([]string) error {
	c, err := rtnetlink.Dial(&netlink.Config{Strict: true})
	if err != nil {
		return err
	}
	return readAll(func() (int, error) {
		main := rtnetlink.RouteAttributes{Table: unix.RT_TABLE_MAIN}
		all, err := c.Route.ListMatch(&rtnetlink.RouteMessage{Family: unix.AF_INET, Attributes: main})
		return len(all), err
	})
}

func dumpVishvananda([]string) error {
	return readAll(func() (int, error) {
		main := &vishvananda.Route{Table: unix.RT_TABLE_MAIN}
		all, err := vishvananda.RouteListFiltered(vishvananda.FAMILY_V4, main, vishvananda.RT_FILTER_TABLE)
		return len(all), err
	})
}

func ipRoute(inside string) (figures, error) {
	start := time.Now()
	err := exec.Command("nsenter", "--net="+inside, "ip", "-4", "route", "show", "table", "main").Run()
	return figures{"time": milliseconds(time.Since(start))}, err
}
