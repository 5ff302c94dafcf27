// Package history keeps the events in a file, so that they, and the incidents
// that are open, outlive the process.
//
// A record is written as soon as it happens, and the disk is made to have it
// before the next one is written (fdatasync of each batch; while one is under
// way, events gather for the next). A process that is killed loses at most the
// record that it was writing, a machine that loses its power at most the last
// batch. What was lost is said: in the log, in the status, as an event.
//
// The file never grows beyond its bound: before it would, it is written anew
// with what is open and the newest events, beside the old one, and renamed.
//
// While the file cannot be written the exporter goes on, says so, and tries
// again and again; the events of the meantime are in memory, as many as
// eventlog keeps.
package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"routewatch/exporter/internal/eventlog"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

const (
	// DefaultMaxSize is the bound of the file in bytes.
	DefaultMaxSize = 10 << 20
	// MinSize is the least bound that makes sense.
	MinSize = 1 << 20

	maxEvents     = eventlog.Kept
	membersInLine = 1000
	batch         = 20 // events
	// membersInterval is how often leases are looked for that joined an
	// incident without an event that says so.
	membersInterval = time.Second
	// maxListed is how many damaged places are named.
	maxListed = 5
)

// The wait between two attempts to write.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// Store writes the history. Status may be used from any goroutine; Run only once.
type Store struct {
	path    string
	maxSize int64
	log     *slog.Logger
	file    *file // nil while it cannot be opened
	status  atomic.Pointer[wire.History]
	told    map[string]int // of each open incident, with how many leases its members were looked for
}

// Past is what an earlier process left.
type Past struct {
	// Snapshot is what judging goes on from.
	Snapshot *wire.Snapshot
	// Events are the newest ones, and Whole says that none after them was lost.
	Events []wire.Event
	Whole  bool
	// News are events about the file itself.
	News []wire.Event
}

// Open reads the file. It does not fail: a file that cannot be read or written
// is said to be so, since the node must be watched all the same.
func Open(path string, maxSize int64, log *slog.Logger, now time.Time) (*Store, Past) {
	s := &Store{path: path, maxSize: maxSize, log: log.With("history", path), told: map[string]int{}}
	s.status.Store(&wire.History{Path: path, MaxSize: maxSize})
	p, err := s.open()
	if err != nil {
		return s, Past{Snapshot: newState().snapshot(), News: s.failed(err, now)}
	}
	past := Past{
		Snapshot: s.file.snapshot(), Events: slices.Clone(s.file.events), Whole: len(p.damaged) == 0 && p.torn == 0,
	}
	if past.Whole {
		s.log.Info("history read", "events", len(past.Events), "openIncidents", len(past.Snapshot.Incidents))
		return s, past
	}
	message := damageText(path, p)
	s.log.Warn("history is damaged", "problem", message)
	past.News = []wire.Event{{Time: now, Type: verdict.HistoryDamaged, Message: message}}
	s.update(func(h *wire.History) {
		h.Problem = message
		h.Lost += uint64(len(p.damaged))
		if p.torn > 0 {
			h.Lost++
		}
	})
	return s, past
}

func damageText(path string, p parsed) string {
	var parts []string
	if n := len(p.damaged); n > 0 {
		var places []string
		for _, d := range p.damaged[:min(n, maxListed)] {
			places = append(places, d.String())
		}
		if n > maxListed {
			places = append(places, fmt.Sprintf("%d more", n-maxListed))
		}
		parts = append(parts, "what is damaged was skipped: "+strings.Join(places, ", "))
	}
	if p.torn > 0 {
		parts = append(parts, fmt.Sprintf("the last record was not written to its end (%d bytes of it) and is lost: "+
			"the exporter was killed, or the node lost its power", p.torn))
	}
	return path + ": " + strings.Join(parts, "; ")
}

// Status is the state of the file.
func (s *Store) Status() *wire.History { return s.status.Load() }

func (s *Store) update(edit func(*wire.History)) {
	h := *s.status.Load()
	edit(&h)
	if s.file != nil {
		h.Bytes = s.file.size
	}
	s.status.Store(&h)
}

func (s *Store) open() (parsed, error) {
	f, p, err := openFile(s.path, s.maxSize)
	if err != nil {
		return p, err
	}
	s.file = f
	clear(s.told)
	s.update(func(*wire.History) {})
	return p, nil
}

// failed notes an error, closes the file, and returns what is to be told: an
// error that was told before is not told again.
func (s *Store) failed(err error, now time.Time) []wire.Event {
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
	problem := fmt.Sprintf(failing+"%v; the last %d events are kept in memory meanwhile", err, eventlog.Kept)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		problem += "; make room on its disk"
	}
	before := s.status.Load()
	s.update(func(h *wire.History) { h.WriteErrors++; h.Problem = problem })
	if strings.HasPrefix(before.Problem, failing) {
		return nil
	}
	s.log.Error("history is not written", "error", err)
	return []wire.Event{{Time: now, Type: verdict.HistoryFailing, Message: problem}}
}

