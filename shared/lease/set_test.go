package lease_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// named returns a good dual-stack Node with its own subnets, addresses and MACs.
func named(name string, number int, annotations ...string) lease.Node {
	n := with(append([]string{
		"public-ip", fmt.Sprintf("192.168.1.%d", number),
		"public-ipv6", fmt.Sprintf("2001:db8::%d", number),
		"backend-data", fmt.Sprintf(`{"VNI":1,"VtepMAC":"12:00:00:00:04:%02d"}`, number),
		"backend-v6-data", fmt.Sprintf(`{"VNI":1,"VtepMAC":"12:00:00:00:06:%02d"}`, number),
	}, annotations...)...)
	n.Metadata.Name = name
	n.Spec.PodCIDR = fmt.Sprintf("10.244.%d.0/24", number)
	n.Spec.PodCIDRs = []string{n.Spec.PodCIDR, fmt.Sprintf("fd00:10:244:%d::/64", number)}
	return n
}

// digest renders what a set is about, one line for each lease or skipped Node.
func digest(s lease.Set) []string {
	var out []string
	out = append(out, fmt.Sprint("families ", s.Families))
	line := func(what string, l lease.Lease) {
		words := []string{what, l.Peer, l.Family.String()}
		if l.Subnet.IsValid() {
			words = append(words, l.Subnet.String())
		}
		if l.Malformed != "" {
			words = append(words, "malformed: "+l.Malformed)
		}
		if l.Conflict != "" {
			words = append(words, "conflict: "+l.Conflict)
		}
		out = append(out, strings.Join(words, " "))
	}
	for _, l := range s.Own {
		line("own", l)
	}
	for _, l := range s.Leases {
		line("peer", l)
	}
	for _, k := range s.Skipped {
		out = append(out, "skipped "+k.Node+": "+k.Reason)
	}
	return out
}

