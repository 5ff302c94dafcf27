package wire

import "time"

// ClusterStatus is what the exporters of several nodes said at one moment. No
// exporter serves it: `routewatch status` makes it of their answers.
type ClusterStatus struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Time       time.Time    `json:"time"`  // when they were asked, by the clock of who asked
	Items      []NodeStatus `json:"items"` // by node
	// Unreachable are the nodes about which nothing is known.
	Unreachable []Unreachable `json:"unreachable"`
	// Problem says why there may be nodes that are not even named here; "" if
	// there are none.
	Problem string `json:"problem,omitempty"`
}

// Unreachable is a node without an answer.
type Unreachable struct {
	Node     string `json:"node,omitempty"`     // "" if not known
	Exporter string `json:"exporter,omitempty"` // its URL, or its pod as NAMESPACE/NAME; "" if the node has none
	Problem  string `json:"problem"`            // for a person: why, and what to do
}
