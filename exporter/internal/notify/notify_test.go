package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"routewatch/exporter/internal/eventlog"
	"routewatch/exporter/internal/leases/kube"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Notifier that runs in a bubble.
type world struct {
	*memory
	*Notifier
	log    *eventlog.Log
	logged strings.Builder
	mu     sync.Mutex
	s      *wire.Snapshot
	stop   func()
}

func (w *world) latest() *wire.Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := *w.s
	s.Time = time.Now()
	return &s
}

func (w *world) set(s *wire.Snapshot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.s = s
}

func (w *world) count(kind, result string) (found uint64) {
	w.Counts(func(k, r string, n uint64) {
		if k == kind && r == result {
			found = n
		}
	})
	return found
}

func (w *world) happened(typ verdict.EventType, i wire.Incident) {
	e := happened(typ, 0, i)
	e.Time = time.Now()
	w.log.Append(e)
}

// begin starts a Notifier on what there is.
func (w *world) begin(t *testing.T) {
	cfg := Config{Node: node, Events: true, Condition: true, Log: slog.New(slog.NewTextHandler(&w.logged, nil))}
	w.Notifier = newNotifier(cfg, w.memory, func(_ kube.Right, err error) error { return err }, func() {})
	ctx, cancel := context.WithCancel(t.Context())
	wait := w.Start(ctx, w.log, w.latest)
	w.stop = func() { cancel(); wait() }
}

// sleep returns when all that was to happen by then has.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func inBubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{memory: &memory{events: map[string]Event{}, counts: map[string]int32{}}, log: eventlog.New(eventlog.Start{Base: 1}), s: well(time.Now())}
		w.begin(t)
		f(t, w)
		w.stop()
	})
}

func TestNotifier_Incident(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		i := incident("a-1", 3)
		w.happened(verdict.IncidentOpened, i)
		synctest.Wait()
		name := incidentName(node, i)
		if w.have().counts[name] != 1 || !w.have().events[name].Warning {
			t.Errorf("count %d of %+v", w.have().counts[name], w.have().events[name])
		}
		sleep(time.Second)
		i.Leases = 4
		w.happened(verdict.IncidentChanged, i)
		synctest.Wait()
		if w.have().counts[name] != 2 || !strings.Contains(w.have().events[name].Message, "broke 4 leases") || len(w.have().events) != 1 {
			t.Errorf("count %d of %+v", w.have().counts[name], w.have().events)
		}
		w.happened(verdict.IncidentClosed, i)
		synctest.Wait()
		if over := w.have().events[name+".over"]; len(w.have().events) != 2 || over.Warning || over.Reason != ReasonRestored {
			t.Errorf("at the end %+v", w.have().events)
		}
		if w.count("event", "sent") != 3 || w.count("event", "failed")+w.count("event", "dropped") > 0 {
			t.Errorf("%d sent", w.count("event", "sent"))
		}
	})
}

// An answer that is lost makes no second Event and counts nothing twice.
func TestNotifier_AnswerLost(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.with(func() { w.lose = 2 })
		i := incident("a-1", 3)
		w.happened(verdict.IncidentOpened, i)
		sleep(time.Minute)
		if name := incidentName(node, i); w.have().counts[name] != 1 || len(w.have().events) != 1 || w.count("event", "failed") != 2 {
			t.Errorf("counts %v, %d attempts failed", w.have().counts, w.count("event", "failed"))
		}
	})
}

// After a restart an incident that is still open is not reported anew, is told
// if it was not yet, and goes on counting.
func TestNotifier_Restart(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		i, other := incident("a-1", 3), incident("a-2", 1)
		w.happened(verdict.IncidentOpened, i)
		synctest.Wait()
		w.stop()
		s := brokenSnapshot(i)
		s.Incidents = append(s.Incidents, other)
		w.set(s)
		w.begin(t)
		synctest.Wait()
		name, second := incidentName(node, i), incidentName(node, other)
		if w.have().counts[name] != 1 || w.have().counts[second] != 1 || len(w.have().events) != 2 {
			t.Errorf("after the restart: counts %v", w.have().counts)
		}
		w.happened(verdict.IncidentChanged, i)
		synctest.Wait()
		if w.have().counts[name] != 2 || len(w.have().events) != 2 {
			t.Errorf("worse after the restart: counts %v", w.have().counts)
		}
	})
}

// Kubernetes forgets Events after an hour.
func TestNotifier_Forgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		i := incident("a-1", 3)
		w.happened(verdict.IncidentOpened, i)
		synctest.Wait()
		sleep(90 * time.Minute)
		w.with(func() { clear(w.events); clear(w.counts) })
		w.happened(verdict.IncidentChanged, i)
		synctest.Wait()
		if name := incidentName(node, i); w.have().counts[name] != 2 {
			t.Errorf("counts %v", w.have().counts)
		}
	})
}

