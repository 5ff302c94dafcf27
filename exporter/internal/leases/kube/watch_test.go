package kube

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"routewatch/exporter/internal/leases"
	"routewatch/shared/lease"
)

func three() *server { return newServer(node(self, 1), node("a", 2), node("b", 3)) }

// modern and old are the two ways in which the reflector lists.
func bothWays(t *testing.T, test func(t *testing.T, change func(*server))) {
	t.Run("list in watch", func(t *testing.T) { test(t, func(*server) {}) })
	t.Run("list", func(t *testing.T) { test(t, func(s *server) { s.old = true }) })
}

func TestWatch(t *testing.T) {
	bothWays(t, func(t *testing.T, change func(*server)) {
		inBubble(t, func() *server { s := three(); change(s); return s }, func(t *testing.T, w *watched) {
			expect := func(generation uint64, names ...string) lease.Set {
				t.Helper()
				s := w.next(t, maxCoalesce+coalesce)
				if !s.Complete || s.Problem != "" || s.Source != "kubernetes" || s.Self != self || len(s.Own) != 1 ||
					s.Generation != generation || !slices.Equal(peers(s), names) || s.Synced.After(time.Now()) || time.Since(s.Synced) > time.Second {
					t.Errorf("set %+v; want generation %d and the peers %v", s, generation, names)
				}
				return s
			}
			first := expect(1, "a", "b")
			if l := first.Leases[0]; l.Created != born || l.VNI != 1 || l.MAC.String() != "12:00:00:00:00:02" || l.Subnet.String() != "10.100.2.0/24" {
				t.Errorf("lease %+v", l)
			}
			w.put(node("c", 4))
			expect(2, "a", "b", "c")
			w.remove("a")
			expect(3, "b", "c")
			w.put(moved(node("b", 3), "192.168.7.7"))
			if s := expect(4, "b", "c"); s.Leases[0].PublicIP.String() != "192.168.7.7" {
				t.Errorf("lease %+v", s.Leases[0])
			}
			if got := w.count("list") + w.count("list in watch"); w.count("list") > 1 || got > 2 {
				t.Errorf("listed %d times", got)
			}
		})
	})
}

// What kubelets write all the time makes no Set.
func TestWatch_Heartbeats(t *testing.T) {
	inBubble(t, three, func(t *testing.T, w *watched) {
		first := w.next(t, 2*time.Second)
		for range 20 {
			time.Sleep(time.Second)
			n := node("a", 2)
			n.Status.Conditions = []corev1.NodeCondition{{Type: "Ready", Message: time.Now().String()}}
			n.Annotations["node.alpha.kubernetes.io/ttl"] = "15"
			w.put(n)
		}
		w.silent(t, 9*time.Second)
		time.Sleep(leases.Resend)
		again := w.next(t, 2*look)
		if again.Generation != 1 || !again.Complete || again.Synced.Sub(first.Synced) < 19*time.Second {
			t.Errorf("the first set was synced at %v, the next %+v", first.Synced, again)
		}
	})
}

// Bookmarks keep Synced fresh although nothing happens.
func TestWatch_Bookmarks(t *testing.T) {
	inBubble(t, three, func(t *testing.T, w *watched) {
		w.next(t, 2*time.Second)
		for range 10 {
			time.Sleep(time.Minute)
			w.bookmark()
			s := w.until(t, 2*look, "fresh", func(s lease.Set) bool { return time.Since(s.Synced) <= 2*look })
			if !s.Complete || s.Generation != 1 {
				t.Fatalf("set %+v at %v", s, time.Now())
			}
		}
		if got := w.count("watch") + w.count("list in watch"); got != 1 {
			t.Errorf("%d watches, want 1", got)
		}
	})
}

