package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"routewatch/cli/internal/client"
	"routewatch/cli/internal/cluster"
	"routewatch/shared/wire"
)

// askTimeout is how long each question may take.
const askTimeout = 5 * time.Second

// pluginName is the program's when kubectl runs it, as `kubectl routewatch`.
const pluginName = "kubectl-routewatch"

// member is an exporter that can be asked.
type member struct {
	node   string // "" while nobody said it
	client *client.Client
}

// fleet is all that a command asks.
type fleet struct {
	members []member
	absent  []wire.Unreachable // nodes where nobody can be asked
	problem string             // why there may be more of those
	one     bool               // one exporter, whose answer is shown as it is
	flags   string             // that ask the same again, each after a space
	name    string             // of the cluster; "" if the exporters were named
	cluster *cluster.Cluster   // nil if the exporters were named
	found   time.Time          // when they were found in the cluster
	others  []member           // all of the cluster, where one of them is asked
}

// newFleet finds out whom to ask: the exporters that were named; else, where
// the flags speak of a cluster or kubectl runs the program, those of the
// cluster; else the one on this machine; else, if none listens there and a
// kubeconfig is known, those of the cluster.
func newFleet(c *cli.Context, sys system) (*fleet, error) {
	timeout, err := timeoutOf(c)
	if err != nil {
		return nil, err
	}
	return fleetWith(c, sys, timeout)
}

func fleetWith(c *cli.Context, sys system, timeout time.Duration) (*fleet, error) {
	options := client.Options{
		Timeout: timeout,
		CAFile:  c.String("ca-file"), CertFile: c.String("cert-file"), KeyFile: c.String("key-file"), TokenFile: c.String("token-file"),
	}
	named, ofCluster := exporters(c), asksCluster(c)
	switch {
	case given(c, "exporter") && ofCluster != "":
		return nil, usagef("--exporter and --%s exclude each other", ofCluster)
	case named != nil && ofCluster == "":
		return namedFleet(named, options, given(c, "exporter"))
	case ofCluster != "" || sys.plugin || !listens(c.Context) && cluster.Known():
		return clusterFleet(c, timeout)
	}
	return namedFleet([]string{defaultExporter}, options, false)
}

// exporters are the addresses that were given; in the variable, separated by
// spaces. An empty one is none.
func exporters(c *cli.Context) []string {
	var all []string
	for _, value := range c.StringSlice("exporter") {
		all = append(all, strings.Fields(value)...)
	}
	return all
}

// asksCluster is the flag that speaks of a cluster; "" if none does.
func asksCluster(c *cli.Context) string {
	for _, name := range []string{"cluster", "node", "kubeconfig", "context", "namespace", "selector"} {
		if given(c, name) {
			return name
		}
	}
	return ""
}

// given reports whether a flag was typed: one that comes from a variable is
// only a default, and an empty value is none.
func given(c *cli.Context, name string) bool {
	if !c.IsSet(name) {
		return false
	}
	value := c.String(name)
	if list := c.StringSlice(name); list != nil {
		value = strings.Join(list, " ")
	}
	return value != os.Getenv("ROUTEWATCH_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
}

// listens reports whether something listens where this machine's exporter
// does. If that is not certain, it does: asking it says what is wrong.
func listens(ctx context.Context) bool {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", client.Port))
	if err == nil {
		_ = conn.Close() // nothing was sent
	}
	return !errors.Is(err, syscall.ECONNREFUSED)
}

// namedFleet is that of the addresses. Typed: they were given by a flag, which
// has to be typed again.
func namedFleet(addresses []string, options client.Options, typed bool) (*fleet, error) {
	f := &fleet{one: len(addresses) == 1}
	for _, address := range addresses {
		asker, err := client.New(address, options)
		if err != nil {
			return nil, usagef("%v", err)
		}
		f.members = append(f.members, member{client: asker})
		if typed {
			f.flags += " --exporter " + asker.URL("")
		}
	}
	return f, nil
}

func clusterFleet(c *cli.Context, timeout time.Duration) (*fleet, error) {
	k, err := connect(c, timeout)
	if err != nil {
		return nil, err
	}
	f, err := ofCluster(c.Context, k)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"cluster", "kubeconfig", "context", "namespace", "selector"} {
		switch {
		case !c.IsSet(name):
		case name == "cluster":
			f.flags += " --cluster"
		default:
			f.flags += " --" + name + " " + c.String(name)
		}
	}
	if node := c.String("node"); node != "" {
		return f.only(node)
	}
	return f, nil
}

// connect finds the way to a cluster.
func connect(c *cli.Context, timeout time.Duration) (*cluster.Cluster, error) {
	return cluster.Connect(cluster.Config{
		Kubeconfig: c.String("kubeconfig"), Context: c.String("context"),
		Namespace: c.String("namespace"), Selector: c.String("selector"), Timeout: timeout,
	})
}

// ofCluster finds the exporters of a cluster.
func ofCluster(ctx context.Context, k *cluster.Cluster) (*fleet, error) {
	found, err := k.Exporters(ctx)
	if err != nil {
		return nil, err
	}
	f := &fleet{cluster: k, name: k.Name(), absent: found.Absent, problem: found.Problem, found: time.Now()}
	for _, e := range found.Found {
		f.members = append(f.members, member{e.Node, e.Client})
	}
	return f, nil
}

// only is the fleet of one node.
func (f *fleet) only(node string) (*fleet, error) {
	alone := *f
	alone.one, alone.flags = true, f.flags+" --node "+node
	for _, a := range f.absent {
		if a.Node == node {
			return nil, fmt.Errorf("node %s: %s", node, a.Problem)
		}
	}
	names := f.nodes()
	i := slices.Index(names, node)
	if i < 0 {
		return nil, fmt.Errorf("no exporter of context %s is on a node %q%s; see: routewatch status%s", f.name, node, didYouMean(node,
			names), f.flags)
	}
	alone.members, alone.absent, alone.problem = f.members[i:i+1], nil, ""
	alone.others = f.members
	return &alone, nil
}

// of is the member on a node, also where it is not one of those that are asked;
// without a client if there is none.
func (f *fleet) of(node string) member {
	for _, m := range slices.Concat(f.members, f.others) {
		if m.node == node {
			return m
		}
	}
	return member{}
}

// nodes are the names of the members' nodes, as far as they are known.
func (f *fleet) nodes() []string {
	var names []string
	for _, m := range f.members {
		names = append(names, m.node)
	}
	return names
}

// first is the only member of a fleet of one.
func (f *fleet) first() *client.Client { return f.members[0].client }

// isPlugin reports whether kubectl runs the program.
func isPlugin(program string) bool { return filepath.Base(program) == pluginName }

// pace is how often to ask again where one exporter is asked each poll: no more
// than 50 a poll are.
func (f *fleet) pace(poll time.Duration) time.Duration {
	return poll * time.Duration(1+len(f.members)/50)
}
