package lease_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

func FuzzFromNodes(f *testing.F) {
	f.Add("true", "vxlan", `{"VNI":1,"VtepMAC":"12:c6:65:89:b4:e3"}`, `{"VNI":1,"VtepMAC":"12:c6:65:89:b4:e6"}`, "192.168.1.59", "2001:db8::59", "", "10.244.3.0/24", "fd00:10:244:3::/64", uint8(3))
	f.Add("true", "wireguard", `{"PublicKey":"`+wireGuardKey+`","Port":51820}`, "null", "0.0.0.0", "", "192.168.1.60", "10.244.3.7/24", "", uint8(0))
	f.Add("True", "", "null", "", "::ffff:1.2.3.4", "fe80::1%1", "x", "x", "::ffff:10.0.0.0/100", uint8(1))
	f.Fuzz(func(t *testing.T, managed, backend, data, dataV6, publicIP, publicIPv6, overwrite, cidr1, cidr2 string, choice uint8) {
		peer := with("kube-subnet-manager", managed, "backend-type", backend, "backend-data", data, "backend-v6-data", dataV6,
			"public-ip", publicIP, "public-ipv6", publicIPv6, "public-ip-overwrite", overwrite)
		peer.Spec = lease.Spec{PodCIDR: cidr1}
		if choice&4 != 0 {
			peer.Spec.PodCIDRs = []string{cidr1, cidr2}
		}
		nodes := decoded(t, []lease.Node{peer, named("a", 1), named("b", 2), named("b", 3)})
		opts := lease.Options{Families: [][]netstate.Family{nil, ipv4, ipv6, dual}[choice&3]}
		if choice&8 != 0 {
			opts.Self = "peer"
		}
		checkSet(t, nodes, opts)
	})
}

// decoded passes Nodes through JSON, as every source does: it leaves only
// strings of UTF-8.
func decoded(t *testing.T, nodes []lease.Node) []lease.Node {
	t.Helper()
	b, err := json.Marshal(nodes)
	if err != nil {
		t.Fatal(err)
	}
	var out []lease.Node
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func FuzzReadNodes(f *testing.F) {
	f.Add([]byte(list(nodeJSON, "null", "5", `{"kind":"Node","metadata":{"name":"b","annotations":{"x":1}}}`)))
	f.Add([]byte(nodeYAML + "---\n" + nodeYAML + "...\n"))
	f.Add([]byte("kind: List\nitems:\n- &a {}\n- *a\n"))
	f.Add([]byte(`{"kind":"NodeList","metadata":{"remainingItemCount":0,"continue":""},"items":[` + nodeJSON + `]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		nodes, skipped, err := lease.ReadNodes(bytes.NewReader(b))
		again, skippedAgain, errAgain := lease.ReadNodes(bytes.NewReader(b))
		if (err == nil) != (errAgain == nil) || err != nil && err.Error() != errAgain.Error() {
			t.Fatalf("errors differ: %v, %v", err, errAgain)
		}
		if diff := cmp.Diff(nodes, again); diff != "" || !slices.Equal(skipped, skippedAgain) {
			t.Fatalf("results differ: %s\n%v\n%v", diff, skipped, skippedAgain)
		}
		if err != nil {
			if nodes != nil || skipped != nil || err.Error() == "" {
				t.Fatalf("with error %q there are %v, %v", err, nodes, skipped)
			}
			return
		}
		checkPart(t, b)
		checkSet(t, nodes, lease.Options{Self: "node-1"})
	})
}

// checkPart checks that an accepted list in JSON is refused once it says, last
// and so above all else in it, that it is only a part.
func checkPart(t *testing.T, accepted []byte) {
	t.Helper()
	var top struct {
		Kind string `json:"kind"`
	}
	if json.Unmarshal(accepted, &top) != nil || top.Kind == "Node" {
		return
	}
	end := bytes.LastIndexByte(accepted, '}')
	for _, metadata := range []string{`{"continue":"x","remainingItemCount":null}`, `{"remainingItemCount":1}`} {
		part := slices.Concat(accepted[:end], []byte(`,"metadata":`+metadata+`}`))
		if _, _, err := lease.ReadNodes(bytes.NewReader(part)); err == nil || !strings.Contains(err.Error(), "only a part") {
			t.Errorf("error %v of a part: %s", err, part)
		}
	}
}

// checkSet checks what holds for the Set of any Nodes.
func checkSet(t *testing.T, nodes []lease.Node, opts lease.Options) {
	t.Helper()
	set := lease.FromNodes(nodes, opts)
	if diff := cmp.Diff(set, lease.FromNodes(nodes, opts), byValue); diff != "" {
		t.Fatalf("not deterministic:\n%s", diff)
	}
	backwards := slices.Clone(nodes)
	slices.Reverse(backwards)
	if diff := cmp.Diff(set, lease.FromNodes(backwards, opts), byValue); diff != "" {
		t.Fatalf("depends on the order of the nodes (-forwards +backwards):\n%s", diff)
	}

	type claim struct {
		peer   string
		family netstate.Family
	}
	accounted := map[string]bool{}
	claims := map[claim]bool{}
	for _, l := range slices.Concat(set.Own, set.Leases) {
		accounted[l.Peer] = true
		if claims[claim{l.Peer, l.Family}] {
			t.Errorf("%s has two leases of %s", l.Peer, l.Family)
		}
		claims[claim{l.Peer, l.Family}] = true
		checkLease(t, l)
	}
	for _, s := range set.Skipped {
		accounted[s.Node] = true
		if s.Reason == "" || len(s.Reason) > 1000 {
			t.Errorf("%s is skipped with the reason %q", s.Node, s.Reason)
		}
	}
	for _, n := range nodes {
		if !accounted[n.Metadata.Name] {
			t.Errorf("%q is neither a lease nor skipped", n.Metadata.Name)
		}
	}
	if !slices.IsSortedFunc(set.Leases, func(a, b lease.Lease) int {
		return slices.Compare([]string{a.Peer, a.Family.String()}, []string{b.Peer, b.Family.String()})
	}) {
		t.Errorf("leases are not sorted: %v", set.Leases)
	}

	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	var back lease.Set
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(set, back, byValue); diff != "" {
		t.Errorf("differs after JSON (-before +after):\n%s", diff)
	}
}

func checkLease(t *testing.T, l lease.Lease) {
	t.Helper()
	if l.Subnet != l.Subnet.Masked() {
		t.Errorf("subnet %s is not masked", l.Subnet)
	}
	if l.Subnet.IsValid() && netstate.FamilyOf(l.Subnet.Addr()) != l.Family {
		t.Errorf("subnet %s is not of the family %s", l.Subnet, l.Family)
	}
	if l.PublicIP.IsValid() && (l.PublicIP.Is4() != (l.Family == netstate.IPv4) || l.PublicIP.Zone() != "") {
		t.Errorf("public IP %s is not a plain %s address", l.PublicIP, l.Family)
	}
	if len(l.Malformed) > 1000 {
		t.Errorf("too long for a person: %s", l.Malformed)
	}
	if l.Malformed != "" {
		return
	}
	if !l.Subnet.IsValid() || !l.PublicIP.IsValid() || l.PublicIP.IsUnspecified() {
		t.Errorf("a good lease without subnet or public IP: %+v", l)
	}
	if l.BackendType == "vxlan" && l.MAC.IsZero() {
		t.Errorf("a good vxlan lease without MAC: %+v", l)
	}
	if l.BackendType == "wireguard" && l.PublicKey == "" {
		t.Errorf("a good wireguard lease without key: %+v", l)
	}
}
