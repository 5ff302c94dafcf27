//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"routewatch/deploy/lab/shell"
	"routewatch/deploy/lab/traffic"
	"routewatch/shared/mend"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

const (
	budget   = time.Second // within which a finding must be there
	patience = 5 * time.Second
	device   = "flannel.1"
)

// play is the demo on a running lab: node-1 is broken and mended, node-3 is
// the peer that it talks to.
type play struct {
	*story
	*lab
	one, three *node
	traffic    *traffic.Watch
}

// demo runs all acts. In a terminal the lab then stays up until ctx ends.
func demo(ctx context.Context, in, out *os.File) error {
	s := newStory(out)
	s.line("Bringing up four nodes in network namespaces, with real vxlan devices and an exporter each ...")
	start := time.Now()
	l, err := newLab(ctx)
	defer l.close()
	if err != nil {
		return err
	}
	s.line(fmt.Sprintf("They are up after %s.", round(time.Since(start))))
	p := &play{story: s, lab: l, one: l.nodes[0], three: l.nodes[2]}
	if p.traffic, err = traffic.New(l.network.Gateway); err != nil {
		return err
	}
	defer p.traffic.Close()
	for _, n := range l.nodes {
		pod := n.Flannel.Own()[0].Subnet.Addr().Next().Next()
		err := p.traffic.Add(traffic.Node{Name: n.Name, NS: n.NS, Pod: n.Pod, Pods: map[netstate.Family]netip.Addr{netstate.IPv4: pod}})
		if err != nil {
			return err
		}
	}
	if err := p.acts(ctx); err != nil {
		return fmt.Errorf("%w\nThe exporter of node-1 said last:\n%s", err, p.one.exporter.tail())
	}
	s.line("\n" + s.paint(bold, "Every act showed what it must."))
	if !term.IsTerminal(int(in.Fd())) {
		return nil
	}
	return p.stay(ctx)
}

// acts shows all acts, also after one that did not show what it must.
func (p *play) acts(ctx context.Context) error {
	for _, act := range []func(context.Context) error{p.healthy, p.flap, p.onlyRoutes, p.advice} {
		if err := act(ctx); err != nil {
			return fmt.Errorf("act %q: %w", p.act, err)
		}
	}
	return p.end()
}

func (p *play) healthy(ctx context.Context) error {
	p.headline("1. All is well")
	if err := p.await(ctx, "node-1 is healthy", isHealthy); err != nil {
		return err
	}
	if err := p.status(ctx, 0); err != nil {
		return err
	}
	return p.ping(ctx, traffic.Arrived)
}

func (p *play) flap(ctx context.Context) error {
	p.headline("2. " + device + " of node-1 goes down and up again")
	ear, err := listen(p.one.NS)
	if err != nil {
		return err
	}
	if err := p.node1("ip link set "+device+" down", "ip link set "+device+" up"); err != nil {
		return err
	}
	err = p.await(ctx, "every IPv4 peer is missing, its packets leak, the cause is the link", eachIPv4Peer(func(l wire.Lease) bool {
		return l.State == verdict.Missing && l.Effect == verdict.Leaking && l.Cause == verdict.CauseLinkDown
	}))
	if err != nil {
		return err
	}
	h, err := ear.hear(device)
	if err != nil {
		return err
	}
	p.check(h.links >= 2 && h.routesDeleted == 0,
		fmt.Sprintf("the kernel told of the link (%d events) but of no deleted IPv4 route", h.links),
		fmt.Sprintf("%d events of the link and %d deleted routes were heard", h.links, h.routesDeleted))
	if err := p.status(ctx, 1); err != nil {
		return err
	}
	return p.ping(ctx, traffic.Leaked)
}

func (p *play) onlyRoutes(ctx context.Context) error {
	p.headline("3. Somebody puts the routes back, and only the routes")
	var commands []string
	for _, n := range p.nodes[1:] {
		s := n.Flannel.Own()[0].Subnet
		commands = append(commands, fmt.Sprintf("ip route replace %s via %s dev %s onlink", s, s.Addr(), device))
	}
	if err := p.node1(commands...); err != nil {
		return err
	}
	err := p.await(ctx, "every IPv4 peer lacks its neighbor, its packets are undeliverable", eachIPv4Peer(func(l wire.Lease) bool {
		return l.State == verdict.NeighborMissing && l.Effect == verdict.Undeliverable
	}))
	if err != nil {
		return err
	}
	if err := p.status(ctx, 1); err != nil {
		return err
	}
	return p.ping(ctx, traffic.Nowhere)
}

