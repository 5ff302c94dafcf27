//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
)

// batch is how many requests a writer sends at once: with more, and with an
// acknowledgment for the last of them only, it gets no faster.
const batch = 128

// writer changes routes as fast as the kernel takes them, on one socket.
type writer struct {
	fd  int
	buf []byte
	n   int
	seq uint32
}

func newWriter(ns *netns.NS) (*writer, error) {
	w := &writer{}
	err := ns.Do(func() (err error) {
		w.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		// Without the echo of what was sent an acknowledgment is short.
		err = unix.SetsockoptInt(w.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
		return os.NewSyscallError("setsockopt", err)
	})
	return w, err
}

func (w *writer) close() { _ = unix.Close(w.fd) }

// foreign is the i-th of millions of routes that no lease has to do with.
func foreign(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{20 + byte(i>>16), byte(i >> 8), byte(i), 0}), 24)
}

// add queues the making of a route through a gateway that all have in common.
func (w *writer) add(dst netip.Prefix, gateway netip.Addr, device int, table uint32, onlink bool) error {
	return w.queue(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, dst, gateway, device, table, onlink)
}

// del queues the end of a route.
func (w *writer) del(dst netip.Prefix, table uint32) error {
	return w.queue(unix.RTM_DELROUTE, 0, dst, netip.Addr{}, 0, table, false)
}

func (w *writer) queue(typ, flags uint16, dst netip.Prefix, gateway netip.Addr, device int, table uint32, onlink bool) error {
	b := w.buf
	start := len(b)
	ne := binary.NativeEndian
	w.seq++
	b = ne.AppendUint32(b, 0)
	b = ne.AppendUint16(b, typ)
	b = ne.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	b = ne.AppendUint32(b, w.seq)
	b = ne.AppendUint32(b, 0)
	scope, rtype, hop := byte(unix.RT_SCOPE_UNIVERSE), byte(unix.RTN_UNICAST), uint32(0)
	if typ == unix.RTM_DELROUTE {
		scope, rtype = unix.RT_SCOPE_NOWHERE, unix.RTN_UNSPEC
	}
	if onlink {
		hop = unix.RTNH_F_ONLINK
	}
	b = append(b, unix.AF_INET, byte(dst.Bits()), 0, 0, unix.RT_TABLE_COMPAT, unix.RTPROT_BOOT, scope, rtype)
	b = ne.AppendUint32(b, hop)
	attr := func(typ uint16, v []byte) {
		b = ne.AppendUint16(b, uint16(4+len(v)))
		b = append(ne.AppendUint16(b, typ), v...)
	}
	attr(unix.RTA_DST, dst.Addr().AsSlice())
	attr(unix.RTA_TABLE, ne.AppendUint32(nil, table))
	if gateway.IsValid() {
		attr(unix.RTA_GATEWAY, gateway.AsSlice())
		attr(unix.RTA_OIF, ne.AppendUint32(nil, uint32(device)))
	}
	ne.PutUint32(b[start:], uint32(len(b)-start))
	w.buf = b
	if w.n++; w.n < batch {
		return nil
	}
	ne.PutUint16(b[start+6:], ne.Uint16(b[start+6:])|unix.NLM_F_ACK)
	return w.send()
}

// flush sends what is queued. It must be called at the end.
func (w *writer) flush() error {
	if w.n == 0 {
		return nil
	}
	start := 0
	for next := 0; next < len(w.buf); next += int(binary.NativeEndian.Uint32(w.buf[next:])) {
		start = next
	}
	ne := binary.NativeEndian
	ne.PutUint16(w.buf[start+6:], ne.Uint16(w.buf[start+6:])|unix.NLM_F_ACK)
	return w.send()
}

// send sends the batch and waits for the acknowledgment of its last request.
func (w *writer) send() error {
	if err := unix.Sendto(w.fd, w.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	w.buf, w.n = w.buf[:0], 0
	var reply [8192]byte
	for {
		n, _, err := unix.Recvfrom(w.fd, reply[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		ne := binary.NativeEndian
		for b := reply[:n]; len(b) >= 20; b = b[ne.Uint32(b):] {
			if errno := int32(ne.Uint32(b[16:])); errno != 0 {
				return fmt.Errorf("change a route: %w", unix.Errno(-errno))
			}
			if ne.Uint32(b[8:]) == w.seq {
				return nil
			}
		}
	}
}

// addForeign makes many foreign routes in a table.
func (w *writer) addForeign(from, count int, gateway netip.Addr, device int, table uint32) error {
	for i := range count {
		if err := w.add(foreign(from+i), gateway, device, table, false); err != nil {
			return err
		}
	}
	return w.flush()
}

func (w *writer) delForeign(from, count int, table uint32) error {
	for i := range count {
		if err := w.del(foreign(from+i), table); err != nil {
			return err
		}
	}
	return w.flush()
}
