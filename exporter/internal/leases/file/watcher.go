package file

import (
	"log/slog"
	"slices"
	"time"

	"routewatch/shared/lease"
)

// watcher decides when to read the file and what came of it.
type watcher struct {
	cfg Config
	log *slog.Logger
	set lease.Set
	// read is the signature of the content that set tells of; zero if the file
	// could not be read, so that this is tried again at each poll.
	read signature
	last signature // at the poll before
	// unsettled is since when the file is not the one that was read; zero while it is.
	unsettled time.Time
	announced time.Time // when poll last returned true
}

func newWatcher(cfg Config) *watcher {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &watcher{
		cfg: cfg,
		log: log.With("source", source, "path", cfg.Path),
		set: lease.Set{Source: source, Self: cfg.Options.Self},
	}
}

// poll looks at the file and reports whether there is a Set to send.
func (w *watcher) poll(now time.Time) bool {
	sig, previous := signatureOf(w.cfg.Path), w.last
	w.last = sig
	if sig == w.read && sig != (signature{}) {
		w.unsettled = time.Time{}
		if !w.set.Complete {
			return false
		}
		w.set.Synced = now
		return w.announce(now, now.Sub(w.announced) >= resend)
	}
	if w.unsettled.IsZero() {
		w.unsettled = now
	}
	// A file that is being written is left alone until it was the same at two
	// polls, and so is one that a shell emptied for `kubectl ... > FILE`, which
	// writes only after the API server answered; without any Set yet there is
	// nothing to lose.
	first := !w.set.Complete && w.set.Problem == ""
	overdue := now.Sub(w.unsettled) >= maxUnsettled
	if (sig != previous || sig.emptied()) && !first && !overdue {
		return false
	}
	c, err := load(w.cfg)
	w.unsettled = time.Time{}
	return w.announce(now, w.take(c, err, now))
}

func (w *watcher) announce(now time.Time, yes bool) bool {
	if yes {
		w.announced = now
	}
	return yes
}

// take makes the next Set of what load returned and reports whether it says
// anything new.
func (w *watcher) take(c content, err error, now time.Time) bool {
	w.read = c.signature
	old := w.set
	if err != nil {
		w.set.Complete, w.set.Problem = false, err.Error()
	} else {
		w.set = c.set
		w.set.Source, w.set.Synced, w.set.Generation = source, now, old.Generation
		if old.Generation == 0 || !sameLeases(&old, &w.set) {
			w.set.Generation++
		}
	}
	w.logTransition(&old)
	return old.Complete != w.set.Complete || old.Problem != w.set.Problem ||
		old.Generation != w.set.Generation || !old.Written.Equal(w.set.Written) || !slices.Equal(old.Skipped, w.set.Skipped)
}

func sameLeases(a, b *lease.Set) bool {
	return slices.Equal(a.Own, b.Own) && slices.Equal(a.Families, b.Families) && slices.Equal(a.Leases, b.Leases)
}

func (w *watcher) logTransition(old *lease.Set) {
	switch {
	case w.set.Problem != "" && w.set.Problem != old.Problem:
		w.log.Warn("lease file cannot be read, the last good leases are kept", "problem", w.set.Problem, "leases", len(w.set.Leases))
	case w.set.Complete && !old.Complete:
		w.log.Info("lease file read", "leases", len(w.set.Leases), "skipped", len(w.set.Skipped))
	}
}
