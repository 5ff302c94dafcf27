// Package verdict is the closed vocabulary of routewatch: the words that
// appear as metric labels, JSON values and CLI output, each with its title and
// its meaning. It imports nothing of ours.
package verdict

// A Word is one entry of the vocabulary.
type Word struct {
	Name    string // the metric label, the JSON value, the CLI word
	Title   string // a few words for a heading
	Meaning string // one sentence for a person on call
}

// State is what a lease is judged to be. See States for their order.
type State string

// The states in the order in which they are tried: the first that applies.
const (
	Unknown         State = "unknown"
	Unsupported     State = "unsupported"
	Conflict        State = "conflict"
	VNIMismatch     State = "vni_mismatch"
	Pending         State = "pending"
	LinkDown        State = "link_down"
	Missing         State = "missing"
	Blackholed      State = "blackholed"
	Diverted        State = "diverted"
	Shadowed        State = "shadowed"
	WrongDevice     State = "wrong_device"
	WrongGateway    State = "wrong_gateway"
	NeighborMissing State = "neighbor_missing"
	NeighborWrong   State = "neighbor_wrong"
	FDBMissing      State = "fdb_missing"
	FDBWrong        State = "fdb_wrong"
	PeerMissing     State = "peer_missing"
	PeerWrong       State = "peer_wrong"
	UnderlayDown    State = "underlay_down"
	OK              State = "ok"
)

var states = []Word{
	{"unknown", "Not known", "routewatch could not read the leases or the kernel, so it cannot say."},
	{"unsupported", "Not checked", "This lease's backend keeps nothing in the kernel that routewatch can compare."},
	{"conflict", "Conflicting leases", "Two leases claim the same subnet or VTEP MAC, or a peer claims this node's own."},
	{"vni_mismatch", "Different VNI", "The peer's VXLAN network identifier is not this node's; its packets are dropped behind perfect routes."},
	{"pending", "New, not yet complete", "The lease is younger than the grace and flannel has not finished programming it."},
	{"link_down", "flannel device down", "The flannel device is missing, is not up, or has lost its address."},
	{"missing", "Route missing", "No routing table that is consulted has a route for exactly this subnet."},
	{"blackholed", "Blackholed", "The route that wins discards the packets."},
	{"diverted", "Diverted by a rule", "A policy rule sends the packets to another table, and there not to flannel."},
	{"shadowed", "Shadowed by another route", "flannel's route is there, but a preferred or more specific one wins."},
	{"wrong_device", "Wrong device", "The route for the subnet leaves through another device."},
	{"wrong_gateway", "Wrong gateway", "The route for the subnet has another gateway."},
	{"neighbor_missing", "Neighbor missing", "The route is right, but the permanent neighbor entry of its gateway is gone."},
	{"neighbor_wrong", "Neighbor wrong", "The neighbor entry of the gateway does not hold the peer's VTEP MAC."},
	{"fdb_missing", "FDB entry missing", "The forwarding entry that maps the peer's VTEP MAC to its IP is gone."},
	{"fdb_wrong", "FDB entry wrong", "The forwarding entry of the peer's VTEP MAC points elsewhere."},
	{"peer_missing", "WireGuard peer missing", "The WireGuard device does not have the lease's peer."},
	{"peer_wrong", "WireGuard peer wrong", "The WireGuard peer has another endpoint or other allowed IPs."},
	{"underlay_down", "Underlay broken", "Everything of flannel's is right, but the node itself has no usable path to the peer's public IP."},
	{"ok", "OK", "The whole chain is as the lease says and the kernel's own lookups agree."},
}

// States returns every state, in the order in which they are tried.
func States() []Word { return states }

// Bad reports whether the state is a problem: not ok, and neither pending,
// unsupported nor unknown. A word that this version does not know is bad.
func (s State) Bad() bool {
	switch s {
	case OK, Pending, Unsupported, Unknown:
		return false
	}
	return true
}

// Healthy reports whether a node with only such leases is healthy.
func (s State) Healthy() bool { return s == OK || s == Pending || s == Unsupported }

// Effect is what happens to a packet that is sent to the lease's subnet now.
type Effect string

// The effects.
const (
	Delivered       Effect = "delivered"
	Leaking         Effect = "leaking"
	EffectDiverted  Effect = "diverted"
	EffectLocal     Effect = "local"
	Unreachable     Effect = "unreachable"
	EffectBlackhole Effect = "blackholed"
	Undeliverable   Effect = "undeliverable"
	EffectUnknown   Effect = "unknown"
)

