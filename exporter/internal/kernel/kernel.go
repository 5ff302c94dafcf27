// Package kernel reads from Linux, over rtnetlink, what a set of leases needs,
// and says at once when it changes.
//
// Events are hints: they say where to look. An IPv4 route that goes with its
// link, its last address or its next-hop object has no event of its own, so no
// route is there because no event said that it went; a dump or a lookup is the
// truth. The event of a route itself is taken at its word where it leaves no
// choice (replay), since the kernel dumps no less than a table, which can have a
// million other routes; the lookup of what it touches must then agree.
//
//	filter in the kernel -> event socket -> hints (relevant ones only) -> work -> sweep | recheck | touch -> State
//
// One goroutine owns the picture (watcher). A second one waits at the event
// socket (events) and turns messages into work under a lock. Requests go out on
// a socket of their own (requests, used by reader), and a long dump is received by
// one more goroutine, ahead of what is looked at (ahead).
//
// Everything but the peers of WireGuard devices, which need CAP_NET_ADMIN and
// have no events, works without a capability; watching another network namespace
// needs CAP_SYS_ADMIN in the user namespace that owns it.
package kernel

import (
	"context"
	"fmt"
	"time"

	"routewatch/exporter/internal/enter"
	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// DefaultAuditInterval is how often everything is read even if no event came.
const DefaultAuditInterval = 30 * time.Second

// DefaultReceiveBuffer is enough for 10,000 events at once.
const DefaultReceiveBuffer = 8 << 20

// endPatience is how long Watch waits at its end for a read that is under way.
const endPatience = time.Second

// Config says which kernel to watch.
type Config struct {
	// NetNS is the path of a network namespace; "" is the process's own.
	NetNS string
	// AuditInterval is how often everything is read although no event came;
	// 0 is DefaultAuditInterval. Audits take at most a thousandth of the time,
	// so a very large table is audited less often, but never less often than
	// every ten intervals.
	AuditInterval time.Duration
	// ReceiveBuffer is the size of the buffer for events to ask for, in bytes; 0
	// is DefaultReceiveBuffer. Counters.ReceiveBytes says what it became: without
	// CAP_NET_ADMIN the kernel caps it at net.core.rmem_max, and doubles that.
	ReceiveBuffer int
	// Unfiltered has the kernel deliver every event instead of those alone that can
	// matter: for measurements, and for the case that the filter is suspected.
	Unfiltered bool
	// Actor names the process behind a netlink port that a change was asked for
	// at; nil names none. It is called as soon as the event is received, and no
	// further one is read until it returns: it must be quick, and bound itself.
	Actor func(portID uint32, received time.Time) netstate.Process

	// For tests.
	followUps    []time.Duration // nil is followUps()
	patience     time.Duration   // 0 is readPatience
	pollInterval time.Duration   // 0 is pollInterval
	read         readFunc        // nil is (*reader).perform
}

// readFunc makes the next picture out of the last one and what is to be read again.
type readFunc func(r *reader, old *netstate.State, job *work) (*netstate.State, error)

func (c *Config) setDefaults() {
	if c.AuditInterval <= 0 {
		c.AuditInterval = DefaultAuditInterval
	}
	if c.ReceiveBuffer == 0 {
		c.ReceiveBuffer = DefaultReceiveBuffer
	}
	if c.followUps == nil {
		c.followUps = followUps()
	}
	if c.patience == 0 {
		c.patience = readPatience
	}
	if c.pollInterval == 0 {
		c.pollInterval = pollInterval
	}
	if c.read == nil {
		c.read = (*reader).perform
	}
}

// Watch reads the kernel until ctx ends and then returns nil. Each interest
// replaces the one before; until the first one comes the picture is that of an
// empty one, with Generation 0.
//
// Every consistent picture is sent on states, which may be slow to take it:
// events are gathered meanwhile and none is lost. When the kernel cannot be
// read, the last picture is sent with Complete false and the Problem, and
// reading is tried again, less and less often, until it works. The same is sent
// when a read takes long; it then goes on. At the end Watch waits a second for it.
//
// It returns an error only if the sockets cannot be opened at all.
func Watch(ctx context.Context, cfg Config, interests <-chan expect.Interest, states chan<- *netstate.State) error {
	w, err := newWatcher(cfg, states)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer w.close()
		w.run(ctx, interests)
	}()
	<-ctx.Done()
	select {
	case <-done:
	case <-time.After(endPatience):
	}
	return nil
}

// ReadOnce reads one picture without a subscription. It is an error if that takes
// longer than a few seconds.
func ReadOnce(ctx context.Context, cfg Config, in expect.Interest) (*netstate.State, error) {
	cfg.setDefaults()
	netns, err := enter.Open(cfg.NetNS)
	if err != nil {
		return nil, err
	}
	if netns != nil {
		defer func() { _ = netns.Close() }()
	}
	req, err := dialRequests(netns)
	if err != nil {
		return nil, err
	}
	r := &reader{req: req, in: newInterest(in), peers: &wireGuards{netns: netns}}
	read := func() (*netstate.State, error) {
		defer req.close() // here, as it may go on alone
		return readAgreed(cfg.read, r)
	}
	s, err := await(ctx, cfg.patience, read)
	if err != nil {
		return nil, fmt.Errorf("read the kernel: %w", err)
	}
	return s, nil
}

// readAgreed reads everything, again and again until dump and lookups agree, but
// not for ever.
func readAgreed(read readFunc, r *reader) (s *netstate.State, err error) {
	for range maxRepeats + 1 {
		s, err = read(r, nil, &work{sweep: resyncStart})
		if err != nil || len(r.in.disagreements(s)) == 0 {
			break
		}
		r.learn(s)
	}
	return s, err
}
