package kernel

import (
	"slices"
	"time"
)

const (
	gapMin = 10 * time.Millisecond // between two reads while events go on
	gapMax = 50 * time.Millisecond

	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second

	// auditShare bounds what audits cost: one in so much time. auditDelay bounds
	// by how many intervals that puts off the next one: one slow read says little
	// of the following.
	auditShare = 1000
	auditDelay = 10
)

// followUps are when the kernel is read again after a link or address event:
// once it has settled, and once whoever repairs it should have.
func followUps() []time.Duration { return []time.Duration{50 * time.Millisecond, time.Second} }

// pace decides when the kernel is read. All its times are given to it.
type pace struct {
	gap       time.Duration
	lastRead  time.Time // end of the last read that events asked for
	notBefore time.Time // for the next such read

	follow []time.Time
	audit  time.Time
	poll   time.Time     // of WireGuard peers; zero: there are none to read
	retry  time.Duration // the last delay after a failure
}

// ready reports whether work that events made may be read now.
func (p *pace) ready(now time.Time) bool { return !now.Before(p.notBefore) }

// read notes that such work was read: at once after a quiet time, then every 10
// ms, backing off to 50 ms under continuous events.
func (p *pace) read(end time.Time) {
	if end.Sub(p.lastRead) < 2*gapMax {
		p.gap = min(2*p.gap, gapMax)
	} else {
		p.gap = gapMin
	}
	p.lastRead, p.notBefore, p.retry = end, end.Add(p.gap), 0
}

// failed notes a failure: the next try comes later each time.
func (p *pace) failed(now time.Time) {
	p.retry = min(max(2*p.retry, retryMin), retryMax)
	p.notBefore = now.Add(p.retry)
}

// settle asks for reads that follow a link or address event after some delays.
func (p *pace) settle(now time.Time, delays []time.Duration) {
	p.follow = p.follow[:0]
	for _, d := range delays {
		p.follow = append(p.follow, now.Add(d))
	}
}

// followDue reports whether such a read is due, and forgets it.
func (p *pace) followDue(now time.Time) bool {
	before := len(p.follow)
	p.follow = slices.DeleteFunc(p.follow, func(t time.Time) bool { return !now.Before(t) })
	return len(p.follow) < before
}

// auditDue reports whether an audit is due, and sets the time of the next.
func (p *pace) auditDue(now time.Time, interval time.Duration) bool {
	if now.Before(p.audit) {
		return false
	}
	p.audit = now.Add(interval)
	return true
}

// audited sets the time of the next audit after everything was read, which is
// as good as one. cost is what the reading took, without waiting for others.
func (p *pace) audited(end time.Time, cost, interval time.Duration) {
	p.audit = end.Add(bounded(cost, interval))
}

// pollDue reports whether WireGuard peers are to be read, and sets the next time.
func (p *pace) pollDue(now time.Time, interval time.Duration) bool {
	if p.poll.IsZero() || now.Before(p.poll) {
		return false
	}
	p.poll = now.Add(interval)
	return true
}

// polled sets the time of the next poll by what the last one took, if there is one.
func (p *pace) polled(end time.Time, cost, interval time.Duration) {
	if !p.poll.IsZero() {
		p.poll = end.Add(bounded(cost, interval))
	}
}

// bounded is the interval, or a longer one after a slow read.
func bounded(cost, interval time.Duration) time.Duration {
	return min(max(interval, auditShare*cost), auditDelay*interval)
}

// next returns when to look again at the latest.
func (p *pace) next(pending bool) time.Time {
	t := p.audit
	if pending && p.notBefore.Before(t) {
		t = p.notBefore
	}
	if !p.poll.IsZero() && p.poll.Before(t) {
		t = p.poll
	}
	for _, f := range p.follow {
		if f.Before(t) {
			t = f
		}
	}
	return t
}
