package history

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/exporter/internal/eventlog"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

var quiet = slog.New(slog.DiscardHandler)

// running is a store at work.
type running struct {
	*Store
	past     Past
	log      *eventlog.Log
	snapshot atomic.Pointer[wire.Snapshot]
	stop     func()
}

func run(t *testing.T, path string, size int64) *running {
	t.Helper()
	r := &running{}
	r.Store, r.past = Open(path, size, quiet, time.Now())
	r.log = eventlog.New(eventlog.Start{Events: r.past.Events, Base: 1, Whole: r.past.Whole})
	r.log.Append(r.past.News...)
	r.snapshot.Store(&wire.Snapshot{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx, r.log, r.snapshot.Load) }()
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		<-done
	}
	t.Cleanup(r.stop)
	return r
}

func TestRun_SurvivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	synctest.Test(t, func(t *testing.T) {
		r := run(t, path, MinSize)
		problem := wire.NodeProblem{Problem: verdict.DeviceMAC, Device: "flannel.1", Since: noon}
		r.log.Append(event(0, verdict.IncidentOpened, 1), event(0, verdict.IncidentOpened, 2), event(0, verdict.IncidentClosed, 1),
			wire.Event{Type: verdict.NodeProblemAppeared, NodeProblem: &problem})
		synctest.Wait()
		// Leases join without an event that says so.
		s := &wire.Snapshot{Incidents: []wire.Incident{*incident(2)}}
		s.Incidents[0].Leases = 5000
		for n := range 5000 {
			s.Leases = append(s.Leases, &wire.Lease{Incident: s.Incidents[0].ID, State: verdict.Missing,
				Lease: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), 0}), 24)})
		}
		r.snapshot.Store(s)
		time.Sleep(2 * membersInterval)
		synctest.Wait()
		r.stop()

		r = run(t, path, MinSize)
		past := r.past
		if len(past.Events) != 4 || !past.Whole || len(past.News) != 0 || past.Events[3].ID != 4 {
			t.Errorf("events %d, whole %t, news %v", len(past.Events), past.Whole, past.News)
		}
		if len(past.Snapshot.Incidents) != 1 || past.Snapshot.Incidents[0].ID != incident(2).ID || past.Snapshot.IncidentSeq != 2 {
			t.Errorf("open %+v", past.Snapshot.Incidents)
		}
		if len(past.Snapshot.Awaited) != 5001 || len(past.Snapshot.KnownNodeProblems) != 1 {
			t.Errorf("%d members, problems %v", len(past.Snapshot.Awaited), past.Snapshot.KnownNodeProblems)
		}
		r.log.Append(event(0, verdict.IncidentClosed, 2))
		synctest.Wait()
		r.stop()
		r = run(t, path, MinSize)
		if len(r.past.Snapshot.Incidents) != 0 || len(r.past.Snapshot.Awaited) != 0 || r.past.Events[4].ID != 5 {
			t.Errorf("after the end: %+v", r.past.Snapshot)
		}
	})
}

// The file and the one that replaces it never exceed the bound together, and
// what is open stays known however much else happens.
func TestRun_Bound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	synctest.Test(t, func(t *testing.T) {
		r := run(t, path, MinSize)
		r.log.Append(event(0, verdict.IncidentOpened, 1))
		rewritten := 0
		var before int64
		for n := range 3000 {
			e := event(0, verdict.IncidentClosed, n+2)
			e.Message = strings.Repeat("x", 1000)
			r.log.Append(e)
			synctest.Wait()
			size := r.Status().Bytes
			if size < before {
				rewritten++
				if size > MinSize/3 {
					t.Fatalf("%d bytes after a rewrite", size)
				}
			}
			if before = size; size > MinSize/3*2 {
				t.Fatalf("%d bytes", size)
			}
		}
		info, err := os.Stat(path)
		if err != nil || info.Size() != before || rewritten < 3 {
			t.Fatalf("%v %v, rewritten %d times", info, err, rewritten)
		}
		if _, err := os.Stat(path + ".new"); err == nil {
			t.Error("the new file is left over")
		}
		r.stop()
		r = run(t, path, MinSize)
		if len(r.past.Snapshot.Incidents) != 1 || len(r.past.Events) < 100 || r.past.Events[len(r.past.Events)-1].ID != 3001 {
			t.Errorf("open %v, %d events", r.past.Snapshot.Incidents, len(r.past.Events))
		}
	})
}

