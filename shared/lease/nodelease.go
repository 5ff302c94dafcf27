package lease

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"routewatch/shared/netstate"
)

// nodeReader reads single Nodes.
type nodeReader struct {
	prefix   Prefix
	families []netstate.Family // that this node's flannel serves; none: not known
}

// outcome is what came of reading a Node or a part of it, from good to bad.
type outcome int

const (
	_ outcome = iota // good
	// unserved: the Node's flannel does not serve the family. Only this family has no lease.
	unserved
	// empty: the backend data is null, which flannel reads as a peer without a MAC or key.
	empty
	// absent: something is not there, so flannel skips the whole Node.
	absent
	// malformed: something is there and cannot be read.
	malformed
)

// finding is an outcome and, unless it is good, the reason: a sentence for a person.
type finding struct {
	outcome
	reason string
}

func found(o outcome, format string, args ...any) finding {
	return finding{o, fmt.Sprintf(format, args...)}
}

// worse returns the worse finding, the first of equals.
func (f finding) worse(g finding) finding {
	if g.outcome > f.outcome {
		return g
	}
	return f
}

// node reads one Node as flannel's nodeToLease and the event handlers of its
// backends do. flannel reads all families that it serves before it uses any:
// what is wrong with one of them costs the Node all its leases.
func (r nodeReader) node(n *Node) ([]Lease, []Skipped) {
	skip := func(reason string) ([]Lease, []Skipped) {
		return nil, []Skipped{{Node: n.Metadata.Name, Reason: reason}}
	}
	if reason := r.notManaged(n); reason != "" {
		return skip(reason)
	}
	families := r.familiesOf(n)
	var worst finding
	var leases []Lease
	var unservedReasons []string
	for _, family := range families {
		l, f := r.family(n, family)
		if f.outcome == unserved && n.Unreadable == "" {
			unservedReasons = append(unservedReasons, f.reason)
			continue
		}
		leases = append(leases, l)
		worst = worst.worse(f)
	}
	if n.Unreadable != "" {
		worst = finding{malformed, n.Unreadable}
	}
	switch worst.outcome {
	case absent:
		if len(families) > 1 {
			worst.reason += "; flannel then drops the leases of both families"
		}
		return skip(worst.reason)
	case empty, malformed:
		for i := range leases {
			leases[i].Malformed = worst.reason
		}
	}
	if len(unservedReasons) > 0 {
		_, skipped := skip(strings.Join(unservedReasons, "; "))
		return leases, skipped
	}
	return leases, nil
}

// notManaged says why the Node is none of flannel's; "" if it is one or cannot be told.
func (r nodeReader) notManaged(n *Node) string {
	key := r.prefix.Key("kube-subnet-manager")
	switch v, ok := n.Metadata.Annotations[key]; {
	case v == "true" || n.Unreadable != "":
		return ""
	case !ok:
		return "annotation " + key + " is not there: flannel does not run on this node, or has not registered it yet"
	default:
		return fmt.Sprintf("annotation %s is %s: only \"true\" makes it a node of flannel's", key, quote(v))
	}
}

// family reads what a Node says of one family.
func (r nodeReader) family(n *Node, family netstate.Family) (Lease, finding) {
	l := Lease{
		Peer:                n.Metadata.Name,
		Family:              family,
		BackendType:         n.Metadata.Annotations[r.prefix.Key("backend-type")],
		Created:             created(n),
		Deleting:            !n.Metadata.DeletionTimestamp.IsZero(),
		PublicIPOverwritten: n.Metadata.Annotations[r.prefix.Key(publicIPSuffix(family)+"-overwrite")] != "",
	}
	var f, g finding
	l.Subnet, f = podCIDR(n.Spec, family)
	l.PublicIP, g = r.publicIP(n, family)
	if f = f.worse(g); f.outcome == unserved {
		return l, f
	}
	return l, f.worse(r.backendData(n, &l))
}

// created returns when the Node was created. A time that JSON cannot hold in
// UTC counts as unknown.
func created(n *Node) time.Time {
	t := n.Metadata.CreationTimestamp.UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

func publicIPSuffix(family netstate.Family) string {
	if family == netstate.IPv6 {
		return "public-ipv6"
	}
	return "public-ip"
}

// publicIP reads the tunnel endpoint. An overwrite needs no regard: flannel
// copies it into the same annotation when it starts.
func (r nodeReader) publicIP(n *Node, family netstate.Family) (netip.Addr, finding) {
	key := r.prefix.Key(publicIPSuffix(family))
	v := n.Metadata.Annotations[key]
	if v == "" {
		return netip.Addr{}, found(absent, "annotation %s is not there", key)
	}
	a, err := netip.ParseAddr(v)
	a = a.Unmap()
	switch {
	case err != nil || a.Zone() != "" || netstate.FamilyOf(a) != family:
		return netip.Addr{}, found(malformed, "annotation %s is %s, which is no %s address", key, quote(v), ipVersion(family))
	case a == netip.IPv4Unspecified():
		// What host-gw and wireguard write on a node without IPv4 (kube.go:434).
		return netip.Addr{}, found(unserved, "annotation %s is 0.0.0.0: flannel on this node serves no IPv4", key)
	case a.IsUnspecified():
		return netip.Addr{}, found(malformed, "annotation %s is %s, which is no node's address", key, quote(v))
	}
	return a, finding{}
}

// podCIDR returns the first CIDR of the family. As in flannel one that cannot
// be parsed matters only if it comes before that.
func podCIDR(spec Spec, family netstate.Family) (netip.Prefix, finding) {
	field, cidrs := "spec.podCIDRs", spec.PodCIDRs
	var f finding
	switch {
	case len(cidrs) > 2:
		f = found(malformed, "spec.podCIDRs has %d entries (%s): flannel takes one of each family", len(cidrs), quote(strings.Join(cidrs, ", ")))
	case len(cidrs) == 0 && spec.PodCIDR == "":
		return netip.Prefix{}, found(absent, "spec.podCIDR is not there: the cluster assigned the node no pod subnet")
	case len(cidrs) == 0:
		field, cidrs = "spec.podCIDR", []string{spec.PodCIDR}
	}
	for _, v := range cidrs {
		p, err := netip.ParsePrefix(v)
		switch {
		case err != nil || p.Addr().Is4In6():
			f = f.worse(found(malformed, "%s has %s, which is no CIDR", field, quote(v)))
		case netstate.FamilyOf(p.Addr()) == family:
			return p.Masked(), f
		}
	}
	return netip.Prefix{}, f.worse(found(absent, "%s (%s) has no %s CIDR", field, quote(strings.Join(cidrs, ", ")), ipVersion(family)))
}

func ipVersion(family netstate.Family) string {
	if family == netstate.IPv6 {
		return "IPv6"
	}
	return "IPv4"
}

// quote quotes a value for a reason, shortened if it is long.
func quote(s string) string {
	if short, ok := shorten(s, 80); ok {
		return fmt.Sprintf("%q... (%d bytes)", short, len(s))
	}
	return fmt.Sprintf("%q", s)
}

// shorten cuts a string to at most limit bytes and reports whether it had to.
func shorten(s string, limit int) (string, bool) {
	if len(s) <= limit {
		return s, false
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit], true
}
