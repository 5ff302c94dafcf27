// Package expect says which kernel objects a flannel lease needs: the chain
// link, route, neighbor, FDB entry and underlay. It is pure: it knows leases
// and flannel's configuration, not the kernel.
package expect

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// Config is what is known of flannel's configuration on this node. Its zero
// value means that nothing is known: backend, VNI and families then come from
// the node's own lease.
type Config struct {
	Backend  string            // "vxlan", ...; "" unknown
	Network  []netip.Prefix    // the pod networks, at most one a family; empty unknown
	Families []netstate.Family // empty unknown
	VNI      uint32            // 0 unknown
	Port     uint16            // UDP port of vxlan; 0 unknown
	// DirectRouting is nil while unknown: either form of route is then accepted.
	DirectRouting *bool
	// WireGuardMode is "separate", "auto", "ipv4" or "ipv6"; "" unknown: what any
	// of them would do is then accepted.
	WireGuardMode string
}

// netConf is flannel's net-conf.json (pkg/subnet/config.go, Config). Unknown
// keys are ignored there and here; keys are matched without regard to case.
type netConf struct {
	EnableIPv4  *bool
	EnableIPv6  bool
	Network     string
	IPv6Network string
	Backend     *struct {
		Type          string
		VNI           uint32
		Port          uint16
		DirectRouting bool
		Mode          string
	}
}

const maxNetConf = 1 << 20 // bytes; the real ones have a few hundred

// ReadNetConf reads flannel's net-conf.json with flannel's own defaults: IPv4
// on, IPv6 off, backend udp if none is named, VNI 1 and port 8472 for vxlan.
func ReadNetConf(r io.Reader) (Config, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxNetConf+1))
	if err != nil {
		return Config{}, fmt.Errorf("read net-conf: %w", err)
	}
	if len(b) > maxNetConf {
		return Config{}, fmt.Errorf("net-conf is larger than %d bytes: expected flannel's net-conf.json", maxNetConf)
	}
	var nc netConf
	if err := json.Unmarshal(b, &nc); err != nil {
		return Config{}, fmt.Errorf("net-conf is not the JSON that flannel reads: %w", err)
	}
	var c Config
	if nc.EnableIPv4 == nil || *nc.EnableIPv4 {
		if err := c.addNetwork(netstate.IPv4, "Network", nc.Network); err != nil {
			return Config{}, err
		}
	}
	if nc.EnableIPv6 {
		if err := c.addNetwork(netstate.IPv6, "IPv6Network", nc.IPv6Network); err != nil {
			return Config{}, err
		}
	}
	if len(c.Families) == 0 {
		return Config{}, fmt.Errorf("net-conf enables neither IPv4 nor IPv6: expected EnableIPv4 or EnableIPv6 to be true")
	}
	if nc.Backend == nil {
		c.Backend = "udp"
		return c, nil
	}
	c.Backend = strings.ToLower(nc.Backend.Type)
	if c.Backend == "" {
		return Config{}, fmt.Errorf("net-conf has a Backend without Type: expected for example {\"Type\": \"vxlan\"}")
	}
	switch c.Backend {
	case "vxlan":
		c.VNI, c.Port = cmp.Or(nc.Backend.VNI, defaultVNI), cmp.Or(nc.Backend.Port, 8472)
		c.DirectRouting = &nc.Backend.DirectRouting
	case "ipip":
		c.DirectRouting = &nc.Backend.DirectRouting
	case "wireguard":
		c.WireGuardMode = or(nc.Backend.Mode, separate)
	}
	return c, nil
}

func (c *Config) addNetwork(f netstate.Family, key, value string) error {
	p, err := netip.ParsePrefix(value)
	if err != nil || netstate.FamilyOf(p.Addr()) != f {
		return fmt.Errorf("net-conf: %s is %q: expected an %s prefix", key, value, f)
	}
	c.Families = append(c.Families, f)
	c.Network = append(c.Network, p.Masked())
	return nil
}

// NetworkOf returns the pod network that holds the subnet, if it is known.
func (c Config) NetworkOf(subnet netip.Prefix) (netip.Prefix, bool) {
	i := slices.IndexFunc(c.Network, func(n netip.Prefix) bool {
		return n.Bits() <= subnet.Bits() && n.Contains(subnet.Addr())
	})
	if i < 0 {
		return netip.Prefix{}, false
	}
	return c.Network[i], true
}

// BackendOf returns this node's backend: configured, or the one that its own
// lease publishes; "" while neither is known.
func (c Config) BackendOf(set *lease.Set) string {
	if c.Backend != "" {
		return c.Backend
	}
	for _, own := range set.Own {
		return own.BackendType
	}
	return ""
}

// VNIOf returns this node's VNI for a family: configured, or published in its
// own lease; 0 while neither is known.
func (c Config) VNIOf(set *lease.Set, f netstate.Family) uint32 {
	if c.VNI != 0 {
		return c.VNI
	}
	own, ok := set.OwnOf(f)
	if ok && own.BackendType == "vxlan" && own.Malformed == "" {
		return cmp.Or(own.VNI, defaultVNI)
	}
	return own.VNI
}
