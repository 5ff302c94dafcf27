// Package mend turns findings into steps. A step is a value that prints the
// command a person types and that can be executed as it stands: what is
// printed is what is done.
package mend

import (
	"fmt"
	"net/netip"
	"strings"

	"routewatch/shared/netstate"
)

// Verb says what a step does to which object.
type Verb string

// The verbs, in the words of ip(8) and bridge(8).
const (
	RouteReplace    Verb = "ip route replace"
	RouteDelete     Verb = "ip route del"
	NeighborReplace Verb = "ip neigh replace"
	NeighborDelete  Verb = "ip neigh del"
	FDBReplace      Verb = "bridge fdb replace"
	FDBDelete       Verb = "bridge fdb del"
	LinkUp          Verb = "ip link set up"
	LinkAddress     Verb = "ip link set address"
	AddressReplace  Verb = "ip address replace"
	AddressDelete   Verb = "ip address del"
	RuleAdd         Verb = "ip rule add"
)

// Step is one change to one kernel object. Which fields matter depends on the verb.
type Step struct {
	Verb     Verb
	Device   string
	Prefix   netip.Prefix // destination of a route or rule, address with its length
	Type     netstate.RouteType
	Gateway  netip.Addr
	OnLink   bool
	Priority uint32 // metric of a route, preference of a rule
	Table    uint32 // 0: main
	IP       netip.Addr
	MAC      netstate.MAC
	Dst      netip.Addr // of an FDB entry
}

// String prints the step as the command that a person types.
func (s Step) String() string {
	var room [roomy]byte
	l := line(room[:0])
	switch s.Verb {
	case RouteReplace, RouteDelete:
		l = s.route(l.words(string(s.Verb)))
	case NeighborReplace:
		l = l.words(string(s.Verb)).addr(s.IP).words("lladdr").mac(s.MAC).words("dev", s.Device, "nud permanent")
	case NeighborDelete:
		l = l.words(string(s.Verb)).addr(s.IP).words("dev", s.Device)
	case FDBReplace:
		l = l.words(string(s.Verb)).mac(s.MAC).words("dev", s.Device, "dst").addr(s.Dst).words("self permanent")
	case FDBDelete:
		l = l.words(string(s.Verb)).mac(s.MAC).words("dev", s.Device, "dst").addr(s.Dst).words("self")
	case LinkUp:
		l = l.words("ip link set", s.Device, "up")
	case LinkAddress:
		l = l.words("ip link set", s.Device, "address").mac(s.MAC)
	case AddressReplace, AddressDelete:
		l = l.words(string(s.Verb)).prefix(s.Prefix).words("dev", s.Device)
	case RuleAdd:
		l = l.words(ruleVerb(s.Prefix), "to").prefix(s.Prefix).words("lookup main pref").number(s.Priority)
	}
	return string(l)
}

// route adds the object of a route step.
func (s *Step) route(l line) line {
	if s.Type != 0 && s.Type != netstate.Unicast {
		l = l.words(s.Type.String())
	}
	l = l.prefix(s.Prefix)
	if s.Gateway.IsValid() {
		l = l.words("via").addr(s.Gateway)
	}
	if s.Device != "" {
		l = l.words("dev", s.Device)
	}
	if s.Table != 0 && s.Table != netstate.TableMain {
		l = l.words("table").number(s.Table)
	}
	if s.Priority != 0 {
		l = l.words("metric").number(s.Priority)
	}
	if s.OnLink {
		l = l.words("onlink")
	}
	return l
}

// ruleVerb spells the family out: ip(8) takes IPv4 for granted where rules are concerned.
func ruleVerb(p netip.Prefix) string {
	if netstate.FamilyOf(p.Addr()) == netstate.IPv6 {
		return "ip -6 rule add"
	}
	return "ip rule add"
}

// Parse reads a command back that Step.String printed, and no other.
func Parse(command string) (Step, error) {
	p := parser{words: strings.Fields(command)}
	s := p.step()
	if p.err == nil && len(p.words) > 0 {
		p.fail("nothing after it, got %q", strings.Join(p.words, " "))
	}
	if p.err != nil {
		return Step{}, fmt.Errorf("%q is not a command that routewatch prints: %w", command, p.err)
	}
	return s, nil
}
