// Package mend turns findings into steps. A step is a value that prints the
// command a person types and that can be executed as it stands: what is
// printed is what is done.
package mend

import (
	"fmt"
	"net/netip"
	"strconv"
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
	var b strings.Builder
	word := func(words ...string) {
		for _, w := range words {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(w)
		}
	}
	switch s.Verb {
	case RouteReplace, RouteDelete:
		word(string(s.Verb))
		if s.Type != 0 && s.Type != netstate.Unicast {
			word(s.Type.String())
		}
		word(s.Prefix.String())
		if s.Gateway.IsValid() {
			word("via", s.Gateway.String())
		}
		if s.Device != "" {
			word("dev", s.Device)
		}
		if s.Table != 0 && s.Table != netstate.TableMain {
			word("table", strconv.FormatUint(uint64(s.Table), 10))
		}
		if s.Priority != 0 {
			word("metric", strconv.FormatUint(uint64(s.Priority), 10))
		}
		if s.OnLink {
			word("onlink")
		}
	case NeighborReplace:
		word(string(s.Verb), s.IP.String(), "lladdr", s.MAC.String(), "dev", s.Device, "nud", "permanent")
	case NeighborDelete:
		word(string(s.Verb), s.IP.String(), "dev", s.Device)
	case FDBReplace:
		word(string(s.Verb), s.MAC.String(), "dev", s.Device, "dst", s.Dst.String(), "self", "permanent")
	case FDBDelete:
		word(string(s.Verb), s.MAC.String(), "dev", s.Device, "dst", s.Dst.String(), "self")
	case LinkUp:
		word("ip link set", s.Device, "up")
	case LinkAddress:
		word("ip link set", s.Device, "address", s.MAC.String())
	case AddressReplace, AddressDelete:
		word(string(s.Verb), s.Prefix.String(), "dev", s.Device)
	case RuleAdd:
		word(ruleVerb(s.Prefix), "to", s.Prefix.String(), "lookup", "main", "pref", strconv.FormatUint(uint64(s.Priority), 10))
	}
	return b.String()
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
