package diagnose_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/cli/internal/diagnose"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// evidence is of a healthy node with a backend and two leases.
func evidence(backend string) diagnose.Evidence {
	return diagnose.Evidence{Node: "node-1", Now: now, Status: &wire.NodeStatus{
		Node: "node-1", Time: now, Complete: true, Healthy: true, Backend: backend,
		Sources: []wire.Source{{Name: "kubernetes", Complete: true}, {Name: "kernel", Complete: true}},
		Summary: wire.Summary{Leases: 2, Expected: 2, Present: 2},
	}}
}

// results are the names of the steps with a result.
func results(steps []diagnose.Step, r diagnose.Result) (names []string) {
	for _, s := range steps {
		if s.Result == r {
			names = append(names, s.Name)
		}
	}
	return names
}

func TestSteps_Healthy(t *testing.T) {
	for _, backend := range []string{"vxlan", "host-gw", "wireguard", "udp", "ipip"} {
		e := evidence(backend)
		steps := diagnose.Steps(e)
		if bad, unknown := results(steps, diagnose.Bad), results(steps, diagnose.Unknown); len(bad)+len(unknown) > 0 {
			t.Errorf("%s: bad %q and unknown %q, want none", backend, bad, unknown)
		}
		if got := diagnose.Outcome(steps); got != wire.Well {
			t.Errorf("%s: outcome %v, want Well", backend, got)
		}
	}
}

// No state of the vocabulary escapes, whatever the effect is: with a lease in
// it, some step is not good.
func TestSteps_EveryState(t *testing.T) {
	states := append([]verdict.Word{{Name: "melted"}}, verdict.States()...)
	effects := append([]verdict.Word{{Name: "evaporated"}}, verdict.Effects()...)
	for _, w := range states {
		state := verdict.State(w.Name)
		want := wire.Well
		switch {
		case state.Bad():
			want = wire.Broken
		case state == verdict.Unknown:
			want = wire.CannotTell
		}
		for _, effect := range effects {
			e := evidence("vxlan")
			if strings.HasPrefix(w.Name, "peer_") {
				e = evidence("wireguard")
			}
			e.Leases = []wire.Lease{{Peer: "node-2", State: state, Effect: verdict.Effect(effect.Name)}}
			if state == verdict.Missing {
				e.Status.Summary.Missing, e.Status.Summary.Present = 1, 1
			}
			if got := diagnose.Outcome(diagnose.Steps(e)); got != want {
				t.Errorf("a lease that is %s and %s: outcome %v, want %v", state, effect.Name, got, want)
			}
		}
	}
}

func TestSteps_EveryNodeProblem(t *testing.T) {
	for _, w := range verdict.NodeProblems() {
		e := evidence("vxlan")
		e.Status.NodeProblems = []wire.NodeProblem{{Problem: verdict.NodeProblem(w.Name), Message: "it is wrong"}}
		want := wire.Broken
		if verdict.NodeProblem(w.Name).Info() {
			want = wire.Well
		}
		if got := diagnose.Outcome(diagnose.Steps(e)); got != want {
			t.Errorf("%s: outcome %v, want %v", w.Name, got, want)
		}
	}
}

// What was not read is neither good nor bad.
func TestSteps_Blind(t *testing.T) {
	e := evidence("vxlan")
	e.Status.Sources[1] = wire.Source{Name: "kernel", Problem: "permission denied"}
	want := []string{"routes", "lookup", "neighbors", "forwarding entries", "underlay", "forwarding"}
	if diff := cmp.Diff(want, results(diagnose.Steps(e), diagnose.Unknown)); diff != "" {
		t.Errorf("steps that are unknown without the kernel (-want +got):\n%s", diff)
	}
	e = evidence("")
	e.Status.Complete, e.Status.Sources, e.Status.Summary = false, []wire.Source{{Name: "file", Problem: "no such file"}}, wire.Summary{}
	for _, s := range diagnose.Steps(e) {
		if s.Result == diagnose.Good && s.Name != "exporter" && s.Name != "what happened" {
			t.Errorf("nothing was read, and %s is good: %s", s.Name, s.Saw)
		}
	}
	e = diagnose.Evidence{Err: errors.New("connection refused"), Now: now}
	if got := diagnose.Outcome(diagnose.Steps(e)); got != wire.CannotTell {
		t.Errorf("no answer: outcome %v, want CannotTell", got)
	}
}

