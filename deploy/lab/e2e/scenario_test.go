//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"routewatch/deploy/lab/cluster"
	"routewatch/deploy/lab/flannel"
	"routewatch/deploy/lab/netns"
	"routewatch/deploy/lab/traffic"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// TestCluster_Scenarios plays the stories of testdata/scenarios, one after the
// other, on real flannel. The README beside them says which commands there are.
func TestCluster_Scenarios(t *testing.T) {
	netns.Require(t)
	netns.Must(t, build())
	control := sync.OnceValue(func() *cluster.Cluster { return cluster.StartT(t, cluster.Config{}) })
	testscript.RunT(sequential{t}, testscript.Params{
		Dir: "testdata/scenarios",
		Setup: func(env *testscript.Env) error {
			s := &scenario{control: control, ctx: t.Context()}
			env.Values[scenarioKey{}] = s
			env.Defer(s.close)
			return nil
		},
		Cmds: commands(scenarioCommands),
	})
}

var scenarioCommands = map[string]func(*scenario, []string) error{
	"lab": (*scenario).lab,
	// what breaks
	"on": (*scenario).on, "flanneld": (*scenario).flanneld, "node": (*scenario).node, "api": (*scenario).api, "etcd": (*scenario).etcd,
	"cable": (*scenario).cable, "annotate": (*scenario).annotate, "exporter": (*scenario).exporter,
	// what is demanded
	"expect": (*scenario).expect, "problem": (*scenario).problem, "stale": (*scenario).stale, "incomplete": (*scenario).incomplete,
	"healthy": (*scenario).healthy, "packet": (*scenario).packet, "mend": (*scenario).mend, "steady": (*scenario).steady,
	"calm": (*scenario).calm, "show": (*scenario).show,
}

// sequential runs scripts one after the other: they share the control plane.
type sequential struct{ *testing.T }

func (sequential) Parallel()     {}
func (sequential) Verbose() bool { return false }
func (s sequential) Run(name string, f func(testscript.T)) {
	s.T.Run(name, func(t *testing.T) { f(sequential{t}) })
}

type scenarioKey struct{}

func commands(of map[string]func(*scenario, []string) error) map[string]func(*testscript.TestScript, bool, []string) {
	out := map[string]func(*testscript.TestScript, bool, []string){}
	for name, f := range of {
		out[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("%s takes no !", name)
			}
			s := ts.Value(scenarioKey{}).(*scenario)
			if name != "lab" && s.cluster == nil {
				ts.Fatalf("the first command must be lab")
			}
			if err := f(s, args); err != nil {
				ts.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, s.words())
			}
		}
	}
	return out
}

// scenario is one story while it is played.
type scenario struct {
	ctx     context.Context
	control func() *cluster.Cluster
	cluster *flannel.Cluster
	server  *cluster.Etcd // nil where the leases are in Nodes
	prefix  lease.Prefix
	watch   *traffic.Watch
	watched map[string]bool

	mu sync.Mutex // held while packets are sent, and while nodes are added to the watch

	done  []string  // since the last verdict
	began time.Time // the last thing that was done
}

// options of lab, as NAME=VALUE.
type options map[string]string

func parseOptions(args []string, known ...string) (options, error) {
	o := options{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || !slices.Contains(known, name) {
			return nil, fmt.Errorf("%q: expected NAME=VALUE with a name of %v", arg, known)
		}
		o[name] = value
	}
	return o, nil
}

// backends are net-conf's, by the words of lab.
var backends = map[string]string{
	"":             `{"Type": "vxlan"}`,
	"vxlan":        `{"Type": "vxlan"}`,
	"vxlan-7":      `{"Type": "vxlan", "VNI": 7, "Port": 4789}`,
	"vxlan-direct": `{"Type": "vxlan", "DirectRouting": true}`,
	"host-gw":      `{"Type": "host-gw"}`,
	"udp":          `{"Type": "udp"}`,
}

