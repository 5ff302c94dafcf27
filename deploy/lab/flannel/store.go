//go:build linux

package flannel

import (
	"context"
	"net/http"
	"net/netip"

	"routewatch/deploy/lab/cluster"
	"routewatch/shared/lease"
)

// store is where flannel keeps its leases.
type store interface {
	begin(ctx context.Context, netConf string) error
	// join makes what a node needs before its flanneld starts.
	join(context.Context, *Node) error
	leave(context.Context, *Node) error
	end(context.Context) error
	// address is of the server, as it listens on this machine's loopback.
	address() string
	// flannelArgs and exporterArgs name the store to the programs.
	flannelArgs(*Node) []string
	exporterArgs() []string
}

// kubernetes keeps leases in the annotations of Nodes.
type kubernetes struct {
	control *cluster.Cluster
	prefix  lease.Prefix
	made    map[string]bool
}

func (k *kubernetes) begin(context.Context, string) error {
	k.made = map[string]bool{}
	return nil
}

func (k *kubernetes) join(ctx context.Context, n *Node) error {
	if k.made[n.Name] {
		return nil
	}
	var cidrs []string
	for _, s := range n.subnets() {
		cidrs = append(cidrs, s.String())
	}
	body := map[string]any{
		"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{
			"name": n.Name,
			// flanneld panics on a Node without any annotation; kubelet's always has this one.
			"annotations": map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
		},
		"spec": map[string]any{"podCIDR": cidrs[0], "podCIDRs": cidrs},
	}
	k.made[n.Name] = true
	return k.control.Do(ctx, http.MethodPost, "/api/v1/nodes", body, nil)
}

func (k *kubernetes) leave(ctx context.Context, n *Node) error {
	delete(k.made, n.Name)
	return k.control.Do(ctx, http.MethodDelete, "/api/v1/nodes/"+n.Name, nil, nil)
}

func (k *kubernetes) end(ctx context.Context) error {
	return k.control.Do(ctx, http.MethodDelete, "/api/v1/nodes", nil, nil)
}

func (k *kubernetes) address() string { return hostPort(k.control.URL) }

func (k *kubernetes) flannelArgs(n *Node) []string {
	args := []string{
		"--kube-subnet-mgr", "--kubeconfig-file", k.control.AdminKubeconfig(),
		"--net-config-path", n.cluster.netConfFile(),
	}
	if k.prefix != "" {
		args = append(args, "--kube-annotation-prefix", string(k.prefix))
	}
	return args
}

func (k *kubernetes) exporterArgs() []string {
	args := []string{"--leases", "kubernetes", "--kubeconfig", k.control.AdminKubeconfig()}
	if k.prefix != "" {
		args = append(args, "--flannel.annotation-prefix", string(k.prefix))
	}
	return args
}

// subnets are what the node gets as its podCIDRs.
func (n *Node) subnets() []netip.Prefix {
	var subnets []netip.Prefix
	for _, f := range n.cluster.opts.Families {
		subnets = append(subnets, subnetOf(f, n.subnet))
	}
	return subnets
}
