package judge

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"routewatch/shared/expect"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
)

// peers is a WireGuard device's table, made ready for questions.
type peers struct {
	read    bool   // there was such a device in the picture
	problem string // why the peers could not be read; "" if they were
	byKey   map[string]netstate.WireGuardPeer
	owner   map[netip.Prefix]string // allowed IPs to key
	bits    []int                   // lengths of the allowed IPs, descending, unique
}

func newPeers(wg netstate.WireGuard) *peers {
	p := &peers{read: true, problem: wg.Problem, byKey: map[string]netstate.WireGuardPeer{}, owner: map[netip.Prefix]string{}}
	for _, peer := range wg.Peers {
		p.byKey[peer.PublicKey] = peer
		for _, ip := range peer.AllowedIPs {
			p.owner[ip] = peer.PublicKey
			p.bits = append(p.bits, ip.Bits())
		}
	}
	slices.Sort(p.bits)
	p.bits = slices.Compact(p.bits)
	slices.Reverse(p.bits)
	return p
}

// to returns the key of the peer that WireGuard sends an address to, "" if none:
// the one with the narrowest allowed IPs that hold it.
func (p *peers) to(a netip.Addr) string {
	for _, bits := range p.bits {
		if prefix, err := a.Prefix(bits); err == nil {
			if key, ok := p.owner[prefix]; ok {
				return key
			}
		}
	}
	return ""
}

// peer holds the WireGuard peer against the lease. The reason is for a person.
func (p *path) peer() (state verdict.State, reason string, ok bool) {
	all, want := p.e.peers, p.form.Peer
	if !all.read || all.problem != "" {
		return verdict.Unknown, cmpOr(all.problem, "the WireGuard peers of "+p.e.deviceName+" were not read"), false
	}
	peer, there := all.byKey[want.PublicKey]
	if !there {
		return verdict.PeerMissing, p.e.deviceName + " has no peer with the key " + want.PublicKey, false
	}
	subnet := p.chain.Lease.Subnet
	if !slices.Contains(peer.AllowedIPs, subnet) {
		return verdict.PeerWrong, fmt.Sprintf("the subnet is not among the allowed IPs of its peer %s", want.PublicKey), false
	}
	if to := all.to(expect.PodAddress(subnet)); to != want.PublicKey {
		return verdict.PeerWrong, fmt.Sprintf("narrower allowed IPs send packets to the peer %s", to), false
	}
	if p.e.state.At.Sub(peer.LastHandshake) < sessionLife || want.Accepts(peer.Endpoint) {
		return "", "", true
	}
	return verdict.PeerWrong, fmt.Sprintf("the peer's endpoint is %s, and nothing was heard from there", endpointText(peer.Endpoint)), false
}

// sessionLife is how long WireGuard uses a session (REJECT_AFTER_TIME, 180 s).
// An endpoint follows the peer to wherever its packets come from, so another
// one than the lease's is right while a session lives.
const sessionLife = 3 * time.Minute

func endpointText(e netip.AddrPort) string {
	if !e.IsValid() {
		return "not set"
	}
	return e.String()
}

func peerText(device, key string, endpoints []string, allowed []netip.Prefix) string {
	ips := make([]string, len(allowed))
	for i, p := range allowed {
		ips[i] = p.String()
	}
	return fmt.Sprintf("wg %s peer %s endpoint %s allowed-ips %s", device, key, strings.Join(endpoints, " or "), strings.Join(ips, ","))
}
