//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"routewatch/deploy/lab/traffic"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// stable is for how long verdict and packet must disagree to be a failure: what
// changes between the one and the other is none.
const stable = time.Second

// conclude ends a step: it holds the verdicts of all nodes against packets, and
// prints the line.
func (s *scenario) conclude(took time.Duration, said string) error {
	packets, err := s.truth()
	if err != nil {
		return err
	}
	s.step(took, said, packets)
	return nil
}

// opinion is what a node's exporter says at one moment.
type opinion struct {
	status wire.NodeStatus
	leases []wire.Lease
}

// opinions asks every exporter.
func (s *scenario) opinions() (map[string]opinion, error) {
	out := map[string]opinion{}
	for _, n := range s.cluster.Members() {
		status, err := n.Status(s.ctx)
		if err != nil {
			return nil, err
		}
		leases, err := n.Leases(s.ctx)
		if err != nil {
			return nil, err
		}
		out[n.Name] = opinion{status, leases}
	}
	return out, nil
}

// dispute is a lease whose verdict and packet disagree.
type dispute struct {
	text  string // without what changes from trial to trial
	since time.Time
	lease wire.Lease
	fate  traffic.Fate
	// problems are the node's own.
	problems []wire.NodeProblem
}

// truth sends a packet from every pod to every other pod, and holds what became
// of it against what the exporters said before and after, until they agree. It
// returns a summary of the packets.
func (s *scenario) truth() (string, error) {
	disputes := map[string]dispute{}
	for {
		fates, err := s.round(&disputes)
		if err != nil {
			return "", err
		}
		for _, d := range disputes {
			if d.old() {
				return "", errors.New(d.String())
			}
		}
		if len(disputes) == 0 {
			return summaryOf(fates), nil
		}
	}
}

func (d dispute) old() bool { return time.Since(d.since) > stable }

// String is for a person, with both sides.
func (d dispute) String() string {
	return fmt.Sprintf("verdict and packet disagree: %s\nthe packet was seen: %v\nthe verdict: %s\nthe node: %s",
		d.text, d.fate.Seen, indented(d.lease), indented(d.problems))
}

// round sends all packets once, and makes disputes those of now: one that was
// there before keeps its time.
func (s *scenario) round(disputes *map[string]dispute) ([]traffic.Fate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, err := s.opinions()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	fates, err := s.sendAll()
	if err != nil {
		return nil, err
	}
	after, err := s.opinions()
	if err != nil {
		return nil, err
	}
	fresh := map[string]dispute{}
	for _, fate := range fates {
		d, ok := s.compare(fate, before, after)
		if !ok {
			continue
		}
		if d.since = start; !(*disputes)[d.text].since.IsZero() {
			d.since = (*disputes)[d.text].since
		}
		fresh[d.text] = d
	}
	*disputes = fresh
	return fates, nil
}

// compare holds one packet against the verdict, if that is the same before and
// after. ok is false where they agree, or where nothing can be said.
func (s *scenario) compare(fate traffic.Fate, before, after map[string]opinion) (d dispute, ok bool) {
	there, back := leaseOf(s, after, fate.From, fate.To, fate.Family), leaseOf(s, after, fate.To, fate.From, fate.Family)
	was := leaseOf(s, before, fate.From, fate.To, fate.Family)
	if there == nil || was == nil || was.State != there.State || was.Effect != there.Effect || there.Partial {
		return d, false
	}
	clean := !troubled(before[fate.From]) && !troubled(after[fate.From])
	cleanPeer := !troubled(before[fate.To]) && !troubled(after[fate.To])
	if n := s.cluster.Node(fate.To); !n.OnNetwork() {
		return d, false // the path between the nodes is what no exporter checks
	}
	if fate.Reached && !cleanPeer {
		return d, false // what the other node does with it is its own problem, which it has
	}
	wrong := wrongly(there, fate, clean)
	if wrong == "" && there.State == verdict.OK && back != nil && back.State == verdict.OK && clean && cleanPeer &&
		after[fate.From].status.Complete && after[fate.To].status.Complete && !fate.Pong {
		wrong = "both ends are ok, and the answer did not come"
	}
	if wrong == "" {
		return d, false
	}
	text := fmt.Sprintf("%s to %s (%s): %s, %s, but the packet %s: %s",
		fate.From, fate.To, fate.Family, there.State, there.Effect, fate, wrong)
	return dispute{text: text, lease: *there, fate: fate, problems: after[fate.From].status.NodeProblems}, true
}

// wrongly says what is wrong with a verdict, given what became of the packet;
// "" if nothing is. clean: the node itself has no problem.
func wrongly(l *wire.Lease, fate traffic.Fate, clean bool) string {
	switch l.State {
	case verdict.Pending, verdict.Unknown, verdict.Unsupported, verdict.Conflict:
		return ""
	}
	strayed := fate.Path == traffic.Leaked || fate.Path == traffic.Elsewhere
	switch l.Effect {
	case verdict.EffectUnknown:
		return ""
	case "", verdict.Delivered:
		if clean && !fate.Delivers() {
			return "it is said to be delivered"
		}
	case verdict.Leaking, verdict.EffectDiverted:
		if clean && !strayed {
			return "it is said to leave by another way"
		}
	default:
		if fate.Delivers() {
			return "it is said not to arrive"
		}
	}
	return ""
}

// troubled: the node has a problem of its own that is more than information,
// which says that what its leases say is not all.
func troubled(o opinion) bool {
	return slices.ContainsFunc(o.status.NodeProblems, func(p wire.NodeProblem) bool { return !p.Problem.Info() })
}

func leaseOf(s *scenario, all map[string]opinion, from, to string, f netstate.Family) *wire.Lease {
	leases := all[from].leases
	i := slices.IndexFunc(leases, func(l wire.Lease) bool { return l.Family == f && s.isPeer(l, to) })
	if i < 0 {
		return nil
	}
	return &leases[i]
}

// send sends one packet. The MAC that the peer published is what the leases say.
func (s *scenario) send(from, to string, f netstate.Family, leases []wire.Lease) (traffic.Fate, error) {
	var vtep traffic.VTEP
	for _, l := range leases {
		if l.Family == f && s.isPeer(l, to) {
			vtep = traffic.VTEP{MAC: l.MAC, VNI: l.VNI}
		}
	}
	return s.watch.Send(s.ctx, from, to, f, vtep)
}

// sendAll sends a packet between all pods at once.
func (s *scenario) sendAll() ([]traffic.Fate, error) {
	var (
		mu    sync.Mutex
		wait  sync.WaitGroup
		fates []traffic.Fate
		errs  []error
	)
	members := s.cluster.Members()
	for _, from := range members {
		leases, err := from.Leases(s.ctx)
		if err != nil {
			return nil, err
		}
		for _, to := range members {
			for f := range from.Pods {
				if from == to || !to.Pods[f].IsValid() {
					continue
				}
				wait.Go(func() {
					fate, err := s.send(from.Name, to.Name, f, leases)
					mu.Lock()
					defer mu.Unlock()
					fates = append(fates, fate)
					if err != nil {
						errs = append(errs, err)
					}
				})
			}
		}
	}
	wait.Wait()
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return fates, nil
}

// summaryOf counts the packets by what became of them.
func summaryOf(fates []traffic.Fate) string {
	counts := map[string]int{}
	for _, f := range fates {
		counts[f.String()]++
	}
	var parts []string
	for what, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, what))
	}
	slices.Sort(parts)
	return "packets: " + strings.Join(parts, ", ")
}