// Worst first.
var effects = []Word{
	{"leaking", "Leaking", "Packets leave the node by a wider route that is not flannel's, typically unencapsulated to the default gateway."},
	{"diverted", "Diverted", "Packets take another path than flannel's."},
	{"local", "Local", "The node takes the packets for its own."},
	{"blackholed", "Blackholed", "Packets are discarded in silence."},
	{"unreachable", "Unreachable", "Senders get an ICMP error at once."},
	{"undeliverable", "Undeliverable", "The route is right, but the packets cannot be encapsulated or sent."},
	{"unknown", "Unknown", "routewatch cannot say."},
	{"delivered", "Delivered", "Packets reach the peer's node by flannel's path."},
}

// Effects returns every effect, worst first.
func Effects() []Word { return effects }

// Rank orders effects: 0 is the worst. A word that this version does not know ranks first.
func (e Effect) Rank() int {
	for i, w := range effects {
		if w.Name == string(e) {
			return i
		}
	}
	return -1
}

// Cause is the event that broke a lease.
type Cause string

// The causes.
const (
	Deleted         Cause = "deleted"
	Replaced        Cause = "replaced"
	CauseLinkDown   Cause = "link_down"
	LinkDeleted     Cause = "link_deleted"
	AddressRemoved  Cause = "address_removed"
	NextHopRemoved  Cause = "nexthop_removed"
	RuleChanged     Cause = "rule_changed"
	UnderlayChanged Cause = "underlay_changed"
	MACChanged      Cause = "mac_changed"
	SysctlChanged   Cause = "sysctl_changed"
	Expired         Cause = "expired"
	LeaseChanged    Cause = "lease_changed"
	NeverInstalled  Cause = "never_installed"
	CauseUnknown    Cause = "unknown"
)

var causes = []Word{
	{"deleted", "Deleted", "Somebody deleted the object."},
	{"replaced", "Replaced", "Somebody replaced the object or put another in front of it."},
	{"link_down", "Device set down", "The flannel device was set down; the kernel removed its IPv4 routes without a route event."},
	{"link_deleted", "Device deleted", "The flannel device was deleted; all that hung on it went with it."},
	{"address_removed", "Address removed", "The device lost its last address; the kernel removed its routes and neighbors."},
	{"nexthop_removed", "Next hop removed", "A next-hop object was removed and the routes that used it went with it."},
	{"rule_changed", "Policy rule changed", "A policy rule was added or removed."},
	{"underlay_changed", "Underlay changed", "The path to the peer's public IP changed."},
	{"mac_changed", "MAC changed", "The MAC address of the flannel device changed; the kernel removed its neighbors."},
	{"sysctl_changed", "Sysctl changed", "A network setting of the kernel was changed."},
	{"expired", "Expired", "The route's lifetime ended."},
	{"lease_changed", "Lease changed", "The lease changed and the kernel was not brought up to date."},
	{"never_installed", "Never installed", "The lease was not programmed within the grace."},
	{"unknown", "Not seen", "It happened before routewatch looked, or no event told of it."},
}

// Causes returns every cause.
func Causes() []Word { return causes }

// ActorKind is who made the change.
type ActorKind string

// The kinds of actors.
const (
	ActorKernel  ActorKind = "kernel"
	ActorProcess ActorKind = "process"
	ActorUnknown ActorKind = "unknown"
)

// ActorHow is how a process was found out: a message of the kernel names only
// the port of a socket.
type ActorHow string

// The ways to find a process.
const (
	ByInode ActorHow = "inode" // it holds the very socket that asked
	ByPID   ActorHow = "pid"   // that socket is closed, and nobody but this process can have had its port
)

// ActorHows returns every way.
func ActorHows() []ActorHow { return []ActorHow{ByInode, ByPID} }

// NodeProblem is a fault of the node itself, not of one lease.
type NodeProblem string

// The node problems.
const (
	DeviceMAC         NodeProblem = "device_mac"
	DeviceVNI         NodeProblem = "device_vni"
	DevicePort        NodeProblem = "device_port"
	DeviceLocal       NodeProblem = "device_local"
	DeviceAddress     NodeProblem = "device_address"
	DeviceMTU         NodeProblem = "device_mtu"
	OwnSubnetShadowed NodeProblem = "own_subnet_shadowed"
	ForwardingOff     NodeProblem = "forwarding_off"
	RPFilter          NodeProblem = "rp_filter"
)

