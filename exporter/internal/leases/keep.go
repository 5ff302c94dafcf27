// Package leases holds what every lease source does with what it has read: the
// last good leases are kept, a generation counts their changes, and a Set is
// sent when it says something new or is due.
package leases

import (
	"log/slog"
	"slices"
	"time"

	"routewatch/shared/lease"
)

// Resend is how often an unchanged Set is sent with a new Synced: often enough
// for an alert on its age, too seldom to matter.
const Resend = 30 * time.Second

// Keeper makes the Sets that a source sends. Its methods report whether there
// is a Set to send.
type Keeper struct {
	set       lease.Set
	announced time.Time // when a method last returned true
	told      time.Time // Synced then
	log       *slog.Logger
}

// NewKeeper returns a Keeper whose Set was never read. log may be nil.
func NewKeeper(source, self string, log *slog.Logger) *Keeper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{set: lease.Set{Source: source, Self: self}, log: log.With("source", source)}
}

// Set returns the current Set.
func (k *Keeper) Set() lease.Set { return k.set }

// Take takes what was read at now and was known to be current at synced.
//
// Nodes without the own one are nobody's: with a wrong node name the own lease
// would count as a peer's and be called missing. Such a Set is not Complete,
// and where none was good before it is not judged at all.
func (k *Keeper) Take(now, synced time.Time, set lease.Set) bool {
	old := k.set
	set.Source, set.Synced, set.Generation = old.Source, synced, old.Generation
	set.Problem = set.OwnProblem()
	if !listsOwn(&set) {
		set.Complete = false
		if old.Generation == 0 {
			set.Own, set.Families, set.Leases = nil, nil, nil
		}
	}
	if set.Complete && old.Generation == 0 || old.Generation > 0 && !sameLeases(&old, &set) {
		set.Generation++
	}
	return k.become(now, set)
}

// Fail keeps the leases and says why they cannot be read.
func (k *Keeper) Fail(now time.Time, err error) bool {
	set := k.set
	set.Complete, set.Problem = false, err.Error()
	return k.become(now, set)
}

// Confirm notes that the leases were known to be unchanged at synced.
func (k *Keeper) Confirm(now, synced time.Time) bool {
	if !k.set.Complete {
		return false
	}
	k.set.Synced = synced
	if now.Sub(k.announced) < Resend || !synced.After(k.told) {
		return false
	}
	k.announce(now)
	return true
}

func (k *Keeper) announce(now time.Time) { k.announced, k.told = now, k.set.Synced }

// become makes the Set the current one and reports whether it says anything new.
func (k *Keeper) become(now time.Time, set lease.Set) bool {
	old := k.set
	k.set = set
	k.logTransition(&old)
	if old.Complete == set.Complete && old.Problem == set.Problem && old.Generation == set.Generation &&
		old.Written.Equal(set.Written) && slices.Equal(old.Skipped, set.Skipped) {
		return false
	}
	k.announce(now)
	return true
}

func (k *Keeper) logTransition(old *lease.Set) {
	attrs := []any{"leases", len(k.set.Leases), "skipped", len(k.set.Skipped)}
	switch {
	case !k.set.Complete && k.set.Problem != old.Problem:
		k.log.Warn("leases cannot be read, the last good ones are kept", append(attrs, "problem", k.set.Problem)...)
	case k.set.Complete && !old.Complete:
		k.log.Info("leases read", attrs...)
	}
}

func sameLeases(a, b *lease.Set) bool {
	return slices.Equal(a.Own, b.Own) && slices.Equal(a.Families, b.Families) && slices.Equal(a.Leases, b.Leases)
}

func listsOwn(set *lease.Set) bool {
	return len(set.Own) > 0 || slices.ContainsFunc(set.Skipped, func(s lease.Skipped) bool { return s.Node == set.Self })
}