func (p *play) advice(ctx context.Context) error {
	p.headline("4. Somebody types what routewatch advises")
	s, err := p.one.exporter.status(ctx)
	if err != nil {
		return err
	}
	commands := singleObjects(s)
	p.check(len(commands) > 0, "the problems name commands that mend them", "there are none")
	if err := p.node1(commands...); err != nil {
		return err
	}
	if err := p.await(ctx, "node-1 is healthy again", isHealthy); err != nil {
		return err
	}
	if err := p.status(ctx, 0); err != nil {
		return err
	}
	return p.ping(ctx, traffic.Arrived)
}

// singleObjects returns the advice that repairs a single object, once each;
// what is left out restarts flannel or is for a person to look.
func singleObjects(s *wire.NodeStatus) []string {
	var commands []string
	for _, l := range s.Problems {
		for _, a := range l.Advice {
			if _, err := mend.Parse(a.Command); err == nil && !slices.Contains(commands, a.Command) {
				commands = append(commands, a.Command)
			}
		}
	}
	return commands
}

// node1 types commands on node-1.
func (p *play) node1(commands ...string) error {
	p.commands("node-1#", commands...)
	for _, c := range commands {
		if err := shell.Type(p.one.NS, c); err != nil {
			return err
		}
	}
	return nil
}

// await waits for a finding, and checks that it came within the budget.
func (p *play) await(ctx context.Context, what string, found func(*wire.NodeStatus) bool) error {
	start := time.Now()
	var s *wire.NodeStatus
	for time.Since(start) < patience {
		var err error
		if s, err = p.one.exporter.status(ctx); err != nil {
			return err
		}
		if found(s) {
			took := time.Since(start)
			p.check(took <= budget, fmt.Sprintf("found after %s: %s", round(took), what), fmt.Sprintf("that is more than %s", budget))
			return nil
		}
		time.Sleep(pollInterval)
	}
	p.check(false, "found within "+budget.String()+": "+what, "after "+patience.String()+" there is "+summary(s))
	return nil
}

func isHealthy(s *wire.NodeStatus) bool { return s.Complete && s.Healthy }

// eachIPv4Peer is true if exactly the IPv4 leases of all peers are bad, each as it must be.
func eachIPv4Peer(must func(wire.Lease) bool) func(*wire.NodeStatus) bool {
	return func(s *wire.NodeStatus) bool {
		ok := s.Complete && !s.Healthy && s.ProblemsTotal == nodeCount-1 && len(s.Problems) == s.ProblemsTotal
		for _, l := range s.Problems {
			ok = ok && l.Lease.Addr().Is4() && must(l)
		}
		return ok
	}
}

// summary says what a status holds, for a check that failed.
func summary(s *wire.NodeStatus) string {
	parts := []string{fmt.Sprintf("complete %t, healthy %t", s.Complete, s.Healthy)}
	for _, l := range s.Problems {
		parts = append(parts, fmt.Sprintf("%s %s %s %s", l.Lease, l.State, l.Effect, l.Cause))
	}
	for _, n := range s.NodeProblems {
		parts = append(parts, fmt.Sprintf("%s: %s", n.Problem, n.Message))
	}
	for _, src := range s.Sources {
		if src.Problem != "" {
			parts = append(parts, src.Name+": "+src.Problem)
		}
	}
	return strings.Join(parts, "; ")
}

// status runs the CLI as a person would, and checks its exit code.
func (p *play) status(ctx context.Context, want int) error {
	args := []string{"status", "--exporter", p.one.exporter.url}
	p.commands("$", "routewatch "+strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, p.programs.cli, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		return fmt.Errorf("run routewatch status: %w", err)
	}
	p.output(string(out))
	got := cmd.ProcessState.ExitCode()
	p.check(got == want, fmt.Sprintf("the exit code is %d", want), fmt.Sprintf("it is %d", got))
	return ctx.Err()
}

// ping sends an echo request from the pod on node-1 to the pod on node-3. A new
// device drops what is sent before the kernel has seen its carrier, so it is
// sent again for a while.
func (p *play) ping(ctx context.Context, want traffic.Path) error {
	own := p.one.Flannel.Own()[0]
	var got traffic.Fate
	for end := time.Now().Add(patience); got.Path != want && time.Now().Before(end); {
		var err error
		got, err = p.traffic.Send(ctx, p.one.Name, p.three.Name, netstate.IPv4, traffic.VTEP{MAC: own.MAC, VNI: own.VNI})
		if err != nil {
			return err
		}
	}
	p.line("\nA ping from the pod on node-1 (10.244.1.2) to the pod on node-3 (10.244.3.2):")
	p.check(got.Path == want, describe(want), describe(got.Path))
	return nil
}

func describe(path traffic.Path) string {
	switch path {
	case traffic.Arrived:
		return "it arrives"
	case traffic.Leaked:
		return "it does not arrive: it is caught at the default gateway 192.168.1.1, not encapsulated"
	case traffic.Nowhere:
		return "it arrives nowhere, neither at the pod nor at the default gateway"
	}
	return "it ends " + string(path)
}

func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Millisecond)
}
