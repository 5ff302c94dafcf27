package kube

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"routewatch/shared/lease"
)

// onMetadata runs a test where a watch of metadata goes on, as minutes after the
// start. The test is given the number of requests since then.
func onMetadata(t *testing.T, f func(t *testing.T, w *watched, requests func() int)) {
	t.Helper()
	bothWays(t, func(t *testing.T, change func(*server)) {
		inBubble(t, func() *server { s := three(); change(s); return s }, func(t *testing.T, w *watched) {
			w.next(t, 2*time.Second)
			time.Sleep(2 * settle)
			w.breakWatches()
			time.Sleep(2 * settle)
			if w.count("metadata") == 0 {
				t.Fatalf("requests %v: none for metadata alone", w.seen)
			}
			all := func() int { return w.count("list") + w.count("list in watch") + w.count("watch") }
			before := all()
			f(t, w, func() int { return all() - before })
		})
	})
}

func subnets(s lease.Set) string {
	var all []string
	for _, l := range s.Leases {
		all = append(all, l.Peer+" "+l.Subnet.String()+" "+l.PublicIP.String())
	}
	return strings.Join(all, ", ")
}

// asked checks how many requests there were, and the leases of a set.
func asked(t *testing.T, s lease.Set, leases string, requests, want int) {
	t.Helper()
	if !s.Complete || subnets(s) != leases || requests != want {
		t.Errorf("after %d requests: %s, complete: %t, %s; want %s after %d requests", requests, subnets(s), s.Complete, s.Problem, leases, want)
	}
}

// What happens to Nodes that are known takes no other request, and no podCIDR
// is forgotten.
func TestMetadata_Known(t *testing.T) {
	onMetadata(t, func(t *testing.T, w *watched, requests func() int) {
		for range 10 {
			n := node("a", 2)
			n.Status.Conditions = []corev1.NodeCondition{{Type: "Ready", Message: time.Now().String()}}
			w.put(n)
			time.Sleep(time.Second)
		}
		w.bookmark()
		w.silent(t, 5*time.Second)
		w.put(moved(node("a", 2), "192.168.7.7"))
		asked(t, w.next(t, 2*time.Second), "a 10.100.2.0/24 192.168.7.7, b 10.100.3.0/24 192.168.0.3", requests(), 0)
		w.remove("b")
		asked(t, w.next(t, 2*time.Second), "a 10.100.2.0/24 192.168.7.7", requests(), 0)
	})
}

// New Nodes take one more watch, however many they are, and lists of nothing.
func TestMetadata_New(t *testing.T) {
	onMetadata(t, func(t *testing.T, w *watched, requests func() int) {
		w.put(node("c", 4))
		asked(t, w.next(t, 2*time.Second), "a 10.100.2.0/24 192.168.0.2, b 10.100.3.0/24 192.168.0.3, c 10.100.4.0/24 192.168.0.4", requests(), 1)
		w.remove("a", "b")
		w.put(node("d", 5))
		asked(t, w.next(t, 2*time.Second), "c 10.100.4.0/24 192.168.0.4, d 10.100.5.0/24 192.168.0.5", requests(), 1)
		metadata := w.count("metadata")
		w.breakWatches()
		time.Sleep(2 * settle)
		w.put(moved(node("d", 5), "192.168.7.7"))
		asked(t, w.next(t, 2*time.Second), "c 10.100.4.0/24 192.168.0.4, d 10.100.5.0/24 192.168.7.7", requests(), 2)
		if w.count("metadata") != metadata+1 {
			t.Errorf("the watch after that does not ask for metadata alone")
		}
	})
}

