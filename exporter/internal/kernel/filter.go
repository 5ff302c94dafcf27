package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// The filter of the event socket is a classic BPF program that the kernel runs
// on each event before it is queued: what it refuses takes no room in the
// receive buffer and wakes nobody. It accepts whatever events.message makes a
// hint of, and more: it does not look at all that events.message does. It relies
// on each event being a datagram of its own, as the kernel sends them.

// code is a part of the filter. The end of a part is the beginning of the next.
type code []bpf.Instruction

// Offsets in an event: struct nlmsghdr, then struct rtmsg or struct ndmsg.
const (
	offType           = 4
	offFamily         = unix.NLMSG_HDRLEN
	offDstLen         = unix.NLMSG_HDRLEN + 1
	offProtocol       = unix.NLMSG_HDRLEN + 5
	offRouteType      = unix.NLMSG_HDRLEN + 7
	offRouteAttrs     = unix.NLMSG_HDRLEN + unix.SizeofRtMsg
	offNeighborDevice = unix.NLMSG_HDRLEN + 4

	attrHeader = unix.SizeofNlAttr
)

// maxAlternatives is how many tables or devices are told apart: of more, all
// are taken to match.
const maxAlternatives = 64

var (
	// acceptAll keeps the whole message: the number is how many bytes of it.
	acceptAll = bpf.RetConstant{Val: 1<<31 - 1}
	refuse    = bpf.RetConstant{Val: 0}
)

// filter makes the filter for a scope.
func (c *scope) filter() code {
	neighbor := join(
		code{bpf.LoadAbsolute{Off: offNeighborDevice, Size: 4}},
		when(loadedInts(c.vxlan), code{acceptAll}),
		code{refuse},
	)
	route := join(
		loadByte(offFamily),
		when([]uint32{unix.AF_INET}, c.routeFilter(netstate.IPv4)),
		when([]uint32{unix.AF_INET6}, c.routeFilter(netstate.IPv6)),
		code{refuse},
	)
	return join(
		code{ // one that is too short is for events.message to complain of
			bpf.LoadExtension{Num: bpf.ExtLen},
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: offRouteAttrs, SkipTrue: 1}, acceptAll,
			bpf.LoadAbsolute{Off: offType, Size: 2},
		},
		when([]uint32{loaded16(unix.RTM_NEWLINK), loaded16(unix.RTM_DELLINK)}, join(
			loadByte(offFamily), when([]uint32{unix.AF_BRIDGE}, code{refuse}), // a bridge about its ports: see decodeLink
			code{acceptAll},
		)),
		when([]uint32{loaded16(unix.RTM_NEWNEIGH), loaded16(unix.RTM_DELNEIGH)}, neighbor),
		when([]uint32{loaded16(unix.RTM_NEWROUTE), loaded16(unix.RTM_DELROUTE)}, route),
		code{acceptAll},
	)
}

// sameFilter reports whether o has the same filter, as nearly every picture has:
// to make one takes as long as some lookups.
func (c *scope) sameFilter(o *scope) bool {
	return c.in == o.in && slices.Equal(c.flannel, o.flannel) && slices.Equal(c.vxlan, o.vxlan) &&
		(c.tables == nil) == (o.tables == nil) && maps.Equal(c.tables, o.tables)
}

// routeFilter is the filter for the routes of a family.
func (c *scope) routeFilter(f netstate.Family) code {
	var p code
	if c.tables != nil {
		var tables []uint32
		for t := range c.tables {
			if t.family == f {
				tables = append(tables, loaded32(t.table))
			}
		}
		slices.Sort(tables) // the same scope is to have the same filter
		p = ifAttr(unix.RTA_TABLE, attrHeader, join(when(tables, code{bpf.Jump{Skip: 1}}), code{refuse}))
	}
	viaFlannel := when(loadedInts(c.flannel), code{acceptAll})
	return join(
		p, c.in.destinations[f],
		loadByte(offRouteType),
		when([]uint32{uint32(netstate.Unicast)}, join(
			ifAttr(unix.RTA_OIF, attrHeader, viaFlannel),
			ifAttr(unix.RTA_MULTIPATH, attrHeader+4, viaFlannel), // rtnh_ifindex of the first hop
		)),
		code{refuse},
	)
}

