package notify

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"routewatch/shared/events"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// The rate of a node: so many Events at once, and one more each minute. The
// end of what was told is always told, so it is at most twice that.
const (
	burst  = 10
	refill = time.Minute
)

// plan decides which Events to make of what happened. It does no I/O and reads
// no clock: the same input gives the same Events.
type plan struct {
	node   string
	bucket bucket
	told   map[string]string     // what is open and was told: key -> name of its Event
	worse  map[string]wire.Event // incidents by id that became worse while the bucket was empty
	storm  *storm                // nil while everything is told one by one
	summed uint64                // incidents that were not told one by one, since start
}

// storm is what was not told one by one since the bucket was full last.
type storm struct {
	name   string
	first  time.Time
	total  int
	untold int    // of total, how many no Event has told of yet
	news   bool   // there is something to tell, and be it only that it is over
	what   string // the last one
}

func newPlan(node string, now time.Time) *plan {
	return &plan{node: node, bucket: bucket{burst, now}, told: map[string]string{}, worse: map[string]wire.Event{}}
}

// resume returns Events for incidents of an earlier process that are still
// open. They change nothing if they are there.
func (p *plan) resume(s *wire.Snapshot) []Event {
	var out []Event
	for _, i := range s.Incidents {
		if p.bucket.take(s.Time) {
			out = append(out, p.open(s, i, s.Time, 0))
		}
	}
	for _, n := range s.KnownNodeProblems {
		p.told[problemName(p.node, n)] = problemName(p.node, n)
	}
	return out
}

// next returns the Events for what happened up to now. s is the latest snapshot.
func (p *plan) next(happened []wire.Event, s *wire.Snapshot, now time.Time) []Event {
	if p.bucket.full(now) && (p.storm == nil || !p.storm.news) {
		p.storm = nil
	}
	var out []Event
	for _, e := range happened {
		switch {
		case e.Incident != nil:
			out = append(out, p.incident(e, s)...)
		case e.NodeProblem != nil:
			out = append(out, p.problem(e)...)
		}
	}
	return append(out, p.late(s, now)...)
}

func (p *plan) incident(e wire.Event, s *wire.Snapshot) []Event {
	i := *e.Incident
	name, told := p.told[i.ID]
	switch e.Type {
	case verdict.IncidentOpened:
		if p.bucket.take(e.Time) {
			return []Event{p.open(s, i, e.Time, 1)}
		}
		p.sum(e.Time, events.Cause(i))
	case verdict.IncidentChanged:
		if told {
			p.worse[i.ID] = e
		}
	case verdict.IncidentClosed:
		delete(p.told, i.ID)
		delete(p.worse, i.ID)
		if told {
			return []Event{restored(name, i)}
		}
		p.moreNews()
	}
	return nil
}

func (p *plan) open(s *wire.Snapshot, i wire.Incident, at time.Time, times int) Event {
	name := incidentName(p.node, i)
	p.told[i.ID] = name
	return broken(s, name, i, at, times)
}

func (p *plan) problem(e wire.Event) []Event {
	name := problemName(p.node, *e.NodeProblem)
	_, told := p.told[name]
	switch e.Type {
	case verdict.NodeProblemAppeared:
		if told { // by an earlier process
			return nil
		}
		if p.bucket.take(e.Time) {
			p.told[name] = name
			return []Event{appeared(name, *e.NodeProblem, e.Time)}
		}
		p.sum(e.Time, string(e.NodeProblem.Problem))
	case verdict.NodeProblemGone:
		delete(p.told, name)
		if told {
			return []Event{solved(name, *e.NodeProblem, e.Time)}
		}
		p.moreNews()
	}
	return nil
}

// sum counts what is not told by itself.
func (p *plan) sum(at time.Time, what string) {
	if p.storm == nil {
		p.storm = &storm{name: nameOf(p.node, "storm", at.UTC().Format(time.RFC3339Nano)), first: at}
	}
	p.summed++
	p.storm.total++
	p.storm.untold++
	p.storm.news, p.storm.what = true, what
}

func (p *plan) moreNews() {
	if p.storm != nil {
		p.storm.news = true
	}
}

// late returns what the bucket allows of what had to wait.
func (p *plan) late(s *wire.Snapshot, now time.Time) []Event {
	var out []Event
	waiting := slices.SortedFunc(maps.Values(p.worse), func(a, b wire.Event) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Incident.ID, b.Incident.ID))
	})
	for _, e := range waiting {
		if !p.bucket.take(now) {
			return out
		}
		delete(p.worse, e.Incident.ID)
		out = append(out, broken(s, p.told[e.Incident.ID], *e.Incident, e.Time, 1))
	}
	if p.storm != nil && p.storm.news && p.bucket.take(now) {
		out = append(out, many(p.storm.name, p.storm, s, now))
		p.storm.untold, p.storm.news = 0, false
	}
	return out
}

// wake is when next has something to tell although nothing happens; zero: never.
func (p *plan) wake(now time.Time) time.Time {
	if len(p.worse) == 0 && (p.storm == nil || !p.storm.news) {
		return time.Time{}
	}
	return p.bucket.next(now)
}

// prune forgets what is no longer open, after events were lost.
func (p *plan) prune(s *wire.Snapshot) {
	open := map[string]bool{}
	for _, i := range s.Incidents {
		open[i.ID] = true
	}
	for _, n := range s.KnownNodeProblems {
		open[problemName(p.node, n)] = true
	}
	maps.DeleteFunc(p.told, func(key, _ string) bool { return !open[key] })
	maps.DeleteFunc(p.worse, func(key string, _ wire.Event) bool { return !open[key] })
}

// bucket holds tokens: burst of them at most, one more every refill.
type bucket struct {
	tokens int
	at     time.Time // when the last token came, or the bucket was full
}

func (b *bucket) fill(now time.Time) {
	if b.tokens == burst {
		b.at = now
		return
	}
	n := max(0, int(now.Sub(b.at)/refill))
	b.at = b.at.Add(time.Duration(n) * refill)
	if b.tokens = min(burst, b.tokens+n); b.tokens == burst {
		b.at = now
	}
}

func (b *bucket) take(now time.Time) bool {
	b.fill(now)
	if b.tokens == 0 {
		return false
	}
	b.tokens--
	return true
}

func (b *bucket) full(now time.Time) bool {
	b.fill(now)
	return b.tokens == burst
}

// next is when there is a token.
func (b *bucket) next(now time.Time) time.Time {
	b.fill(now)
	if b.tokens > 0 {
		return now
	}
	return b.at.Add(refill)
}
