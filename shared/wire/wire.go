// Package wire is the JSON contract between the exporter and everything that
// reads it. Its types are what judge computes: there is no second model.
//
// v1 only grows. Readers print a word that they do not know as it is and count
// it as bad. Everything here is immutable once published.
package wire

import (
	"net/netip"
	"time"

	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
)

// APIVersion and the kinds of documents.
const (
	APIVersion     = "routewatch/v1"
	KindNodeStatus = "NodeStatus"
	KindLeaseList  = "LeaseList"
	KindCluster    = "ClusterStatus"
	KindEvents     = "EventList"
	KindExplain    = "Explanation"
)

// Kinds of documents that `routewatch` makes of what several nodes answered:
// their items are the documents that the nodes sent. No exporter serves them.
const (
	KindClusterLeases  = "ClusterLeaseList"
	KindClusterEvents  = "ClusterEventList"
	KindClusterExplain = "ClusterExplanation"
	KindMatrix         = "Matrix"
	KindDiff           = "Diff"
	KindDiagnosis      = "Diagnosis"
)

// MaxProblems is how many problems a NodeStatus holds at most.
const MaxProblems = 100

// Snapshot is everything that is known of a node at one moment: the output of
// judge.Next and the only state that the exporter has.
type Snapshot struct {
	Node string
	Time time.Time // when it was judged
	// Complete: both sides were read completely. LeasesRead and KernelRead say
	// whether each side ever was.
	Complete               bool
	LeasesRead, KernelRead bool
	OwnLeaseKnown          bool // without it a node is never healthy; the source's Problem says why it is not
	Healthy                bool
	Backend                string // "vxlan", ...; "" while unknown
	VNI                    uint32
	Families               []netstate.Family
	Devices                []Device
	Sources                []Source
	Summary                Summary
	Leases                 []*Lease // sorted by Peer, Family, Subnet; shared with the snapshots before it
	Skipped                []Skipped
	NodeProblems           []NodeProblem
	NodeJudged             bool // NodeProblems were looked for: the own lease and the kernel are known
	Stale                  []Stale
	Incidents              []Incident        // open ones, oldest first
	IncidentsTotal         map[string]uint64 // by cause, since start
	IncidentSeq            uint64            // number of the last incident, since start
	Counters               netstate.Counters
	Generation             uint64 // of the lease set that was judged
	// Triggered is when the oldest event that led to this snapshot was
	// received; zero if none did.
	Triggered time.Time

	// What follows is for the next snapshot, and for whoever compares two.

	Own []OwnLease // this node's own leases
	// KnownNodeProblems are those that were found last, also while the kernel
	// cannot be read and nothing is judged.
	KnownNodeProblems []NodeProblem
	// Recent are the last changes around, oldest first: see Incident.Around.
	Recent    []Change
	ChangeSeq uint64 // number of the last change, since start
	// Awaited are the leases that belonged to an incident before a restart and
	// were not seen since: by subnet the incident's id. Nil once leases were read.
	Awaited map[netip.Prefix]string
}

// OwnLease is what this node itself published.
type OwnLease struct {
	Lease     netip.Prefix    `json:"lease"`
	Family    netstate.Family `json:"family"`
	PublicIP  netip.Addr      `json:"publicIP,omitzero"`
	Backend   string          `json:"backend,omitempty"`
	VNI       uint32          `json:"vni,omitempty"`
	MAC       netstate.MAC    `json:"mac,omitzero"`
	PublicKey string          `json:"publicKey,omitempty"`
}

// NodeStatus is the document of /api/v1/status.
type NodeStatus struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Version is the exporter's release; absent where nobody stamped one into it.
	Version       string        `json:"version,omitempty"`
	Node          string        `json:"node"`
	Time          time.Time     `json:"time"`
	Complete      bool          `json:"complete"`
	Healthy       bool          `json:"healthy"`
	Backend       string        `json:"backend"`
	Devices       []Device      `json:"devices"`
	Sources       []Source      `json:"sources"`
	Summary       Summary       `json:"summary"`
	Problems      []Lease       `json:"problems"` // at most MaxProblems, worst first; leases that are bad or unknown
	ProblemsTotal int           `json:"problemsTotal"`
	Incidents     []Incident    `json:"incidents"`
	NodeProblems  []NodeProblem `json:"nodeProblems"`
	Stale         []Stale       `json:"stale"`
	Skipped       []Skipped     `json:"skipped"`
	// History is about the file with the history; absent if there is none.
	History *History `json:"history,omitempty"`
}

