//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"routewatch/deploy/lab/topology"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

const nodeCount = 4

// lab is a small cluster on this machine.
type lab struct {
	dir        string // holds the lease file and the exporters' logs; the sweeper removes it
	programs   programs
	network    *topology.Network
	nodes      []*node
	programmed []byte // what the lease file held when flannel read it last
	sweeper    *exec.Cmd
	release    func() error // lets the sweeper go
}

// node is a node with an exporter that watches it.
type node struct {
	*topology.Node
	exporter *exporter
}

// newLab brings everything up. Close it also after an error.
func newLab(ctx context.Context) (*lab, error) {
	l := &lab{}
	var err error
	if l.programs, err = findPrograms(); err != nil {
		return l, err
	}
	if l.dir, err = os.MkdirTemp("", "routewatch-lab-"); err != nil {
		return l, err
	}
	if err := l.startSweeper(); err != nil {
		return l, err
	}
	if err := l.connectNodes(); err != nil {
		return l, err
	}
	if err := l.publish(l.nodes); err != nil {
		return l, err
	}
	if err := l.programLeases(); err != nil {
		return l, err
	}
	return l, l.startExporters(ctx)
}

// startSweeper starts a process of its own group, so that Ctrl-C does not
// reach it, that removes the directory after this process has ended.
func (l *lab) startSweeper() error {
	l.sweeper = exec.Command("/proc/self/exe", sweepCommand, l.dir)
	l.sweeper.Args[0] = os.Args[0]
	l.sweeper.Stderr = os.Stderr
	l.sweeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := l.sweeper.StdinPipe()
	if err != nil {
		return err
	}
	l.release = pipe.Close
	return l.sweeper.Start()
}

func (l *lab) connectNodes() error {
	var err error
	l.network, err = topology.New(netip.MustParsePrefix("192.168.1.1/24"), netip.MustParsePrefix("fd00:192:168:1::1/64"))
	if err != nil {
		return err
	}
	for number := 1; number <= nodeCount; number++ {
		n, err := l.network.AddNode(fmt.Sprintf("node-%d", number), ownLeases(number))
		if err != nil {
			return err
		}
		l.nodes = append(l.nodes, &node{Node: n})
	}
	return nil
}

// ownLeases are the claims of a node before its devices have MACs.
func ownLeases(number int) []lease.Lease {
	own := lease.Lease{Peer: fmt.Sprintf("node-%d", number), BackendType: "vxlan", VNI: 1}
	ipv4, ipv6 := own, own
	ipv4.Family, ipv6.Family = netstate.IPv4, netstate.IPv6
	ipv4.Subnet = netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", number))
	ipv6.Subnet = netip.MustParsePrefix(fmt.Sprintf("fd00:10:244:%d::/64", number))
	ipv4.PublicIP = netip.MustParseAddr(fmt.Sprintf("192.168.1.%d", 55+number))
	ipv6.PublicIP = netip.MustParseAddr(fmt.Sprintf("fd00:192:168:1::%d", 55+number))
	return []lease.Lease{ipv4, ipv6}
}

// leaseFile holds what `kubectl get nodes -o json` would print.
func (l *lab) leaseFile() string { return filepath.Join(l.dir, "nodes.json") }

func (l *lab) publish(nodes []*node) error {
	var leases [][]lease.Lease
	for _, n := range nodes {
		leases = append(leases, n.Flannel.Own())
	}
	b, err := json.MarshalIndent(nodeList(leases, time.Now()), "", "    ")
	if err != nil {
		return err
	}
	return os.WriteFile(l.leaseFile(), append(b, '\n'), 0o644)
}

// programLeases has each node's flannel read the lease file.
func (l *lab) programLeases() error {
	b, err := os.ReadFile(l.leaseFile())
	if err != nil {
		return err
	}
	l.programmed = b
	for _, n := range l.nodes {
		// What a node serves does not depend on whether its own Node is in the file.
		opts := lease.Options{Self: n.Name, Families: []netstate.Family{netstate.IPv4, netstate.IPv6}}
		set, err := lease.Read(bytes.NewReader(b), opts)
		if err != nil {
			return fmt.Errorf("%s: %w", l.leaseFile(), err)
		}
		if err := n.Flannel.Apply(set.Leases); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	return nil
}

func (l *lab) startExporters(ctx context.Context) error {
	for i, n := range l.nodes {
		e, err := startExporter(l.programs.exporter, exporterConfig{
			node: n.Name, leases: l.leaseFile(), netns: n.NS.Path(), port: preferredPort + i, log: filepath.Join(l.dir, n.Name+".log"),
		})
		if err != nil {
			return err
		}
		n.exporter = e
	}
	for _, n := range l.nodes {
		if err := n.exporter.waitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close takes everything down and waits until it is gone.
func (l *lab) close() {
	for _, n := range l.nodes {
		if n.exporter != nil {
			n.exporter.terminate()
		}
	}
	for _, n := range l.nodes {
		if n.exporter != nil {
			n.exporter.wait()
		}
	}
	if l.network != nil {
		l.network.Close()
	}
	if l.release != nil {
		_ = l.release()
		_ = l.sweeper.Wait()
	}
}

// programs are the paths of the product's binaries.
type programs struct{ exporter, cli string }

// findPrograms looks beside this program and, for `go run`, in bin.
func findPrograms() (programs, error) {
	self, err := os.Executable()
	if err != nil {
		return programs{}, err
	}
	for _, dir := range []string{filepath.Dir(self), "bin"} {
		p := programs{exporter: filepath.Join(dir, "routewatch-exporter"), cli: filepath.Join(dir, "routewatch")}
		if isFile(p.exporter) && isFile(p.cli) {
			return p, nil
		}
	}
	return programs{}, fmt.Errorf("routewatch-exporter and routewatch are neither in %s nor in bin: run `make demo`", filepath.Dir(self))
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