func TestFromNodes_Set(t *testing.T) {
	noEndpoint := "annotation flannel.alpha.coreos.com/public-ip is not there"
	for _, tt := range []struct {
		name  string
		opts  lease.Options
		nodes []lease.Node
		want  []string
	}{
		{
			name: "nothing at all",
			opts: lease.Options{Self: "a"},
			want: []string{"families []"},
		},
		{
			name:  "dual-stack by the own annotations",
			opts:  lease.Options{Self: "b"},
			nodes: []lease.Node{named("c", 3), named("b", 2), named("a", 1)},
			want: []string{
				"families [ipv4 ipv6]",
				"own b ipv4 10.244.2.0/24", "own b ipv6 fd00:10:244:2::/64",
				"peer a ipv4 10.244.1.0/24", "peer a ipv6 fd00:10:244:1::/64",
				"peer c ipv4 10.244.3.0/24", "peer c ipv6 fd00:10:244:3::/64",
			},
		},
		{
			name:  "IPv4 by the own annotations",
			opts:  lease.Options{Self: "a"},
			nodes: []lease.Node{named("a", 1, "public-ipv6", "-"), named("b", 2)},
			want:  []string{"families [ipv4]", "own a ipv4 10.244.1.0/24", "peer b ipv4 10.244.2.0/24"},
		},
		{
			name:  "IPv4 by the own backend data",
			opts:  lease.Options{Self: "a"},
			nodes: []lease.Node{named("a", 1, "public-ipv6", "-", "public-ip", "-"), named("b", 2)},
			want:  []string{"families [ipv4]", "peer b ipv4 10.244.2.0/24", "skipped a: " + noEndpoint},
		},
		{
			name:  "IPv6 by the own annotations, IPv4 endpoint of zeros",
			opts:  lease.Options{Self: "a"},
			nodes: []lease.Node{named("a", 1, "public-ip", "0.0.0.0", "backend-data", "null"), named("b", 2)},
			want:  []string{"families [ipv6]", "own a ipv6 fd00:10:244:1::/64", "peer b ipv6 fd00:10:244:2::/64"},
		},
		{
			name:  "IPv6 by the own annotations, no IPv4 endpoint",
			opts:  lease.Options{Self: "a"},
			nodes: []lease.Node{named("a", 1, "public-ip", "-", "backend-data", "null"), named("b", 2)},
			want:  []string{"families [ipv6]", "own a ipv6 fd00:10:244:1::/64", "peer b ipv6 fd00:10:244:2::/64"},
		},
		{
			name:  "the own Node is none of flannel's",
			opts:  lease.Options{Self: "a"},
			nodes: []lease.Node{named("a", 1, "kube-subnet-manager", "false"), named("b", 2, "public-ipv6", "-")},
			want: []string{
				"families [ipv4]", "peer b ipv4 10.244.2.0/24",
				`skipped a: annotation flannel.alpha.coreos.com/kube-subnet-manager is "false": only "true" makes it a node of flannel's`,
			},
		},
		{
			name: "annotations of a family without a pod CIDR are left over",
			opts: lease.Options{Self: "a"},
			nodes: []lease.Node{func() lease.Node {
				n := named("a", 1)
				n.Spec.PodCIDRs = n.Spec.PodCIDRs[:1]
				return n
			}(), named("b", 2)},
			want: []string{"families [ipv4]", "own a ipv4 10.244.1.0/24", "peer b ipv4 10.244.2.0/24"},
		},
		{
			name:  "families given, in any order",
			opts:  lease.Options{Self: "a", Families: []netstate.Family{netstate.IPv6, netstate.IPv4, netstate.IPv6}},
			nodes: []lease.Node{named("a", 1)},
			want:  []string{"families [ipv4 ipv6]", "own a ipv4 10.244.1.0/24", "own a ipv6 fd00:10:244:1::/64"},
		},
		{
			name: "the own node is not there: each peer by what it announces",
			opts: lease.Options{Self: "me"},
			nodes: []lease.Node{
				named("a", 1, "public-ipv6", "-"), named("b", 2), named("c", 3, "public-ip", "-", "public-ipv6", "-", "backend-data", "null"),
				named("d", 4, "public-ip", "0.0.0.0", "public-ipv6", "-"),
			},
			want: []string{
				"families [ipv4 ipv6]",
				"peer a ipv4 10.244.1.0/24", "peer b ipv4 10.244.2.0/24", "peer b ipv6 fd00:10:244:2::/64",
				"skipped c: " + noEndpoint,
				"skipped d: annotation flannel.alpha.coreos.com/public-ip is 0.0.0.0: flannel on this node serves no IPv4",
			},
		},
		{
			name:  "the own Node is malformed",
			opts:  lease.Options{Self: "a"},
			nodes: []lease.Node{named("a", 1, "public-ipv6", "-", "public-ip", "x"), named("b", 2)},
			want: []string{
				"families [ipv4]",
				`own a ipv4 10.244.1.0/24 malformed: annotation flannel.alpha.coreos.com/public-ip is "x", which is no IPv4 address`,
				"peer b ipv4 10.244.2.0/24",
			},
		},
		{
			name:  "Nodes without a name",
			opts:  lease.Options{Families: ipv4},
			nodes: []lease.Node{named("", 1), named("", 2)},
			want:  []string{"families [ipv4]", "skipped : the Node has no metadata.name", "skipped : the Node has no metadata.name"},
		},
		{
			name:  "one name twice",
			opts:  lease.Options{Self: "a", Families: ipv4},
			nodes: []lease.Node{named("a", 1), named("b", 2), named("b", 3), named("c", 4), named("c", 4), named("d", 5, "kube-subnet-manager", "-"), named("d", 5, "kube-subnet-manager", "-")},
			want: []string{
				"families [ipv4]",
				"own a ipv4 10.244.1.0/24",
				"peer b ipv4 malformed: 2 Nodes have the name b, and which one counts cannot be said: keep one of them",
				"peer c ipv4 10.244.4.0/24 malformed: 2 Nodes have the name c, and which one counts cannot be said: keep one of them",
				"skipped d: 2 Nodes have the name d, and which one counts cannot be said: keep one of them",
			},
		},
		{
			name:  "conflicts are marked",
			opts:  lease.Options{Self: "a", Families: ipv4},
			nodes: []lease.Node{named("a", 1), named("b", 1, "public-ip", "192.168.1.2", "backend-data", `{"VtepMAC":"12:00:00:00:04:02"}`)},
			want: []string{
				"families [ipv4]", "own a ipv4 10.244.1.0/24",
				"peer b ipv4 10.244.1.0/24 conflict: b claims 10.244.1.0/24, which overlaps this node's own subnet 10.244.1.0/24",
			},
		},
		{
			name:  "unreadable Nodes",
			opts:  lease.Options{Families: dual},
			nodes: []lease.Node{{Metadata: lease.Metadata{Name: "a"}, Unreadable: "why"}},
			want:  []string{"families [ipv4 ipv6]", "peer a ipv4 malformed: why", "peer a ipv6 malformed: why"},
		},
		{
			name:  "an unreadable Node with an endpoint of zeros",
			opts:  lease.Options{Families: ipv4},
			nodes: []lease.Node{func() lease.Node { n := named("a", 1, "public-ip", "0.0.0.0"); n.Unreadable = "why"; return n }()},
			want:  []string{"families [ipv4]", "peer a ipv4 10.244.1.0/24 malformed: why"},
		},
		{
			name:  "an unreadable Node, and no family known",
			nodes: []lease.Node{{Metadata: lease.Metadata{Name: "a"}, Unreadable: "why"}},
			want:  []string{"families []", "peer a ipv4 malformed: why"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := lease.FromNodes(tt.nodes, tt.opts)
			if diff := cmp.Diff(tt.want, digest(set)); diff != "" {
				t.Errorf("set differs (-want +got):\n%s", diff)
			}
			if !set.Complete {
				t.Error("set is not complete")
			}
			backwards := slices.Clone(tt.nodes)
			slices.Reverse(backwards)
			if diff := cmp.Diff(set, lease.FromNodes(backwards, tt.opts), byValue); diff != "" {
				t.Errorf("depends on the order of the nodes (-forwards +backwards):\n%s", diff)
			}
		})
	}
}

