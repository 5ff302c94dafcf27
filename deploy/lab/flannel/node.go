//go:build linux

package flannel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"routewatch/deploy/lab/cluster"
	"routewatch/deploy/lab/process"
	"routewatch/deploy/lab/topology"
	"routewatch/shared/netstate"
)

// Node is a node with flanneld and an exporter.
type Node struct {
	*topology.Node
	// Pods are the addresses of its pod, one a family.
	Pods map[netstate.Family]netip.Addr

	cluster  *Cluster
	number   int
	subnet   int // the number in its pod networks
	member   bool
	inside   *process.Launcher
	outside  *process.Launcher
	proxy    *proxy
	flanneld *process.Process
	exporter *process.Process
	url      string // of the exporter
}

func subnetOf(f netstate.Family, number int) netip.Prefix {
	if f == netstate.IPv6 {
		return netip.MustParsePrefix(fmt.Sprintf("fd00:10:244:%d::/64", number))
	}
	return netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", number))
}

// PublicIPs are the node's own on the underlay. It has both families whatever
// flannel serves, as most machines do.
func (n *Node) PublicIPs() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr(fmt.Sprintf("192.168.1.%d", 55+n.number)),
		netip.MustParseAddr(fmt.Sprintf("fd00:192:168:1::%d", 55+n.number)),
	}
}

// OnNetwork reports whether the node's underlay device is up and has a carrier.
func (n *Node) OnNetwork() bool {
	link, err := n.NS.Link(topology.Underlay)
	return err == nil && link.Up && link.LowerUp
}

// install starts flanneld for the first time and gives the node its pod.
func (n *Node) install(ctx context.Context) (err error) {
	if n.inside, err = process.Inside(n.NS); err != nil {
		return err
	}
	n.outside = process.NewLauncher()
	if n.proxy, err = newProxy(n.NS, n.cluster.store.address()); err != nil {
		return err
	}
	path, err := cluster.Part("flanneld")
	if err != nil {
		return err
	}
	n.flanneld = &process.Process{
		Path: path, Home: n.cluster.dir, Log: n.file("flanneld.log"), Env: []string{"NODE_NAME=" + n.Name},
		Args: append(n.cluster.store.flannelArgs(n),
			append([]string{
				"--iface", topology.Underlay, "--subnet-file", n.file("subnet.env"), "-v", "2",
				"--iptables-forward-rules=false", // there is no firewall in a new namespace, and no iptables on every machine
			}, n.cluster.opts.FlannelFlags...)...),
	}
	if err := n.StartFlannel(ctx); err != nil {
		return err
	}
	env, err := n.subnetEnv()
	if err != nil {
		return err
	}
	n.Pods = map[netstate.Family]netip.Addr{}
	for _, s := range env.subnets {
		n.Pods[netstate.FamilyOf(s.Addr())] = s.Addr().Next().Next()
	}
	if n.cluster.opts.RoutedPods {
		return n.AddRoutedPod(env.subnets[0], env.mtu)
	}
	return n.AddPod(env.subnets, env.mtu)
}

func (n *Node) file(name string) string { return filepath.Join(n.cluster.dir, n.Name+"-"+name) }

// StartFlannel starts flanneld, unless it runs, and returns when it is ready:
// it has written subnet.env, but not necessarily the routes.
func (n *Node) StartFlannel(ctx context.Context) error {
	if !ended(n.flanneld) {
		return nil
	}
	if err := os.Remove(n.file("subnet.env")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := n.inside.Start(n.flanneld); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if _, err := n.subnetEnv(); err == nil {
			return nil
		}
		select {
		case <-n.flanneld.Ended():
			return fmt.Errorf("flanneld of %s ended; its last words:\n%s", n.Name, n.flanneld.Tail())
		case <-ctx.Done():
			return fmt.Errorf("flanneld of %s is not ready (%w); its last words:\n%s", n.Name, ctx.Err(), n.flanneld.Tail())
		case <-time.After(pollInterval):
		}
	}
}

// ended: the process does not run, or not yet.
func ended(p *process.Process) bool {
	select {
	case <-p.Ended():
		return true
	default:
		return p.Ended() == nil
	}
}

// StopFlannel asks flanneld to end.
func (n *Node) StopFlannel() { n.flanneld.Stop() }

// KillFlannel ends flanneld as the kernel does when memory is short.
func (n *Node) KillFlannel() { n.flanneld.Kill() }

// FlannelLogFile is where flanneld writes to, also after a restart.
func (n *Node) FlannelLogFile() string { return n.flanneld.Log }

// PauseExporter stops the exporter in its tracks: nobody answers.
func (n *Node) PauseExporter() error { return n.exporter.Pause() }

// FlannelLog is the last lines that flanneld wrote.
func (n *Node) FlannelLog() string { return n.flanneld.Tail() }

// subnetEnv is what flannel tells the CNI plugin (pkg/subnet/subnet.go, WriteSubnetFile).
type subnetEnv struct {
	subnets []netip.Prefix // masked
	mtu     int            // bytes
}

func (n *Node) subnetEnv() (env subnetEnv, err error) {
	f, err := os.Open(n.file("subnet.env"))
	if err != nil {
		return env, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "=")
		switch name {
		case "FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET":
			p, err := netip.ParsePrefix(value)
			if err != nil {
				return env, fmt.Errorf("%s: %s: %w", f.Name(), name, err)
			}
			if n.cluster.serves(netstate.FamilyOf(p.Addr())) {
				env.subnets = append(env.subnets, p.Masked())
			}
		case "FLANNEL_MTU":
			if env.mtu, err = strconv.Atoi(value); err != nil {
				return env, fmt.Errorf("%s: %s: %w", f.Name(), name, err)
			}
		}
	}
	if env.mtu == 0 || len(env.subnets) == 0 {
		return env, errors.Join(fmt.Errorf("%s names no subnet or no MTU", f.Name()), lines.Err())
	}
	return env, lines.Err()
}

// close ends everything. flanneld takes its time to end where its server is
// gone, and nothing of it is worth that.
func (n *Node) close() {
	for _, p := range []*process.Process{n.exporter, n.flanneld} {
		if p != nil {
			p.Kill()
		}
	}
	for _, l := range []*process.Launcher{n.inside, n.outside} {
		if l != nil {
			l.Close()
		}
	}
	if n.proxy != nil {
		_ = n.proxy.close() // nobody is left to hear of it
	}
}

// PIDs are those of flanneld and of the exporter.
func (n *Node) PIDs() (flanneld, exporter int) { return n.flanneld.PID(), n.exporter.PID() }
