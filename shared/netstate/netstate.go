// Package netstate holds what the kernel says about one network namespace, as
// comparable values of netip types. It is the vocabulary between the kernel
// layer, which fills it in, and judge, which reads it; it does no I/O.
//
// Every type marshals to JSON and back, so that a State can be recorded and
// replayed. Slices in a State are sorted (see State.Sort) and never modified
// once published.
package netstate

import (
	"cmp"
	"fmt"
	"net/netip"
	"time"

	"routewatch/shared/verdict"
)

// Family is an address family. Its text form is the metric label and the JSON
// value: "ipv4" or "ipv6".
type Family uint8

// The families that flannel knows.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf returns the family of an address.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() || a.Is4In6() {
		return IPv4
	}
	return IPv6
}

// Bits returns the length of an address of the family in bits: 32 or 128.
func (f Family) Bits() int {
	if f == IPv4 {
		return 32
	}
	return 128
}

func (f Family) String() string {
	switch f {
	case IPv4:
		return "ipv4"
	case IPv6:
		return "ipv6"
	}
	return fmt.Sprintf("family(%d)", uint8(f))
}

// MarshalText implements encoding.TextMarshaler.
func (f Family) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Family) UnmarshalText(b []byte) error {
	switch string(b) {
	case "ipv4":
		*f = IPv4
	case "ipv6":
		*f = IPv6
	default:
		return fmt.Errorf("unknown address family %q: expected ipv4 or ipv6", b)
	}
	return nil
}

// Link is one network device.
type Link struct {
	Index   int    `json:"index"`
	Name    string `json:"name"`
	Kind    string `json:"kind,omitempty"` // IFLA_INFO_KIND: "vxlan", "bridge", "veth", ...; "" for hardware
	Up      bool   `json:"up"`             // IFF_UP: the administrator's wish
	LowerUp bool   `json:"lowerUp"`        // IFF_LOWER_UP: there is a carrier
	Running bool   `json:"running"`        // IFF_RUNNING: the kernel's routing has noticed that, a moment after LowerUp changes
	MTU     int    `json:"mtu"`            // bytes
	MAC     MAC    `json:"mac,omitzero"`
	Master  int    `json:"master,omitempty"` // ifindex of the bridge or bond, 0 if none
	Lower   int    `json:"lower,omitempty"`  // IFLA_LINK: ifindex of the lower device, 0 if none
	VXLAN   VXLAN  `json:"vxlan,omitzero"`   // zero unless Kind is "vxlan"
}

// VXLAN is what a vxlan device was made with (IFLA_VXLAN_*).
type VXLAN struct {
	VNI   uint32     `json:"vni"`
	Port  uint16     `json:"port"`           // UDP destination port, host byte order
	Local netip.Addr `json:"local,omitzero"` // source of the encapsulated packets; tells the family of the device
}

// Addr is one address of a device.
type Addr struct {
	Device int          `json:"device"` // ifindex
	Prefix netip.Prefix `json:"prefix"` // the address itself, not masked
}

// RouteType is rtm_type, RTN_* of linux/rtnetlink.h.
type RouteType uint8

// The route types that matter here, with the kernel's numbers.
const (
	Unicast     RouteType = 1
	Local       RouteType = 2
	Broadcast   RouteType = 3
	Anycast     RouteType = 4
	Multicast   RouteType = 5
	Blackhole   RouteType = 6
	Unreachable RouteType = 7
	Prohibit    RouteType = 8
	Throw       RouteType = 9
)

var routeTypes = [...]string{
	Unicast: "unicast", Local: "local", Broadcast: "broadcast", Anycast: "anycast", Multicast: "multicast",
	Blackhole: "blackhole", Unreachable: "unreachable", Prohibit: "prohibit", Throw: "throw",
}

