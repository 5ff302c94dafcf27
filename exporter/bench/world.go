//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

const self = "node-0"

// world is a network namespace that is set up as flannel does it with vxlan:
// ul0 192.0.2.1/16 with the default route, flannel.1, cni0, and each lease.
type world struct {
	*netns.NS
	other  *netns.NS // has the other end of ul0
	nodes  []lease.Node
	set    lease.Set
	device int
	uplink int
}

func newWorld(leases int) (w *world, err error) {
	w = &world{}
	if w.NS, err = netns.New(); err != nil {
		return nil, err
	}
	if w.other, err = netns.New(); err != nil {
		w.NS.Close()
		return nil, err
	}
	if err := w.build(leases); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// Close gives the namespaces up.
func (w *world) Close() {
	w.NS.Close()
	w.other.Close()
}

func (w *world) build(leases int) error {
	must := &firstError{}
	must.do(w.AddVeth("ul0", w.other, "ul0"))
	must.do(w.other.SetUp("ul0"))
	must.do(w.AddAddr("ul0", netip.MustParsePrefix("192.0.2.1/16")))
	must.do(w.SetUp("ul0"))
	must.do(w.Sysctl("net.ipv4.ip_forward", "1"))
	// What this is about is IPv4; what the kernel does for IPv6 by itself would only add noise.
	must.do(w.Sysctl("net.ipv6.conf.default.disable_ipv6", "1"))
	must.do(w.AddBridge("cni0"))
	must.do(w.AddAddr("cni0", netip.MustParsePrefix("10.0.0.1/24")))
	must.do(w.SetUp("cni0"))
	must.do(w.AddVXLAN(netns.VXLAN{
		Name: "flannel.1", VNI: 1, Port: 8472, Lower: "ul0", Local: netip.MustParseAddr("192.0.2.1"), MTU: 1450, MAC: mac(0),
	}))
	must.do(w.AddAddr("flannel.1", netip.MustParsePrefix("10.0.0.0/32")))
	must.do(w.SetUp("flannel.1"))
	if must.err != nil {
		return must.err
	}
	var err error
	if w.device, err = w.LinkIndex("flannel.1"); err != nil {
		return err
	}
	if w.uplink, err = w.LinkIndex("ul0"); err != nil {
		return err
	}
	must.do(w.RouteReplace(netstate.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: gateway, Device: w.uplink}))
	for i := range leases + 1 {
		w.nodes = append(w.nodes, node(i))
	}
	w.set = lease.FromNodes(w.nodes, lease.Options{Self: self})
	w.set.Generation, w.set.Synced, w.set.Source = 1, time.Now(), "bench"
	must.do(w.program())
	return must.err
}

// program does what flannel does for each lease.
func (w *world) program() error {
	must := &firstError{}
	for i := range w.set.Leases {
		l := &w.set.Leases[i]
		must.do(w.NeighReplace(netstate.Neighbor{Device: w.device, IP: l.Subnet.Addr(), MAC: l.MAC}))
		must.do(w.FDBReplace(netstate.FDBEntry{Device: w.device, MAC: l.MAC, Dst: l.PublicIP}))
		must.do(w.RouteReplace(w.route(l.Subnet)))
	}
	return must.err
}

// route is the one that flannel makes for a lease.
func (w *world) route(subnet netip.Prefix) netstate.Route {
	return netstate.Route{Dst: subnet, Gateway: subnet.Addr(), Device: w.device, OnLink: true}
}

// leasesFile writes the Nodes for --leases.file, into a new folder.
func (w *world) leasesFile() (path string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "routewatch-bench-")
	if err != nil {
		return "", nil, err
	}
	path = filepath.Join(dir, "nodes.json")
	items := make([]any, len(w.nodes))
	for i, n := range w.nodes {
		items[i] = map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": n.Metadata, "spec": n.Spec}
	}
	b, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	return path, func() { _ = os.RemoveAll(dir) }, errors.Join(err, os.WriteFile(path, b, 0o600))
}

// node is the i-th one, as flannel annotates it.
func node(i int) lease.Node {
	subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24).String()
	const prefix = lease.DefaultPrefix + "/"
	return lease.Node{
		Metadata: lease.Metadata{
			Name: fmt.Sprintf("node-%d", i), CreationTimestamp: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
			Annotations: map[string]string{
				prefix + "kube-subnet-manager": "true",
				prefix + "backend-type":        "vxlan",
				prefix + "backend-data":        fmt.Sprintf(`{"VNI":1,"VtepMAC":%q}`, mac(i)),
				prefix + "public-ip":           netip.AddrFrom4([4]byte{192, 0, 2 + byte(i>>8), 1 + byte(i)}).String(),
			},
		},
		Spec: lease.Spec{PodCIDR: subnet, PodCIDRs: []string{subnet}},
	}
}

func mac(i int) netstate.MAC { return netstate.MAC{2, 0x42, 0, 0, byte(i >> 8), byte(i)} }

// firstError keeps the first of several.
type firstError struct{ err error }

func (f *firstError) do(err error) {
	if f.err == nil {
		f.err = err
	}
}
