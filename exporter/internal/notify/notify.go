// Package notify tells Kubernetes what happened on this node: with Events about
// the Node, and with a condition of it.
//
// An Event is about one incident, however many leases it broke, or about one
// problem of the node. It is brought up to date while the incident gets worse,
// and another one says that it is over. Its name follows from the incident, so
// that a retry or a restart finds it there. A node makes ten Events at once and
// one more a minute, and the end of each; what is more is summed up in one.
//
// The condition is True while something is broken, False after a minute without
// that, and Unknown when nobody can tell for so long.
//
// Nothing here waits for an API server but this package's own goroutines. What
// cannot be told is kept, as much as there is room, and tried again; how it went
// is counted, and what is wrong is logged once.
package notify

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"routewatch/exporter/internal/eventlog"
	"routewatch/exporter/internal/leases/kube"
	"routewatch/shared/wire"
)

// Config says whom to tell what.
type Config struct {
	Kubeconfig string // see kube.Config, as with the next two
	APIServer  string
	UserAgent  string
	Node       string
	Events     bool // make Events
	Condition  bool // write the condition
	Log        *slog.Logger
}

// The wait between two attempts, the last one at most; half of it more or less,
// so that the nodes of a cluster do not come all at once.
const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
)

const (
	// outdated is how old an Event may be when it is told: Kubernetes forgets
	// them after an hour.
	outdated = time.Hour
	// look is how often the snapshot is compared with the condition.
	look = time.Second
)

// Notifier tells Kubernetes. Start may be called once, Counts from any goroutine.
type Notifier struct {
	cfg     Config
	server  server
	explain func(kube.Right, error) error
	close   func()

	queue *queue
	tally [2][4]atomic.Uint64 // by kind and result
	known map[string]known    // of the goroutine that tells
}

// known is what the API server has of an Event.
type known struct {
	count int32
	at    time.Time
}

// New finds the API server and reads the credentials for it. It does not
// connect yet.
func New(cfg Config) (*Notifier, error) {
	a, err := connect(cfg)
	if err != nil {
		return nil, err
	}
	return newNotifier(cfg, a, a.explain, a.Close), nil
}

func newNotifier(cfg Config, s server, explain func(kube.Right, error) error, done func()) *Notifier {
	return &Notifier{cfg: cfg, server: s, explain: explain, close: done, queue: newQueue(), known: map[string]known{}}
}

// The kinds and results of Counts.
const (
	ofEvent = iota
	ofCondition
)

const (
	sent    = iota // the API server has it
	failed         // an attempt that is made again
	dropped        // given up: too old, refused, or too many wait
	summed         // incidents that an Event tells of together with others
)

var (
	kinds   = [2]string{"event", "condition"}
	results = [4]string{"sent", "failed", "dropped", "summed"}
)

// Counts gives how many notifications of each kind ended how, since start. A
// kind that is not asked for is left out.
func (n *Notifier) Counts(each func(kind, result string, count uint64)) {
	for k, on := range [2]bool{n.cfg.Events, n.cfg.Condition} {
		for r := range results {
			if on && (k == ofEvent || r < dropped) {
				each(kinds[k], results[r], n.tally[k][r].Load())
			}
		}
	}
}

// Start tells what happens from now on until ctx ends, which the function that
// it returns waits for. log must be the one that the events behind latest go to.
func (n *Notifier) Start(ctx context.Context, log *eventlog.Log, latest func() *wire.Snapshot) (wait func()) {
	var tasks sync.WaitGroup
	if n.cfg.Events {
		cursor := log.First(eventlog.Kept).Last // those before are of an earlier process
		p := newPlan(n.cfg.Node, time.Now())
		n.push(p.resume(latest()))
		tasks.Go(func() { n.follow(ctx, p, log, cursor, latest) })
		tasks.Go(func() { n.tell(ctx) })
	}
	if n.cfg.Condition {
		tasks.Go(func() { n.keep(ctx, latest) })
	}
	return func() {
		tasks.Wait()
		n.close()
	}
}

// follow makes Events of what happens. It never waits for the API server, so it
// is never behind.
func (n *Notifier) follow(ctx context.Context, p *plan, log *eventlog.Log, cursor uint64, latest func() *wire.Snapshot) {
	for {
		page := log.After(cursor, eventlog.Kept)
		cursor = page.Last
		now := time.Now()
		s := latest()
		if page.Gap {
			n.cfg.Log.Warn("events were lost before Kubernetes was told of them")
			n.tally[ofEvent][dropped].Add(1)
			p.prune(s)
		}
		before := p.summed
		n.push(p.next(page.Events, s, now))
		n.tally[ofEvent][summed].Add(p.summed - before)
		var late <-chan time.Time
		if at := p.wake(now); !at.IsZero() {
			late = time.After(max(time.Until(at), look))
		}
		select {
		case <-ctx.Done():
			return
		case <-page.Grown:
		case <-late:
		}
	}
}

