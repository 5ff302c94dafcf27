package mend

import (
	"fmt"
	"net/netip"
	"strconv"

	"routewatch/shared/netstate"
)

// parser consumes the words of a command; the first error sticks.
type parser struct {
	words []string
	err   error
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("expected "+format, args...)
	}
}

// next takes the next word; "" at the end or after an error.
func (p *parser) next() string {
	if p.err != nil || len(p.words) == 0 {
		p.fail("another word at the end")
		return ""
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

// accept takes the words if they come next.
func (p *parser) accept(words ...string) bool {
	if p.err != nil || len(p.words) < len(words) {
		return false
	}
	for i, w := range words {
		if p.words[i] != w {
			return false
		}
	}
	p.words = p.words[len(words):]
	return true
}

func (p *parser) expect(words ...string) {
	if !p.accept(words...) {
		p.fail("%q", words)
	}
}

func (p *parser) addr() netip.Addr {
	w := p.next()
	a, err := netip.ParseAddr(w)
	if err != nil {
		p.fail("an IP address, got %q", w)
	}
	return a
}

func (p *parser) prefix() netip.Prefix {
	w := p.next()
	a, err := netip.ParsePrefix(w)
	if err != nil {
		p.fail("a prefix, got %q", w)
	}
	return a
}

func (p *parser) mac() netstate.MAC {
	w := p.next()
	m, err := netstate.ParseMAC(w)
	if err != nil {
		p.fail("a MAC address, got %q", w)
	}
	return m
}

func (p *parser) number() uint32 {
	w := p.next()
	n, err := strconv.ParseUint(w, 10, 32)
	if err != nil {
		p.fail("a number, got %q", w)
	}
	return uint32(n)
}

func (p *parser) step() Step {
	switch {
	case p.accept("ip", "route", "replace"):
		return p.route(RouteReplace)
	case p.accept("ip", "route", "del"):
		return p.route(RouteDelete)
	case p.accept("ip", "neigh", "replace"):
		s := Step{Verb: NeighborReplace, IP: p.addr()}
		p.expect("lladdr")
		s.MAC = p.mac()
		p.expect("dev")
		s.Device = p.next()
		p.expect("nud", "permanent")
		return s
	case p.accept("ip", "neigh", "del"):
		s := Step{Verb: NeighborDelete, IP: p.addr()}
		p.expect("dev")
		s.Device = p.next()
		return s
	case p.accept("bridge", "fdb", "replace"):
		s := p.fdb(FDBReplace)
		p.expect("permanent")
		return s
	case p.accept("bridge", "fdb", "del"):
		return p.fdb(FDBDelete)
	case p.accept("ip", "link", "set"):
		return p.link()
	case p.accept("ip", "address", "replace"):
		return p.address(AddressReplace)
	case p.accept("ip", "address", "del"):
		return p.address(AddressDelete)
	case p.accept("ip", "rule", "add"), p.accept("ip", "-6", "rule", "add"):
		p.expect("to")
		s := Step{Verb: RuleAdd, Prefix: p.prefix()}
		p.expect("lookup", "main", "pref")
		s.Priority = p.number()
		return s
	}
	p.fail("it to begin with ip or bridge and a verb of routewatch's")
	return Step{}
}

func (p *parser) route(v Verb) Step {
	s := Step{Verb: v, Type: netstate.Unicast}
	if len(p.words) > 0 {
		var t netstate.RouteType
		if t.UnmarshalText([]byte(p.words[0])) == nil {
			s.Type = t
			p.next()
		}
	}
	s.Prefix = p.prefix()
	if p.accept("via") {
		s.Gateway = p.addr()
	}
	if p.accept("dev") {
		s.Device = p.next()
	}
	if p.accept("table") {
		s.Table = p.number()
	}
	if p.accept("metric") {
		s.Priority = p.number()
	}
	s.OnLink = p.accept("onlink")
	return s
}

func (p *parser) fdb(v Verb) Step {
	s := Step{Verb: v, MAC: p.mac()}
	p.expect("dev")
	s.Device = p.next()
	p.expect("dst")
	s.Dst = p.addr()
	p.expect("self")
	return s
}

func (p *parser) link() Step {
	s := Step{Verb: LinkUp, Device: p.next()}
	if p.accept("address") {
		s.Verb = LinkAddress
		s.MAC = p.mac()
		return s
	}
	p.expect("up")
	return s
}

func (p *parser) address(v Verb) Step {
	s := Step{Verb: v, Prefix: p.prefix()}
	p.expect("dev")
	s.Device = p.next()
	return s
}