var familiesOf = map[string][]netstate.Family{
	"": nil, "dual": nil, "ipv4": {netstate.IPv4}, "ipv6": {netstate.IPv6},
}

// lab starts the cluster and demands that it is healthy and true.
func (s *scenario) lab(args []string) error {
	o, err := parseOptions(args, "nodes", "backend", "families", "source", "prefix", "netconf", "flannel", "exporter", "pods", "more")
	if err != nil {
		return err
	}
	backend, known := backends[o["backend"]]
	families, known2 := familiesOf[o["families"]]
	if !known || !known2 {
		return fmt.Errorf("no such backend or families")
	}
	opts := flannel.Options{
		Backend: backend, Families: families, Prefix: lease.Prefix(o["prefix"]), NetConf: o["netconf"] != "",
		Exporter: filepath.Join(programs, "routewatch-exporter"), FlannelFlags: strings.Fields(o["flannel"]),
		RoutedPods: o["pods"] == "routed", MoreNetConf: o["more"],
		ExporterFlags: append([]string{"--grace", "3s"}, strings.Fields(o["exporter"])...),
	}
	if n := o["nodes"]; n != "" {
		if _, err := fmt.Sscan(n, &opts.Nodes); err != nil {
			return err
		}
	}
	if o["source"] == "etcd" {
		if s.server, err = cluster.StartEtcd(s.ctx, cluster.EtcdOptions{}); err != nil {
			return err
		}
		opts.Etcd = s.server
	} else {
		opts.Control = s.control()
	}
	s.began, s.done, s.prefix = time.Now(), []string{"lab " + strings.Join(args, " ")}, opts.Prefix
	if s.cluster, err = flannel.Start(s.ctx, opts); err != nil {
		return err
	}
	if s.watch, err = traffic.New(s.cluster.Gateway); err != nil {
		return err
	}
	return s.capture()
}

// capture adds the nodes that are new to the watch.
func (s *scenario) capture() error {
	if s.watched == nil {
		s.watched = map[string]bool{}
	}
	for _, n := range s.cluster.Nodes() {
		if s.watched[n.Name] {
			continue
		}
		s.watched[n.Name] = true
		if err := s.watch.Add(traffic.Node{Name: n.Name, NS: n.NS, Pod: n.Pod, Pods: n.Pods}); err != nil {
			return err
		}
	}
	return nil
}

func (s *scenario) close() {
	if s.watch != nil {
		s.watch.Close()
	}
	if s.cluster != nil {
		if err := s.cluster.Close(); err != nil {
			fmt.Println("close the cluster:", err)
		}
	}
	if s.server != nil {
		if err := s.server.Close(); err != nil {
			fmt.Println("close etcd:", err)
		}
	}
}

// did notes what was done, for the line of the next verdict.
func (s *scenario) did(began time.Time, what string) {
	s.done, s.began = append(s.done, what), began
}

// step prints the line of a step: what was done, the time to the verdict, the
// verdict, what the packets did.
func (s *scenario) step(took time.Duration, verdict, packets string) {
	what := strings.Join(s.done, "; ")
	if what == "" {
		what = "(nothing more)"
	}
	fmt.Printf("    %8s  %s => %s; %s\n", took.Round(time.Millisecond), what, verdict, packets)
	s.done = nil
}

// words are the logs of the cluster, for a failure.
func (s *scenario) words() string {
	var b strings.Builder
	if s.cluster == nil {
		return ""
	}
	for _, n := range s.cluster.Nodes() {
		fmt.Fprintf(&b, "flanneld of %s:\n%s\nexporter of %s:\n%s\n", n.Name, n.FlannelLog(), n.Name, n.ExporterLog())
	}
	return b.String()
}

func (s *scenario) nodeOf(name string) (*flannel.Node, error) {
	if n := s.cluster.Node(name); n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("there is no node %q", name)
}
