// Package kube is the lease source that watches the Nodes of a Kubernetes API
// server, as flannel's own subnet manager does.
//
// client-go's reflector lists, watches, relists and backs off. This package
// says whether what it has is current:
//
//   - A request that fails makes the Set incomplete at once. It is complete
//     again once a watch has gone on for a second: listing the Nodes is not
//     enough, since what changes after that would be missed.
//   - A connection that died silently is noticed within 45 s by HTTP/2's own
//     pings (client-go: after 30 s of silence, with 15 s for the answer), and
//     within 2 min where these do not help, as behind a proxy or with an API
//     server that hangs: that is two bookmarks missed, of which one comes each
//     minute. 10 s later, if no watch goes on by then, the Set is incomplete.
//   - The first watch sends whole Nodes, and so does one that follows a failure.
//     The others send metadata alone, until they come to a Node with a lease
//     whose podCIDRs are not known: from there on that watch sends whole Nodes.
//   - A server that sends neither events nor bookmarks is asked for a new watch
//     every 2 min. When that goes on, the Set is current as of then.
//
// Current means: as the API server has it. Whether the server itself is current
// cannot be seen from here: one that is cut off from etcd may go on to send
// bookmarks, and to accept watches, from its cache.
package kube

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"routewatch/exporter/internal/leases"
	"routewatch/shared/lease"
)

const (
	source = "kubernetes"

	// coalesce is how long after the first change of a Node the next Set is
	// made, so that thousands of them make few Sets. While changes go on it
	// doubles, up to maxCoalesce: each Set has every lease judged anew.
	coalesce    = 100 * time.Millisecond
	maxCoalesce = time.Second
	// look is how often the connection is looked at although nothing happens.
	look = time.Second
	// pageSize is how many Nodes are listed at once.
	pageSize = 500
)

// Config says which API server to watch and how.
type Config struct {
	// Kubeconfig is the path of one; "": $KUBECONFIG, else the service account
	// of the pod, else ~/.kube/config.
	Kubeconfig string
	APIServer  string // URL that replaces the one found; "": none
	Options    lease.Options
	UserAgent  string
	Log        *slog.Logger // for what client-go says, at the level debug; nil: no log

	dial dialer // nil: the network
}

// dialer is that of a net.Dialer.
type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// Source watches Nodes. New returns one.
type Source struct {
	cfg    Config
	client *client
}

// New finds the API server and reads the credentials for it. It does not
// connect yet.
func New(cfg Config) (*Source, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	return &Source{cfg: cfg, client: c}, nil
}

// Server returns the URL of the API server.
func (s *Source) Server() string { return s.client.server }

// Credentials says where the server and the credentials come from, for a person.
func (s *Source) Credentials() string { return s.client.origin }

// Read lists the Nodes once. With an error, the Set says the same in its
// Problem and is not Complete.
func (s *Source) Read(ctx context.Context) (lease.Set, error) {
	defer s.client.Close()
	keep := leases.NewKeeper(source, s.cfg.Options.Self, nil)
	nodes, err := s.readAll(ctx)
	now := time.Now()
	if err != nil {
		err = s.client.explain("list", err)
		keep.Fail(now, err)
		return keep.Set(), err
	}
	keep.Take(now, now, lease.FromNodes(nodes, s.cfg.Options))
	return keep.Set(), nil
}

func (s *Source) readAll(ctx context.Context) ([]lease.Node, error) {
	list, err := s.client.pages(ctx, metav1.ListOptions{}, s.cfg.Options.Prefix)
	if err != nil {
		return nil, err
	}
	nodes := make([]lease.Node, 0, len(list.Items))
	for i := range list.Items {
		nodes = append(nodes, slim(&list.Items[i], s.cfg.Options.Prefix))
	}
	return nodes, nil
}

// Watch sends the Set of the Nodes: the first as soon as there is something to
// tell, then one for each change and every 30 s while Synced grows. A Set that
// was not received yet is replaced by a newer one. Watch returns nil when ctx ends.
//
// While the API server cannot be read, the Set is the last good one with
// Complete false and Problem set. Synced is when the Nodes were last known to be
// those of the server; it is no proof that the server itself was current then.
func (s *Source) Watch(ctx context.Context, sets chan<- lease.Set) error {
	defer s.client.Close()
	m := newMirror(s.cfg.Options.Prefix)
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, quiet(s.cfg.Log)))
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.follow(ctx, m)
	}()
	defer func() {
		cancel()
		<-stopped
	}()

	p := publisher{mirror: m, options: s.cfg.Options, explain: s.client.explain,
		keep: leases.NewKeeper(source, s.cfg.Options.Self, nil)}
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	var out chan<- lease.Set       // nil while there is nothing to send
	var coalesced <-chan time.Time // nil while nothing has changed
	var last time.Time             // when something had changed before
	wait := coalesce
	for {
		select {
		case <-ctx.Done():
			return nil
		case out <- p.keep.Set():
			out = nil
			continue
		case <-m.changed:
			if coalesced == nil {
				wait = min(2*wait, maxCoalesce)
				if time.Since(last) > maxCoalesce {
					wait = coalesce
				}
				coalesced = time.After(wait)
			}
			continue
		case last = <-coalesced:
			coalesced = nil
		case <-ticker.C:
			if coalesced != nil {
				continue
			}
		}
		if p.update(time.Now()) {
			out = sets
		}
	}
}

// follow keeps the mirror like the API server's Nodes until ctx ends.
func (s *Source) follow(ctx context.Context, m *mirror) {
	log := klog.FromContext(ctx)
	cache.NewReflectorWithOptions(requests(s.client, m), &corev1.Node{}, m, cache.ReflectorOptions{
		Logger: &log, Name: "nodes", TypeDescription: "Nodes",
	}).RunWithContext(ctx)
}

// publisher makes Sets of what the mirror holds. One goroutine uses it.
type publisher struct {
	mirror  *mirror
	options lease.Options
	explain func(verb string, err error) error
	keep    *leases.Keeper
	built   uint64 // version of the mirror that the Set was made of
	lost    bool
}

// update reports whether there is a Set to send.
func (p *publisher) update(now time.Time) bool {
	known := p.built
	if p.lost {
		known = 0
	}
	v := p.mirror.view(now, known)
	switch {
	case v.failure.err != nil:
		p.lost = true
		err := p.explain(v.failure.verb, v.failure.err)
		if synced := p.keep.Set().Synced; !synced.IsZero() {
			err = fmt.Errorf("%w; last in sync at %s", err, synced.UTC().Format(time.RFC3339))
		}
		return p.keep.Fail(now, err)
	case !v.filled:
		return false
	case v.version == known:
		return p.keep.Confirm(now, v.seen)
	}
	p.lost, p.built = false, v.version
	return p.keep.Take(now, v.seen, lease.FromNodes(v.nodes, p.options))
}
