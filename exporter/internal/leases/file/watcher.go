package file

import (
	"time"

	"routewatch/exporter/internal/leases"
)

// watcher decides when to read the file and what came of it.
type watcher struct {
	cfg  Config
	keep *leases.Keeper
	// read is the signature of the content that the Set tells of; zero if the
	// file could not be read, so that this is tried again at each poll.
	read signature
	last signature // at the poll before
	// unsettled is since when the file is not the one that was read; zero while it is.
	unsettled time.Time
}

func newWatcher(cfg Config) *watcher {
	log := cfg.Log
	if log != nil {
		log = log.With("path", cfg.Path)
	}
	return &watcher{cfg: cfg, keep: leases.NewKeeper(source, cfg.Options.Self, log)}
}

// poll looks at the file and reports whether there is a Set to send.
func (w *watcher) poll(now time.Time) bool {
	sig, previous := signatureOf(w.cfg.Path), w.last
	w.last = sig
	if sig == w.read && sig != (signature{}) {
		w.unsettled = time.Time{}
		return w.keep.Confirm(now, now)
	}
	if w.unsettled.IsZero() {
		w.unsettled = now
	}
	// A file that is being written is left alone until it was the same at two
	// polls, and so is one that a shell emptied for `kubectl ... > FILE`, which
	// writes only after the API server answered; without any Set yet there is
	// nothing to lose.
	set := w.keep.Set()
	first := !set.Complete && set.Problem == ""
	overdue := now.Sub(w.unsettled) >= maxUnsettled
	if (sig != previous || sig.emptied()) && !first && !overdue {
		return false
	}
	c, err := load(w.cfg)
	w.unsettled = time.Time{}
	return w.take(c, err, now)
}

// take makes the next Set of what load returned and reports whether it says
// anything new.
func (w *watcher) take(c content, err error, now time.Time) bool {
	w.read = c.signature
	if err != nil {
		return w.keep.Fail(now, err)
	}
	return w.keep.Take(now, now, c.set)
}