func TestSteps_Pods(t *testing.T) {
	const warning, bad = "W1123 11:58:42.300000       1 x.go:1] careful", "E1123 11:58:42.300000       1 x.go:1] failed"
	for _, tt := range []struct {
		name      string
		pods      diagnose.Pods
		pod, log  diagnose.Result
		saw, line string // a part
	}{
		{"not asked", diagnose.Pods{Why: "no kubeconfig"}, diagnose.Skipped, diagnose.Skipped, "no kubeconfig", ""},
		{"no right", diagnose.Pods{Asked: true, Err: errors.New("forbidden")}, diagnose.Unknown, diagnose.Skipped, "forbidden", ""},
		{"none", diagnose.Pods{Asked: true}, diagnose.Skipped, diagnose.Skipped, "embedded", ""},
		{"well", diagnose.Pods{Asked: true, Pods: []diagnose.Pod{{Name: "a/b", Phase: "Running", Ready: true, Log: warning + "\n"}}},
			diagnose.Good, diagnose.Good, "a/b is Running, never restarted", warning},
		{"restarted", diagnose.Pods{Asked: true, Pods: []diagnose.Pod{{
			Name: "a/b", Phase: "Running", Ready: true, Restarts: 1, Started: now.Add(-time.Minute), Log: "x",
		}}}, diagnose.Good, diagnose.Good, "just restarted, restarted once", "x"},
		{"not ready", diagnose.Pods{Asked: true, Pods: []diagnose.Pod{{Name: "a/b", Phase: "CrashLoopBackOff", Log: bad + "\n" + warning}}},
			diagnose.Bad, diagnose.Noted, "NOT READY", bad},
		{"panic", diagnose.Pods{Asked: true, Pods: []diagnose.Pod{{Name: "a/b", Ready: true, Log: "panic: oh\n\ngoroutine 1"}}},
			diagnose.Good, diagnose.Noted, "", "panic: oh"},
		{"no log", diagnose.Pods{Asked: true, Pods: []diagnose.Pod{{Name: "a/b", Ready: true, LogErr: errors.New("forbidden")}}},
			diagnose.Good, diagnose.Unknown, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			steps := diagnose.Steps(diagnose.Evidence{Err: errors.New("lost"), Pods: tt.pods, Now: now})
			pod, log := steps[1], steps[2]
			if pod.Result != tt.pod || log.Result != tt.log || !strings.Contains(pod.Saw, tt.saw) ||
				!strings.Contains(strings.Join(log.Lines, "\n"), tt.line) {
				t.Errorf("pod %+v, log %+v", pod, log)
			}
		})
	}
}

// Whatever an exporter sends, each step says something.
func FuzzSteps(f *testing.F) {
	files, err := filepath.Glob("../../testdata/documents/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no documents: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, "E1123 x\npanic:")
	}
	f.Fuzz(func(t *testing.T, document []byte, log string) {
		var s wire.NodeStatus
		if json.Unmarshal(document, &s) != nil {
			t.Skip()
		}
		e := diagnose.Evidence{Status: &s, Leases: s.Problems, Now: now, Pods: diagnose.Pods{Asked: true, Pods: []diagnose.Pod{{Log: log}}}}
		for _, step := range diagnose.Steps(e) {
			if step.Name == "" || step.Saw == "" {
				t.Errorf("a step says nothing: %+v", step)
			}
		}
	})
}
