package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/exporter/internal/eventlog"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

func eventList(t *testing.T, s *server, query string) wire.EventList {
	t.Helper()
	w := s.do("GET", "/api/v1/events"+query)
	var got wire.EventList
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || got.Kind != wire.KindEvents {
		t.Fatalf("got %d, %v: %s", w.Code, err, w.Body)
	}
	return got
}

func TestEvents_Pages(t *testing.T) {
	s := newServer(peers(0))
	if got := eventList(t, s, ""); got.Gap || got.Items == nil || got.Last != 0 || got.Continue != "" {
		t.Errorf("without events: %+v", got)
	}
	for range 5 {
		s.events.Append(wire.Event{Type: verdict.LinkWentDown, Incident: &wire.Incident{}})
	}
	var all []uint64
	for query := "?limit=2"; ; {
		list := eventList(t, s, query)
		for _, e := range list.Items {
			all = append(all, e.ID)
		}
		if list.Continue == "" {
			break
		}
		query = "?limit=2&after=" + list.Continue
	}
	if diff := cmp.Diff([]uint64{1, 2, 3, 4, 5}, all); diff != "" {
		t.Errorf("all pages (-want +got):\n%s", diff)
	}
	if got := eventList(t, s, "?after=5"); got.Gap || len(got.Items) != 0 || got.Last != 5 {
		t.Errorf("after the last: %+v", got)
	}
	s.events.Append(make([]wire.Event, eventlog.Kept)...)
	if got := eventList(t, s, "?after=3"); !got.Gap || got.Items[0].ID != 6 {
		t.Errorf("gap %t, first %d; want a gap and 6", got.Gap, got.Items[0].ID)
	}
	if got := eventList(t, s, "?after=5"); got.Gap {
		t.Error("there is a gap after the last one that was dropped")
	}
	if got := eventList(t, s, "?after=99999999"); !got.Gap {
		t.Error("an id that was never given is no gap")
	}
	if body := s.do("GET", "/api/v1/events?after=0").Body.String(); strings.Contains(body, "null") {
		t.Errorf("there is a null in %s", body)
	}
}

// client follows the events in a bubble.
type client struct {
	http.ResponseWriter
	header http.Header
	lines  chan string
	block  chan struct{} // nil, or reading stops until it is closed
	writes time.Time     // deadline
}

func (c *client) Header() http.Header                { return c.header }
func (c *client) WriteHeader(int)                    {}
func (c *client) Flush()                             {}
func (c *client) SetReadDeadline(time.Time) error    { return nil }
func (c *client) SetWriteDeadline(t time.Time) error { c.writes = t; return nil }

func (c *client) Write(b []byte) (int, error) {
	if c.block != nil {
		select {
		case <-c.block:
		case <-time.After(time.Until(c.writes)):
			return 0, context.DeadlineExceeded
		}
	}
	for line := range strings.Lines(string(b)) {
		c.lines <- strings.TrimSuffix(line, "\n")
	}
	return len(b), nil
}

// follow opens a stream; done is closed when it ends.
func follow(t *testing.T, s *server, target string, header ...string) (c *client, done chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequestWithContext(ctx, "GET", target, http.NoBody)
	r.Header.Set("Accept", "application/json;q=0.1, text/event-stream")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	c, done = &client{header: http.Header{}, lines: make(chan string, 100_000)}, make(chan struct{})
	go func() { defer close(done); s.ServeHTTP(c, r) }()
	return c, done, cancel
}

// read returns what came so far, without empty lines.
func (c *client) read() []string {
	synctest.Wait()
	var got []string
	for {
		select {
		case line := <-c.lines:
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				var e wire.Event
				must(json.Unmarshal([]byte(data), &e))
				must(validate("#/components/schemas/Event", []byte(data)))
				line = "data " + string(e.Type)
			}
			if line != "" {
				got = append(got, line)
			}
		default:
			return got
		}
	}
}

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(peers(0))
		s.events.Append(wire.Event{Type: verdict.LinkWentDown, Message: "two\nlines"}, wire.Event{Type: verdict.LinkWentUp})
		c, done, stop := follow(t, s, "/api/v1/events")
		if diff := cmp.Diff([]string{"retry: 2000", "id: 1", "data link_down", "id: 2", "data link_up"}, c.read()); diff != "" {
			t.Errorf("at first (-want +got):\n%s", diff)
		}
		if got := c.header.Get("Content-Type"); got != "text/event-stream" {
			t.Errorf("Content-Type is %q", got)
		}
		s.events.Append(wire.Event{Type: verdict.IncidentOpened})
		if diff := cmp.Diff([]string{"id: 3", "data incident_opened"}, c.read()); diff != "" {
			t.Errorf("then (-want +got):\n%s", diff)
		}
		time.Sleep(31 * time.Second)
		if diff := cmp.Diff([]string{":", ":"}, c.read()); diff != "" {
			t.Errorf("in half a minute of silence (-want +got):\n%s", diff)
		}
		stop()
		<-done

		// The browser connects again with the old URL and the header.
		c, done, _ = follow(t, s, "/api/v1/events?after=0", "Last-Event-ID", "2")
		if diff := cmp.Diff([]string{"retry: 2000", "id: 3", "data incident_opened"}, c.read()); diff != "" {
			t.Errorf("again (-want +got):\n%s", diff)
		}
		close(s.stop)
		<-done
	})
}

// A client that does not read finds a gap, or loses its connection; it costs
// the exporter a batch.
func TestStream_SlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(peers(0))
		c, done, stop := follow(t, s, "/api/v1/events?after=0")
		c.read()
		c.block = make(chan struct{})
		for range 3 {
			s.events.Append(make([]wire.Event, eventlog.Kept)...)
			synctest.Wait()
		}
		close(c.block)
		got := c.read()
		// The first batch was on its way.
		if len(got) < 104 || got[0] != "id: 1" || got[100] != "id: 2000" || got[101] != "data gap" || got[102] != "id: 2001" || got[len(got)-2] != "id: 3000" {
			t.Errorf("got %d lines: %.120q", len(got), got)
		}
		c.block = make(chan struct{})
		s.events.Append(wire.Event{})
		time.Sleep(11 * time.Second)
		select {
		case <-done:
		default:
			t.Error("a client that reads nothing for 11 s keeps its stream")
		}
		stop()
	})
}

func TestStream_Limit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(peers(0))
		var stops []func()
		for range 16 {
			_, _, stop := follow(t, s, "/api/v1/events")
			stops = append(stops, stop)
		}
		synctest.Wait()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/events", http.NoBody)
		r.Header.Set("Accept", "text/event-stream")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "16 clients follow the events already") {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
		stops[0]()
		synctest.Wait()
		c, _, _ := follow(t, s, "/api/v1/events")
		if got := c.read(); len(got) == 0 {
			t.Error("no room although a stream ended")
		}
		close(s.stop)
	})
}

// The server's timeouts do not end a stream, over a real connection.
func TestStream_OutlivesTheServersTimeouts(t *testing.T) {
	s := newServer(peers(0))
	srv := httptest.NewUnstartedServer(s)
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
	srv.Start()
	defer srv.Close()
	defer close(s.stop)
	r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/v1/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	resp, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for n := range 5 {
		s.events.Append(wire.Event{Message: fmt.Sprint(n)})
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("event %d: %v", n, err)
			}
			if strings.HasPrefix(line, "data: ") {
				break
			}
		}
		<-time.After(30 * time.Millisecond)
	}
}
