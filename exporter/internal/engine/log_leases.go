package engine

import (
	"cmp"
	"iter"
	"log/slog"
	"slices"
	"time"

	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// A change is what happened to a lease. Leases with the same change share a
// line when there are many of them.
type change struct {
	level     slog.Level
	one, many string // the message for one lease, and for all of them
	family    netstate.Family
	state     verdict.State // after it; "" if the lease is gone
	effect    verdict.Effect
	cause     verdict.Cause
}

// changed are the leases that one change happened to, of which as many are kept as are told one by one.
type changed struct {
	change
	count int
	first []*wire.Lease
	since []time.Time // of each of first
}

func logLeases(log *slog.Logger, old, next []*wire.Lease) {
	var all []*changed
	of := map[change]*changed{}
	for was, is := range pairs(old, next) {
		c, ok := changeOf(was, is)
		if !ok {
			continue
		}
		if of[c] == nil {
			of[c] = &changed{change: c}
			all = append(all, of[c])
		}
		of[c].add(was, is)
	}
	for _, c := range all {
		logChange(log, c)
	}
}

func (c *changed) add(was, is *wire.Lease) {
	if c.count++; c.count > maxLines {
		return
	}
	l := cmp.Or(is, was)
	since := l.Since
	if since.IsZero() && was != nil {
		since = was.Since
	}
	c.first, c.since = append(c.first, l), append(c.since, since)
}

// pairs walks through two sorted lists and yields each lease as it was and as
// it is, without those that both lists share; nil where it is in one list only.
// pairs yields what became of each lease, but for those that both snapshots share.
func pairs(old, next []*wire.Lease) iter.Seq2[*wire.Lease, *wire.Lease] {
	return func(yield func(was, is *wire.Lease) bool) {
		for {
			n := 0
			for n < len(old) && n < len(next) && old[n] == next[n] {
				n++
			}
			if old, next = old[n:], next[n:]; len(old) == 0 && len(next) == 0 {
				return
			}
			var was, is *wire.Lease
			order := compare(old, next)
			if order <= 0 {
				was, old = old[0], old[1:]
			}
			if order >= 0 {
				is, next = next[0], next[1:]
			}
			if !yield(was, is) {
				return
			}
		}
	}
}

// compare orders the first leases of two lists, of which one may be empty.
func compare(old, next []*wire.Lease) int {
	switch {
	case len(next) == 0:
		return -1
	case len(old) == 0:
		return 1
	case old[0].Peer == next[0].Peer && old[0].Family == next[0].Family && old[0].Lease == next[0].Lease:
		return 0 // nearly always, and it takes no copy to see
	}
	return old[0].Compare(*next[0])
}

// changeOf says what is worth a line. That a lease is well or unknown when it
// is first seen is not: "complete" sums that up.
func changeOf(was, is *wire.Lease) (change, bool) {
	switch {
	case is == nil:
		c := change{level: slog.LevelInfo, one: "bad lease is gone", many: "bad leases are gone", family: was.Family}
		return c, was.State.Bad()
	case was == nil:
		return changeTo(is), is.State.Bad()
	case is.State.Bad():
		return changeTo(is), was.State != is.State || was.Effect != is.Effect
	}
	c := changeTo(is)
	if was.State.Bad() && is.State != verdict.Unknown {
		c.level, c.one, c.many = slog.LevelInfo, "lease is well", "leases are well"
	}
	return c, was.State != is.State
}

func changeTo(is *wire.Lease) change {
	c := change{family: is.Family, state: is.State, effect: is.Effect, cause: is.Cause}
	switch {
	case is.State.Bad():
		c.level, c.one, c.many = slog.LevelWarn, "lease is bad", "leases are bad"
	case is.State == verdict.Unknown:
		c.level, c.one, c.many = slog.LevelWarn, "lease is unknown", "leases are unknown"
	default: // from unknown, pending, unsupported or ok to another of them
		c.level, c.one, c.many = slog.LevelDebug, "lease changed", "leases changed"
	}
	return c
}

func logChange(log *slog.Logger, c *changed) {
	common := fields("family", familyText(c.family), "state", string(c.state), "effect", string(c.effect), "cause", string(c.cause))
	if c.count > maxLines {
		first := append(fields("first", leaseText(c.first[0]), "firstPeer", c.first[0].Peer), slog.Time("since", c.since[0]))
		logAttrs(log, c.level, c.many, slices.Concat(common, []slog.Attr{slog.Int("count", c.count)}, first))
		return
	}
	for i, l := range c.first {
		attrs := slices.Concat(fields("lease", leaseText(l), "peer", l.Peer), common, fields("reason", l.Reason))
		if !c.since[i].IsZero() {
			attrs = append(attrs, slog.Time("since", c.since[i]))
		}
		logAttrs(log, c.level, c.one, attrs)
	}
}

// leaseText is empty for a malformed lease, which has no subnet.
func leaseText(l *wire.Lease) string {
	if !l.Lease.IsValid() {
		return ""
	}
	return l.Lease.String()
}