func (n *Notifier) push(events []Event) {
	n.tally[ofEvent][dropped].Add(uint64(n.queue.push(events...)))
}

// tell sends what waits, one after the other, until ctx ends.
func (n *Notifier) tell(ctx context.Context) {
	t := n.trouble("events", eventRight)
	for {
		e, ok := n.queue.take()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-n.queue.grown:
			}
			continue
		}
		if time.Since(e.Last) > outdated {
			n.tally[ofEvent][dropped].Add(1)
			continue
		}
		err := n.send(ctx, e)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			n.tally[ofEvent][sent].Add(1)
			t.over()
			continue
		case permanent(err):
			n.tally[ofEvent][dropped].Add(1)
			t.say(err)
			continue
		}
		n.tally[ofEvent][failed].Add(1)
		n.tally[ofEvent][dropped].Add(uint64(n.queue.back(e)))
		if !t.wait(ctx, err) {
			return
		}
	}
}

// send makes the Event, or changes the one that there is. An Event that is
// there although this process did not make it, or does not know that it did, was
// told before.
func (n *Notifier) send(ctx context.Context, e Event) error {
	k, times := n.known[e.Name], e.Times
	if k.count == 0 {
		err := n.server.create(ctx, e, int32(max(1, times)))
		if err == nil {
			n.learn(e, int32(max(1, times)))
			return nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		if k.count, err = n.server.update(ctx, e, 0); err != nil {
			return err
		}
		times = max(0, times-1)
	}
	if times > 0 || n.known[e.Name].count > 0 {
		count := k.count + int32(times)
		if _, err := n.server.update(ctx, e, count); apierrors.IsNotFound(err) { // an hour is over
			err = n.server.create(ctx, e, count)
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return err
			}
		} else if err != nil {
			return err
		}
		k.count = count
	}
	n.learn(e, k.count)
	return nil
}

func (n *Notifier) learn(e Event, count int32) {
	now := time.Now()
	n.known[e.Name] = known{count, now}
	for name, k := range n.known {
		if now.Sub(k.at) > 2*outdated {
			delete(n.known, name)
		}
	}
}

// keep keeps the Node's condition as it should be until ctx ends.
func (n *Notifier) keep(ctx context.Context, latest func() *wire.Snapshot) {
	t := n.trouble("condition", conditionRight)
	var c condition
	read := false // what is written there
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		next, due := c.next(latest(), time.Now().UTC().Truncate(time.Second))
		var err error
		if due && !read {
			if c.written, err = n.server.condition(ctx); err == nil {
				read = true
				continue
			}
		} else if due {
			if err = n.server.setCondition(ctx, next); err == nil {
				c.written = next
				n.tally[ofCondition][sent].Add(1)
				t.over()
			}
		}
		if err != nil && ctx.Err() == nil {
			n.tally[ofCondition][failed].Add(1)
			if !t.wait(ctx, err) {
				return
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// trouble is what keeps something from being told.
type trouble struct {
	log     *slog.Logger
	explain func(error) error
	told    string
	retry   time.Duration
}

func (n *Notifier) trouble(what string, right kube.Right) *trouble {
	return &trouble{
		log: n.cfg.Log.With("notify", what), retry: firstRetry,
		explain: func(err error) error { return n.explain(right, err) },
	}
}

// say logs what is wrong, once.
func (t *trouble) say(err error) {
	if text := t.explain(err).Error(); text != t.told {
		t.told = text
		t.log.Error("Kubernetes is not told", "error", text)
	}
}

func (t *trouble) over() {
	if t.told != "" {
		t.log.Info("Kubernetes is told again")
	}
	t.told, t.retry = "", firstRetry
}

// wait waits before the next attempt, and reports whether there is one.
func (t *trouble) wait(ctx context.Context, err error) bool {
	t.say(err)
	wait := t.retry/2 + rand.N(t.retry)
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
		wait = max(wait, min(time.Duration(seconds)*time.Second, lastRetry))
	}
	t.retry = min(2*t.retry, lastRetry)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}