// Thousands of Nodes that change within a second make few Sets, and the last
// of them has all changes.
func TestWatch_Coalesces(t *testing.T) {
	const count = 1000
	inBubble(t, three, func(t *testing.T, w *watched) {
		w.next(t, 2*time.Second)
		go func() {
			for i := range count {
				w.put(node(fmt.Sprintf("n%d", i), 10+i))
				time.Sleep(time.Second / count)
			}
		}()
		sets := 0
		w.until(t, 5*time.Second, "all", func(s lease.Set) bool { sets++; return len(s.Leases) == count+2 })
		if sets > 5 {
			t.Errorf("%d sets", sets)
		}
		w.silent(t, 10*time.Second)
	})
}

// A lease set that changes entirely in one step is never seen in parts that
// were not there.
func TestWatch_ChangesEntirely(t *testing.T) {
	inBubble(t, three, func(t *testing.T, w *watched) {
		w.next(t, 2*time.Second)
		w.put(node("x", 8), node("y", 9))
		w.remove("a", "b")
		s := w.next(t, 2*time.Second)
		if !slices.Equal(peers(s), []string{"x", "y"}) || s.Generation != 2 {
			t.Errorf("set %+v", s)
		}
	})
}

// The API server ends each watch after some minutes. That is nothing to tell.
func TestWatch_EndsAndGoesOn(t *testing.T) {
	inBubble(t, three, func(t *testing.T, w *watched) {
		w.next(t, 2*time.Second)
		for range 3 {
			time.Sleep(10 * time.Second)
			w.breakWatches()
			w.put(moved(node("a", 2), fmt.Sprint("192.168.7.", time.Now().Second())))
			if s := w.until(t, 2*time.Second, "changed", func(s lease.Set) bool { return s.Leases[0].PublicIP.String() != "192.168.0.2" }); !s.Complete {
				t.Errorf("set %+v", s)
			}
		}
		if w.count("list")+w.count("list in watch") > 1 {
			t.Errorf("requests %v: a watch that ends is no reason to list", w.seen)
		}
	})
}

// A Node that is deleted while no watch goes on, and whose deletion the server
// has forgotten, is gone after the relist. Nothing else is.
func TestWatch_Relist(t *testing.T) {
	for name, by410 := range map[string]bool{"410 by status": true, "410 by event": false} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, change func(*server)) {
				inBubble(t, func() *server { s := three(); s.version410 = by410; change(s); return s }, func(t *testing.T, w *watched) {
					w.next(t, 2*time.Second)
					w.kill()
					lost := w.next(t, 2*time.Second)
					if lost.Complete || len(lost.Leases) != 2 {
						t.Errorf("set %+v", lost)
					}
					w.remove("a")
					w.compact()
					w.revive()
					for {
						s := w.next(t, 2*time.Minute)
						if s.Complete {
							if !slices.Equal(peers(s), []string{"b"}) || s.Generation != 2 {
								t.Errorf("set %+v", s)
							}
							return
						}
						if !slices.Equal(peers(s), []string{"a", "b"}) {
							t.Fatalf("peers %v before the relist", peers(s))
						}
					}
				})
			})
		})
	}
}

// A version that is too old is no fault: the relist follows at once.
func TestWatch_Expired(t *testing.T) {
	for name, by410 := range map[string]bool{"410 by status": true, "410 by event": false} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, change func(*server)) {
				inBubble(t, func() *server { s := three(); s.version410 = by410; change(s); return s }, func(t *testing.T, w *watched) {
					w.next(t, 2*time.Second)
					time.Sleep(2 * settle)
					w.with(func() { w.still = true })
					w.remove("a")
					w.compact()
					w.with(func() { w.still = false })
					w.breakWatches()
					if s := w.next(t, 5*time.Second); !s.Complete || !slices.Equal(peers(s), []string{"b"}) {
						t.Errorf("set %+v", s)
					}
				})
			})
		})
	}
}