// While the server is away or refuses, few attempts are made, one line is
// logged, and what happened meanwhile is told when it is back.
func TestNotifier_ServerLost(t *testing.T) {
	for name, err := range map[string]error{
		"refused":     errors.New("connection refused"),
		"forbidden":   apierrors.NewForbidden(resource, "", errors.New("no")),
		"unavailable": apierrors.NewServiceUnavailable("x"),
		"too many":    apierrors.NewTooManyRequests("x", 7),
		"internal":    apierrors.NewInternalError(errors.New("x")),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.with(func() { w.refuse = err })
				i := incident("a-1", 3)
				w.happened(verdict.IncidentOpened, i)
				w.set(ill(time.Now()))
				sleep(20 * time.Minute)
				w.happened(verdict.IncidentChanged, i)
				synctest.Wait()
				w.happened(verdict.IncidentClosed, i)
				w.set(well(time.Now()))
				sleep(20 * time.Minute)
				if w.have().requests > 50 || w.count("event", "failed") < 5 || w.count("condition", "failed") < 5 {
					t.Errorf("%d requests, %d and %d failed", w.have().requests, w.count("event", "failed"), w.count("condition", "failed"))
				}
				if n := strings.Count(w.logged.String(), "Kubernetes is not told"); n != 2 { // one of each kind
					t.Errorf("logged %d times:\n%s", n, &w.logged)
				}
				w.with(func() { w.refuse = nil })
				sleep(10 * time.Minute)
				if name := incidentName(node, i); w.have().counts[name] != 2 || w.have().counts[name+".over"] != 1 || w.have().node.Status != False {
					t.Errorf("told %v, condition %+v", w.have().counts, w.have().node)
				}
				if n := strings.Count(w.logged.String(), "Kubernetes is told again"); n != 2 {
					t.Errorf("logged %d times that it is back", n)
				}
			})
		})
	}
}

// A server that hangs keeps nobody waiting, and the queue has an end.
func TestNotifier_Hangs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.with(func() { w.hang = true })
		start := time.Now()
		for n := range 3 * most {
			i := incident(fmt.Sprint("a-", n), 1)
			w.happened(verdict.IncidentOpened, i)
			w.happened(verdict.IncidentClosed, i)
			sleep(30 * time.Second)
		}
		if took := time.Since(start); took != 3*most*30*time.Second {
			t.Errorf("took %s", took)
		}
		if w.count("event", "dropped") == 0 || len(w.queue.events) > most {
			t.Errorf("%d dropped, %d wait", w.count("event", "dropped"), len(w.queue.events))
		}
	})
}

// What the server will never accept is given up, and what comes after is told.
func TestNotifier_Refused(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.with(func() { w.refuse = apierrors.NewBadRequest("x") })
		w.happened(verdict.IncidentOpened, incident("a-1", 3))
		synctest.Wait()
		w.with(func() { w.refuse = nil })
		w.happened(verdict.IncidentOpened, incident("a-2", 3))
		synctest.Wait()
		if w.count("event", "dropped") != 1 || w.count("event", "sent") != 1 {
			t.Errorf("counts %v, %d dropped", w.have().counts, w.count("event", "dropped"))
		}
	})
}

func TestNotifier_Outdated(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.with(func() { w.refuse = errors.New("connection refused") })
		w.happened(verdict.IncidentOpened, incident("a-1", 3))
		sleep(61 * time.Minute)
		w.with(func() { w.refuse = nil })
		sleep(10 * time.Minute)
		if len(w.have().events) > 0 || w.count("event", "dropped") != 1 {
			t.Errorf("told %v after an hour", w.have().events)
		}
	})
}

// The condition that an earlier process left is gone on with: no transition
// without a change.
func TestNotifier_Condition(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.set(ill(time.Now()))
		sleep(2 * time.Second)
		broke := w.have().node.LastTransitionTime
		w.stop()
		sleep(10 * time.Minute)
		w.begin(t)
		sleep(2 * time.Second)
		if w.have().node.Status != True || !w.have().node.LastTransitionTime.Equal(broke) || time.Since(w.have().node.LastHeartbeatTime) > 3*time.Second {
			t.Errorf("after the restart %+v, it was so since %s", w.have().node, broke)
		}
		w.set(well(time.Now()))
		sleep(59 * time.Second)
		if w.have().node.Status != True {
			t.Errorf("well for a minute: %+v", w.have().node)
		}
		sleep(3 * time.Second)
		if w.have().node.Status != False || w.have().node.LastTransitionTime.Equal(broke) {
			t.Errorf("well for more than a minute: %+v", w.have().node)
		}
		n := len(w.have().written)
		sleep(time.Hour)
		if got := len(w.have().written) - n; got < 11 || got > 12 {
			t.Errorf("%d heartbeats in an hour", got)
		}
	})
}

func TestQueue(t *testing.T) {
	q := newQueue()
	for n := range most + 3 {
		dropped := q.push(Event{Name: fmt.Sprint(n), Times: 1})
		if want := n >= most; (dropped == 1) != want {
			t.Errorf("push %d drops %d", n, dropped)
		}
	}
	e, _ := q.take()
	q.push(Event{Name: "9", Times: 1, Message: "newer"})
	if dropped := q.back(e); e.Name != "3" || dropped != 0 {
		t.Errorf("took %s, put back: %d dropped", e.Name, dropped)
	}
	for want := 3; want < most+3; want++ {
		e, ok := q.take()
		if !ok || e.Name != fmt.Sprint(want) || (e.Message != "") != (want == 9) || (e.Times == 2) != (want == 9) {
			t.Fatalf("took %+v, want %d", e, want)
		}
	}
	if e, ok := q.take(); ok {
		t.Errorf("one more: %+v", e)
	}
}
