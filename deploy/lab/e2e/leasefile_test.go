package e2e

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// TestLeaseFile: a lease file that cannot be used is never green. If there were
// leases before, they keep being judged and complete turns false; the problem
// names the file; and all recovers by itself when the file is mended.
func TestLeaseFile(t *testing.T) {
	good, err := os.ReadFile(nodesFile)
	netns.Must(t, err)
	replace := func(b []byte) func(t *testing.T, path string) {
		return func(t *testing.T, path string) { netns.Must(t, os.WriteFile(path, b, 0o600)) }
	}
	tests := []struct {
		name  string
		spoil func(t *testing.T, path string)
		says  string // part of the source's problem
	}{
		{"missing", func(t *testing.T, path string) { netns.Must(t, os.Remove(path)) }, "no such file"},
		{"empty", replace(nil), "empty"},
		{"a directory", func(t *testing.T, path string) {
			netns.Must(t, os.Remove(path))
			netns.Must(t, os.Mkdir(path, 0o700))
		}, "directory"},
		{"truncated", replace(good[:len(good)/2]), "line"},
		{"not UTF-8", replace([]byte(strings.Replace(string(good), "node-2", "node-\xff", 1))), "UTF-8"},
		{"100 MB", replace(append(append([]byte{}, good...), make([]byte, 100<<20)...)), "MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name+"/after the start", func(t *testing.T) {
			n := newNode(t)
			n.start(t)
			within(t, startup, "healthy at the start", func() bool { return n.status(t).Healthy })
			tt.spoil(t, n.file)
			// A file that is only emptied is likely to be written again soon, and left alone for 5 s.
			within(t, 10*time.Second, "not complete, with the reason", func() bool {
				s := n.status(t)
				return !s.Complete && !s.Healthy && strings.Contains(s.Sources[0].Problem, tt.says) &&
					strings.Contains(s.Sources[0].Problem, n.file) && s.Summary.States[verdict.OK] == len(n.peers)
			})
			if code, _, _ := n.cli(t, "status"); code != int(wire.CannotTell) {
				t.Errorf("routewatch status: exit code %d, want %d", code, wire.CannotTell)
			}
			if got := n.metric(t, "routewatch_snapshot_complete"); got != "0" {
				t.Errorf("snapshot_complete: %s, want 0", got)
			}
			n.mended(t, good)
		})
		t.Run(tt.name+"/before the start", func(t *testing.T) {
			n := newNode(t)
			tt.spoil(t, n.file)
			n.start(t)
			within(t, startup, "the reason is told", func() bool {
				s := n.status(t)
				return strings.Contains(s.Sources[0].Problem, tt.says)
			})
			if s := n.status(t); s.Complete || s.Healthy || s.Summary.Expected != 0 {
				t.Errorf("complete %v, healthy %v, expected %d on no data", s.Complete, s.Healthy, s.Summary.Expected)
			}
			if code, _, _ := n.get("/-/ready"); code != http.StatusServiceUnavailable {
				t.Errorf("/-/ready: %d, want %d", code, http.StatusServiceUnavailable)
			}
			n.mended(t, good)
		})
	}
}

// mended puts the good file back as an editor does, by rename.
func (n *node) mended(t *testing.T, good []byte) {
	t.Helper()
	netns.Must(t, os.WriteFile(n.file+".new", good, 0o600))
	netns.Must(t, os.RemoveAll(n.file))
	netns.Must(t, os.Rename(n.file+".new", n.file))
	within(t, 15*time.Second, "healthy after the file is mended", func() bool { return n.status(t).Healthy })
}

// TestMalformedNode: an annotation that cannot be read affects its own node
// only, which is unknown: not green, and not missing.
func TestMalformedNode(t *testing.T) {
	n := newNode(t)
	good, err := os.ReadFile(n.file)
	netns.Must(t, err)
	bad := strings.Replace(string(good), `\"VtepMAC\":\"`+n.lease(t, victim).MAC.String(), `\"VtepMAC\":\"zz`, 1)
	if bad == string(good) {
		t.Fatal("the fixture has no such annotation")
	}
	n.start(t)
	within(t, startup, "healthy at the start", func() bool { return n.status(t).Healthy })
	netns.Must(t, os.WriteFile(n.file, []byte(bad), 0o600))
	within(t, 15*time.Second, "the one node is unknown", func() bool {
		s := n.status(t)
		return s.Complete && !s.Healthy && s.Summary.States[verdict.Unknown] > 0 &&
			s.Summary.States[verdict.Unknown]+s.Summary.States[verdict.OK] == len(n.peers)
	})
	for _, p := range n.status(t).Problems {
		if p.Peer != "node-3" || p.Reason == "" {
			t.Errorf("%s %s is %s because of %q: only node-3 is malformed", p.Peer, p.Lease, p.State, p.Reason)
		}
	}
	n.mended(t, good)
}