// LeaseList is the document of /api/v1/leases.
type LeaseList struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Node       string    `json:"node"`
	Time       time.Time `json:"time"`
	Items      []Lease   `json:"items"`
	// Continue is the value for ?continue= that gives the next page; "" on the last.
	Continue string `json:"continue,omitempty"`
}

// Device is a flannel device of the node.
type Device struct {
	Name    string          `json:"name"`
	Family  netstate.Family `json:"family"`
	Present bool            `json:"present"`
	Up      bool            `json:"up"` // IFF_UP; the carrier says nothing on a tunnel
	VNI     uint32          `json:"vni,omitempty"`
	MAC     netstate.MAC    `json:"mac,omitzero"`
	MTU     int             `json:"mtu,omitempty"`
	// Index is its ifindex, or while it is not there the last one it had.
	Index int `json:"-"`
}

// NotReadYet is the Problem of a source that nothing was heard of so far.
const NotReadYet = "not read yet"

// Source is one side of the comparison: a lease source, or the kernel.
type Source struct {
	Name     string    `json:"name"` // "file", "kubernetes", "etcd" or "kernel"
	Complete bool      `json:"complete"`
	Problem  string    `json:"problem,omitempty"` // for a person: what is wrong and what to do
	LastSync time.Time `json:"lastSync,omitzero"` // zero: never
	// Written is when somebody last wrote what was read: the modification time
	// of a file. Absent for a source that has none. An old one is no fault.
	Written time.Time `json:"written,omitzero"`
}

// Summary counts. Expected, Present and Missing are route objects: present +
// missing = expected.
type Summary struct {
	Families []FamilySummary `json:"families"`
	Leases   int             `json:"leases"`
	Expected int             `json:"expected"`
	Present  int             `json:"present"`
	Missing  int             `json:"missing"`
	Stale    int             `json:"stale"`
	// States and Effects have every word of the vocabulary, zeros included.
	States  map[verdict.State]int  `json:"states"`
	Effects map[verdict.Effect]int `json:"effects"`
}

// FamilySummary is the Summary of one address family.
type FamilySummary struct {
	Family   netstate.Family        `json:"family"`
	Expected int                    `json:"expected"`
	Present  int                    `json:"present"`
	Missing  int                    `json:"missing"`
	States   map[verdict.State]int  `json:"states"`
	Effects  map[verdict.Effect]int `json:"effects"`
	Stale    map[StaleKind]int      `json:"stale"`
}

// Lease is a judged lease. A problem is a Lease whose state is bad.
type Lease struct {
	Lease  netip.Prefix    `json:"lease,omitzero"` // the subnet; absent if the Node is malformed and names none
	Family netstate.Family `json:"family"`
	Peer   string          `json:"peer"`
	State  verdict.State   `json:"state"`
	Effect verdict.Effect  `json:"effect"`
	// Partial: Effect holds for a part of the subnet only.
	Partial bool          `json:"partial,omitempty"`
	Cause   verdict.Cause `json:"cause,omitempty"` // only while bad, and while unknown after that
	Actor   *Actor        `json:"actor,omitempty"` // likewise
	// CauseDevice is the device that Cause happened to, "" if it is of none.
	CauseDevice string `json:"-"`
	// Since is when the lease stopped being well, in whatever way; zero while it is.
	Since time.Time `json:"since,omitzero"`
	// Reason says in words why a state is unknown, unsupported, conflict or
	// the like, where the objects do not.
	Reason   string   `json:"reason,omitempty"`
	Expected []string `json:"expected,omitempty"` // objects in the form that ip prints
	Actual   []string `json:"actual,omitempty"`
	Lookup   string   `json:"lookup,omitempty"` // what the kernel does with a packet now
	Advice   []Advice `json:"advice,omitempty"`
	// Checked names what "ok" proves, Unchecked what it does not.
	Checked   []string `json:"checked,omitempty"`
	Unchecked []string `json:"unchecked,omitempty"`

	PublicIP netip.Addr   `json:"publicIP,omitzero"`
	Backend  string       `json:"backend,omitempty"`
	VNI      uint32       `json:"vni,omitempty"`
	MAC      netstate.MAC `json:"mac,omitzero"`
	// PublicKey is that of a WireGuard peer, in base64.
	PublicKey string `json:"publicKey,omitempty"`
	// Changed is when the lease's attributes last changed as far as this
	// exporter saw; zero: before it started.
	Changed time.Time `json:"changed,omitzero"`
	// Completed: the chain was complete at least once since Changed.
	Completed bool `json:"completed"`
	// RoutePresent: an accepted route for exactly the subnet is there.
	RoutePresent bool   `json:"routePresent"`
	Incident     string `json:"incident,omitempty"` // id of the open incident that the lease belongs to
}

