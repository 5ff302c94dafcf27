//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
)

// lateness is how long events may take to come.
const lateness = 50 * time.Millisecond

// listener hears what a watcher of links and IPv4 routes would hear.
type listener struct{ conn *netlink.Conn }

// heard counts its messages.
type heard struct{ links, routesDeleted int }

func listen(ns *netns.NS) (*listener, error) {
	l := &listener{}
	err := ns.Do(func() (err error) {
		l.conn, err = netlink.Dial(unix.NETLINK_ROUTE, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen to rtnetlink: %w", err)
	}
	if err := errors.Join(l.conn.JoinGroup(unix.RTNLGRP_LINK), l.conn.JoinGroup(unix.RTNLGRP_IPV4_ROUTE)); err != nil {
		return nil, errors.Join(fmt.Errorf("listen to rtnetlink: %w", err), l.conn.Close())
	}
	return l, nil
}

// hear counts what came since listen, and closes the listener. The kernel
// queues a message before it acknowledges the request that caused it.
func (l *listener) hear(device string) (heard, error) {
	defer l.conn.Close()
	var h heard
	if err := l.conn.SetReadDeadline(time.Now().Add(lateness)); err != nil {
		return h, err
	}
	for {
		messages, err := l.conn.Receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return h, nil
		}
		if err != nil {
			return h, fmt.Errorf("listen to rtnetlink: %w", err)
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.RTM_DELROUTE:
				h.routesDeleted++
			case unix.RTM_NEWLINK:
				var link rtnetlink.LinkMessage
				if err := link.UnmarshalBinary(m.Data); err != nil {
					return h, fmt.Errorf("listen to rtnetlink: %w", err)
				}
				if link.Attributes.Name == device {
					h.links++
				}
			}
		}
	}
}