func (t RouteType) String() string {
	if int(t) < len(routeTypes) && routeTypes[t] != "" {
		return routeTypes[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// MarshalText implements encoding.TextMarshaler.
func (t RouteType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *RouteType) UnmarshalText(b []byte) error {
	for i, name := range routeTypes {
		if name != "" && name == string(b) {
			*t = RouteType(i)
			return nil
		}
	}
	if _, err := fmt.Sscanf(string(b), "type(%d)", (*uint8)(t)); err != nil {
		return fmt.Errorf("unknown route type %q", b)
	}
	return nil
}

// Discards reports whether the kernel drops what takes a route of this type:
// silently (blackhole) or with an ICMP error.
func (t RouteType) Discards() bool { return t == Blackhole || t == Unreachable || t == Prohibit }

// Routing tables with a meaning of their own (RT_TABLE_*).
const (
	TableDefault uint32 = 253
	TableMain    uint32 = 254
	TableLocal   uint32 = 255
)

// Route is one routing table entry. The kernel identifies an IPv4 entry by
// (table, destination, TOS, priority) and its position; several entries may
// share all of these.
type Route struct {
	Table     uint32       `json:"table"`
	Dst       netip.Prefix `json:"dst"` // masked; the default route is 0.0.0.0/0 or ::/0
	Type      RouteType    `json:"type"`
	Priority  uint32       `json:"priority,omitempty"` // the metric; lower wins
	TOS       uint8        `json:"tos,omitempty"`
	Protocol  uint8        `json:"protocol,omitempty"` // RTPROT_*: who installed it; 3 (boot) is flannel's and any hand's
	Scope     uint8        `json:"scope,omitempty"`
	Device    int          `json:"device,omitempty"`   // RTA_OIF
	Gateway   netip.Addr   `json:"gateway,omitzero"`   // RTA_GATEWAY or RTA_VIA
	PrefSrc   netip.Addr   `json:"prefSrc,omitzero"`   // RTA_PREFSRC
	OnLink    bool         `json:"onLink,omitempty"`   // RTNH_F_ONLINK
	Dead      bool         `json:"dead,omitempty"`     // RTNH_F_DEAD: the kernel skips it
	LinkDown  bool         `json:"linkDown,omitempty"` // RTNH_F_LINKDOWN: its device has no carrier
	NextHopID uint32       `json:"nextHopID,omitempty"`
	Multipath bool         `json:"multipath,omitempty"` // more than one next hop; Device and Gateway are the first one's
}

// Neighbor is one entry of the neighbor table (ARP or NDP).
type Neighbor struct {
	Device int        `json:"device"`
	IP     netip.Addr `json:"ip"`
	MAC    MAC        `json:"mac,omitzero"`
	State  uint16     `json:"state"` // NUD_* bits
}

// NUD_* of linux/neighbour.h.
const (
	NUDIncomplete uint16 = 0x01
	NUDReachable  uint16 = 0x02
	NUDStale      uint16 = 0x04
	NUDDelay      uint16 = 0x08
	NUDProbe      uint16 = 0x10
	NUDFailed     uint16 = 0x20
	NUDNoARP      uint16 = 0x40
	NUDPermanent  uint16 = 0x80
)

// Permanent reports whether the kernel keeps the entry for ever and never asks for it.
func (n Neighbor) Permanent() bool { return n.State&(NUDPermanent|NUDNoARP) != 0 }

// Usable reports whether the kernel sends with this entry now (NUD_VALID).
func (n Neighbor) Usable() bool {
	return n.State&(NUDPermanent|NUDNoARP|NUDReachable|NUDProbe|NUDStale|NUDDelay) != 0
}

// FDBEntry is one entry of a vxlan device's forwarding database: frames for
// MAC are sent to Dst.
type FDBEntry struct {
	Device int        `json:"device"`
	MAC    MAC        `json:"mac,omitzero"` // zero: the default entry
	Dst    netip.Addr `json:"dst,omitzero"`
	Port   uint16     `json:"port,omitempty"` // NDA_PORT; 0: the device's
	VNI    uint32     `json:"vni,omitempty"`  // NDA_VNI; 0: the device's
	State  uint16     `json:"state"`
}

// Rule is one policy rule (ip rule).
type Rule struct {
	Family   Family       `json:"family"`
	Priority uint32       `json:"priority"`
	Table    uint32       `json:"table,omitempty"`
	Action   uint8        `json:"action"` // FR_ACT_* of linux/fib_rules.h: 1 to table, 6 blackhole, 7 unreachable, 8 prohibit
	Src      netip.Prefix `json:"src,omitzero"`
	Dst      netip.Prefix `json:"dst,omitzero"`
	IIF      string       `json:"iif,omitempty"`
	OIF      string       `json:"oif,omitempty"`
	Mark     uint32       `json:"mark,omitempty"`
	Invert   bool         `json:"invert,omitempty"`
}

// Query is a question to the kernel's own route lookup (RTM_GETROUTE with
// RTM_F_FIB_MATCH), always asked as uid 0, so that a rule on the exporter's
// own uid cannot lie.
type Query struct {
	Dst netip.Addr `json:"dst"`
	Src netip.Addr `json:"src,omitzero"` // RTA_SRC: "from"
	IIF int        `json:"iif,omitempty"`
}

// Compare orders queries by destination, then source, then input device.
func (q Query) Compare(o Query) int {
	if c := q.Dst.Compare(o.Dst); c != 0 {
		return c
	}
	if c := q.Src.Compare(o.Src); c != 0 {
		return c
	}
	return cmp.Compare(q.IIF, o.IIF)
}

// Lookup is the kernel's answer to a Query: the routing table entry that it
// matched, or an error.
type Lookup struct {
	Query Query `json:"query"`
	// Route is the matched entry; its zero value when Errno is set.
	Route Route `json:"route,omitzero"`
	// Errno is 0 or what the kernel answered instead of a route:
	// ENETUNREACH no route, EHOSTUNREACH unreachable, EACCES prohibit, EINVAL blackhole.
	Errno int `json:"errno,omitempty"`
}

// What the kernel answers to a Query instead of a route. The numbers are
// Linux's on every architecture that Kubernetes runs on.
const (
	ErrnoProhibit    = 13  // EACCES: prohibit
	ErrnoBlackhole   = 22  // EINVAL: blackhole; also a source that no device has
	ErrnoNoRoute     = 101 // ENETUNREACH: nothing matched
	ErrnoUnreachable = 113 // EHOSTUNREACH: unreachable
)

// Discarded reports whether the packet meets blackhole, unreachable or
// prohibit, of a route or of a rule. No route at all is not that.
func (l Lookup) Discarded() bool {
	switch l.Errno {
	case ErrnoProhibit, ErrnoBlackhole, ErrnoUnreachable:
		return true
	}
	return l.Errno == 0 && l.Route.Type.Discards()
}

// NetConf is what RTM_GETNETCONF says of a device: settings that drop traffic
// behind perfect routes.
type NetConf struct {
	Family     Family `json:"family"`
	Device     int    `json:"device"` // ifindex, or NetConfAll
	Forwarding bool   `json:"forwarding"`
	RPFilter   int    `json:"rpFilter,omitempty"` // 0 off, 1 strict, 2 loose
}

// NetConfAll is the device of the NetConf that applies to all devices (NETCONFA_IFINDEX_ALL).
const NetConfAll = -1

// HintKind says what an rtnetlink message was about.
type HintKind string

// The kinds of hints.
const (
	LinkAdded       HintKind = "link_added"
	LinkChanged     HintKind = "link_changed" // flags, master, name or index; Up says the new state
	LinkMACChanged  HintKind = "link_mac_changed"
	LinkDeleted     HintKind = "link_deleted"
	AddrAdded       HintKind = "address_added"
	AddrDeleted     HintKind = "address_deleted"
	RouteAdded      HintKind = "route_added"
	RouteReplaced   HintKind = "route_replaced"
	RouteDeleted    HintKind = "route_deleted"
	RuleAdded       HintKind = "rule_added"
	RuleDeleted     HintKind = "rule_deleted"
	NeighborChanged HintKind = "neighbor_changed"
	NeighborDeleted HintKind = "neighbor_deleted"
	FDBChanged      HintKind = "fdb_changed"
	FDBDeleted      HintKind = "fdb_deleted"
	NextHopChanged  HintKind = "nexthop_changed"
	NextHopDeleted  HintKind = "nexthop_deleted"
	NetConfChanged  HintKind = "netconf_changed"
	Overrun         HintKind = "overrun"     // the kernel dropped events: anything may have happened
	Undecodable     HintKind = "undecodable" // a message that we could not read: anything may have happened
)

// Hint is one rtnetlink message as a value. A hint only says where to look and
// who asked for the change; the truth is the dump or lookup that follows it.
type Hint struct {
	At     time.Time    `json:"at"`
	Kind   HintKind     `json:"kind"`
	Family Family       `json:"family,omitempty"`
	Device string       `json:"device,omitempty"` // name at the time; "" if the message names none
	Index  int          `json:"index,omitempty"`  // ifindex
	Up     bool         `json:"up,omitempty"`     // of link hints: IFF_UP
	Prefix netip.Prefix `json:"prefix,omitzero"`  // of route hints the destination, of address and neighbor hints the address
	Table  uint32       `json:"table,omitempty"`  // of route hints
	// PortID and Seq are the netlink port id and sequence number of the request
	// that made the change, 0 when the kernel itself did (always 0 for links and
	// FDB entries). A port id is not a pid.
	PortID uint32 `json:"portID,omitempty"`
	Seq    uint32 `json:"seq,omitempty"`
	// Process is the owner of that port; zero if PortID is, and where nobody can tell.
	Process Process `json:"process,omitzero"`
}

// Process is a process as /proc shows it to the exporter.
type Process struct {
	PID  int              `json:"pid"`
	Comm string           `json:"comm,omitempty"` // it chose that itself: any bytes but NUL
	How  verdict.ActorHow `json:"how"`
}

// Counters are monotonic totals of the kernel layer since its start. They
// travel in State so that one scrape is consistent.
type Counters struct {
	IPv4Routes   RouteEvents       `json:"ipv4Routes"`
	IPv6Routes   RouteEvents       `json:"ipv6Routes"`
	Overruns     uint64            `json:"overruns"`
	Undecodable  uint64            `json:"undecodable"`
	Resyncs      map[string]uint64 `json:"resyncs,omitempty"` // sweeps by reason: start, leases, overrun, events, disagreement, audit
	AuditDrift   uint64            `json:"auditDrift"`        // differences that an audit found and no event had announced
	ReceiveBytes int               `json:"receiveBytes"`      // effective size of the event socket's buffer
	Filtered     bool              `json:"filtered"`          // the kernel delivers only events that can matter
	LastAudit    time.Time         `json:"lastAudit,omitzero"`
}

// RouteEvents counts the route messages of one family.
type RouteEvents struct {
	Added    uint64 `json:"added"`
	Replaced uint64 `json:"replaced"`
	Deleted  uint64 `json:"deleted"`
}
