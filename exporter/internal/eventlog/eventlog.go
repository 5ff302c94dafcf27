// Package eventlog keeps the last events in memory, numbers them and lets any
// number of readers follow. A reader has nothing here but the id of the last
// event that it took: one that is slow costs no memory and finds a gap.
package eventlog

import (
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"routewatch/shared/wire"
)

// Kept is how many events are kept.
const Kept = 1000

// Log is used from any goroutine. Readers never wait for it.
type Log struct {
	mu     sync.Mutex // of those who append
	latest atomic.Pointer[log]
}

// log is immutable, but for the array behind events: there is room behind them,
// where nobody reads.
type log struct {
	events []wire.Event  // oldest first
	lost   uint64        // the last id that is not among events, or may have been another's
	last   uint64        // the last id that was given
	base   uint64        // the least id that the next event may have
	grown  chan struct{} // closed when there is a newer log
}

// Start is what a log begins with.
type Start struct {
	// Events are those of an earlier process, oldest first, with their ids.
	Events []wire.Event
	// Base is the least id for new events: milliseconds since 1970, so that
	// ids grow over a restart although the last ones may not be known any more.
	Base uint64
	// Whole: there was no other event between the first of Events and now.
	Whole bool
}

// New returns a log.
func New(s Start) *Log {
	first := &log{base: s.Base, lost: s.Base - min(1, s.Base), grown: make(chan struct{})}
	if n := len(s.Events); n > 0 {
		first.events = slices.Clone(s.Events[max(0, n-Kept):])
		first.last = s.Events[n-1].ID
		first.lost = max(first.lost, first.last)
		if s.Whole {
			first.lost = first.events[0].ID - min(1, first.events[0].ID)
		}
	}
	l := &Log{}
	l.latest.Store(first)
	return l
}

// Append numbers the events and adds them.
func (l *Log) Append(events ...wire.Event) {
	if len(events) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.latest.Load()
	next := &log{events: old.events, lost: old.lost, last: old.last, base: old.base, grown: make(chan struct{})}
	for _, e := range events {
		next.last = max(next.last+1, next.base)
		e.ID = next.last
		next.events = append(next.events, e.Normal())
	}
	if excess := len(next.events) - Kept; excess > 0 {
		next.lost = max(next.lost, next.events[excess-1].ID)
		if next.events = next.events[excess:]; cap(next.events) < 2*Kept {
			next.events = append(make([]wire.Event, 0, 3*Kept), next.events...) // and let go of what is lost
		}
	}
	l.latest.Store(next)
	close(old.grown)
}

// Page is a part of the log.
type Page struct {
	Events []wire.Event // oldest first
	// Gap: between the event that was asked after and the first of Events
	// others are lost.
	Gap  bool
	Last uint64 // the id to ask after next
	More bool   // there are more of them already
	// Grown is closed when there are events that were not there yet.
	Grown <-chan struct{}
}

// First returns the oldest events that are kept, at most so many.
func (l *Log) First(limit int) Page {
	page := l.After(0, limit)
	page.Gap = false
	return page
}

// After returns the events after an id, at most so many. An id that was never
// given is of an earlier process: then everything is new.
func (l *Log) After(id uint64, limit int) Page {
	log := l.latest.Load()
	page := Page{Gap: id < log.lost, Last: max(id, log.lost), Grown: log.grown}
	if id > max(log.last, log.lost) {
		page.Gap, page.Last, id = true, log.lost, 0
	}
	n := sort.Search(len(log.events), func(i int) bool { return log.events[i].ID > id })
	rest := log.events[n:]
	page.More = len(rest) > limit
	page.Events = slices.Clone(rest[:min(limit, len(rest))]) // lest a slow reader keep all of them
	if k := len(page.Events); k > 0 {
		page.Last = page.Events[k-1].ID
	}
	return page
}
