package notify

import (
	"slices"
	"sync"
)

// queue holds Events that the API server does not have yet, each name once. It
// is used from any goroutine and never waits.
type queue struct {
	mu     sync.Mutex
	events []Event       // oldest first
	grown  chan struct{} // holds a token while there may be something to take
}

// most is how many Events wait at most.
const most = 256

func newQueue() *queue { return &queue{grown: make(chan struct{}, 1)} }

// push adds Events, behind those that wait; one that waits already is brought
// up to date. It returns how many of the oldest had to go.
func (q *queue) push(events ...Event) (dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range events {
		if i := q.index(e.Name); i >= 0 {
			e.First, e.Times = q.events[i].First, e.Times+q.events[i].Times
			q.events[i] = e
			continue
		}
		q.events = append(q.events, e)
	}
	return q.settle()
}

// back returns an Event that could not be told to where it was.
func (q *queue) back(e Event) (dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := q.index(e.Name); i >= 0 {
		q.events[i].First = e.First
		q.events[i].Times += e.Times
	} else {
		q.events = slices.Insert(q.events, 0, e)
	}
	return q.settle()
}

func (q *queue) index(name string) int {
	return slices.IndexFunc(q.events, func(o Event) bool { return o.Name == name })
}

func (q *queue) settle() (dropped int) {
	dropped = max(0, len(q.events)-most)
	q.events = slices.Delete(q.events, 0, dropped)
	if len(q.events) > 0 {
		select {
		case q.grown <- struct{}{}:
		default:
		}
	}
	return dropped
}

// take returns the oldest.
func (q *queue) take() (Event, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.events) == 0 {
		return Event{}, false
	}
	e := q.events[0]
	q.events = slices.Delete(q.events, 0, 1)
	return e, true
}
