package expect

import (
	"fmt"
	"strconv"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// DevicesOf returns the names that this node's flannel device of a family may
// have, the one that flannel would choose first. vni is that of vxlan. Empty if
// the backend has no device or is not known.
func (c Config) DevicesOf(set *lease.Set, f netstate.Family, vni uint32) []string {
	return deviceNames(c.BackendOf(set), f, vni, c.WireGuardMode)
}

// TUNNames are the names that the device of backend udp may have. That of a node
// whose own lease names no backend tells that it is udp.
func TUNNames() []string { return deviceNames("udp", netstate.IPv4, 0, "") }

// deviceNames is how flannel names its devices (vxlan.go, ipip.go, wireguard.go,
// udp_network_amd64.go). A vxlan device is recognized by its VNI; its name is
// for people.
func deviceNames(backend string, f netstate.Family, vni uint32, mode string) []string {
	v6 := f == netstate.IPv6
	switch backend {
	case "vxlan":
		return []string{DeviceName(f, vni)}
	case "wireguard":
		switch {
		case !v6 || mode != "" && mode != separate:
			return []string{"flannel-wg"}
		case mode == separate:
			return []string{"flannel-wg-v6"}
		}
		return []string{"flannel-wg-v6", "flannel-wg"}
	case "ipip":
		return []string{"flannel.ipip"}
	case "udp": // the first that is free
		names := make([]string, maxTUN)
		for i := range names {
			names[i] = fmt.Sprintf("flannel%d", i)
		}
		return names
	}
	return nil
}

// maxTUN is how many names of tun devices are looked at; flannel leaves one over
// only where another program took it.
const maxTUN = 4

// DeviceName is how flannel names its vxlan device (pkg/backend/vxlan/vxlan.go).
func DeviceName(f netstate.Family, vni uint32) string {
	prefix := "flannel."
	if f == netstate.IPv6 {
		prefix = "flannel-v6."
	}
	return prefix + strconv.FormatUint(uint64(vni), 10)
}
