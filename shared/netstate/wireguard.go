package netstate

import (
	"net/netip"
	"time"
)

// WireGuard is what a WireGuard device knows of its peers (`wg show`). No
// rtnetlink message tells of it, so it is read again every few seconds.
type WireGuard struct {
	Device int `json:"device"` // ifindex
	// Problem says why the peers could not be read, e.g. that reading them
	// needs CAP_NET_ADMIN; Peers are then empty. "" if they were read.
	Problem string          `json:"problem,omitempty"`
	Peers   []WireGuardPeer `json:"peers,omitempty"` // by key
}

// WireGuardPeer is one peer. An address is allowed for at most one peer of a device.
type WireGuardPeer struct {
	PublicKey  string         `json:"publicKey"` // base64
	Endpoint   netip.AddrPort `json:"endpoint,omitzero"`
	AllowedIPs []netip.Prefix `json:"allowedIPs,omitempty"` // sorted
	// LastHandshake is zero if there was none. It tells of now, and does not make
	// one picture differ from another.
	LastHandshake time.Time `json:"lastHandshake,omitzero"`
}

// WireGuardOf returns what a WireGuard device knows of its peers.
func (s *State) WireGuardOf(device int) (WireGuard, bool) {
	for _, w := range s.WireGuard {
		if w.Device == device {
			return w, true
		}
	}
	return WireGuard{}, false
}