func TestFromNodes_Times(t *testing.T) {
	n := dualNode("peer")
	n.Metadata.CreationTimestamp = born.In(time.FixedZone("elsewhere", 3600))
	n.Metadata.DeletionTimestamp = born
	l := lease.FromNodes([]lease.Node{n}, lease.Options{Families: ipv4}).Leases[0]
	if l.Created != born || !l.Deleting {
		t.Errorf("created %v, deleting %v; want %v in UTC, true", l.Created, l.Deleting, born)
	}
	// In UTC this is the year 10000, which no JSON time can hold.
	n.Metadata.CreationTimestamp = time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("elsewhere", -3600))
	l = lease.FromNodes([]lease.Node{n}, lease.Options{Families: ipv4}).Leases[0]
	if !l.Created.IsZero() {
		t.Errorf("created %v, want zero", l.Created)
	}
}

func TestFromNodes_OtherPrefix(t *testing.T) {
	p, err := lease.ParsePrefix("example.com/net")
	if err != nil {
		t.Fatal(err)
	}
	n := dualNode("peer")
	annotations := map[string]string{}
	for k, v := range n.Metadata.Annotations {
		annotations[strings.Replace(k, prefix, "example.com/net-", 1)] = v
	}
	n.Metadata.Annotations = annotations
	set := lease.FromNodes([]lease.Node{n}, lease.Options{Prefix: p, Families: dual})
	if diff := cmp.Diff(good(dual), set.Leases, byValue); diff != "" {
		t.Errorf("leases differ (-want +got):\n%s", diff)
	}
	set = lease.FromNodes([]lease.Node{n}, lease.Options{Families: dual})
	if len(set.Leases) != 0 {
		t.Errorf("the default prefix finds leases: %v", set.Leases)
	}
}

func TestParsePrefix(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"flannel.alpha.coreos.com", "flannel.alpha.coreos.com/backend-data"},
		{"flannel.alpha.coreos.com/", "flannel.alpha.coreos.com/backend-data"},
		{"a.b/c", "a.b/c-backend-data"},
		{"a.b/c-", "a.b/c-backend-data"},
		{"a-1.b_2/c_3", "a-1.b_2/c_3-backend-data"},
		{"a.b/c/d", ""},
		{"a.b//", ""},
		{"ab", ""},
		{"", ""},
		{"/", ""},
		{"a.B", ""},
		{"a.b/C", ""},
		{"a.b/c d", ""},
	} {
		p, err := lease.ParsePrefix(tt.in)
		switch {
		case tt.want == "" && err == nil:
			t.Errorf("ParsePrefix(%q) = %q, want an error", tt.in, p)
		case tt.want != "" && (err != nil || p.Key("backend-data") != tt.want):
			t.Errorf("ParsePrefix(%q): key %q, error %v; want %q", tt.in, p.Key("backend-data"), err, tt.want)
		}
	}
	byDefault, err := lease.ParsePrefix(lease.DefaultPrefix)
	if err != nil || byDefault.Key("x") != lease.Prefix("").Key("x") {
		t.Errorf("the zero Prefix gives %q, the default %q (error %v)", lease.Prefix("").Key("x"), byDefault.Key("x"), err)
	}
}

func TestOwnOf(t *testing.T) {
	set := lease.FromNodes([]lease.Node{named("a", 1)}, lease.Options{Self: "a", Families: ipv6})
	l, ok := set.OwnOf(netstate.IPv6)
	if !ok || l.Subnet != netip.MustParsePrefix("fd00:10:244:1::/64") {
		t.Errorf("own IPv6 lease: %v, %v", l, ok)
	}
	if l, ok := set.OwnOf(netstate.IPv4); ok {
		t.Errorf("own IPv4 lease: %v, want none", l)
	}
}

func TestSet_OwnProblem(t *testing.T) {
	own := lease.Lease{Peer: "me", Malformed: "public-ip is \"x\""}
	for name, tt := range map[string]struct {
		set  lease.Set
		says string // "" if there is no problem
	}{
		"known":      {lease.Set{Self: "me", Own: []lease.Lease{{Peer: "me"}}}, ""},
		"malformed":  {lease.Set{Self: "me", Own: []lease.Lease{own}}, "public-ip"},
		"no lease":   {lease.Set{Self: "me", Skipped: []lease.Skipped{{Node: "me", Reason: "no annotation"}}}, "no annotation"},
		"not listed": {lease.Set{Self: "me", Leases: []lease.Lease{{Peer: "a"}, {Peer: "a"}}}, `"me" is not among the 1 Nodes`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tt.set.OwnProblem(); tt.says == "" && got != "" || !strings.Contains(got, tt.says) {
				t.Errorf("%q, want %q in it", got, tt.says)
			}
		})
	}
}
