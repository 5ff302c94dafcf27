//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"routewatch/deploy/lab/flannel"
	"routewatch/deploy/lab/shell"
	"routewatch/shared/netstate"
	"routewatch/shared/wire"
)

// limit is how long a verdict may take: flannel's own repair takes up to 10 s,
// its retries up to a minute.
const limit = 70 * time.Second

// await asks until the condition holds, and returns how long that took since
// the last thing that was done. Why is what a failure shows.
func (s *scenario) await(condition func() (ok bool, why string, err error)) (time.Duration, error) {
	end := time.Now().Add(limit)
	for {
		ok, why, err := condition()
		if err != nil {
			return 0, err
		}
		if ok {
			return time.Since(s.began), nil
		}
		if time.Now().After(end) {
			return 0, fmt.Errorf("not within %s: %s", limit, why)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// expect NODE PEER STATE [EFFECT [CAUSE]] [family=ipv4|ipv6]: what the node's
// exporter says of the peer's leases. A word "-" is any.
func (s *scenario) expect(args []string) error {
	var family *netstate.Family
	if last := args[len(args)-1]; strings.HasPrefix(last, "family=") {
		family = new(netstate.Family)
		if err := family.UnmarshalText([]byte(strings.TrimPrefix(last, "family="))); err != nil {
			return err
		}
		args = args[:len(args)-1]
	}
	if len(args) < 3 {
		return fmt.Errorf("expected NODE PEER STATE [EFFECT [CAUSE]] [family=ipv4|ipv6]")
	}
	n, err := s.nodeOf(args[0])
	if err != nil {
		return err
	}
	want := args[2:]
	took, err := s.await(func() (bool, string, error) {
		leases, err := n.Leases(s.ctx)
		found, wrong := 0, []wire.Lease{}
		for _, l := range leases {
			if s.isPeer(l, args[1]) && (family == nil || l.Family == *family) {
				found++
				if !said(l, want) {
					wrong = append(wrong, l)
				}
			}
		}
		return found > 0 && len(wrong) == 0, indented(wrong), err
	})
	if err != nil {
		return err
	}
	return s.conclude(took, fmt.Sprintf("%s says of %s: %s", args[0], args[1], strings.Join(want, ", ")))
}

// isPeer: where the leases are in etcd, which knows no names, the peer is known
// by its public IP.
func (s *scenario) isPeer(l wire.Lease, name string) bool {
	if l.Peer == name {
		return true
	}
	n := s.cluster.Node(name)
	return n != nil && slices.Contains(n.PublicIPs(), l.PublicIP)
}

func said(l wire.Lease, want []string) bool {
	is := []string{string(l.State), string(l.Effect), string(l.Cause)}
	for i, w := range want {
		if w != "-" && w != is[i] {
			return false
		}
	}
	return true
}

// problem NODE WORD: the node has this problem.
func (s *scenario) problem(args []string) error {
	n, err := s.nodeOf(args[0])
	if err != nil {
		return err
	}
	took, err := s.await(func() (bool, string, error) {
		status, err := n.Status(s.ctx)
		return slices.ContainsFunc(status.NodeProblems, func(p wire.NodeProblem) bool {
			return string(p.Problem) == args[1]
		}), briefly(status), err
	})
	if err != nil {
		return err
	}
	return s.conclude(took, n.Name+" itself has "+args[1])
}

// stale NODE KIND: an object that no lease explains.
func (s *scenario) stale(args []string) error {
	n, err := s.nodeOf(args[0])
	if err != nil {
		return err
	}
	took, err := s.await(func() (bool, string, error) {
		status, err := n.Status(s.ctx)
		return slices.ContainsFunc(status.Stale, func(o wire.Stale) bool { return string(o.Kind) == args[1] }), briefly(status), err
	})
	if err != nil {
		return err
	}
	return s.conclude(took, n.Name+" has a stale "+args[1])
}

// incomplete NODE: its exporter says that it does not know everything.
func (s *scenario) incomplete(args []string) error {
	n, err := s.nodeOf(args[0])
	if err != nil {
		return err
	}
	took, err := s.await(func() (bool, string, error) {
		status, err := n.Status(s.ctx)
		return !status.Complete && !status.Healthy, briefly(status), err
	})
	if err != nil {
		return err
	}
	return s.conclude(took, n.Name+" is incomplete")
}

// healthy: every node is, and knows as many leases as there are peers.
func (s *scenario) healthy(args []string) error {
	took, err := s.await(func() (bool, string, error) { return s.isHealthy(args) })
	if err != nil {
		return err
	}
	return s.conclude(took, "healthy")
}

func (s *scenario) isHealthy(names []string) (bool, string, error) {
	members := s.cluster.Members()
	for _, n := range members {
		if len(names) > 0 && !slices.Contains(names, n.Name) {
			continue
		}
		status, err := n.Status(s.ctx)
		if err != nil {
			return false, "", err
		}
		want := (len(members) - 1) * len(n.Pods)
		ok := 0
		for state, count := range status.Summary.States {
			if state.Healthy() {
				ok += count
			}
		}
		if !status.Healthy || ok != want || status.Summary.States["pending"] > 0 {
			return false, fmt.Sprintf("%s: %d of %d leases; %s", n.Name, ok, want, briefly(status)), nil
		}
	}
	return true, "", nil
}

// steady SECONDS: nothing that a verdict was given for changes for so long.
func (s *scenario) steady(args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		ok, why, err := s.isHealthy(nil)
		if err != nil || !ok {
			return fmt.Errorf("not healthy any more: %s: %w", why, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return s.conclude(d, "healthy all the time")
}

// calm DURATION: no node has a problem for so long, whether it is complete or not.
func (s *scenario) calm(args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		for _, n := range s.cluster.Members() {
			status, err := n.Status(s.ctx)
			if err != nil || status.ProblemsTotal > 0 || troubled(opinion{status: status}) {
				return fmt.Errorf("not calm any more: %s: %w", briefly(status), err)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return s.conclude(d, "no problem all the time")
}

// packet FROM TO PATH: what becomes of an IPv4 packet.
func (s *scenario) packet(args []string) error {
	n, err := s.nodeOf(args[0])
	if err != nil {
		return err
	}
	leases, err := n.Leases(s.ctx)
	if err != nil {
		return err
	}
	fate, err := s.send(args[0], args[1], netstate.IPv4, leases)
	if err == nil && string(fate.Path) != args[2] {
		err = fmt.Errorf("the packet %s; seen: %v", fate, fate.Seen)
	}
	return err
}

// mend NODE: types what the exporter advises, as it is printed, until it knows
// of no problem; what is then missing is shown next. flannel's pod is no pod
// here: where the advice deletes it, its flanneld is restarted instead. With
// "by restart" only that is done.
func (s *scenario) mend(args []string) error {
	n, err := s.nodeOf(args[0])
	if err != nil {
		return err
	}
	s.began = time.Now()
	var typed []string
	took, err := s.await(func() (bool, string, error) {
		status, err := n.Status(s.ctx)
		if err != nil || status.ProblemsTotal == 0 && !troubled(opinion{status: status}) {
			return true, "", err
		}
		for _, command := range adviceOf(status, len(args) > 1) {
			if slices.Contains(typed, command) {
				continue
			}
			typed = append(typed, command)
			if err := s.enter(n, command); err != nil {
				return false, "", err
			}
		}
		return false, fmt.Sprintf("typed %q; %s", typed, briefly(status)), nil
	})
	if err != nil {
		return err
	}
	s.done = []string{fmt.Sprintf("mended with %q", typed)}
	if len(typed) > 2 {
		s.done = []string{fmt.Sprintf("mended with %q and %d more", typed[0], len(typed)-1)}
	}
	return s.conclude(took, n.Name+" has no problem")
}

// restartAdvice begins the advice that restarts flannel.
var restartAdvice = []string{"kubectl -n kube-flannel delete pod", "systemctl restart flanneld"}

func isRestart(command string) bool {
	return slices.ContainsFunc(restartAdvice, func(s string) bool { return strings.HasPrefix(command, s) })
}

// adviceOf is what changes something, each command once: the single objects,
// or the restart of flannel where nothing else is advised or only that is wanted.
func adviceOf(status wire.NodeStatus, onlyRestart bool) []string {
	var lists [][]wire.Advice
	for _, p := range status.NodeProblems { // first, as routewatch prints it
		lists = append(lists, p.Advice)
	}
	for _, p := range status.Problems {
		lists = append(lists, p.Advice)
	}
	var commands, restarts []string
	for _, list := range lists {
		for _, a := range list {
			switch {
			case isRestart(a.Command):
				restarts = append(restarts, a.Command)
			case strings.Contains(a.Command, " show "), strings.HasPrefix(a.Command, "kubectl get"), strings.HasPrefix(a.Command, "etcdctl get"):
			case !slices.Contains(commands, a.Command):
				commands = append(commands, a.Command)
			}
		}
	}
	if (len(commands) == 0 || onlyRestart) && len(restarts) > 0 {
		return restarts[:1]
	}
	return commands
}

func (s *scenario) enter(n *flannel.Node, command string) error {
	if isRestart(command) {
		n.StopFlannel()
		return n.StartFlannel(s.ctx)
	}
	return shell.Run(n.NS, command)
}

// briefly is a status without what it counts.
func briefly(s wire.NodeStatus) string {
	return indented(map[string]any{
		"node": s.Node, "complete": s.Complete, "healthy": s.Healthy, "sources": s.Sources,
		"problems": s.Problems, "nodeProblems": s.NodeProblems, "stale": s.Stale,
	})
}

func indented(v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}
