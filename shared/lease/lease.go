// Package lease holds flannel's subnet leases: which node owns which pod
// subnet and how to reach it. It reads them from Node objects exactly as
// flannel's Kubernetes subnet manager does (pkg/subnet/kube/kube.go,
// v0.28.10), and says why a Node yields none.
package lease

import (
	"fmt"
	"net/netip"
	"time"

	"routewatch/shared/netstate"
)

// Key identifies a lease within a Set.
type Key struct {
	Peer   string
	Family netstate.Family
	Subnet netip.Prefix
}

// Lease is one node's claim on one subnet of one address family. A dual-stack
// node has two.
type Lease struct {
	Peer     string          `json:"peer"` // Node name; of an etcd lease the public IP
	Family   netstate.Family `json:"family"`
	Subnet   netip.Prefix    `json:"subnet,omitzero"` // masked; zero if the Node is malformed and names none
	PublicIP netip.Addr      `json:"publicIP,omitzero"`
	// PublicIPOverwritten: the administrator set public-ip-overwrite, so the
	// node's own device does not use PublicIP.
	PublicIPOverwritten bool         `json:"publicIPOverwritten,omitempty"`
	BackendType         string       `json:"backendType"`         // as published; "" for udp, alloc and tencent-vpc
	VNI                 uint32       `json:"vni,omitempty"`       // vxlan; 0 if not published (before flannel v0.14)
	MAC                 netstate.MAC `json:"mac,omitzero"`        // vxlan: VtepMAC
	PublicKey           string       `json:"publicKey,omitempty"` // wireguard
	Port                uint16       `json:"port,omitempty"`      // wireguard
	Created             time.Time    `json:"created,omitzero"`    // creation of the Node; zero where the source does not know: old
	Deleting            bool         `json:"deleting,omitempty"`  // the Node has a deletion timestamp
	// Malformed says why the lease cannot be used although the Node claims to
	// be flannel's: an annotation that is there but cannot be read. Such a
	// lease is unknown, never missing. Empty for a good lease.
	Malformed string `json:"malformed,omitempty"`
	// Conflict says which other lease of the set claims the same; see MarkConflicts.
	Conflict string `json:"conflict,omitempty"`
}

// Key returns the lease's identity.
func (l Lease) Key() Key { return Key{l.Peer, l.Family, l.Subnet} }

// Skipped is a Node that is no lease, and why. flannel skips it as well, so it
// raises no alarm.
type Skipped struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

// Set is all that a lease source knows at one moment. It is immutable.
type Set struct {
	Source string `json:"source"` // "file", "kubernetes" or "etcd"
	// Self is the name of the node that routewatch runs on; Own are its leases
	// (one a family), which are not among Leases.
	Self string  `json:"self"`
	Own  []Lease `json:"own,omitempty"`
	// Families are those that the node's flannel serves.
	Families []netstate.Family `json:"families,omitempty"`
	// Leases are the peers' leases, sorted by Peer, Family, Subnet.
	Leases  []Lease   `json:"leases,omitempty"`
	Skipped []Skipped `json:"skipped,omitempty"`
	// Complete is false while the source cannot be read; Leases are then the
	// last good ones, or empty if there never were any. Problem says what is
	// wrong and what to do, for a person.
	Complete bool   `json:"complete"`
	Problem  string `json:"problem,omitempty"`
	// Synced is when Leases were last known to be what the source holds; zero: never.
	Synced time.Time `json:"synced,omitzero"`
	// Written is when somebody last wrote what Leases were read from: the
	// modification time of a file. Zero for a source that has none.
	Written time.Time `json:"written,omitzero"`
	// Generation grows by one each time Own, Families or Leases change; 0: never read.
	Generation uint64 `json:"generation"`
}

// OwnOf returns the node's own lease of a family.
func (s *Set) OwnOf(f netstate.Family) (Lease, bool) {
	for _, l := range s.Own {
		if l.Family == f {
			return l, true
		}
	}
	return Lease{}, false
}

// OwnProblem says why this node's own lease is not known, for a person; "" if it is.
func (s *Set) OwnProblem() string {
	if s.Source == SourceEtcd && len(s.Own) == 0 {
		return fmt.Sprintf("this node's own lease is not known: none of the %d leases in etcd has a public IP of this node, "+
			"or a subnet whose first address one of its devices has; if flannel should run here, look at its log", s.nodes())
	}
	for _, own := range s.Own {
		if own.Malformed != "" {
			return fmt.Sprintf("this node's own lease cannot be used: Node %s: %s; restart flannel on this node, which writes it anew",
				s.Self, own.Malformed)
		}
	}
	if len(s.Own) > 0 {
		return ""
	}
	for _, skipped := range s.Skipped {
		if skipped.Node == s.Self {
			return fmt.Sprintf("this node's own lease is not known: Node %s: %s; if flannel should run here, look at its pod on this node",
				s.Self, skipped.Reason)
		}
	}
	return fmt.Sprintf("this node's own Node %q is not among the %d Nodes: "+
		"give its name, as `kubectl get nodes` prints it, with --node-name or NODE_NAME", s.Self, s.nodes())
}

// nodes returns how many Nodes the Set tells of.
func (s *Set) nodes() int {
	names := map[string]bool{}
	for _, l := range s.Leases {
		names[l.Peer] = true
	}
	for _, skipped := range s.Skipped {
		names[skipped.Node] = true
	}
	return len(names)
}
