package kube

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"routewatch/shared/lease"
)

// What is left of a Node is what leases are made of, whichever way it came.
func TestSlim(t *testing.T) {
	n := node("a", 2)
	n.ResourceVersion = "7"
	n.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet"}}
	gone := metav1.NewTime(born.Add(time.Hour))
	n.DeletionTimestamp = &gone
	want := lease.Node{
		Metadata: lease.Metadata{
			Name: "a", CreationTimestamp: born, DeletionTimestamp: gone.Time,
			Annotations: map[string]string{
				"flannel.alpha.coreos.com/kube-subnet-manager": "true",
				"flannel.alpha.coreos.com/backend-type":        "vxlan",
				"flannel.alpha.coreos.com/backend-data":        `{"VNI":1,"VtepMAC":"12:00:00:00:00:02"}`,
				"flannel.alpha.coreos.com/public-ip":           "192.168.0.2",
			},
		},
		Spec: lease.Spec{PodCIDR: "10.100.2.0/24", PodCIDRs: []string{"10.100.2.0/24"}},
	}
	if diff := cmp.Diff(want, slim(n, "")); diff != "" {
		t.Errorf("directly (-want +got):\n%s", diff)
	}
	trimmed := trim(n, "")
	if diff := cmp.Diff(want, slim(trimmed, "")); diff != "" {
		t.Errorf("by way of the reflector (-want +got):\n%s", diff)
	}
	if trimmed.ResourceVersion != "7" || len(trimmed.Status.Images) > 0 || len(trimmed.Labels) > 0 || len(trimmed.ManagedFields) > 0 {
		t.Errorf("trimmed: %+v", trimmed)
	}
	other, err := lease.ParsePrefix("example.com/net")
	must(t, err)
	if got := slim(n, other).Metadata.Annotations; len(got) > 0 {
		t.Errorf("annotations of another prefix: %v", got)
	}
}

// Each part of a Node that leases are made of makes a new version, the rest does not.
func TestMirror_Update(t *testing.T) {
	later := metav1.NewTime(born.Add(time.Hour))
	for _, tt := range []struct {
		name    string
		change  func(*corev1.Node)
		changed bool
	}{
		{"nothing", func(*corev1.Node) {}, false},
		{"status", func(n *corev1.Node) { n.Status = corev1.NodeStatus{Phase: "x"}; n.ResourceVersion = "9" }, false},
		{"label", func(n *corev1.Node) { n.Labels["x"] = "y" }, false},
		{"another annotation", func(n *corev1.Node) { n.Annotations["x"] = "y" }, false},
		{"an annotation of flannel's", func(n *corev1.Node) { n.Annotations["flannel.alpha.coreos.com/public-ip-overwrite"] = "1.2.3.4" }, true},
		{"podCIDR", func(n *corev1.Node) { n.Spec.PodCIDR = "10.9.0.0/24" }, true},
		{"podCIDRs", func(n *corev1.Node) { n.Spec.PodCIDRs = nil }, true},
		{"made anew", func(n *corev1.Node) { n.CreationTimestamp = later }, true},
		{"being deleted", func(n *corev1.Node) { n.DeletionTimestamp = &later }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, put := range map[string]func(m *mirror, n *corev1.Node) error{
				"update":  func(m *mirror, n *corev1.Node) error { return m.Update(n) },
				"replace": func(m *mirror, n *corev1.Node) error { return m.Replace([]any{n}, "2") },
			} {
				m := newMirror("")
				must(t, m.Replace([]any{node("a", 2)}, "1"))
				before := m.view(time.Now(), 0).version
				n := node("a", 2)
				tt.change(n)
				must(t, put(m, n))
				if after := m.view(time.Now(), before); (after.version != before) != tt.changed || (after.nodes != nil) != tt.changed {
					t.Errorf("%s: version %d, then %d with %d nodes; want a change: %t", name, before, after.version, len(after.nodes), tt.changed)
				}
			}
		})
	}
}

func TestMirror_Delete(t *testing.T) {
	m := newMirror("")
	must(t, m.Replace([]any{node("a", 2)}, "1"))
	must(t, m.Delete(node("a", 2)))
	if v := m.view(time.Now(), 1); !v.filled || v.version != 2 || len(v.nodes) != 0 {
		t.Errorf("view %+v", v)
	}
	if err := m.Add(&corev1.NodeList{}); err == nil || err.Error() != "the API server sent a *v1.NodeList, not a Node" {
		t.Errorf("error %v", err)
	}
}

// After a failure a watch must go on for a while, or list all Nodes, before
// the Nodes count as current again.
func TestMirror_Current(t *testing.T) {
	for name, listing := range map[string]bool{"watch": false, "list in watch": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMirror("")
				check := func(when string, current bool, seen time.Duration) {
					t.Helper()
					if v := m.view(time.Now(), 0); (v.failure.err == nil) != current || time.Since(v.seen) != seen {
						t.Errorf("%s: %v, heard %s ago; want current: %t, heard %s ago", when, v.failure.err, time.Since(v.seen), current, seen)
					}
				}
				m.open(true)
				must(t, m.Replace([]any{node("a", 2)}, "1"))
				check("listed", true, 0)
				time.Sleep(3 * time.Second)
				check("silent", true, 3*time.Second-settle)
				m.heard()
				check("heard", true, 0)
				m.end()
				m.failed("watch", errShort)
				check("failed", false, 0)
				time.Sleep(time.Second)
				m.open(listing)
				check("opened", false, time.Second)
				time.Sleep(settle / 2)
				check("soon after", false, time.Second+settle/2)
				time.Sleep(settle / 2)
				if listing {
					check("still listing", false, time.Second+settle)
					m.heard()
					check("still listing", false, time.Second+settle)
					must(t, m.Replace(nil, "2"))
				}
				check("settled", true, 0)
			})
		})
	}
}

// 5,000 Nodes with their images take little memory and time.
func TestMirror_KeepsLittle(t *testing.T) {
	const count = 5000
	m := newMirror("")
	transform := m.Transformer()
	before := heap()
	start := time.Now()
	objects := make([]any, 0, count)
	for i := range count {
		obj, err := transform(node(fmt.Sprintf("node-%d", i), i))
		must(t, err)
		objects = append(objects, obj)
	}
	must(t, m.Replace(objects, "1"))
	objects = nil
	kept := heap() - before
	building := time.Now()
	set := lease.FromNodes(m.view(time.Now(), 0).nodes, lease.Options{Self: "node-0"})
	t.Logf("%d bytes for each of %d Nodes; kept after %s, a Set in %s", kept/count, count, building.Sub(start), time.Since(building))
	if kept > 2<<10*count {
		t.Errorf("%d Nodes take %d bytes, want at most 2 KiB each", count, kept)
	}
	if len(set.Leases) != count-1 {
		t.Errorf("%d leases", len(set.Leases))
	}
	runtime.KeepAlive(m)
	runtime.KeepAlive(objects)
}

func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
