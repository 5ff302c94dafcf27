package lease

import (
	"slices"

	"routewatch/shared/netstate"
)

// familiesOf returns the families to read from a Node: those that this node's
// flannel serves; if they are not known, those that the Node itself announces.
func (r nodeReader) familiesOf(n *Node) []netstate.Family {
	if len(r.families) > 0 {
		return r.families
	}
	if families := r.announced(n); len(families) > 0 {
		return families
	}
	return []netstate.Family{netstate.IPv4} // flannel's own default
}

// served returns the families that the flannel of the own Node serves; nil if it does not say.
func (r nodeReader) served(own []*Node) []netstate.Family {
	var families []netstate.Family
	for _, n := range own {
		families = append(families, r.announced(n)...)
	}
	return sortedFamilies(families)
}

// announced returns the families for which flannel on the Node has published
// an endpoint. Annotations of a family outlive the configuration that wrote
// them, but flannel does not start without a CIDR of each family that it
// serves: a family without one is left out where another has one.
func (r nodeReader) announced(n *Node) []netstate.Family {
	if r.notManaged(n) != "" {
		return nil
	}
	var families, withCIDR []netstate.Family
	for _, family := range []netstate.Family{netstate.IPv4, netstate.IPv6} {
		if !r.announces(n, family) {
			continue
		}
		families = append(families, family)
		if _, f := podCIDR(n.Spec, family); f.outcome != absent {
			withCIDR = append(withCIDR, family)
		}
	}
	if len(withCIDR) > 0 {
		return withCIDR
	}
	return families
}

func (r nodeReader) announces(n *Node, family netstate.Family) bool {
	if _, f := r.publicIP(n, family); f.outcome != absent {
		return f.outcome != unserved
	}
	if family == netstate.IPv6 {
		return false
	}
	data := n.Metadata.Annotations[r.prefix.Key("backend-data")]
	return !slices.Contains([]string{"", "null"}, data)
}