// Advice is one thing to type.
type Advice struct {
	Command string `json:"command"`
	// Why is set where the command does more than mend the single object.
	Why string `json:"why,omitempty"`
}

// Actor is who made a change, as far as the kernel tells. A process without PID
// is one of which nobody can tell which.
type Actor struct {
	Kind   verdict.ActorKind `json:"kind"`
	PortID uint32            `json:"portID,omitempty"` // netlink port id; not a pid
	PID    int               `json:"pid,omitempty"`    // as the exporter's /proc has it
	Comm   string            `json:"comm,omitempty"`   // the name that the process gave itself
	How    verdict.ActorHow  `json:"how,omitempty"`    // it was found out
}

// NodeProblem is a fault of the node itself.
type NodeProblem struct {
	Problem verdict.NodeProblem `json:"problem"`
	Family  netstate.Family     `json:"family,omitempty"`
	Device  string              `json:"device,omitempty"`
	Since   time.Time           `json:"since"`
	Message string              `json:"message"` // what is expected and what is there
	Advice  []Advice            `json:"advice,omitempty"`
}

// StaleKind is the kind of object that no lease explains.
type StaleKind string

// The kinds of stale objects.
const (
	StaleRoute    StaleKind = "route"
	StaleNeighbor StaleKind = "neighbor"
	StaleFDB      StaleKind = "fdb"
	StalePeer     StaleKind = "peer" // of WireGuard
)

// StaleKinds are all of them.
var StaleKinds = []StaleKind{StaleRoute, StaleNeighbor, StaleFDB, StalePeer}

// Stale is an object of flannel's form that no lease explains: information,
// not a fault.
type Stale struct {
	Kind   StaleKind       `json:"kind"`
	Family netstate.Family `json:"family"`
	Object string          `json:"object"` // in the form that ip or bridge prints
	Since  time.Time       `json:"since"`  // first seen
	Advice []Advice        `json:"advice,omitempty"`
	// Pending: younger than the grace, so not yet counted or shown.
	Pending bool `json:"-"`
}

// Incident is one event that broke something.
type Incident struct {
	ID      string         `json:"id"`
	Cause   verdict.Cause  `json:"cause"`
	Actor   *Actor         `json:"actor,omitempty"`
	Device  string         `json:"device,omitempty"`
	Start   time.Time      `json:"start"`
	End     time.Time      `json:"end,omitzero"`
	State   verdict.State  `json:"state"`   // the worst so far
	Effect  verdict.Effect `json:"effect"`  // the worst so far
	Leases  int            `json:"leases"`  // how many it broke
	Subnets []netip.Prefix `json:"subnets"` // the first 20 of them
	// Around is what else happened from half a minute before the start to the
	// end, oldest first: the first and the last of it, at most MaxAround.
	Around []Change `json:"around"`
	// Joined is when a lease joined last.
	Joined time.Time `json:"-"`
}

// MaxAround is how many changes an incident tells of at most.
const MaxAround = 20

// Change is an event of a device, an address or a lease that need not have
// broken anything.
type Change struct {
	Time   time.Time         `json:"time"`
	Type   verdict.EventType `json:"type"`
	Family netstate.Family   `json:"family,omitempty"`
	Device string            `json:"device,omitempty"`
	Peer   string            `json:"peer,omitempty"`
	Object string            `json:"object,omitempty"` // the address, or the lease's subnet
	Actor  *Actor            `json:"actor,omitempty"`
	// Count is how many changes of this type this one stands for, where there
	// were too many at once to tell them one by one; else 0.
	Count  int    `json:"count,omitempty"`
	Detail string `json:"detail,omitempty"` // for a person: what changed
	// Seq is its number; see Snapshot.ChangeSeq.
	Seq uint64 `json:"-"`
}

// Skipped is a Node that is no lease, and why.
type Skipped struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

// Problem is the body of an error answer: RFC 9457, application/problem+json.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}