// After etcd was restored from a backup versions are smaller than before. The
// reflector lists anew, and that is no fault to tell.
func TestWatch_Restored(t *testing.T) {
	bothWays(t, func(t *testing.T, change func(*server)) {
		inBubble(t, func() *server { s := three(); s.version = 1000; s.put(node("c", 4)); change(s); return s }, func(t *testing.T, w *watched) {
			w.next(t, 2*time.Second)
			time.Sleep(2 * settle)
			w.with(func() { w.still = true })
			w.remove("a")
			w.with(func() { w.version, w.history, w.still = 10, nil, false })
			w.breakWatches()
			if s := w.next(t, 5*time.Second); !s.Complete || !slices.Equal(peers(s), []string{"b", "c"}) {
				t.Errorf("set %+v", s)
			}
		})
	})
}

// While the Nodes are still being listed the Set is not complete, and not a part of them.
func TestWatch_SlowList(t *testing.T) {
	slow := func() *server { s := three(); s.slow = 5 * time.Second; return s }
	inBubble(t, slow, func(t *testing.T, w *watched) {
		s := w.next(t, maxGap+2*look)
		if s.Complete || len(s.Leases) > 0 || !strings.Contains(s.Problem, "the Nodes are still being listed") {
			t.Errorf("set %+v", s)
		}
		if s = w.next(t, 20*time.Second); !s.Complete || !slices.Equal(peers(s), []string{"a", "b"}) {
			t.Errorf("set %+v", s)
		}
		w.kill()
		w.until(t, 5*time.Second, "lost", incomplete)
		w.remove("a")
		w.compact()
		w.revive()
		for !s.Complete || len(s.Leases) > 1 {
			if s = w.next(t, time.Minute); s.Complete == (len(s.Leases) > 1) {
				t.Fatalf("set %+v", s)
			}
		}
	})
}

func TestWatch_ServerLost(t *testing.T) {
	inBubble(t, three, func(t *testing.T, w *watched) {
		good := w.next(t, 2*time.Second)
		time.Sleep(time.Second)
		w.kill()
		lost := w.next(t, 2*look)
		synced := good.Synced.Add(settle) // the watch went on for that long
		want := "API server http://10.0.0.1:6443 (no credentials): connection refused: it does not run, or listens elsewhere; last in sync at " + synced.Format(time.RFC3339)
		if lost.Complete || lost.Problem != want || lost.Generation != 1 || len(lost.Leases) != 2 || len(lost.Own) != 1 || !lost.Synced.Equal(synced) {
			t.Errorf("set %+v\nwant the problem %s", lost, want)
		}
		w.silent(t, 10*time.Minute) // one problem is told once
		requests := w.count("watch") + w.count("list in watch")
		w.put(node("c", 4))
		w.revive()
		back := w.next(t, 90*time.Second)
		if !back.Complete || back.Problem != "" || back.Generation != 2 || !slices.Equal(peers(back), []string{"a", "b", "c"}) || time.Since(back.Synced) > 2*time.Second {
			t.Errorf("set %+v", back)
		}
		if got := w.count("watch") + w.count("list in watch") - requests; got != 1 {
			t.Errorf("%d watches until it was back", got)
		}
	})
}

// Nothing changed while the server was away: the Set is complete again, and no
// lease has to be judged anew.
func TestWatch_ServerBackUnchanged(t *testing.T) {
	inBubble(t, three, func(t *testing.T, w *watched) {
		w.next(t, 2*time.Second)
		w.kill()
		w.until(t, 5*time.Second, "lost", incomplete)
		w.revive()
		if s := w.next(t, 90*time.Second); !s.Complete || s.Generation != 1 || len(s.Leases) != 2 || time.Since(s.Synced) > 2*time.Second {
			t.Errorf("set %+v", s)
		}
	})
}

