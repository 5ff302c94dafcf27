package wire

import (
	"net/netip"
	"time"

	"routewatch/shared/netstate"
)

// Place says what an address is to this node.
type Place string

// The places.
const (
	PlacePeer    Place = "peer"      // a pod of another node: a lease holds it
	PlaceOwn     Place = "own"       // in this node's own subnet
	PlaceUnder   Place = "underlay"  // a public IP that a lease names
	PlaceFree    Place = "no_lease"  // in the pod network, but no lease holds it
	PlaceOutside Place = "outside"   // not in the pod network
	PlaceUnknown Place = "not_known" // no lease holds it, and what the pod network is is not known
)

// Places are all of them.
var Places = []Place{PlacePeer, PlaceOwn, PlaceUnder, PlaceFree, PlaceOutside, PlaceUnknown}

// Explanation is the document of /api/v1/explain.
type Explanation struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Node       string          `json:"node"`
	Time       time.Time       `json:"time"` // when the snapshot was judged
	Complete   bool            `json:"complete"`
	Address    netip.Addr      `json:"address"`
	Family     netstate.Family `json:"family"`
	Place      Place           `json:"place"`
	Answer     string          `json:"answer"` // for a person, in one sentence
	// Lease is the one that holds the address, with the objects that it needs
	// also where all are there; with place underlay the first that names it.
	Lease *Lease `json:"lease,omitempty"`
	// Own is this node's own lease that holds or names the address.
	Own *OwnLease `json:"own,omitempty"`
	// Lookups are what the kernel does with a packet to the address.
	Lookups []ExplainedLookup `json:"lookups"`
	// Incidents are the open ones that the lease belongs to.
	Incidents []Incident `json:"incidents"`
	// NodeProblems of the family: they can be why, whatever the lease's state.
	NodeProblems []NodeProblem `json:"nodeProblems"`
}

// ExplainedLookup is an answer of the kernel's own route lookup.
type ExplainedLookup struct {
	Address netip.Addr `json:"address"`       // that was asked for
	From    netip.Addr `json:"from,omitzero"` // source address; absent: the kernel's choice
	Answer  string     `json:"answer"`
	// Live: asked for this request. Otherwise it is of the last snapshot, and
	// perhaps for the address that stands for the whole subnet.
	Live bool `json:"live"`
	// Problem says why it is not live; "" if it is.
	Problem string `json:"problem,omitempty"`
}
