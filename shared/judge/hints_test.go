package judge

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"routewatch/shared/expect"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
)

// What is made ready to be asked answers what going through all events does.
func TestProperty_FirstEventThatExplains(t *testing.T) {
	kinds := []netstate.HintKind{
		netstate.LinkAdded, netstate.LinkChanged, netstate.LinkMACChanged, netstate.LinkDeleted, netstate.AddrAdded, netstate.AddrDeleted,
		netstate.RouteAdded, netstate.RouteReplaced, netstate.RouteDeleted, netstate.RuleAdded, netstate.RuleDeleted, netstate.NeighborChanged,
		netstate.NeighborDeleted, netstate.FDBChanged, netstate.FDBDeleted, netstate.NextHopChanged, netstate.NextHopDeleted,
		netstate.NetConfChanged, netstate.Overrun, netstate.Undecodable,
	}
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		conf := expect.Config{}
		if rapid.Bool().Draw(t, "wide") {
			w, _ = newWorldOf("udp", ip4)
			conf = expect.Config{Backend: "udp"}
			if rapid.Bool().Draw(t, "network") {
				conf.Network = allPods
			}
		}
		var prefixes []netip.Prefix
		for _, l := range w.peers[:min(2, len(w.peers))] {
			public := netip.PrefixFrom(l.PublicIP, l.Family.Bits())
			first := netip.PrefixFrom(l.Subnet.Addr(), l.Family.Bits())
			half := netip.PrefixFrom(l.Subnet.Addr(), l.Subnet.Bits()+1)
			inside := netip.PrefixFrom(l.Subnet.Addr().Next(), l.Subnet.Bits())
			wide, _ := l.PublicIP.Prefix(16)
			prefixes = append(prefixes, l.Subnet, public, first, half, inside, wide, everything(l.Family))
		}
		prefixes = append(append(prefixes, allPods...), netip.Prefix{})
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			w.hints = append(w.hints, netstate.Hint{
				At: w.at, Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Family: rapid.SampledFrom([]netstate.Family{0, ip4, ip6}).Draw(t, "of"),
				Device: rapid.SampledFrom([]string{"", "flannel.1", "flannel0", "ens33"}).Draw(t, "device"), Up: rapid.Bool().Draw(t, "up"),
				Index:  rapid.SampledFrom([]int{0, ifEth, ifVX4, ifVX6, ifTunnel}).Draw(t, "index"),
				Prefix: rapid.SampledFrom(prefixes).Draw(t, "prefix"), PortID: rapid.Uint32Range(0, 1).Draw(t, "port"), Seq: uint32(len(w.hints)),
			})
		}
		if rapid.Bool().Draw(t, "down") {
			w.links[len(w.links)-1].Up = false
		}
		in := w.input()
		v := newView(conf, in.Set, in.State, peerVNIs(in.Set))
		for _, state := range verdict.States() {
			for _, l := range in.Set.Leases {
				chain := expect.ChainOf(conf, in.Set, l)
				e := v.evidence(&chain)
				h, cause, ok := explain(verdict.State(state.Name), &chain, e)
				want, wantCause, wantOK := explainByAll(verdict.State(state.Name), &chain, e)
				if cause != wantCause || ok != wantOK || ok && *h != *want {
					t.Fatalf("%s of %s: %v %q, want %v %q", state.Name, l.Subnet, h, cause, want, wantCause)
				}
			}
		}
	})
}

func explainByAll(state verdict.State, chain *expect.Chain, e *evidence) (*netstate.Hint, verdict.Cause, bool) {
	if state == verdict.Pending {
		return nil, "", false
	}
	for i := range e.hints.events {
		if cause, ok := explains(&e.hints.events[i], state, chain, e); ok {
			return &e.hints.events[i], cause, true
		}
	}
	for i := range e.hints.events {
		if cause, ok := silently(&e.hints.events[i], state, chain, e); ok {
			return &e.hints.events[i], cause, true
		}
	}
	return nil, "", false
}