// Whatever is wrong from the start is told, is no good news, and is forgotten
// when it is mended.
func TestWatch_WrongFromTheStart(t *testing.T) {
	needs := "routewatch needs get, list, watch of nodes: bind a ClusterRole with these verbs to it and check with `kubectl auth can-i %s nodes --as=system:serviceaccount:routewatch:routewatch`"
	forbidden := `it forbids "system:serviceaccount:routewatch:routewatch" to %s nodes (403 Forbidden): ` + needs
	for _, tt := range []struct {
		name  string
		spoil func(*server)
		want  string
	}{
		{"refused", func(s *server) { s.dead = true }, "connection refused: it does not run"},
		{"mute", func(s *server) { s.mute = true }, "no watch goes on: look at it with `curl -k http://10.0.0.1:6443/readyz`"},
		{"all forbidden", func(s *server) { s.refuse = map[string]int{"list": 403, "watch": 403} }, fmt.Sprintf(forbidden, "list", "list")},
		{"watch forbidden", func(s *server) { s.refuse = map[string]int{"watch": 403} }, fmt.Sprintf(forbidden, "watch", "watch")},
		{"list forbidden, old server", func(s *server) { s.old, s.refuse = true, map[string]int{"list": 403} }, fmt.Sprintf(forbidden, "list", "list")},
		{"unauthorized", func(s *server) { s.tokens = []string{"x"} }, "it does not accept the credentials (401 Unauthorized)"},
		{"internal error", func(s *server) { s.refuse = map[string]int{"list": 500, "watch": 500} }, "it answers \"this server is unwell\" (InternalError, 500)"},
		{"ends each watch", func(s *server) { s.old, s.brief = true, true }, "it ends each watch at once"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func() *server { s := three(); tt.spoil(s); return s }, func(t *testing.T, w *watched) {
				bad := w.next(t, time.Minute)
				if bad.Complete || bad.Generation != 0 || len(bad.Leases) != 0 || !strings.Contains(bad.Problem, tt.want) || strings.Contains(bad.Problem, "last in sync") {
					t.Errorf("set %+v\nwant the problem %s", bad, tt.want)
				}
				time.Sleep(time.Minute)
				w.mend()
				good := w.until(t, 3*time.Minute, "complete", complete)
				if good.Problem != "" || good.Generation != 1 || !slices.Equal(peers(good), []string{"a", "b"}) {
					t.Errorf("set %+v", good)
				}
			})
		})
	}
}

func (w *watched) mend() {
	w.revive()
	w.with(func() {
		w.mute, w.brief, w.old, w.tokens, w.refuse = false, false, false, nil, map[string]int{}
		close(w.cut)
		w.cut = make(chan struct{})
	})
}

// A server that no longer says anything, bookmarks included, is found out.
func TestWatch_Silence(t *testing.T) {
	bothWays(t, func(t *testing.T, change func(*server)) {
		inBubble(t, func() *server { s := three(); change(s); return s }, func(t *testing.T, w *watched) {
			w.next(t, 2*time.Second)
			w.with(func() { w.still = true; w.mute = true })
			start := time.Now()
			s := w.until(t, 10*time.Minute, "incomplete", incomplete)
			if took := time.Since(start); took < time.Minute || took > maxSilence+maxGap+2*look {
				t.Errorf("after %s: %+v", took, s)
			}
		})
	})
}

// One that is only silent, as without bookmarks, keeps the Nodes current: each
// new watch proves it.
func TestWatch_QuietServer(t *testing.T) {
	inBubble(t, three, func(t *testing.T, w *watched) {
		last := w.next(t, 2*time.Second)
		w.with(func() { w.still = true })
		var oldest time.Duration
		for range 600 {
			select {
			case last = <-w.sets:
			case <-time.After(time.Second):
			}
			if !last.Complete || last.Generation != 1 {
				t.Fatalf("set %+v", last)
			}
			oldest = max(oldest, time.Since(last.Synced))
		}
		if oldest > 4*time.Minute { // a minute less than what always makes the judge doubt
			t.Errorf("Synced was up to %s old", oldest)
		}
		t.Logf("Synced was up to %s old", oldest)
	})
}

