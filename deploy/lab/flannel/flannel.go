//go:build linux

// Package flannel runs clusters of the real flanneld: a node is a network
// namespace of package topology with flanneld inside, a pod behind cni0, and an
// exporter beside it. The leases are in a real API server, or in a real etcd.
//
//	c, err := flannel.Start(ctx, flannel.Options{Nodes: 3, Control: controlPlane, Exporter: "bin/routewatch-exporter"})
//	defer c.Close()
//	n := c.Node("node-1")
//	n.NS, n.Pod                              its namespaces
//	n.StopFlannel n.KillFlannel n.StartFlannel
//	n.Status n.Leases                        what its exporter says
//	c.Leave c.Join                           the Node object goes and comes
package flannel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"routewatch/deploy/lab/cluster"
	"routewatch/deploy/lab/topology"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// Options say what cluster is wanted. Control, and Etcd for that source, and
// Exporter are required.
type Options struct {
	// Nodes is how many nodes there are at the start; 0 is 3.
	Nodes int
	// Backend is the Backend of net-conf.json, in JSON; "" is vxlan.
	Backend string
	// Families are those that flannel serves; none is IPv4 and IPv6.
	Families []netstate.Family
	// Prefix is flannel's annotation prefix; "" its own default.
	Prefix lease.Prefix
	// Control has the Nodes. Etcd, if set, has the leases instead of it.
	Control *cluster.Cluster
	Etcd    *cluster.Etcd
	// FlannelFlags and ExporterFlags are added to those that the lab gives.
	FlannelFlags, ExporterFlags []string
	// RoutedPods: the pods are not behind cni0, but have a route each, as with
	// canal. IPv4 only.
	RoutedPods bool
	// MoreNetConf are more members of net-conf.json, as ', "X": "y"'.
	MoreNetConf string
	// NetConf: the exporters read flannel's net-conf.json too.
	NetConf bool
	// Exporter is the path of routewatch-exporter.
	Exporter string
}

// readyTimeout bounds the start of flanneld and of an exporter; it is a second or so.
const readyTimeout = 60 * time.Second

const pollInterval = 5 * time.Millisecond

// Cluster is a set of nodes with one control plane.
type Cluster struct {
	*topology.Network
	opts  Options
	dir   string
	store store

	mu    sync.Mutex // guards nodes, and of each node member and url
	nodes []*Node
}

// Start brings up all nodes, and returns when each flanneld has written its
// subnet.env and each exporter has read both sides.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	if opts.Nodes == 0 {
		opts.Nodes = 3
	}
	if opts.Backend == "" {
		opts.Backend = `{"Type": "vxlan"}`
	}
	if len(opts.Families) == 0 {
		opts.Families = []netstate.Family{netstate.IPv4, netstate.IPv6}
	}
	c := &Cluster{opts: opts}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) (err error) {
	if c.dir, err = os.MkdirTemp("", "routewatch-flannel-"); err != nil {
		return err
	}
	if err := os.WriteFile(c.netConfFile(), []byte(c.netConf()), 0o600); err != nil {
		return err
	}
	c.store = &kubernetes{control: c.opts.Control, prefix: c.opts.Prefix}
	if c.opts.Etcd != nil {
		c.store = &etcd{server: c.opts.Etcd}
	}
	if err := c.store.begin(ctx, c.netConf()); err != nil {
		return err
	}
	c.Network, err = topology.New(netip.MustParsePrefix("192.168.1.1/24"), netip.MustParsePrefix("fd00:192:168:1::1/64"))
	if err != nil {
		return err
	}
	for i := 1; i <= c.opts.Nodes; i++ {
		if _, err := c.Join(ctx, fmt.Sprintf("node-%d", i), 0); err != nil {
			return err
		}
	}
	for _, n := range c.Nodes() {
		if err := n.StartExporter(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) netConfFile() string { return filepath.Join(c.dir, "net-conf.json") }

// netConf is flannel's configuration.
func (c *Cluster) netConf() string {
	conf := []string{fmt.Sprintf(`"Backend": %s`, c.opts.Backend)}
	if c.serves(netstate.IPv4) {
		conf = append(conf, `"EnableIPv4": true`, `"Network": "10.244.0.0/16"`)
	} else {
		conf = append(conf, `"EnableIPv4": false`)
	}
	if c.serves(netstate.IPv6) {
		conf = append(conf, `"EnableIPv6": true`, `"IPv6Network": "fd00:10:244::/48"`)
	}
	return "{" + strings.Join(conf, ", ") + c.opts.MoreNetConf + "}\n"
}

func (c *Cluster) serves(f netstate.Family) bool { return slices.Contains(c.opts.Families, f) }

// Node returns a node by its name, nil if there is none.
func (c *Cluster) Node(name string) *Node {
	nodes := c.Nodes()
	i := slices.IndexFunc(nodes, func(n *Node) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	return nodes[i]
}

// Nodes are all that are there, those that left included.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.nodes)
}

// Members are the nodes that are in the cluster and have an exporter.
func (c *Cluster) Members() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.nodes), func(n *Node) bool { return !n.member || n.url == "" })
}

func (c *Cluster) locked(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// Join makes a Node, and the machine with flanneld unless there was one of this
// name before, which then runs on. It gets the pod networks that have its own
// number, or another one's if subnet is not 0. The exporter of a new machine is
// not started.
func (c *Cluster) Join(ctx context.Context, name string, subnet int) (*Node, error) {
	n := c.Node(name)
	if n == nil {
		var number int
		if _, err := fmt.Sscanf(name, "node-%d", &number); err != nil || number < 1 || number > 99 {
			return nil, fmt.Errorf("%q is no name of a node: expected node-1 to node-99", name)
		}
		n = &Node{cluster: c, number: number}
		machine, err := c.AddMachine(name, n.PublicIPs())
		if err != nil {
			return nil, err
		}
		n.Node = machine
		c.locked(func() { c.nodes = append(c.nodes, n) })
	}
	n.subnet = cmp.Or(subnet, n.number)
	if err := c.store.join(ctx, n); err != nil {
		return nil, err
	}
	if n.flanneld != nil {
		if err := n.StartFlannel(ctx); err != nil {
			return nil, err
		}
	} else if err := n.install(ctx); err != nil {
		return nil, err
	}
	c.locked(func() { n.member = true })
	return n, nil
}

// Leave ends the node's flanneld and removes its Node, or its lease. The
// machine stays, unreachable for the others.
func (c *Cluster) Leave(ctx context.Context, name string) error {
	n := c.Node(name)
	if n == nil {
		return fmt.Errorf("there is no node %q", name)
	}
	c.locked(func() { n.member = false })
	n.StopFlannel()
	return c.store.leave(ctx, n)
}

// Close ends everything and removes the leases.
func (c *Cluster) Close() error {
	var errs []error
	for _, n := range c.Nodes() {
		n.close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	if c.store != nil {
		errs = append(errs, c.store.end(ctx))
	}
	if c.Network != nil {
		c.Network.Close()
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}
