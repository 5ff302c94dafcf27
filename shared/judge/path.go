package judge

import (
	"slices"

	"routewatch/shared/expect"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
)

// path judges the way that packets take, against the form that is in use.
type path struct {
	chain *expect.Chain
	e     *evidence
	form  *expect.Form // the accepted form that the kernel has, else the one that flannel would choose
	was   verdict.State
	// candidates are the routes for exactly the subnet that packets can meet: in
	// main and default, and in whatever table the lookups came through.
	candidates []*netstate.Route
}

// newPath returns the path of a lease, if the kernel was asked for it.
func newPath(chain *expect.Chain, e *evidence, was verdict.State) (*path, bool) {
	if chain.Lease.Malformed != "" || len(chain.Forms) == 0 || !e.read || !e.complete {
		return nil, false
	}
	p := &e.path
	*p = path{chain: chain, e: e, was: was}
	p.meet()
	p.choose()
	return p, true
}

// choose picks the accepted form that the kernel takes, or has a route for; if
// there is none, what flannel would choose now: the direct form, where that is
// its first, needs a peer on the same link.
func (p *path) choose() {
	forms := p.chain.Forms
	p.form = &forms[0]
	if tunnel, ok := p.chain.Tunnel(); ok && (p.e.underlay.Errno != 0 || p.e.underlay.Route.Gateway.IsValid()) {
		p.form = tunnel
	}
	for i := range forms {
		f := &forms[i]
		if p.matches(f, p.e.out) && p.matches(f, p.e.from) {
			p.form = f
			return
		}
	}
	for i := range forms {
		f := &forms[i]
		if slices.ContainsFunc(p.candidates, func(r *netstate.Route) bool { return p.isForm(f, r) }) {
			p.form = f
			return
		}
	}
}

// isForm compares by gateway and device only: a route's protocol, scope and
// metric say nothing about where packets go.
func (p *path) isForm(f *expect.Form, r *netstate.Route) bool {
	if r.Type != netstate.Unicast || r.Multipath || r.Gateway != f.Gateway {
		return false
	}
	if f.Tunnel {
		return p.e.present && r.Device == p.e.device.Index
	}
	return !p.e.isFlannel(r.Device) && p.toPeer(r.Device)
}

// toPeer reports whether a route without a tunnel may leave by the device: the
// one that has this node's own public IP, which is flannel's choice, or the one
// that leads to the peer's. Any, where neither is known.
func (p *path) toPeer(device int) bool {
	external, under := p.e.external.Index, p.e.underlay
	return device == external || under.Errno == 0 && device == under.Route.Device || under.Errno != 0 && external == 0
}

// outward is the device that the form's packets leave the node by.
func (p *path) outward() netstate.Link {
	if !p.form.Tunnel {
		for _, r := range p.candidates {
			if !p.isForm(p.form, r) {
				continue
			}
			if link, ok := p.e.state.Link(r.Device); ok {
				return link
			}
		}
		if p.form.Name == "host-gw" && p.e.external.Index != 0 {
			return *p.e.external
		}
	}
	return p.e.lower
}

func (p *path) matches(f *expect.Form, l *netstate.Lookup) bool {
	return l.Errno == 0 && p.isForm(f, &l.Route)
}

func (p *path) onForm(l *netstate.Lookup) bool { return p.matches(p.form, l) }

// meet finds the candidates.
func (p *path) meet() {
	met := func(r *netstate.Route) bool {
		switch r.Table {
		case p.e.out.Route.Table, p.e.from.Route.Table:
			return true
		case netstate.TableMain, netstate.TableDefault:
			return p.consulted(r.Table)
		}
		return false
	}
	n := 0
	for n < len(p.e.exact) && met(p.e.exact[n]) {
		n++
	}
	p.candidates = p.e.exact[:n:n] // nearly always all of them
	for ; n < len(p.e.exact); n++ {
		if met(p.e.exact[n]) {
			p.candidates = append(p.candidates, p.e.exact[n])
		}
	}
}

// consulted reports whether a rule leads to the table; a kernel without rules
// consults main and default.
func (p *path) consulted(table uint32) bool {
	any := false
	for _, r := range p.e.state.Rules {
		if r.Family != p.chain.Lease.Family {
			continue
		}
		if any = true; r.Table == table {
			return true
		}
	}
	return !any
}

func (p *path) present() bool {
	return p.onForm(p.e.out) && p.onForm(p.e.from) ||
		slices.ContainsFunc(p.candidates, func(r *netstate.Route) bool { return p.isForm(p.form, r) })
}