const failing = "the history is not written: "

// Run writes every event of the log that is not in the file yet, until ctx ends,
// and then those that are left.
func (s *Store) Run(ctx context.Context, log *eventlog.Log, latest func() *wire.Snapshot) {
	defer func() {
		if s.file != nil {
			_ = s.file.Close()
		}
	}()
	retry := firstRetry
	cursor, first := uint64(0), true
	for {
		page := log.After(cursor, batch)
		if first { // what an earlier process lost is not ours
			page.Gap, first = false, false
		}
		err := s.write(page.Events, latest())
		if err == nil {
			retry = firstRetry
			cursor = page.Last
			s.wrote(page, log)
			if page.More {
				continue
			}
		} else {
			log.Append(s.failed(err, time.Now().UTC())...)
		}
		wait := s.wait(err, &retry)
		select {
		case <-grown(page, err):
		case <-wait:
		case <-ctx.Done():
			s.finish(log, cursor, latest())
			return
		}
	}
}

// finish writes what is left, once.
func (s *Store) finish(log *eventlog.Log, cursor uint64, last *wire.Snapshot) {
	for more := true; more; {
		page := log.After(cursor, batch)
		if err := s.write(page.Events, last); err != nil {
			s.failed(err, time.Now().UTC())
			return
		}
		cursor, more = page.Last, page.More
	}
}

// grown waits for events, but not while the file cannot be written.
func grown(page eventlog.Page, err error) <-chan struct{} {
	if err != nil {
		return nil
	}
	return page.Grown
}

// wait says when to look again although nothing happened.
func (s *Store) wait(err error, retry *time.Duration) <-chan time.Time {
	switch {
	case err != nil:
		wait := time.After(*retry)
		*retry = min(2**retry, lastRetry)
		return wait
	case len(s.file.open) > 0:
		return time.After(membersInterval)
	}
	return nil
}

// wrote notes that the file can be written, and what could not be in time.
func (s *Store) wrote(page eventlog.Page, log *eventlog.Log) {
	now := time.Now().UTC()
	if strings.HasPrefix(s.status.Load().Problem, failing) {
		s.log.Info("history is written again")
		log.Append(wire.Event{Time: now, Type: verdict.HistoryBack, Message: "the history is written again"})
		s.update(func(h *wire.History) { h.Problem = "" })
	}
	if page.Gap {
		message := fmt.Sprintf("%s: more than %d events came faster than they could be written, the oldest of them are lost",
			s.path, eventlog.Kept)
		s.log.Warn("history is damaged", "problem", message)
		log.Append(wire.Event{Time: now, Type: verdict.HistoryDamaged, Message: message})
		s.update(func(h *wire.History) { h.Lost++; h.Problem = message })
	}
}

// write appends the events that the file does not have, and before them the
// leases that joined an incident.
func (s *Store) write(events []wire.Event, snapshot *wire.Snapshot) error {
	if s.file == nil {
		p, err := s.open()
		if err != nil {
			return err
		}
		if len(p.damaged) > 0 {
			s.log.Warn("history is damaged", "problem", damageText(s.path, parsed{damaged: p.damaged}))
			s.update(func(h *wire.History) { h.Lost += uint64(len(p.damaged)) })
		}
	}
	out := lines{s: s}
	for _, m := range s.joined(snapshot) {
		for part := range slices.Chunk(m.Leases, membersInLine) {
			out.add(record{Members: &members{m.Incident, part}})
		}
	}
	for _, e := range events {
		if e.ID > s.file.last {
			out.add(record{Event: &e})
		}
	}
	out.flush()
	return out.err
}

// lines are gathered so that the disk is waited for once, and not at each.
type lines struct {
	s   *Store
	buf []byte
	err error
}

func (l *lines) add(r record) {
	line := encode(r)
	most := int(l.s.file.part() / 2)
	if len(line) > most { // a text in it would have to be that long
		l.s.log.Warn("record is too large for the history", "bytes", len(line))
		l.s.update(func(h *wire.History) { h.Lost++ })
		return
	}
	if len(l.buf)+len(line) > most {
		l.flush()
	}
	if l.err == nil {
		l.buf = append(l.buf, line...)
		l.s.file.apply(r)
	}
}

func (l *lines) flush() {
	if l.err != nil || len(l.buf) == 0 {
		return
	}
	l.err = l.s.file.append(l.buf)
	l.buf = l.buf[:0]
	l.s.update(func(*wire.History) {})
}

// joined lists the leases whose membership is not written yet.
func (s *Store) joined(snapshot *wire.Snapshot) []members {
	changed := false
	open := map[string]int{}
	for _, i := range snapshot.Incidents {
		open[i.ID] = i.Leases
		changed = changed || s.told[i.ID] != i.Leases
	}
	s.told = open
	if !changed {
		return nil
	}
	return s.file.missing(snapshot)
}
