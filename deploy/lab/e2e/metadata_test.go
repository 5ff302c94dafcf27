//go:build e2e

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// shortWatches stands before the API server, whose watches it makes end after two
// seconds instead of minutes, and counts those that ask for metadata alone. It
// adds the token of the service account, since nobody sends one without TLS.
func (n *clusterNode) shortWatches(t *testing.T) (address string, metadata *atomic.Int32) {
	t.Helper()
	n.renew(t, tokenLifetime)
	token, err := os.ReadFile(n.tokenFile)
	netns.Must(t, err)
	ca, err := os.ReadFile(n.api.CA())
	netns.Must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	target, err := url.Parse(n.api.URL)
	netns.Must(t, err)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	metadata = &atomic.Int32{}
	s := httptest.NewServer(&httputil.ReverseProxy{Transport: transport, FlushInterval: -1, Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Header.Set("Authorization", "Bearer "+string(token))
		query := p.In.URL.Query()
		if !query.Has("watch") {
			return
		}
		query.Set("timeoutSeconds", "2")
		p.Out.URL.RawQuery = query.Encode()
		if strings.Contains(p.In.Header.Get("Accept"), "as=PartialObjectMetadata") {
			metadata.Add(1)
		}
	}})
	t.Cleanup(func() {
		s.Close()
		transport.CloseIdleConnections()
	})
	return s.URL, metadata
}

// TestCluster_NodeMetadata: a real API server's watch of metadata is enough for
// Nodes that are known, and a new one is met with all that it has.
func TestCluster_NodeMetadata(t *testing.T) {
	n := newClusterNode(t, 5)
	address, watches := n.shortWatches(t)
	n.run(t, "--leases", "kubernetes", "--kubernetes.api-server", address)
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
	changed := func(i int) func() bool {
		return func() bool {
			return slices.ContainsFunc(n.judged(t), func(l wire.Lease) bool {
				return l.Peer == nodeName(i) && l.Lease == subnetOf(i) && l.State != verdict.OK && l.State != verdict.Unknown
			})
		}
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
	meanwhile("node-3's new address is known, and its subnet still", changed(3))
	n.create(t, 6, 6)
	meanwhile("node-6 is known, and its subnet", changed(6))
	meanwhile("two more watches of metadata", after(2))
	if s := n.status(t); s.Summary.Leases != 5 || s.Summary.States[verdict.Unknown] > 0 {
		t.Errorf("status %+v; want 5 leases, none of them unknown", s)
	}
}
