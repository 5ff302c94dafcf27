package kernel

import (
	"time"

	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// seen is what the events since the picture said of devices and addresses, so
// that each event is compared with the one before: a device that went down and
// up again looks like nothing if one only compares pictures.
type seen struct {
	links map[int]netstate.Link // the zero Link: deleted
	addrs map[netstate.Addr]bool
}

// message turns one event into hints, if it matters. Its callers hold the lock.
func (e *events) message(h header, body []byte, now time.Time) error {
	hint := netstate.Hint{At: now, PortID: h.PortID, Seq: h.Seq}
	switch h.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return e.route(h, body, hint)
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return e.link(h, body, hint)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return e.addr(h, body, hint)
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		return e.neighbor(h, body, hint)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		r, ok, err := decodeRule(body)
		if err != nil || !ok {
			return err
		}
		hint.Kind = either(h.Type == unix.RTM_DELRULE, netstate.RuleDeleted, netstate.RuleAdded)
		hint.Family, hint.Prefix, hint.Table = r.Family, r.Dst, r.Table
	case unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
		n, err := decodeNextHop(body)
		if err != nil {
			return err
		}
		hint.Kind = either(h.Type == unix.RTM_DELNEXTHOP, netstate.NextHopDeleted, netstate.NextHopChanged)
		hint.Index, hint.Device = n.device, e.current(n.device).Name
	case unix.RTM_NEWNETCONF, unix.RTM_DELNETCONF:
		c, ok, err := decodeNetConf(body)
		if err != nil || !ok || c.Device != netstate.NetConfAll && !e.matters(c.Device) {
			return err
		}
		hint.Kind, hint.Family = netstate.NetConfChanged, c.Family
		hint.Index, hint.Device = c.Device, e.current(c.Device).Name
	default:
		return nil
	}
	e.add(hint)
	return nil
}

// add notes a hint, with who asked for the change: asked at once, since a command
// is gone a moment later, and once for each port in what is drained together.
func (e *events) add(h netstate.Hint) {
	if h.PortID != 0 && e.actor != nil {
		p, asked := e.actors[h.PortID]
		if !asked {
			p = e.actor(h.PortID, h.At)
			if e.actors == nil {
				e.actors = map[uint32]netstate.Process{}
			}
			e.actors[h.PortID] = p
		}
		h.Process = p
	}
	e.work.add(h)
}

func (e *events) route(h header, body []byte, hint netstate.Hint) error {
	r, ok, err := decodeRoute(body)
	viaFlannel := err == nil && ok && e.scope.in.flannel(e.current(r.Device))
	if err != nil || !ok || !e.scope.route(&r, viaFlannel) {
		return err
	}
	hint.Family = netstate.FamilyOf(r.Dst.Addr())
	counter := &e.counters.IPv4Routes
	if hint.Family == netstate.IPv6 {
		counter = &e.counters.IPv6Routes
	}
	switch {
	case h.Type == unix.RTM_DELROUTE:
		hint.Kind = netstate.RouteDeleted
		counter.Deleted++
	case h.Flags&unix.NLM_F_REPLACE != 0:
		hint.Kind = netstate.RouteReplaced
		counter.Replaced++
	default:
		hint.Kind = netstate.RouteAdded
		counter.Added++
	}
	hint.Index, hint.Device = r.Device, e.current(r.Device).Name
	hint.Prefix, hint.Table = r.Dst, r.Table
	e.add(hint)
	if e.scope.in.podRoute(&r, viaFlannel) { // its device is not known yet: those of pods come and go unread
		e.work.recheck = true
		set(&e.work.devices, r.Device)
		set(&e.work.tables, keyOf(&r))
		return nil
	}
	e.work.change(routeChange{route: r, deleted: h.Type == unix.RTM_DELROUTE, flags: h.Flags})
	return nil
}

func (e *events) link(h header, body []byte, hint netstate.Hint) error {
	l, ok, err := decodeLink(body)
	if err != nil || !ok {
		return err
	}
	before := e.current(l.Index)
	matters := e.matters(l.Index) || e.scope.in.named(l)
	deleted := h.Type == unix.RTM_DELLINK
	hint.Index, hint.Device, hint.Up = l.Index, l.Name, l.Up && !deleted
	if deleted {
		l = netstate.Link{}
	}
	e.seen.link(hint.Index, l)
	switch {
	case !matters:
		return nil
	case deleted:
		hint.Kind = netstate.LinkDeleted
		e.add(hint)
		return nil
	}
	if before.Index == 0 {
		hint.Kind = netstate.LinkAdded
		e.add(hint)
		return nil
	}
	if before.MAC != l.MAC {
		hint.Kind = netstate.LinkMACChanged
		e.add(hint)
		before.MAC = l.MAC
	}
	if before != l {
		hint.Kind = netstate.LinkChanged
		e.add(hint)
	}
	return nil
}

func (e *events) addr(h header, body []byte, hint netstate.Hint) error {
	a, ok, err := decodeAddr(body)
	if err != nil || !ok {
		return err
	}
	before, known := e.seen.addrs[a]
	if !known {
		before = e.scope.hasAddr(a)
	}
	now := h.Type == unix.RTM_NEWADDR
	if e.seen.addrs == nil {
		e.seen.addrs = map[netstate.Addr]bool{}
	}
	e.seen.addrs[a] = now
	// A router's advertisement renews the addresses every few seconds.
	if before == now || !e.matters(a.Device) && !e.scope.in.tells(a.Prefix.Addr()) {
		return nil
	}
	hint.Kind = either(now, netstate.AddrAdded, netstate.AddrDeleted)
	hint.Family, hint.Prefix = netstate.FamilyOf(a.Prefix.Addr()), a.Prefix
	hint.Index, hint.Device = a.Device, e.current(a.Device).Name
	e.add(hint)
	return nil
}

func (e *events) neighbor(h header, body []byte, hint netstate.Hint) error {
	deleted := h.Type == unix.RTM_DELNEIGH
	if len(body) > 0 && body[0] == unix.AF_BRIDGE {
		f, ok, err := decodeFDB(body)
		if err != nil || !ok {
			return err
		}
		hint.Kind = either(deleted, netstate.FDBDeleted, netstate.FDBChanged)
		hint.Index = f.Device
	} else {
		n, ok, err := decodeNeighbor(body)
		if err != nil || !ok {
			return err
		}
		// One that is deleted is first told to have failed (the kernel's neigh_delete).
		hint.Kind = either(deleted || n.State&netstate.NUDFailed != 0, netstate.NeighborDeleted, netstate.NeighborChanged)
		hint.Index, hint.Family, hint.Prefix = n.Device, netstate.FamilyOf(n.IP), host(n.IP)
	}
	l := e.current(hint.Index)
	if !e.scope.in.vxlan(l) {
		return nil
	}
	hint.Device = l.Name
	e.add(hint)
	return nil
}

// current returns what is known of a device now: from the last event, else from
// the picture.
func (e *events) current(index int) netstate.Link {
	if l, ok := e.seen.links[index]; ok {
		return l
	}
	l, _ := e.scope.base.Link(index)
	return l
}

// matters reports whether the picture depends on the device.
func (e *events) matters(index int) bool {
	return e.scope.devices[index] || e.scope.in.named(e.current(index))
}

func (s *seen) link(index int, l netstate.Link) {
	if s.links == nil {
		s.links = map[int]netstate.Link{}
	}
	s.links[index] = l
}

func either(first bool, a, b netstate.HintKind) netstate.HintKind {
	if first {
		return a
	}
	return b
}
