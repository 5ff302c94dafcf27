// Package kernel reads from Linux, over rtnetlink, what a set of leases needs,
// and says at once when it changes.
//
// Events are hints: they say where to look. An IPv4 route that goes with its
// link, its last address or its next-hop object has no event of its own, so the
// routes are never computed from events; a dump or a lookup is the truth.
//
//	event socket -> hints (relevant ones only) -> work -> sweep | recheck | touch -> State
//
// One goroutine owns the picture (watcher). A second one waits at the event
// socket (events) and turns messages into work under a lock. Requests go out on
// a socket of their own (requests, used by reader).
//
// Everything works without a capability; watching another network namespace
// needs CAP_SYS_ADMIN in the user namespace that owns it.
package kernel

import (
	"context"
	"fmt"
	"time"

	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// DefaultAuditInterval is how often everything is read even if no event came.
const DefaultAuditInterval = 30 * time.Second

// Config says which kernel to watch.
type Config struct {
	// NetNS is the path of a network namespace; "" is the process's own.
	NetNS string
	// AuditInterval is how often everything is read although no event came;
	// 0 is DefaultAuditInterval. Audits take at most a thousandth of the time,
	// so a very large table is audited less often.
	AuditInterval time.Duration

	// For tests.
	receiveBuffer int             // bytes to ask for; 0 is eventBuffer
	followUps     []time.Duration // nil is followUps()
}

// Watch reads the kernel until ctx ends and then returns nil. Each interest
// replaces the one before; until the first one comes the picture is that of an
// empty one, with Generation 0.
//
// Every consistent picture is sent on states, which may be slow to take it:
// events are gathered meanwhile and none is lost. When the kernel cannot be
// read, the last picture is sent with Complete false and the Problem, and
// reading is tried again, less and less often, until it works.
//
// It returns an error only if the sockets cannot be opened at all.
func Watch(ctx context.Context, cfg Config, interests <-chan expect.Interest, states chan<- *netstate.State) error {
	w, err := newWatcher(cfg, states)
	if err != nil {
		return err
	}
	defer w.close()
	w.run(ctx, interests)
	return nil
}

// ReadOnce reads one picture without a subscription.
func ReadOnce(ctx context.Context, cfg Config, in expect.Interest) (*netstate.State, error) {
	netns, err := openNetNS(cfg.NetNS)
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
	defer req.close()
	r := &reader{req: req, in: newInterest(in)}
	for range maxRepeats {
		s, err := r.sweep()
		if err != nil {
			return nil, err
		}
		if len(r.in.disagreements(s)) == 0 {
			return s, nil
		}
		r.learn(s)
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read the kernel: %w", err)
		}
	}
	return r.sweep()
}
