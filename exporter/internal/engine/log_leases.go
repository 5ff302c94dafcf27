package engine

import (
	"cmp"
	"iter"
	"log/slog"
	"slices"

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

func logLeases(log *slog.Logger, old, next []*wire.Lease) {
	leases := map[change][]wire.Lease{}
	var order []change
	for was, is := range pairs(old, next) {
		c, ok := changeOf(was, is)
		if !ok {
			continue
		}
		if leases[c] == nil {
			order = append(order, c)
		}
		l := *cmp.Or(is, was)
		if l.Since.IsZero() && was != nil {
			l.Since = was.Since
		}
		leases[c] = append(leases[c], l)
	}
	for _, c := range order {
		logChange(log, c, leases[c])
	}
}

// pairs walks through two sorted lists and yields each lease as it was and as
// it is, without those that both lists share; nil where it is in one list only.
func pairs(old, next []*wire.Lease) iter.Seq2[*wire.Lease, *wire.Lease] {
	return func(yield func(was, is *wire.Lease) bool) {
		for len(old) > 0 || len(next) > 0 {
			if len(old) > 0 && len(next) > 0 && old[0] == next[0] {
				old, next = old[1:], next[1:]
				continue
			}
			var was, is *wire.Lease
			if len(next) == 0 || len(old) > 0 && old[0].Compare(*next[0]) <= 0 {
				was, old = old[0], old[1:]
			}
			if len(next) > 0 && (was == nil || was.Compare(*next[0]) == 0) {
				is, next = next[0], next[1:]
			}
			if !yield(was, is) {
				return
			}
		}
	}
}

// changeOf says what is worth a line. That a lease is well or unknown when it
// is first seen is not: "complete" sums that up.
func changeOf(was, is *wire.Lease) (change, bool) {
	switch {
	case is == nil:
		c := change{level: slog.LevelInfo, one: "bad lease is gone", many: "bad leases are gone", family: was.Family}
		return c, was.State.Bad()
	case was == nil:
		return changeTo(*is), is.State.Bad()
	case is.State.Bad():
		return changeTo(*is), was.State != is.State || was.Effect != is.Effect
	}
	c := changeTo(*is)
	if was.State.Bad() && is.State != verdict.Unknown {
		c.level, c.one, c.many = slog.LevelInfo, "lease is well", "leases are well"
	}
	return c, was.State != is.State
}

func changeTo(is wire.Lease) change {
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

func logChange(log *slog.Logger, c change, leases []wire.Lease) {
	common := fields("family", familyText(c.family), "state", string(c.state), "effect", string(c.effect), "cause", string(c.cause))
	if len(leases) > maxLines {
		first := append(fields("first", leaseText(leases[0]), "firstPeer", leases[0].Peer), slog.Time("since", leases[0].Since))
		logAttrs(log, c.level, c.many, slices.Concat(common, []slog.Attr{slog.Int("count", len(leases))}, first))
		return
	}
	for _, l := range leases {
		attrs := slices.Concat(fields("lease", leaseText(l), "peer", l.Peer), common, fields("reason", l.Reason))
		if !l.Since.IsZero() {
			attrs = append(attrs, slog.Time("since", l.Since))
		}
		logAttrs(log, c.level, c.one, attrs)
	}
}

// leaseText is empty for a malformed lease, which has no subnet.
func leaseText(l wire.Lease) string {
	if !l.Lease.IsValid() {
		return ""
	}
	return l.Lease.String()
}