var nodeProblems = []Word{
	{"device_mac", "Own MAC not the published one", "Peers send to the VTEP MAC that this node published; its device now has another, so it drops what they send."},
	{"device_vni", "Own VNI not the published one", "The flannel device has another VNI than the lease of this node says."},
	{"device_port", "Own UDP port differs", "The flannel device listens on another UDP port than flannel's configuration says."},
	{"device_local", "Own tunnel address not the published one", "The flannel device sends from another address than the one that this node published."},
	{"device_address", "Own device address wrong", "The flannel device does not have the first address of this node's subnet."},
	{"device_mtu", "MTU differs", "The MTU of the flannel device does not fit its underlay."},
	{"own_subnet_shadowed", "Own subnet shadowed", "A route for this node's own subnet leads away from it; its pods are unreachable."},
	{"forwarding_off", "Forwarding off", "The kernel does not forward packets between pods and the flannel device."},
	{"rp_filter", "Reverse path filter", "The strict reverse path filter drops pod traffic."},
}

// NodeProblems returns every node problem.
func NodeProblems() []Word { return nodeProblems }

// Info reports whether the problem is only worth knowing: the node stays healthy.
func (p NodeProblem) Info() bool { return p == DeviceMTU }

// EventType is what an event tells: of an incident, of the node, of a source,
// of routewatch itself, or of a change around them that may break nothing.
type EventType string

// The types of events.
const (
	IncidentOpened      EventType = "incident_opened"
	IncidentChanged     EventType = "incident_changed"
	IncidentClosed      EventType = "incident_closed"
	NodeProblemAppeared EventType = "node_problem_appeared"
	NodeProblemGone     EventType = "node_problem_gone"
	SourceLost          EventType = "source_lost"
	SourceBack          EventType = "source_back"
	LinkAppeared        EventType = "link_added"
	LinkWentUp          EventType = "link_up"
	LinkWentDown        EventType = "link_down"
	LinkChanged         EventType = "link_changed"
	LinkGone            EventType = "link_deleted"
	LinkMACChanged      EventType = "link_mac_changed"
	AddressAdded        EventType = "address_added"
	AddressGone         EventType = "address_removed"
	DeviceRecreated     EventType = "device_recreated"
	OwnLeaseChanged     EventType = "own_lease_changed"
	LeaseAdded          EventType = "lease_added"
	LeaseAltered        EventType = "lease_changed"
	LeaseRemoved        EventType = "lease_removed"
	HistoryDamaged      EventType = "history_damaged"
	HistoryFailing      EventType = "history_failing"
	HistoryBack         EventType = "history_back"
	Gap                 EventType = "gap"
)

var eventTypes = []Word{
	{"incident_opened", "Incident opened", "Something broke one or more leases."},
	{"incident_changed", "Incident changed", "An open incident became worse, or broke more leases."},
	{"incident_closed", "Incident closed", "None of the incident's leases is broken any more."},
	{"node_problem_appeared", "Node problem appeared", "This node itself has a fault, whatever its leases say."},
	{"node_problem_gone", "Node problem gone", "A fault of this node is gone."},
	{"source_lost", "Source lost", "The leases or the kernel cannot be read; what was read last keeps being judged where that is possible."},
	{"source_back", "Source back", "The leases or the kernel can be read again."},
	{"link_added", "Device added", "A device of flannel's, or one that its packets take, was made."},
	{"link_up", "Device set up", "The device was set up after it had been down."},
	{"link_down", "Device set down", "The device was set down; the kernel removes its IPv4 routes without a route event."},
	{"link_changed", "Device changed", "The device's carrier, master, name or flags changed."},
	{"link_deleted", "Device deleted", "The device was deleted."},
	{"link_mac_changed", "MAC changed", "The device has another MAC address; the kernel removes its neighbors."},
	{"address_added", "Address added", "An address was added to the device."},
	{"address_removed", "Address removed", "An address was removed from the device; with the last one go its routes."},
	{"device_recreated", "flannel device made anew", "The flannel device is another one than before: flannel, or somebody else, made it anew. flannel does so when it starts."},
	{"own_lease_changed", "Own lease published anew", "This node's own lease changed, which flannel publishes when it starts."},
	{"lease_added", "Lease added", "A node joined."},
	{"lease_changed", "Lease changed", "A node published another public IP, VNI, MAC, public key or backend."},
	{"lease_removed", "Lease removed", "A node left."},
	{"history_damaged", "History damaged", "Records of the history file could not be read and are lost."},
	{"history_failing", "History not written", "The history file cannot be written; what happens meanwhile is only in memory."},
	{"history_back", "History written again", "The history file can be written again."},
	{"gap", "Events lost", "Events between the last one that was seen and the next one are no longer there."},
}

// EventTypes returns every type of event.
func EventTypes() []Word { return eventTypes }

// Lookup finds a word by its name; an unknown one is returned with its name as title.
func Lookup(words []Word, name string) Word {
	for _, w := range words {
		if w.Name == name {
			return w
		}
	}
	return Word{Name: name, Title: name, Meaning: "A word that this version of routewatch does not know."}
}
