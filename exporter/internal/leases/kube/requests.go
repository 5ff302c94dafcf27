package kube

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// maxSilence is how long a watch may be silent before it is ended and begun
// anew: an API server sends a bookmark each minute. One that sends none, as
// without a watch cache, proves with the new watch that the Nodes are current.
const maxSilence = 2 * time.Minute

// requests returns the requests of the reflector, which tell the mirror what
// became of them.
func requests(c *client, m *mirror) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			list, err := c.pages(ctx, opts, m.prefix)
			if err != nil && ctx.Err() == nil {
				m.failed("list", err)
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			listing := opts.SendInitialEvents != nil && *opts.SendInitialEvents
			send := whole
			if !listing && m.missedNone() {
				send = metadata
			}
			w, err := c.watch(ctx, opts, send)
			switch {
			case err == nil:
				m.open(listing)
				return newStream(w, m, opts.ResourceVersion, func(version string) (watch.Interface, error) {
					opts.ResourceVersion = version // opts is this watch's own copy
					return c.watch(ctx, opts, whole)
				}), nil
			case ctx.Err() != nil || expired(err):
			case listing && !utilnet.IsConnectionRefused(err) && !apierrors.IsTooManyRequests(err):
				// The reflector lists next, which says it better: servers
				// before 1.32 cannot list in a watch.
			default:
				m.failed("watch", err)
			}
			return nil, err
		},
	}
}

// expired reports whether the server no longer knows, or does not know yet,
// the version that was asked for. Listing anew mends it.
func expired(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// stream is a watch that tells the mirror that it is alive and how it ends. A
// silent one is stopped. One of metadata goes on as one of whole Nodes as soon as
// it comes to a Node of which the metadata does not say enough.
type stream struct {
	mirror  *mirror
	events  chan watch.Event
	stopped chan struct{}
	once    sync.Once
	version string                                        // up to which the reflector knows the Nodes
	reopen  func(version string) (watch.Interface, error) // with whole Nodes, after a version

	mu   sync.Mutex
	from watch.Interface
}

func newStream(w watch.Interface, m *mirror, version string, reopen func(version string) (watch.Interface, error)) *stream {
	s := &stream{
		from: w, mirror: m, version: version, reopen: reopen,
		events: make(chan watch.Event), stopped: make(chan struct{}),
	}
	go s.forward()
	return s
}

// ResultChan implements watch.Interface.
func (s *stream) ResultChan() <-chan watch.Event { return s.events }

// Stop implements watch.Interface.
func (s *stream) Stop() {
	// The mirror is told before the reflector can begin the next watch.
	s.once.Do(func() { close(s.stopped); s.mirror.end() })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from.Stop()
}

func (s *stream) forward() {
	defer close(s.events)
	defer s.Stop()
	silence := time.NewTimer(maxSilence)
	defer silence.Stop()
	opened, heard := time.Now(), false
	for {
		select {
		case <-s.stopped: // what goes wrong from here on is no fault of the server's
			return
		case <-silence.C:
			return
		case e, ok := <-s.from.ResultChan():
			if !ok {
				s.ended(heard || time.Since(opened) >= settle)
				return
			}
			heard = true
			silence.Reset(maxSilence)
			if !s.forwardOne(e) {
				return
			}
		}
	}
}

// forwardOne reports whether the watch goes on.
func (s *stream) forwardOne(e watch.Event) bool {
	if s.isStopped() {
		return false
	}
	if e.Type != watch.Error {
		e, ok := s.mirror.complete(e)
		if !ok {
			return s.goOnWhole()
		}
		s.mirror.heard()
		return s.send(e)
	}
	if err := apierrors.FromObject(e.Object); !expired(err) {
		s.mirror.failed("watch", err)
	}
	return s.send(e)
}

func (s *stream) send(e watch.Event) bool {
	select {
	case s.events <- e:
		if object, err := meta.Accessor(e.Object); err == nil && e.Type != watch.Error {
			s.version = object.GetResourceVersion()
		}
		return true
	case <-s.stopped:
		return false
	}
}

// goOnWhole has the server send all after the last event once more, as whole
// Nodes, and reports whether the watch goes on.
func (s *stream) goOnWhole() bool {
	w, err := s.reopen(s.version)
	if err != nil {
		if !s.isStopped() && !expired(err) {
			s.mirror.failed("watch", err)
		}
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isStopped() {
		w.Stop()
		return false
	}
	s.from.Stop()
	s.from = w
	return true
}

// ended notes that the server ended the watch, which it should not do at once.
func (s *stream) ended(worked bool) {
	if !worked && !s.isStopped() {
		s.mirror.failed("watch", errShort)
	}
}

func (s *stream) isStopped() bool {
	select {
	case <-s.stopped:
		return true
	default:
		return false
	}
}