// A Node without flannel's annotations is no lease: its podCIDRs are asked for
// when it gets them.
func TestMetadata_BecomesLease(t *testing.T) {
	onMetadata(t, func(t *testing.T, w *watched, requests func() int) {
		plain := node("c", 4)
		plain.Annotations, plain.Spec = nil, corev1.NodeSpec{}
		w.put(plain)
		s := w.next(t, 2*time.Second)
		asked(t, s, "a 10.100.2.0/24 192.168.0.2, b 10.100.3.0/24 192.168.0.3", requests(), 0)
		if len(s.Skipped) != 1 || s.Skipped[0].Node != "c" {
			t.Errorf("skipped %+v", s.Skipped)
		}
		plain.Spec = node("c", 4).Spec
		w.put(plain)
		w.silent(t, 5*time.Second)
		w.put(node("c", 4))
		asked(t, w.next(t, 2*time.Second), "a 10.100.2.0/24 192.168.0.2, b 10.100.3.0/24 192.168.0.3, c 10.100.4.0/24 192.168.0.4", requests(), 1)
	})
}

// A Node that is made anew under its name may have other podCIDRs, also where
// its deletion was never seen.
func TestMetadata_MadeAnew(t *testing.T) {
	for name, removed := range map[string]bool{"deleted": true, "replaced": false} {
		t.Run(name, func(t *testing.T) {
			onMetadata(t, func(t *testing.T, w *watched, requests func() int) {
				if removed {
					w.remove("a")
				}
				again := node("a", 9)
				again.UID = "again"
				w.put(again)
				s := w.until(t, 5*time.Second, "of two leases", func(s lease.Set) bool { return len(s.Leases) == 2 })
				asked(t, s, "a 10.100.9.0/24 192.168.0.9, b 10.100.3.0/24 192.168.0.3", requests(), 1)
			})
		})
	}
}

// A server that does not know the form sends whole Nodes.
func TestMetadata_UnknownForm(t *testing.T) {
	onMetadata(t, func(t *testing.T, w *watched, requests func() int) {
		w.with(func() { w.plain = true })
		w.breakWatches()
		time.Sleep(2 * settle)
		w.put(node("c", 4), moved(node("a", 2), "192.168.7.7"))
		asked(t, w.next(t, 2*time.Second), "a 10.100.2.0/24 192.168.7.7, b 10.100.3.0/24 192.168.0.3, c 10.100.4.0/24 192.168.0.4", requests(), 1)
	})
}

// Where whole Nodes cannot be had, the Set says so, and is what it was before.
func TestMetadata_Refused(t *testing.T) {
	for status, want := range map[int]string{
		http.StatusForbidden:           "to watch nodes (403 Forbidden)",
		http.StatusInternalServerError: "this server is unwell",
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			onMetadata(t, func(t *testing.T, w *watched, _ func() int) {
				w.with(func() { w.refuse = map[string]int{"watch": status} })
				w.put(node("c", 4))
				s := w.next(t, 2*time.Second)
				if s.Complete || !strings.Contains(s.Problem, want) || !slices.Equal(peers(s), []string{"a", "b"}) {
					t.Errorf("set %+v", s)
				}
				time.Sleep(time.Minute)
				w.mend()
				s = w.until(t, 3*time.Minute, "complete", complete)
				if !slices.Equal(peers(s), []string{"a", "b", "c"}) || s.Leases[2].Subnet.String() != "10.100.4.0/24" {
					t.Errorf("set %+v", s)
				}
			})
		})
	}
}

// The version to go on from may be gone: the reflector lists anew.
func TestMetadata_Expired(t *testing.T) {
	for name, by410 := range map[string]bool{"410 by status": true, "410 by event": false} {
		t.Run(name, func(t *testing.T) {
			onMetadata(t, func(t *testing.T, w *watched, _ func() int) {
				w.with(func() { w.version410, w.oldest = by410, w.version+1 })
				w.put(node("c", 4))
				s := w.next(t, 10*time.Second)
				if !s.Complete || !slices.Equal(peers(s), []string{"a", "b", "c"}) || s.Leases[2].Subnet.String() != "10.100.4.0/24" {
					t.Errorf("set %+v", s)
				}
			})
		})
	}
}
