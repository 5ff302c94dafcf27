package lease_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/shared/lease"
)

// What a real API server and kubectl printed; testdata/README.md says how.
func TestReadNodes_Real(t *testing.T) {
	read := func(name string) []lease.Node {
		t.Helper()
		f, err := os.Open("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		nodes, skipped, err := lease.ReadNodes(f)
		if err != nil || len(skipped) > 0 {
			t.Fatalf("%s: skipped %v, error %v", name, skipped, err)
		}
		return nodes
	}
	fromJSON, fromYAML := read("nodes-real.json"), read("nodes-real.yaml")
	if diff := cmp.Diff(fromJSON, fromYAML); diff != "" {
		t.Errorf("JSON and YAML differ (-JSON +YAML):\n%s", diff)
	}
	notManaged := "skipped control-plane-1: annotation flannel.alpha.coreos.com/kube-subnet-manager is not there: flannel does not run on this node, or has not registered it yet"
	want := []string{
		"families [ipv4 ipv6]",
		"own node-1 ipv4 10.244.1.0/24", "own node-1 ipv6 fd00:10:244:1::/64",
		"peer node-2 ipv4 10.244.2.0/24", "peer node-2 ipv6 fd00:10:244:2::/64",
		"peer node-3 ipv4 10.244.3.0/24", "peer node-3 ipv6 fd00:10:244:3::/64",
		"peer node-4 ipv4 10.244.4.0/24", "peer node-4 ipv6 fd00:10:244:4::/64",
		notManaged,
	}
	if diff := cmp.Diff(want, digest(lease.FromNodes(fromJSON, lease.Options{Self: "node-1"}))); diff != "" {
		t.Errorf("dual-stack set differs (-want +got):\n%s", diff)
	}
	want = []string{
		"families [ipv4]", "own node-1 ipv4 10.244.1.0/24",
		"peer node-2 ipv4 10.244.2.0/24", "peer node-3 ipv4 10.244.3.0/24", "peer node-4 ipv4 10.244.4.0/24",
		notManaged,
	}
	if diff := cmp.Diff(want, digest(lease.FromNodes(read("nodes-real-ipv4.json"), lease.Options{Self: "node-1"}))); diff != "" {
		t.Errorf("IPv4 set differs (-want +got):\n%s", diff)
	}
	for _, n := range fromJSON {
		if n.Metadata.CreationTimestamp.IsZero() {
			t.Errorf("%s has no creation time", n.Metadata.Name)
		}
	}
}

// Every cut of a real answer is an error: a file that is being written never
// looks like a smaller cluster.
func TestReadNodes_Truncated(t *testing.T) {
	for _, name := range []string{"nodes-real.json", "nodes-real.yaml"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		full, _, err := lease.ReadNodes(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(b); i += 251 {
			nodes, _, err := lease.ReadNodes(bytes.NewReader(b[:i]))
			if err == nil && len(nodes) != len(full) {
				t.Errorf("%s cut after %d of %d bytes: %d nodes, no error", name, i, len(b), len(nodes))
			}
		}
	}
}

const (
	nodeJSON = `{"apiVersion":"v1","kind":"Node","metadata":{"name":"a","creationTimestamp":"2026-10-01T12:00:00Z"},"spec":{"podCIDR":"10.244.1.0/24"}}`
	nodeYAML = "apiVersion: v1\nkind: Node\nmetadata:\n  name: a\n  creationTimestamp: \"2026-10-01T12:00:00Z\"\nspec:\n  podCIDR: 10.244.1.0/24\n"
)

func list(items ...string) string {
	return `{"apiVersion":"v1","kind":"List","items":[` + strings.Join(items, ",") + `]}`
}

func nodeA() lease.Node {
	return lease.Node{
		Metadata: lease.Metadata{Name: "a", CreationTimestamp: time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)},
		Spec:     lease.Spec{PodCIDR: "10.244.1.0/24"},
	}
}

func TestReadNodes(t *testing.T) {
	one := []lease.Node{nodeA()}
	indented := strings.ReplaceAll(strings.TrimSpace(nodeYAML), "\n", "\n  ")
	for _, tt := range []struct {
		name, in string
		want     []lease.Node
		skipped  []lease.Skipped
	}{
		{name: "a Node", in: nodeJSON, want: one},
		{name: "a Node in YAML", in: nodeYAML, want: one},
		{name: "a List", in: list(nodeJSON), want: one},
		{name: "a List in YAML", in: "apiVersion: v1\nkind: List\nitems:\n- " + indented + "\n", want: one},
		{name: "a NodeList of the API, items without kind", in: `{"kind":"NodeList","apiVersion":"v1","items":[` + strings.Replace(nodeJSON, `"apiVersion":"v1","kind":"Node",`, "", 1) + `]}`, want: one},
		{name: "an empty list", in: list()},
		{name: "a list that says that it is all", in: `{"kind":"NodeList","metadata":{"resourceVersion":"7","continue":"","remainingItemCount":0},"items":[` + nodeJSON[:len(nodeJSON)-1] + `}]}`, want: one},
		{name: "a list with null metadata", in: `{"kind":"List","metadata":null,"items":[` + nodeJSON + `]}`, want: one},
		{name: "byte order mark", in: "\xef\xbb\xbf" + nodeJSON, want: one},
		{name: "byte order mark, YAML", in: "\xef\xbb\xbf" + nodeYAML, want: one},
		{name: "CR LF", in: strings.ReplaceAll(nodeYAML, "\n", "\r\n"), want: one},
		{name: "space around", in: " \n\t" + nodeJSON + "\n\n", want: one},
		{name: "two documents", in: "# a comment\n---\n" + nodeYAML + "--- # another\n" + strings.Replace(nodeYAML, "name: a", "name: b", 1) + "...\n---\n",
			want: []lease.Node{nodeA(), func() lease.Node { n := nodeA(); n.Metadata.Name = "b"; return n }()}},
		{name: "other items", in: list(nodeJSON, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"}}`, `null`, `5`,
			`{"apiVersion":"longhorn.io/v1beta2","kind":"Node","metadata":{"name":"l"}}`, `{"kind":"Node"}`),
			want: one,
			skipped: []lease.Skipped{
				{Node: "p", Reason: `items[1] is of kind "Pod", not Node`},
				{Reason: `items[2] is of kind "", not Node`},
				{Reason: `items[3] is no Node: it is of type number, not an object`},
				{Node: "l", Reason: `items[4] is a Node of "longhorn.io/v1beta2", not of Kubernetes' v1`},
				{Reason: `items[5] is a Node without metadata.name`},
			}},
		{name: "an item that cannot be decoded keeps what can", in: list(nodeJSON, strings.Replace(nodeJSON, `"name":"a"`, `"name":"b","annotations":{"x":true,"y":"z"}`, 1)),
			want: []lease.Node{nodeA(), func() lease.Node {
				n := nodeA()
				n.Metadata.Name, n.Metadata.Annotations = "b", map[string]string{"x": "", "y": "z"}
				n.Unreadable = "items[1] cannot be decoded: metadata.annotations is of type bool, not a string"
				return n
			}()}},
		{name: "an unquoted value in YAML", in: strings.Replace(nodeYAML, "  name: a\n", "  name: a\n  annotations:\n    x: {VNI: 1}\n", 1),
			want: []lease.Node{func() lease.Node {
				n := nodeA()
				n.Metadata.Annotations = map[string]string{"x": ""}
				n.Unreadable = "the Node cannot be decoded: metadata.annotations is of type object, not a string"
				return n
			}()}},
		{name: "a time that is none", in: strings.Replace(nodeJSON, "2026-10-01T12:00:00Z", "yesterday", 1),
			want: []lease.Node{{Metadata: lease.Metadata{Name: "a"}, Unreadable: `the Node cannot be decoded: parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"`}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nodes, skipped, err := lease.ReadNodes(strings.NewReader(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, nodes); diff != "" {
				t.Errorf("nodes differ (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.skipped, skipped); diff != "" {
				t.Errorf("skipped differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadNodes_Errors(t *testing.T) {
	const (
		expected = "; expected what `kubectl get nodes -o json` prints"
		part     = ": ask without limit=, or get all with `kubectl get nodes -o json > FILE`"
		utf8     = ": write it as UTF-8, in PowerShell with `kubectl get nodes -o json | Out-File -Encoding utf8 FILE`"
	)
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", "line 1: the input is empty" + expected},
		{"space", " \n\t\n", "line 1: the input is empty" + expected},
		{"only a byte order mark", "\xef\xbb\xbf", "line 1: the input is empty" + expected},
		{"null", "null\n", `line 1: "null" is not how Nodes begin` + expected},
		{"comments", "# a\n---\n# b\n", "line 1: the input holds nothing but comments" + expected},
		{"UTF-16", "\xff\xfe{\x00", "line 1: the text is UTF-16, not UTF-8" + utf8},
		{"UTF-16, big endian", "\xfe\xff\x00{", "line 1: the text is UTF-16, not UTF-8" + utf8},
		{"not UTF-8", "{\n\n\"a\": \"\xe4\"}", "line 3: byte 0xe4 is not UTF-8" + utf8},
		{"cut off", "{\n\"kind\": \"List\",\n\"items\": [", "line 3: not JSON, or cut off: unexpected end of JSON input" + expected},
		{"bad JSON", "{\n\"kind\": \"List\",\n\"items\" [\n]}", "line 3: not JSON, or cut off: invalid character '[' after object key" + expected},
		{"trailing garbage", list() + "\nfoo", "line 2: not JSON, or cut off: invalid character 'f' after top-level value" + expected},
		{"two objects", list() + "\n" + list(), "line 2: not JSON, or cut off: invalid character '{' after top-level value" + expected},
		{"NUL", "kind: List\nitems: []\n\x00", "line 1: not YAML, or cut off: control characters are not allowed" + expected},
		{"a JSON array", "\n[" + nodeJSON + "]", "line 2: it is of type array, not an object" + expected},
		{"no kind", `{"items":[]}`, `line 1: the object has no "kind": not a List, NodeList or Node` + expected},
		{"another kind", `{"kind":"Pod"}`, `line 1: the object is of kind "Pod", not List, NodeList or Node` + expected},
		{"kind is no string", "{\n\"kind\": 5}", `line 2: kind is of type number, not a string` + expected},
		{"no items", `{"kind":"List"}`, `line 1: the List has no "items"` + expected},
		{"items null", `{"kind":"NodeList","items":null}`, `line 1: the NodeList has no "items"` + expected},
		{"items no list", "{\"kind\":\"List\",\n\"items\":{}}", "line 2: items is of type object, not a list" + expected},
		{"Status", `{"kind":"Status","message":"nodes is forbidden"}`, `line 1: the object is an answer of the API server, not Nodes: "nodes is forbidden"` + expected},
		{"a part of a list", `{"kind":"NodeList","metadata":{"continue":"eyJ2"},"items":[` + nodeJSON + `]}`,
			"line 1: the NodeList is only a part, its metadata.continue is set" + part + expected},
		{"a part of a list, counted", `{"kind":"NodeList","metadata":{"continue":"eyJ2","remainingItemCount":45},"items":[` + nodeJSON + `]}`,
			"line 1: the NodeList is only a part, its metadata.remainingItemCount is 45" + part + expected},
		{"a part of a list without any item", `{"kind":"List","metadata":{"remainingItemCount":1},"items":[]}`,
			"line 1: the List is only a part, its metadata.remainingItemCount is 1" + part + expected},
		{"a part of a list in YAML", nodeYAML + "---\nkind: NodeList\nitems: []\nmetadata:\n  continue: eyJ2\n",
			`line 9: "kind: NodeList": the NodeList is only a part, its metadata.continue is set` + part + expected},
		{"a part of a list in YAML, counted", "kind: NodeList\nitems: []\nmetadata:\n  remainingItemCount: 9223372036854775807\n",
			`line 1: "kind: NodeList": the NodeList is only a part, its metadata.remainingItemCount is 9223372036854775807` + part + expected},
		{"remaining is no number", "{\"kind\":\"NodeList\",\"items\":[],\n\"metadata\":{\"remainingItemCount\":\"45\"}}",
			"line 2: metadata.remainingItemCount is of type string, not a number in range" + expected},
		{"Pods", list(`{"apiVersion":"v1","kind":"Pod"}`, `{}`), `no Node among 2 items: items[0] is of kind "Pod", not Node` + expected},

		{"an error of kubectl", "Error from server (Forbidden): nodes is forbidden\n", `line 1: "Error from server (Forbidden): nodes is forbidden" is not how Nodes begin` + expected},
		{"another error of kubectl", "error: You must be logged in to the server (Unauthorized)\n", `line 1: "error: You must be logged in to the server (Unauthorized)": the object has no "kind": not a List, NodeList or Node` + expected},
		{"no resources", "No resources found\n", `line 1: "No resources found" is not how Nodes begin` + expected},
		{"kubectl's table", "NAME     STATUS   ROLES\nnode-1   Ready    <none>\n", `line 1: "NAME     STATUS   ROLES" is not how Nodes begin` + expected},
		{"a directory listing", "total 8\ndrwxr-xr-x 2 root root 4096 Oct  1 12:00 .\n", `line 1: "total 8" is not how Nodes begin` + expected},
		{"a warning before the answer", "Warning: deprecated\n" + nodeJSON, `line 3: not YAML, or cut off: could not find expected ':'` + expected},

		{"YAML cut off", "apiVersion: v1\nitems:\n- apiVersion: v1\n", `line 1: "apiVersion: v1": the object has no "kind": not a List, NodeList or Node` + expected},
		{"YAML cut off in a string", "kind: List\nitems:\n- kind: \"No", `line 3: not YAML, or cut off: found unexpected end of stream` + expected},
		{"bad YAML in a later document", nodeYAML + "---\nkind: List\n\titems: []\n", `line 10: not YAML, or cut off: found a tab character that violates indentation` + expected},
		{"key twice in YAML", "kind: List\nitems: []\nitems: []\n", `line 3: not YAML, or cut off: key "items" already set in map` + expected},
		{"indented YAML", "\n  kind: List\n  items: []\nrest: 1\n", `line 2: "kind: List" is not how Nodes begin` + expected},
		{"text on a marker", "---\nkind: List\nitems: []\n--- {}\n", "line 4: nothing may follow --- on its line" + expected},
		{"a document that is none", nodeYAML + "---\nfoo\n", `line 9: "foo" is not how Nodes begin` + expected},
		{"CR", "kind: List\nitems: []\r---\rkind: Pod", "line 2: a line break that is neither LF nor CR LF" + expected},
		{"aliases", "kind: List\nitems:\n- &a {}\n- *a\n", "line 4: YAML anchors and aliases are not accepted, and kubectl prints none: use -o json" + expected},
		{"not a number in JSON", "kind: List\nitems: []\nx: .nan\n", "line 1: not YAML, or cut off: json: unsupported value: NaN" + expected},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nodes, skipped, err := lease.ReadNodes(strings.NewReader(tt.in))
			if err == nil {
				t.Fatalf("no error, nodes %v, skipped %v", nodes, skipped)
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("error differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadNodes_Limits(t *testing.T) {
	spaces := func(n int) io.Reader { return io.LimitReader(endless(' '), int64(n)) }
	for _, tt := range []struct {
		name string
		in   io.Reader
		want string
	}{
		{"JSON", io.MultiReader(strings.NewReader(list()), spaces(lease.MaxJSON)), "larger than 64 MiB: expected what `kubectl get nodes -o json` prints and nothing else"},
		{"YAML", io.MultiReader(strings.NewReader(nodeYAML+"#"), spaces(lease.MaxYAML)), "larger than 8 MiB, which is too much YAML: use -o json; expected what `kubectl get nodes -o json` prints"},
	} {
		_, _, err := lease.ReadNodes(tt.in)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: error %v, want %s", tt.name, err, tt.want)
		}
	}
	// JSON has room for more than YAML.
	nodes, _, err := lease.ReadNodes(io.MultiReader(strings.NewReader(nodeJSON), spaces(lease.MaxYAML)))
	if err != nil || len(nodes) != 1 {
		t.Errorf("%d nodes, error %v", len(nodes), err)
	}
}

type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}

// A document that a decoder would blow up to gigabytes.
func TestReadNodes_Bomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("kind: List\nitems: []\na: &a " + strings.Repeat("x", 100) + "\n")
	for i := range 20 {
		fmt.Fprintf(&b, "%c: &%[1]c [%s]\n", 'b'+i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", 'a'+i), 10), ","))
	}
	_, _, err := lease.ReadNodes(strings.NewReader(b.String()))
	if err == nil || !strings.Contains(err.Error(), "line 4: YAML anchors and aliases are not accepted") {
		t.Errorf("error %v", err)
	}
	// Neither an ampersand nor an asterisk alone is one.
	text := strings.Replace(nodeYAML, "  name: a\n", "  name: a\n  annotations:\n    x: R &D\n    y: 0 * * * *\n", 1)
	if _, _, err := lease.ReadNodes(strings.NewReader(text)); err != nil {
		t.Error(err)
	}
	text = strings.Replace(nodeYAML, "  name: a\n", "  name: a\n  annotations:\n    x: |\n      *bold*\n", 1)
	if _, _, err := lease.ReadNodes(strings.NewReader(text)); err != nil {
		t.Error(err)
	}
}

func TestReadNodes_ReadError(t *testing.T) {
	broken := errors.New("broken")
	_, _, err := lease.ReadNodes(iotest.ErrReader(broken))
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want one that wraps %v", err, broken)
	}
}

// Whatever the input quotes at us, a person can read the answer.
func TestReadNodes_LongValues(t *testing.T) {
	long := strings.Repeat("9", 10_000)
	for _, in := range []string{
		strings.Replace(nodeJSON, "2026-10-01T12:00:00Z", long, 1),
		strings.Replace(nodeJSON, `"10.244.1.0/24"`, long, 1),
	} {
		nodes, _, err := lease.ReadNodes(strings.NewReader(in))
		if err != nil || len(nodes) != 1 {
			t.Fatalf("%d nodes, error %v", len(nodes), err)
		}
		if n := len(nodes[0].Unreadable); n == 0 || n > 500 {
			t.Errorf("a reason of %d bytes: %.100s", n, nodes[0].Unreadable)
		}
	}
	for _, in := range []string{
		`{"kind":` + long + `}`, `{"kind":"` + long + `"}`, "kind: List\n" + strings.Repeat(long+": 1\n", 2), long,
		list(`{"apiVersion":"v1","kind":"` + long + `"}`),
	} {
		if _, _, err := lease.ReadNodes(strings.NewReader(in)); err == nil || len(err.Error()) > 500 {
			t.Errorf("error %.600v", err)
		}
	}
}

func TestRead(t *testing.T) {
	in := list(nodeJSON, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"0"}}`)
	set, err := lease.Read(strings.NewReader(in), lease.Options{Self: "a"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"families []",
		`skipped 0: items[1] is of kind "Pod", not Node`,
		"skipped a: annotation flannel.alpha.coreos.com/kube-subnet-manager is not there: flannel does not run on this node, or has not registered it yet",
	}
	if diff := cmp.Diff(want, digest(set)); diff != "" {
		t.Errorf("set differs (-want +got):\n%s", diff)
	}
	if set, err := lease.Read(strings.NewReader("x"), lease.Options{}); err == nil || set.Complete {
		t.Errorf("of nothing: complete %v, error %v", set.Complete, err)
	}
}

func TestNode_JSON(t *testing.T) {
	want := dualNode("a")
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got lease.Node
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("differs after JSON (-want +got):\n%s", diff)
	}
}
