package wire

import (
	"net/netip"
	"time"

	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
)

// ClusterList is what the exporters of several nodes said at one moment. No
// exporter serves it: `routewatch` makes it of their answers.
type ClusterList[T any] struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Time       time.Time `json:"time"`  // when they were asked, by the clock of who asked
	Items      []T       `json:"items"` // by node
	// Unreachable are the nodes about which nothing is known.
	Unreachable []Unreachable `json:"unreachable"`
	// Problem says why there may be nodes that are not even named here; "" if
	// there are none.
	Problem string `json:"problem,omitempty"`
}

// ClusterStatus is how each node is: `routewatch status -o json`.
type ClusterStatus = ClusterList[NodeStatus]

// Matrix is how each node sees each peer: `routewatch matrix -o json`.
type Matrix = ClusterList[MatrixRow]

// Diff is what the kernels lack and have too much: `routewatch diff -o json`.
type Diff = ClusterList[NodeDiff]

// Unreachable is a node without an answer.
type Unreachable struct {
	Node     string `json:"node,omitempty"`     // "" if not known
	Exporter string `json:"exporter,omitempty"` // its URL, or its pod as NAMESPACE/NAME; "" if the node has none
	Problem  string `json:"problem"`            // for a person: why, and what to do
}

// MatrixRow is what one node says of all peers.
type MatrixRow struct {
	Node         string        `json:"node"`
	Complete     bool          `json:"complete"`
	Healthy      bool          `json:"healthy"`
	NodeProblems []NodeProblem `json:"nodeProblems"`
	Peers        []MatrixCell  `json:"peers"` // by peer, family and lease
}

// MatrixCell is a lease in few words.
type MatrixCell struct {
	Peer    string          `json:"peer"`
	Family  netstate.Family `json:"family"`
	Lease   netip.Prefix    `json:"lease,omitzero"`
	State   verdict.State   `json:"state"`
	Effect  verdict.Effect  `json:"effect"`
	Partial bool            `json:"partial,omitempty"`
}

// NodeDiff is that of one node.
type NodeDiff struct {
	Node     string      `json:"node"`
	Complete bool        `json:"complete"`
	Leases   []LeaseDiff `json:"leases"` // the bad and the unknown ones
	// NodeProblems can be why, whatever the objects are.
	NodeProblems []NodeProblem `json:"nodeProblems"`
	Stale        []Stale       `json:"stale"`
}

// LeaseDiff is what one lease needs beside what is there.
type LeaseDiff struct {
	Lease  netip.Prefix    `json:"lease,omitzero"`
	Family netstate.Family `json:"family"`
	Peer   string          `json:"peer"`
	State  verdict.State   `json:"state"`
	Effect verdict.Effect  `json:"effect"`
	Reason string          `json:"reason,omitempty"`
	Lookup string          `json:"lookup,omitempty"`
	Difference
}
