//go:build linux

package flannel

import (
	"context"
	"fmt"
	"strings"

	"routewatch/deploy/lab/cluster"
)

// etcdPrefix is flannel's own default.
const etcdPrefix = "/coreos.com/network"

// etcd keeps leases as keys; flanneld itself chooses the subnet of its node.
type etcd struct{ server *cluster.Etcd }

func (e *etcd) begin(ctx context.Context, netConf string) error {
	return e.server.Put(ctx, etcdPrefix+"/config", netConf)
}

func (e *etcd) join(context.Context, *Node) error { return nil }

// leave removes the key that the node's flanneld made.
func (e *etcd) leave(ctx context.Context, n *Node) error {
	env, err := n.subnetEnv()
	if err != nil {
		return err
	}
	keys, err := e.server.Get(ctx, etcdPrefix+"/subnets/")
	if err != nil {
		return err
	}
	subnet := strings.ReplaceAll(env.subnets[0].String(), "/", "-")
	for key := range keys {
		if strings.HasPrefix(key, etcdPrefix+"/subnets/"+subnet) {
			return e.server.Delete(ctx, key)
		}
	}
	return fmt.Errorf("etcd has no lease for %s of %s", subnet, n.Name)
}

func (e *etcd) end(ctx context.Context) error {
	keys, err := e.server.Get(ctx, etcdPrefix)
	if err != nil {
		return err
	}
	for key := range keys {
		if err := e.server.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func (e *etcd) address() string { return hostPort(e.server.URL) }

func (e *etcd) flannelArgs(*Node) []string { return []string{"--etcd-endpoints", e.server.URL} }

func (e *etcd) exporterArgs() []string {
	return []string{"--leases", "etcd", "--etcd.endpoints", e.server.URL}
}
