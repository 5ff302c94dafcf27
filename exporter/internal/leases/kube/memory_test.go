package kube

import (
	"fmt"
	"net/http/httptest"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"routewatch/shared/lease"
)

// 5,000 Nodes with their images are never in memory at once, however they are
// listed. What the test's own server needs is counted too.
func TestWatch_PeakMemory(t *testing.T) {
	const count, most = 5000, 60 << 20
	bothWays(t, func(t *testing.T, change func(*server)) {
		environment(t)
		s := newServer(node(self, 0))
		images := node(self, 0).Status.Images // shared: the server's own copies are not what is measured
		for i := range count {
			n := node(fmt.Sprintf("node-%d", i), i)
			n.Status.Images = nil
			s.put(n)
			s.nodes[n.Name].Status.Images = images
		}
		change(s)
		h := httptest.NewServer(s)
		t.Cleanup(func() { h.CloseClientConnections(); h.Close() })
		source, err := New(Config{APIServer: h.URL, Options: lease.Options{Self: self}})
		must(t, err)

		defer debug.SetGCPercent(debug.SetGCPercent(10)) // so that what lives is known often
		before := heap()
		sets := make(chan lease.Set)
		done := make(chan error, 1)
		go func() { done <- source.Watch(t.Context(), sets) }()
		t.Cleanup(func() { must(t, <-done) }) // t.Context ends before
		var peak uint64
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for deadline := time.After(2 * time.Minute); ; {
			select {
			case set := <-sets:
				if !set.Complete {
					continue
				}
				if len(set.Leases) != count {
					t.Errorf("%d leases", len(set.Leases))
				}
				peak -= min(peak, before)
				t.Logf("at most %d MiB more than before; %d pages", peak>>20, s.count("list"))
				if peak > most {
					t.Errorf("%d MiB, want at most %d", peak>>20, most>>20)
				}
				return
			case <-ticker.C:
				metrics.Read(sample)
				peak = max(peak, sample[0].Value.Uint64())
			case <-deadline:
				t.Fatal("no complete set")
			}
		}
	})
}
