package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"routewatch/exporter/internal/eventlog"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

const (
	// maxStreams is how many clients may follow the events at once; each takes
	// one of the exporter's requests for as long as it likes.
	maxStreams = 16
	// streamBatch is how many events a stream holds in memory.
	streamBatch = 50
	// heartbeat shows both sides that the other one is there.
	heartbeat = 15 * time.Second
	// sendTimeout is how long a client may take to read a batch.
	sendTimeout = 10 * time.Second
	// retryAfter is how long a browser waits before it connects again.
	retryAfter = 2 * time.Second
)

const eventStream = "text/event-stream"

// events answers with the last events, or with a stream of them.
func (h handler) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept")
	q, err := parseEventQuery(r)
	if err != nil {
		Problem(w, http.StatusBadRequest, err.Error())
		return
	}
	if accepts(r, eventStream) && r.Method == http.MethodGet {
		h.stream(w, r, q)
		return
	}
	s, page := h.Latest(), q.page(h.Events)
	list := wire.EventList{
		APIVersion: wire.APIVersion, Kind: wire.KindEvents, Node: s.Node, Time: s.Time,
		Gap: page.Gap, Items: page.Events, Last: page.Last,
	}
	if list.Items == nil {
		list.Items = []wire.Event{}
	}
	if page.More {
		list.Continue = strconv.FormatUint(page.Last, 10)
	}
	reply(w, http.StatusOK, "application/json", list)
}

// eventQuery is what /api/v1/events is asked for.
type eventQuery struct {
	given bool // after is
	after uint64
	limit int
}

func (q eventQuery) page(log *eventlog.Log) eventlog.Page {
	if !q.given {
		return log.First(q.limit)
	}
	return log.After(q.after, q.limit)
}

// parseEventQuery prefers Last-Event-ID: a browser that connects again sends
// the URL that it was once given, and that header.
func parseEventQuery(r *http.Request) (eventQuery, error) {
	values, err := parameters(r, "after", "limit")
	if err != nil {
		return eventQuery{}, err
	}
	q := eventQuery{limit: defaultLimit}
	after, given, err := single(values, "after")
	if err != nil {
		return q, err
	}
	name := "after"
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		name, after, given = "Last-Event-ID", last, true
	}
	if given {
		q.given = true
		if q.after, err = strconv.ParseUint(after, 10, 64); err != nil {
			return q, fmt.Errorf("%s is %q: expected the id of an event", name, after)
		}
	}
	if s, ok, err := single(values, "limit"); err != nil {
		return q, err
	} else if ok {
		if q.limit, err = strconv.Atoi(s); err != nil || q.limit < 1 || q.limit > eventlog.Kept {
			return q, fmt.Errorf("limit is %q: expected a number from 1 to %d", s, eventlog.Kept)
		}
	}
	return q, nil
}

// accepts reports whether a client names a content type.
func accepts(r *http.Request, contentType string) bool {
	for _, header := range r.Header.Values("Accept") {
		for name := range strings.SplitSeq(header, ",") {
			name, _, _ = strings.Cut(name, ";")
			if strings.EqualFold(strings.TrimSpace(name), contentType) {
				return true
			}
		}
	}
	return false
}

// stream sends events until the client goes away, does not read, or the
// exporter stops. The server's own timeouts are for answers that have an end.
func (h handler) stream(w http.ResponseWriter, r *http.Request, q eventQuery) {
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default:
		w.Header().Set("Retry-After", "5")
		Problem(w, http.StatusServiceUnavailable,
			fmt.Sprintf("%d clients follow the events already: try again later, or without Accept: %s", maxStreams, eventStream))
		return
	}
	out := newSender(w)
	out.start()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	q.limit = streamBatch
	page := q.page(h.Events)
	for {
		if err := out.page(page, time.Now); err != nil {
			return
		}
		if !page.More {
			select {
			case <-page.Grown:
			case <-beat.C:
				if out.comment() != nil {
					return
				}
			case <-r.Context().Done():
				return
			case <-h.Stop:
				return
			}
		}
		page = h.Events.After(page.Last, streamBatch)
	}
}

// sender writes server-sent events.
type sender struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	buf bytes.Buffer
}

func newSender(w http.ResponseWriter) *sender {
	return &sender{w: w, rc: http.NewResponseController(w)}
}

func (s *sender) start() {
	_ = s.rc.SetReadDeadline(time.Time{}) // it would end the stream as if the client had gone
	s.w.Header().Set("Content-Type", eventStream)
	s.w.Header().Set("X-Accel-Buffering", "no")
	s.w.WriteHeader(http.StatusOK)
	fmt.Fprintf(&s.buf, "retry: %d\n\n", retryAfter.Milliseconds())
}

// page sends the events of a page, and before them that some are lost.
func (s *sender) page(page eventlog.Page, now func() time.Time) error {
	if page.Gap {
		id := page.Last
		if len(page.Events) > 0 {
			id = page.Events[0].ID - 1
		}
		s.event(wire.Event{
			ID: id, Time: now().UTC(), Type: verdict.Gap,
			Message: "events before this one are lost: what is open now is in /api/v1/status",
		})
	}
	for _, e := range page.Events {
		s.event(e)
	}
	return s.flush()
}

func (s *sender) event(e wire.Event) {
	fmt.Fprintf(&s.buf, "id: %d\ndata: ", e.ID)
	enc := json.NewEncoder(&s.buf) // one line: JSON escapes line feeds
	enc.SetEscapeHTML(false)
	_ = enc.Encode(e)
	s.buf.WriteByte('\n')
}

func (s *sender) comment() error {
	s.buf.WriteString(":\n\n")
	return s.flush()
}

// flush sends what is gathered, if there is anything.
func (s *sender) flush() error {
	if s.buf.Len() == 0 {
		return nil
	}
	if err := s.rc.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	_, err := s.w.Write(s.buf.Bytes())
	s.buf.Reset()
	return errors.Join(err, s.rc.Flush())
}
