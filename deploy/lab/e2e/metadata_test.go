//go:build e2e

package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"routewatch/deploy/lab/cluster"
	"routewatch/shared/verdict"
)

// shortWatches stands before an API server, whose watches it makes end after two
// seconds instead of minutes, and counts those that ask for metadata alone.
func shortWatches(t *testing.T, api *cluster.Cluster) (url string, metadata *atomic.Int32) {
	t.Helper()
	metadata = &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, kind, accept := r.URL.Query(), "application/vnd.kubernetes.protobuf", r.Header.Get("Accept")
		if query.Has("watch") {
			query.Set("timeoutSeconds", "2")
			kind += ";stream=watch"
			if strings.Contains(accept, "as=PartialObjectMetadata") {
				metadata.Add(1)
			}
		}
		body, err := api.Stream(r.Context(), r.URL.Path+"?"+query.Encode(), accept)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = body.Close() }()
		w.Header().Set("Content-Type", kind)
		_ = http.NewResponseController(w).Flush() // the client may have gone
		_, _ = io.Copy(flushing{w}, body)         // likewise
	}))
	t.Cleanup(s.Close)
	return s.URL, metadata
}

type flushing struct{ http.ResponseWriter }

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.ResponseWriter.Write(b)
	if err == nil {
		err = http.NewResponseController(f.ResponseWriter).Flush()
	}
	return n, err
}

// TestCluster_NodeMetadata: a real API server's watch of metadata is enough for
// Nodes that are known, and a new one is met with all that it has.
func TestCluster_NodeMetadata(t *testing.T) {
	n := newClusterNode(t, 5)
	url, watches := shortWatches(t, n.api)
	n.run(t, "--leases", "kubernetes", "--kubernetes.api-server", url)
	within(t, startup, "healthy at the start", func() bool { return n.status(t).Healthy })
	meanwhile := func(what string, condition func() bool) {
		t.Helper()
		took := within(t, 15*time.Second, what, func() bool {
			if s := n.status(t); !s.Complete {
				t.Fatalf("incomplete while waiting for: %s: %+v", what, s)
			}
			return condition()
		})
		say(t, took, "%s", what)
	}
	after := func(i int32) func() bool {
		start := watches.Load()
		return func() bool { return watches.Load() >= start+i }
	}
	meanwhile("three watches of metadata", after(3))
	if s := n.status(t); !s.Healthy || s.Summary.Leases != 4 {
		t.Errorf("status %+v; want 4 healthy leases", s)
	}
	n.annotate(t, 3, withoutPrefix(annotations(3, 1)))
	meanwhile("node-3's new address is known, and its subnet still", func() bool {
		for _, l := range n.judged(t) {
			if l.Peer == nodeName(3) && l.State != verdict.OK && l.State != verdict.Unknown && l.Lease == subnetOf(3) {
				return true
			}
		}
		return false
	})
	n.create(t, 6, 6)
	meanwhile("node-6 is known, and its subnet", func() bool {
		for _, l := range n.judged(t) {
			if l.Peer == nodeName(6) && l.State != verdict.OK && l.State != verdict.Unknown && l.Lease == subnetOf(6) {
				return true
			}
		}
		return false
	})
	meanwhile("two more watches of metadata", after(2))
	if s := n.status(t); s.Summary.Leases != 5 || s.Summary.States[verdict.Unknown] > 0 {
		t.Errorf("status %+v; want 5 leases, none of them unknown", s)
	}
}
