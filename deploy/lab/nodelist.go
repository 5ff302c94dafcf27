//go:build linux

package main

import (
	"encoding/json"
	"time"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// list and object are what `kubectl get nodes -o json` prints, as far as
// flannel reads it.
type list struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Items      []object `json:"items"`
}

type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	lease.Node
}

// vxlanData is flannel's backend-data annotation.
type vxlanData struct {
	VNI     uint32
	VtepMAC netstate.MAC
}

// nodeList returns one Node for each node's own leases.
func nodeList(nodes [][]lease.Lease, created time.Time) list {
	l := list{APIVersion: "v1", Kind: "List"}
	for _, own := range nodes {
		l.Items = append(l.Items, object{APIVersion: "v1", Kind: "Node", Node: kubernetesNode(own, created)})
	}
	return l
}

// kubernetesNode annotates a Node as flannel does.
func kubernetesNode(own []lease.Lease, created time.Time) lease.Node {
	var prefix lease.Prefix
	annotations := map[string]string{
		prefix.Key("kube-subnet-manager"): "true",
		prefix.Key("backend-type"):        own[0].BackendType,
	}
	n := lease.Node{Metadata: lease.Metadata{
		Name: own[0].Peer, Annotations: annotations, CreationTimestamp: created.UTC().Truncate(time.Second),
	}}
	for _, l := range own {
		ip, data := "public-ip", "backend-data"
		if l.Family == netstate.IPv6 {
			ip, data = "public-ipv6", "backend-v6-data"
		}
		annotations[prefix.Key(ip)] = l.PublicIP.String()
		annotations[prefix.Key(data)] = marshal(vxlanData{l.VNI, l.MAC})
		n.Spec.PodCIDRs = append(n.Spec.PodCIDRs, l.Subnet.String())
	}
	n.Spec.PodCIDR = n.Spec.PodCIDRs[0]
	return n
}

func marshal(v vxlanData) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a number and a text always marshal
	}
	return string(b)
}