// What can be open at once has no bound, but the file has one.
func TestLines_ManyOpen(t *testing.T) {
	s := newState()
	for n := range 5000 {
		i := incident(n)
		s.opened(*i)
		s.join(i.ID, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), 0}), 24))
		e := event(uint64(n), verdict.IncidentOpened, n)
		s.event(e)
	}
	const size = MinSize / 3
	b := s.lines(size)
	p := parse(b)
	if len(b) > size || len(b) < size/2 || p.untidy || len(idsOf(p)) < 50 || idsOf(p)[len(idsOf(p))-1] != 4999 {
		t.Errorf("%d bytes, %d records", len(b), len(p.records))
	}
}

// A path that cannot be used is said to be so and nobody's file is touched; the
// exporter goes on, and starts to write when it can.
func TestRun_CannotOpen(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign")
	if err := os.WriteFile(foreign, []byte("precious\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(dir, "newer")
	if err := os.WriteFile(newer, encode(record{Header: &header{7}}), 0o600); err != nil {
		t.Fatal(err)
	}
	used := filepath.Join(dir, "used")
	other, _, err := openFile(used, MinSize)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for path, want := range map[string]string{
		dir:                                "is a directory",
		filepath.Join(dir, "none", "file"): "no such file or directory",
		"/dev/null":                        "not a regular file",
		foreign:                            "is not a history of routewatch: move it away",
		newer:                              "has the format 7",
		used:                               "is in use by another process",
	} {
		t.Run(want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				before, _ := os.ReadFile(path)
				r := run(t, path, MinSize)
				r.log.Append(wire.Event{Type: verdict.LinkWentDown})
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				status := r.Status()
				if !strings.HasPrefix(status.Problem, "the history is not written: ") || !strings.Contains(status.Problem, want) || status.WriteErrors < 20 {
					t.Errorf("status %+v, want the problem %s", status, want)
				}
				told := 0
				for _, e := range r.log.First(100).Events {
					if e.Type == verdict.HistoryFailing {
						told++
					}
				}
				if after, _ := os.ReadFile(path); told != 1 || string(before) != string(after) {
					t.Errorf("told %d times, want once; the file was %q and is %q", told, before, after)
				}
			})
		})
	}
	t.Run("later it can be", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			path := filepath.Join(dir, "later", "file")
			r := run(t, path, MinSize)
			r.log.Append(event(0, verdict.IncidentOpened, 1))
			time.Sleep(time.Minute)
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if s := r.Status(); s.Problem != "" || s.Bytes == 0 {
				t.Errorf("status %+v, want no problem", s)
			}
			r.stop()
			r = run(t, path, MinSize)
			var got []string
			for _, e := range r.past.Events {
				got = append(got, fmt.Sprint(e.ID, " ", e.Type))
			}
			if diff := cmp.Diff([]string{"1 history_failing", "2 incident_opened", "3 history_back"}, got); diff != "" {
				t.Errorf("the file's events (-want +got):\n%s", diff)
			}
		})
	})
}

// More happens than memory holds while the file cannot be written: that is said.
func TestRun_LostMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "dir", "file")
		r := run(t, path, MinSize)
		r.log.Append(wire.Event{})
		synctest.Wait()
		r.log.Append(make([]wire.Event, 3*eventlog.Kept)...)
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := r.Status(); s.Lost != 1 || !strings.Contains(s.Problem, "came faster than they could be written") {
			t.Errorf("status %+v", s)
		}
	})
}

// A link stays one when the file is written anew.
func TestOpen_Link(t *testing.T) {
	dir := t.TempDir()
	path, target := filepath.Join(dir, "link"), filepath.Join(dir, "disk", "file")
	for _, err := range []error{os.Mkdir(filepath.Dir(target), 0o700), os.WriteFile(target, nil, 0o600), os.Symlink(target, path)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f, _, err := openFile(path, MinSize)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.rewrite(); err != nil {
		t.Fatal(err)
	}
	link, err := os.Lstat(path)
	if err != nil || link.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is now %v, %v", link, err)
	}
	if info, err := os.Stat(target); err != nil || info.Size() == 0 {
		t.Errorf("the file is %v, %v", info, err)
	}
}
