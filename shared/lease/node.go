package lease

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"routewatch/shared/netstate"
)

// Node is the part of a Kubernetes Node that flannel reads.
type Node struct {
	Metadata Metadata `json:"metadata"`
	Spec     Spec     `json:"spec"`
	// Unreadable says why the rest could not be decoded although it is a Node
	// and has a name. It is judged like an annotation that cannot be read.
	Unreadable string `json:"-"`
}

// Metadata is the part of an object's metadata that flannel reads.
type Metadata struct {
	Name              string            `json:"name"`
	Annotations       map[string]string `json:"annotations,omitempty"`
	CreationTimestamp time.Time         `json:"creationTimestamp,omitzero"`
	DeletionTimestamp time.Time         `json:"deletionTimestamp,omitzero"`
}

// Spec is the part of a Node's spec that flannel reads.
type Spec struct {
	PodCIDR  string   `json:"podCIDR,omitempty"`
	PodCIDRs []string `json:"podCIDRs,omitempty"`
}

// Options say how to read Nodes.
type Options struct {
	Self   string // the own node's name
	Prefix Prefix // of the annotation keys
	// Families are those that this node's flannel serves. If nil, they are
	// derived from the own Node's annotations.
	Families []netstate.Family
}

// Prefix is what flannel's annotation keys begin with, as ParsePrefix leaves
// it. The zero value is flannel's default.
type Prefix string

// DefaultPrefix is the default of flannel's --kube-annotation-prefix.
const DefaultPrefix = "flannel.alpha.coreos.com"

// Not anchored at its start, as flannel has it (pkg/subnet/kube/annotations.go).
var validPrefix = regexp.MustCompile(`(?:[a-z0-9_-]+\.)+[a-z0-9_-]+/(?:[a-z0-9_-]+-)?$`)

// ParsePrefix normalises a value of flannel's --kube-annotation-prefix exactly
// as flannel does: "a.b" and "a.b/" give keys like a.b/backend-data, "a.b/c"
// and "a.b/c-" give a.b/c-backend-data.
func ParsePrefix(s string) (Prefix, error) {
	const want = ": give flannel's --kube-annotation-prefix, e.g. " + DefaultPrefix
	p := s
	switch strings.Count(p, "/") {
	case 0:
		p += "/"
	case 1:
	default:
		return "", fmt.Errorf("annotation prefix %s has more than one slash%s", quote(s), want)
	}
	if !strings.HasSuffix(p, "/") && !strings.HasSuffix(p, "-") {
		p += "-"
	}
	if !validPrefix.MatchString(p) {
		return "", fmt.Errorf("annotation prefix %s is no DNS name with an optional /word, all in lower case%s", quote(s), want)
	}
	return Prefix(p), nil
}

// Key returns the annotation key with the suffix.
func (p Prefix) Key(suffix string) string {
	if p == "" {
		return DefaultPrefix + "/" + suffix
	}
	return string(p) + suffix
}
