package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/connectivity"

	"routewatch/exporter/internal/leases"
	"routewatch/shared/lease"
)

// report is what the session tells the publisher. Nothing but the error counts
// where there is one.
type report struct {
	content content // immutable
	changed bool    // content is another than in the report before
	synced  time.Time
	err     error
}

// Watch sends the Set of the keys: the first as soon as there is something to
// tell, then one for each change and every 30 s while Synced grows. A Set that
// was not received yet is replaced by a newer one. Watch returns nil when ctx ends.
func (s *Source) Watch(ctx context.Context, sets chan<- lease.Set) error {
	ctx, cancel := context.WithCancel(ctx)
	reports := make(chan report)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.follow(ctx, reports)
	}()
	defer func() {
		cancel()
		<-stopped
	}()
	p := publisher{source: s, keep: leases.NewKeeper(lease.SourceEtcd, s.cfg.Self, nil)}
	ticker := time.NewTicker(refresh)
	defer ticker.Stop()
	var out chan<- lease.Set // nil while there is nothing to send
	for {
		var fresh bool
		select {
		case <-ctx.Done():
			return nil
		case out <- p.keep.Set():
			out = nil
			continue
		case r := <-reports:
			fresh = p.take(r, time.Now())
		case <-ticker.C:
			fresh = p.again(time.Now())
		}
		if fresh {
			out = sets
		}
	}
}

// publisher makes Sets of reports. One goroutine uses it.
type publisher struct {
	source *Source
	keep   *leases.Keeper
	last   report // the last good one
	good   bool   // the last report was good
}

func (p *publisher) take(r report, now time.Time) bool {
	if r.err != nil {
		p.good = false
		err := r.err
		if synced := p.keep.Set().Synced; !synced.IsZero() {
			err = fmt.Errorf("%w; last in sync at %s", err, synced.UTC().Format(time.RFC3339))
		}
		return p.keep.Fail(now, err)
	}
	if p.good && !r.changed && p.keep.Set().Complete {
		p.last = r
		return p.keep.Confirm(now, r.synced)
	}
	p.last, p.good = r, true
	return p.again(now)
}

// again makes the Set anew: the node's own addresses may have changed.
func (p *publisher) again(now time.Time) bool {
	if !p.good {
		return false
	}
	set, err := p.source.set(p.last.content)
	if err != nil {
		return p.keep.Fail(now, err)
	}
	// Either says something new, or it is due.
	return p.keep.Take(now, p.last.synced, set) || p.keep.Confirm(now, p.last.synced)
}

// follow reports until ctx ends.
func (s *Source) follow(ctx context.Context, reports chan<- report) {
	backoff := minBackoff
	for ctx.Err() == nil {
		start := time.Now()
		err := s.session(ctx, reports)
		if ctx.Err() != nil {
			return
		}
		if time.Since(start) > maxBackoff {
			backoff = minBackoff // it went well for a while
		}
		if errors.Is(err, errRelist) {
			s.cfg.Log.Debug("listing the leases anew", "source", lease.SourceEtcd, "because", err)
			if time.Since(start) < minBackoff && !wait(ctx, minBackoff) { // one watch after the other ends at once
				return
			}
			continue
		}
		if !send(ctx, reports, report{err: s.explain(err)}) || !wait(ctx, backoff) {
			return
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

func send(ctx context.Context, reports chan<- report, r report) bool {
	select {
	case reports <- r:
		return true
	case <-ctx.Done():
		return false
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

var (
	// errRelist ends a session after which nothing is known to be wrong.
	errRelist = errors.New("the watch ended")
	errSilent = errors.New("etcd does not answer")
)

func (s *Source) silent() error {
	return fmt.Errorf("%w: nothing was heard of it for %s", errSilent, s.silence)
}

// session lists and watches until something breaks.
func (s *Source) session(ctx context.Context, reports chan<- report) error {
	ctx, cancel := context.WithCancelCause(clientv3.WithRequireLeader(ctx))
	defer cancel(nil)
	client, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	listed, revision, err := s.list(ctx, client)
	if err != nil {
		return err
	}
	v := view{source: s, content: listed, synced: time.Now(), changed: true}
	if !send(ctx, reports, v.report()) {
		return ctx.Err()
	}
	// The client waits without end for a silent server: in Watch until the watch
	// is made, and in RequestProgress.
	silence := time.AfterFunc(s.silence, func() { cancel(s.silent()) })
	defer silence.Stop()
	events := client.Watch(ctx, s.cfg.Prefix+"/", clientv3.WithPrefix(), clientv3.WithRev(revision+1), clientv3.WithProgressNotify())
	looks := time.NewTicker(look)
	defer looks.Stop()
	var coalesced <-chan time.Time
	asked := time.Now()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case answer, ok := <-events:
			if err := cmp.Or(context.Cause(ctx), failure(answer, ok)); err != nil {
				return err
			}
			silence.Reset(s.silence)
			if v.apply(answer.Events) && coalesced == nil {
				coalesced = time.After(coalesce)
			}
			continue
		case <-coalesced:
			coalesced = nil
		case <-looks.C:
			if err := alive(client); err != nil {
				return err
			}
			if time.Since(asked) > askProgress {
				asked = time.Now()
				if err := client.RequestProgress(ctx); err != nil {
					return cmp.Or(context.Cause(ctx), err)
				}
			}
		}
		if coalesced == nil && !send(ctx, reports, v.report()) {
			return ctx.Err()
		}
	}
}

// alive says what is wrong with the connection, if anything is.
func alive(client *clientv3.Client) error {
	// The client reconnects and goes on with the watch by itself, without a
	// word: meanwhile changes are missed, so whether that works is asked anew.
	if client.ActiveConnection().GetState() != connectivity.Ready {
		return fmt.Errorf("%w: the connection was lost", errRelist)
	}
	return nil
}

// failure says why a watch is of no use any more.
func failure(answer clientv3.WatchResponse, ok bool) error {
	switch {
	case !ok:
		return errRelist
	case answer.CompactRevision > 0:
		return fmt.Errorf("%w: etcd has compacted what it would go on with", errRelist)
	}
	return answer.Err()
}

// view is the content as the session knows it.
type view struct {
	source  *Source
	content content
	synced  time.Time // when etcd was heard of last
	changed bool      // since the last report
}

// apply takes over what a watch says, and reports whether anything changed.
func (v *view) apply(events []*clientv3.Event) bool {
	v.synced = time.Now()
	if len(events) == 0 {
		return false
	}
	if !v.changed { // what was reported is not changed any more
		v.content.keys = maps.Clone(v.content.keys)
	}
	for _, e := range events {
		value := e.Kv.Value
		switch {
		case e.Type == clientv3.EventTypeDelete:
			value = nil
		case value == nil:
			value = []byte{}
		}
		v.source.put(&v.content, string(e.Kv.Key), value)
	}
	v.changed = true
	return true
}

func (v *view) report() report {
	r := report{content: v.content, changed: v.changed, synced: v.synced}
	v.changed = false
	return r
}