// With a wrong node name nothing is judged: the own lease would count as a peer's.
func TestWatch_OwnNode(t *testing.T) {
	inBubble(t, func() *server { return newServer(node("a", 2), node("b", 3)) }, func(t *testing.T, w *watched) {
		s := w.next(t, 2*time.Second)
		want := "this node's own Node \"me\" is not among the 2 Nodes: give its name, as `kubectl get nodes` prints it, with --node-name or NODE_NAME"
		if s.Complete || s.Generation != 0 || s.Problem != want || len(s.Leases) > 0 {
			t.Errorf("set %+v", s)
		}
		plain := node(self, 1)
		plain.Annotations = nil
		w.put(plain)
		s = w.next(t, 2*time.Second)
		if !s.Complete || s.Generation != 1 || len(s.Own) != 0 || len(s.Leases) != 2 || !strings.HasPrefix(s.Problem, "this node's own lease is not known: Node me: annotation flannel.alpha.coreos.com/kube-subnet-manager is not there") {
			t.Errorf("set %+v", s)
		}
		w.put(node(self, 1))
		if s = w.next(t, 2*time.Second); !s.Complete || s.Problem != "" || len(s.Own) != 1 {
			t.Errorf("set %+v", s)
		}
		w.remove(self)
		if s = w.next(t, 2*time.Second); s.Complete || s.Problem != want || len(s.Leases) != 2 {
			t.Errorf("set %+v", s)
		}
		w.put(node("c", 4)) // peers are followed all the same
		if s = w.next(t, 2*time.Second); s.Complete || len(s.Leases) != 3 {
			t.Errorf("set %+v", s)
		}
	})
}

// Nodes that are no leases, and those with garbage, affect only themselves.
func TestWatch_OddNodes(t *testing.T) {
	odd := func() *server {
		virtual := node("virtual", 4)
		virtual.Annotations, virtual.Spec.PodCIDR, virtual.Spec.PodCIDRs = nil, "", nil
		virtual.Labels["type"] = "virtual-kubelet"
		windows := node("windows", 5)
		windows.Labels["kubernetes.io/os"] = "windows"
		windows.Annotations["flannel.alpha.coreos.com/backend-data"] = `{"VNI":4096,"VtepMAC":""}`
		garbage := node("garbage", 6)
		garbage.Annotations["flannel.alpha.coreos.com/backend-data"] = "\x00{" + strings.Repeat("x", 1<<16)
		return newServer(node(self, 1), node("a", 2), virtual, windows, garbage)
	}
	inBubble(t, odd, func(t *testing.T, w *watched) {
		s := w.next(t, 2*time.Second)
		if !s.Complete || s.Problem != "" || !slices.Equal(peers(s), []string{"a", "garbage"}) || s.Leases[0].Malformed != "" || s.Leases[1].Malformed == "" {
			t.Errorf("set %+v", s)
		}
		if len(s.Skipped) != 2 || s.Skipped[0].Node != "virtual" || s.Skipped[1].Node != "windows" || !strings.Contains(s.Skipped[1].Reason, "empty VtepMAC") {
			t.Errorf("skipped %+v", s.Skipped)
		}
	})
}

func TestRead(t *testing.T) {
	inBubble(t, three, func(t *testing.T, w *watched) {
		s, err := w.source.Read(t.Context())
		if err != nil || !s.Complete || s.Generation != 1 || s.Source != "kubernetes" || !slices.Equal(peers(s), []string{"a", "b"}) || s.Synced.IsZero() {
			t.Errorf("error %v, set %+v", err, s)
		}
		for i := range 2*pageSize + 1 {
			w.put(node(fmt.Sprintf("n%d", i), 10+i))
		}
		lists := w.count("list")
		s, err = w.source.Read(t.Context())
		if err != nil || len(s.Leases) != 2*pageSize+3 || w.count("list")-lists != 3 {
			t.Errorf("error %v, %d leases after %d lists", err, len(s.Leases), w.count("list")-lists)
		}
		w.with(func() { w.refuse = map[string]int{"list": http.StatusForbidden} })
		s, err = w.source.Read(t.Context())
		if err == nil || s.Complete || s.Problem != err.Error() || !strings.Contains(s.Problem, "to list nodes") {
			t.Errorf("error %v, set %+v", err, s)
		}
	})
}
