package mend

import (
	"net/netip"
	"strings"

	"routewatch/shared/netstate"
)

// RouteText prints the object of a route step as ip route does.
func RouteText(s Step) string {
	var room [roomy]byte
	return string(s.route(room[:0]))
}

// NeighborText prints a neighbor as ip neigh does.
func NeighborText(ip netip.Addr, mac netstate.MAC, device string, state uint16) string {
	var room [roomy]byte
	return string(line(room[:0]).addr(ip).words("dev", device, "lladdr").mac(mac).words(nudText(state)))
}

var nudNames = [...]struct {
	bit  uint16
	name string
}{
	{netstate.NUDPermanent, "PERMANENT"}, {netstate.NUDNoARP, "NOARP"}, {netstate.NUDReachable, "REACHABLE"},
	{netstate.NUDStale, "STALE"}, {netstate.NUDDelay, "DELAY"}, {netstate.NUDProbe, "PROBE"},
	{netstate.NUDFailed, "FAILED"}, {netstate.NUDIncomplete, "INCOMPLETE"},
}

func nudText(state uint16) string {
	for _, s := range nudNames {
		if state&s.bit != 0 {
			return s.name
		}
	}
	return "NONE"
}

// FDBText prints a forwarding entry as bridge fdb does.
func FDBText(mac netstate.MAC, device string, dst netip.Addr) string {
	var room [roomy]byte
	return string(line(room[:0]).mac(mac).words("dev", device, "dst").addr(dst).words("self permanent"))
}

// Advice is a command for a person that is not a single change to one object.
type Advice struct {
	Command string
	Why     string
}

// RestartFlannel is the remedy that restores everything at once. source is the
// lease source: a flannel that keeps its leases in etcd is no pod of Kubernetes.
func RestartFlannel(node, source string) Advice {
	const pod = "kubectl -n kube-flannel delete pod -l app=flannel --field-selector spec.nodeName="
	const why = "restarts flannel on this node, which programs every lease anew; can interrupt pod traffic for some seconds."
	if source == "etcd" {
		return Advice{Command: "systemctl restart flanneld", Why: why + " Where flannel runs in a pod: " + pod + node}
	}
	return Advice{
		Command: pod + node,
		Why:     why + " With canal: -n kube-system -l k8s-app=canal; where flannel is embedded: systemctl restart k3s (or k3s-agent)",
	}
}

// ShowUnderlay shows what covers a peer's public IP.
func ShowUnderlay(ip netip.Addr) Advice {
	return Advice{
		Command: "ip route show table all to match " + ip.String(),
		Why:     "the fault is below flannel, in this node's own path to the peer: see which route is wrong",
	}
}

// ShowRules shows the policy rules of a family.
func ShowRules(ipv6 bool) Advice {
	command := "ip rule show"
	if ipv6 {
		command = "ip -6 rule show"
	}
	return Advice{Command: command, Why: "a policy rule takes these packets: see which one, and who made it"}
}

// ShowNodeLeases shows what every Node claims; publicIP and data are the
// annotations that tell it.
func ShowNodeLeases(publicIP, data string) Advice {
	column := func(annotation string) string {
		return ".metadata.annotations." + strings.ReplaceAll(annotation, ".", `\.`)
	}
	return Advice{
		Command: "kubectl get nodes -o custom-columns='NAME:.metadata.name,CIDRS:.spec.podCIDRs,IP:" + column(publicIP) +
			",DATA:" + column(data) + "'",
		Why: "the leases themselves disagree: see which node claims what",
	}
}

// ShowEtcdLeases shows every lease below flannel's prefix.
func ShowEtcdLeases(prefix string) Advice {
	return Advice{
		Command: "etcdctl get --prefix " + prefix + "/subnets/",
		Why:     "the leases themselves disagree: see which node claims what",
	}
}