func join(parts ...code) code { return slices.Concat(parts...) }

func loadByte(off uint32) code { return code{bpf.LoadAbsolute{Off: off, Size: 1}} }

// attrOffset loads the offset of a route's attribute, 0 if there is none.
func attrOffset(typ uint32) code {
	return code{
		bpf.LoadConstant{Dst: bpf.RegA, Val: offRouteAttrs}, bpf.LoadConstant{Dst: bpf.RegX, Val: typ},
		bpf.LoadExtension{Num: bpf.ExtNetlinkAttr},
	}
}

// ifAttr loads 32 bits from off within a route's attribute and does then, if
// there is such an attribute.
func ifAttr(typ, off uint32, then code) code {
	then = join(code{bpf.TAX{}, bpf.LoadIndirect{Off: off, Size: 4}}, then)
	return join(
		attrOffset(typ),
		code{bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1}, bpf.Jump{Skip: uint32(len(then))}},
		then,
	)
}

// when does then if A is one of the values, and else goes on with A unchanged.
func when(values []uint32, then code) code {
	if len(values) > maxAlternatives {
		return then
	}
	if len(values) == 0 {
		return nil
	}
	var p code
	for i, v := range values {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipTrue: uint8(len(values) - i)})
	}
	return join(p, code{bpf.Jump{Skip: uint32(len(then))}}, then)
}

// loaded32 is what BPF, which takes every number for big-endian, reads where the
// kernel wrote v.
func loaded32(v uint32) uint32 {
	var b [4]byte
	native.PutUint32(b[:], v)
	return binary.BigEndian.Uint32(b[:])
}

func loaded16(v uint16) uint32 {
	var b [2]byte
	native.PutUint16(b[:], v)
	return uint32(binary.BigEndian.Uint16(b[:]))
}

func loadedInts(values []int) []uint32 {
	var loaded []uint32
	for _, v := range values {
		loaded = append(loaded, loaded32(uint32(v)))
	}
	return loaded
}

// adopt puts a scope in force, and its filter with it. Its callers hold the lock.
//
// The order is what keeps events from being lost. The new filter is attached
// before adopt returns, and what the old one refused until then is read
// afterwards: by the recheck that settle asks for whenever the new scope is not
// within the old, or by the sweep that follows a new interest. An event that was
// in the old filter just then is no exception: that of IPv4 comes before the
// route is gone, but under the network lock, and each such read begins with a
// wait for that (requests.barrier). A filter that is only narrower would not
// care; settle has drained the socket by then anyway.
func (e *events) adopt(s *scope) {
	same := e.filter != nil && s.sameFilter(e.scope)
	e.scope = s
	if !e.filters || same {
		return
	}
	raw, err := bpf.Assemble(s.filter())
	if err != nil {
		raw = nil
	}
	e.attach(raw)
}

// attach puts a filter in force. Without one every event comes: slower, but
// nothing is missed. If the kernel refuses the new filter, the old one, which may
// be too narrow by now, has to go; a socket that keeps it is of no use.
func (e *events) attach(filter []bpf.RawInstruction) {
	if slices.Equal(filter, e.filter) {
		return
	}
	if len(filter) > 0 && e.sock.conn.SetBPF(filter) == nil {
		e.filter = filter
		return
	}
	e.filter = nil
	if err := e.sock.conn.RemoveBPF(); err != nil && !errors.Is(err, unix.ENOENT) && e.failed == nil {
		e.failed = fmt.Errorf("remove the filter for events: %w", err)
	}
}
