package file

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"routewatch/exporter/internal/leases"
	"routewatch/shared/lease"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nodes returns a list of Nodes with one lease each, as kubectl prints it.
func nodes(names ...string) string {
	var items []string
	for i, name := range names {
		items = append(items, fmt.Sprintf(`{"apiVersion":"v1","kind":"Node","metadata":{"name":%q,"annotations":{
"flannel.alpha.coreos.com/kube-subnet-manager":"true","flannel.alpha.coreos.com/backend-type":"host-gw",
"flannel.alpha.coreos.com/public-ip":"192.168.1.%d"}},"spec":{"podCIDR":"10.244.%[2]d.0/24"}}`, name, i+1))
	}
	return `{"apiVersion":"v1","kind":"List","items":[` + strings.Join(items, ",\n") + `]}`
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// peers names the peers of a set.
func peers(s lease.Set) []string {
	var names []string
	for _, l := range s.Leases {
		names = append(names, l.Peer)
	}
	return names
}

// watched is a Watch that runs in a bubble of fake time.
type watched struct {
	sets chan lease.Set
	log  bytes.Buffer
}

// follow runs f beside a Watch of the file.
func follow(t *testing.T, path string, f func(t *testing.T, w *watched)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &watched{sets: make(chan lease.Set)}
		cfg := Config{Path: path, Options: lease.Options{Self: "me"}, Log: slog.New(slog.NewTextHandler(&w.log, nil))}
		done := make(chan error, 1)
		go func() { done <- Watch(ctx, cfg, w.sets) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Watch: %v", err)
			}
		}()
		f(t, w)
	})
}

// next returns the next set.
func (w *watched) next(t *testing.T) lease.Set {
	t.Helper()
	select {
	case s := <-w.sets:
		return s
	case <-time.After(time.Minute):
		t.Fatal("no set within a minute")
		return lease.Set{}
	}
}

// silent checks that there is no set for a while.
func (w *watched) silent(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case s := <-w.sets:
		t.Fatalf("unexpected set: complete %v, problem %q, peers %v", s.Complete, s.Problem, peers(s))
	case <-time.After(d):
	}
	synctest.Wait()
}

// Whatever happens to the file, the last good leases stay, the problem says
// what to do, and mending the file is enough.
func TestWatch_Broken(t *testing.T) {
	long := "expected what `kubectl get nodes -o json` prints"
	for _, tt := range []struct {
		name   string
		spoil  func(t *testing.T, path string)
		want   string // with PATH for the path
		noRoot bool   // root is not kept from reading
	}{
		{name: "missing", spoil: func(t *testing.T, path string) { must(t, os.Remove(path)) },
			want: "lease file PATH: no such file or directory: write it with `kubectl get nodes -o json > PATH`"},
		{name: "empty", spoil: func(t *testing.T, path string) { write(t, path, "") },
			want: "lease file PATH: line 1: the input is empty; " + long},
		{name: "directory", spoil: func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, os.Mkdir(path, 0o700)) },
			want: "lease file PATH: is a directory: give the path of the file in it"},
		{name: "truncated", spoil: func(t *testing.T, path string) { must(t, os.Truncate(path, 100)) },
			want: "lease file PATH: line 1: not JSON, or cut off: unexpected end of JSON input; " + long},
		{name: "not UTF-8", spoil: func(t *testing.T, path string) { write(t, path, "{\n\xe4}") },
			want: "lease file PATH: line 2: byte 0xe4 is not UTF-8: write it as UTF-8, in PowerShell with `kubectl get nodes -o json | Out-File -Encoding utf8 FILE`"},
		{name: "UTF-16", spoil: func(t *testing.T, path string) { write(t, path, "\xff\xfe{\x00") },
			want: "lease file PATH: line 1: the text is UTF-16, not UTF-8: write it as UTF-8, in PowerShell with `kubectl get nodes -o json | Out-File -Encoding utf8 FILE`"},
		{name: "100 MB", spoil: func(t *testing.T, path string) { must(t, os.Truncate(path, 100_000_000)) },
			want: "lease file PATH: is larger than 64 MiB: " + long + " and nothing else"},
		{name: "FIFO", spoil: func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, syscall.Mkfifo(path, 0o600)) },
			want: "lease file PATH: is a pipe, socket or device (prw-------): give a regular file"},
		{name: "device", spoil: func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, os.Symlink("/dev/zero", path)) },
			want: "lease file PATH: is a pipe, socket or device (Dcrw-rw-rw-): give a regular file"},
		{name: "dangling symlink", spoil: func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, os.Symlink("nowhere", path)) },
			want: "lease file PATH: no such file or directory: write it with `kubectl get nodes -o json > PATH`"},
		{name: "read error", spoil: func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, os.Symlink("/proc/self/mem", path)) },
			want: "lease file PATH: input/output error: write it with `kubectl get nodes -o json > PATH`"},
		{name: "chmod 000", noRoot: true, spoil: func(t *testing.T, path string) { must(t, os.Chmod(path, 0)) },
			want: fmt.Sprintf("lease file PATH: permission denied: let uid %d read it, e.g. with `chmod a+r PATH`", os.Geteuid())},
		{name: "an error of kubectl", spoil: func(t *testing.T, path string) { write(t, path, "No resources found\n") },
			want: `lease file PATH: line 1: "No resources found" is not how Nodes begin; ` + long},
	} {
		if tt.noRoot && os.Geteuid() == 0 {
			continue // TestExplain has the message
		}
		want := func(path string) string { return strings.ReplaceAll(tt.want, "PATH", path) }
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "nodes.json")
			write(t, path, nodes("me", "a"))
			follow(t, path, func(t *testing.T, w *watched) {
				good := w.next(t)
				if !good.Complete || good.Problem != "" || !slices.Equal(peers(good), []string{"a"}) || good.Generation != 1 {
					t.Fatalf("first set: %+v", good)
				}
				tt.spoil(t, path)
				broken := w.next(t)
				kept := good
				kept.Complete, kept.Problem, kept.Synced = false, want(path), broken.Synced
				if diff := cmp.Diff(fmt.Sprintf("%+v", kept), fmt.Sprintf("%+v", broken)); diff != "" {
					t.Errorf("broken set differs (-want +got):\n%s", diff)
				}
				if now := time.Now(); broken.Synced.After(now.Add(-defaultInterval)) || broken.Synced.Before(good.Synced) {
					t.Errorf("synced at %v, first at %v, now %v", broken.Synced, good.Synced, now)
				}
				w.silent(t, 2*leases.Resend)
				if n := strings.Count(w.log.String(), "level=WARN"); n != 1 {
					t.Errorf("%d warnings in the log, want 1:\n%s", n, &w.log)
				}

				must(t, os.RemoveAll(path))
				write(t, path, nodes("me", "a"))
				mended := w.next(t)
				if !mended.Complete || mended.Problem != "" || !mended.Synced.After(broken.Synced) || mended.Generation != 1 {
					t.Errorf("mended set: %+v", mended)
				}
			})
		})
		t.Run(tt.name+" from the start", func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "nodes.json")
			write(t, path, nodes("me", "a"))
			tt.spoil(t, path)
			follow(t, path, func(t *testing.T, w *watched) {
				start := time.Now()
				first := w.next(t)
				if time.Now() != start {
					t.Errorf("the first set came after %v", time.Since(start))
				}
				bad := lease.Set{Source: "file", Self: "me", Problem: want(path)}
				if diff := cmp.Diff(bad, first); diff != "" {
					t.Errorf("first set differs (-want +got):\n%s", diff)
				}
				w.silent(t, 2*leases.Resend)
				must(t, os.RemoveAll(path))
				write(t, path, nodes("me", "a"))
				if s := w.next(t); !s.Complete || s.Generation != 1 || !slices.Equal(peers(s), []string{"a"}) {
					t.Errorf("mended set: %+v", s)
				}
			})
			must(t, os.RemoveAll(path))
			write(t, path, nodes("me", "a"))
			tt.spoil(t, path)
			set, err := Read(Config{Path: path, Options: lease.Options{Self: "me"}})
			if err == nil || err.Error() != want(path) || set.Complete || set.Problem != want(path) {
				t.Errorf("Read: error %v, set %+v", err, set)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	err := explain("/a/b", &os.PathError{Op: "open", Path: "/a/b", Err: syscall.EACCES})
	want := fmt.Sprintf("lease file /a/b: permission denied: let uid %d read it, e.g. with `chmod a+r /a/b`", os.Geteuid())
	if err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if err := explain("/a/b", nil); err != nil {
		t.Errorf("of no error: %v", err)
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nodes.json")
	write(t, path, nodes("me", "a"))
	before := time.Now()
	set, err := Read(Config{Path: path, Options: lease.Options{Self: "me"}})
	if err != nil {
		t.Fatal(err)
	}
	if !set.Complete || set.Source != "file" || set.Generation != 1 || len(set.Own) != 1 || len(set.Leases) != 1 || set.Synced.Before(before) {
		t.Errorf("set %+v", set)
	}
}

func TestWatch_Changes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "nodes.json")
	write(t, path, nodes("me", "a"))
	follow(t, path, func(t *testing.T, w *watched) {
		expect := func(generation uint64, names ...string) {
			t.Helper()
			start := time.Now()
			s := w.next(t)
			if !s.Complete || s.Generation != generation || !slices.Equal(peers(s), names) {
				t.Errorf("complete %v, generation %d, peers %v; want true, %d, %v", s.Complete, s.Generation, peers(s), generation, names)
			}
			if d := time.Since(start); d > 3*defaultInterval {
				t.Errorf("seen after %v", d)
			}
		}
		expect(1, "a")
		write(t, path, nodes("me", "a", "b"))
		expect(2, "a", "b")

		replacement := filepath.Join(dir, "new")
		write(t, replacement, nodes("me", "c"))
		must(t, os.Rename(replacement, path))
		expect(3, "c")

		// The same content again is no new generation; of the same time, it is nothing to tell.
		info, err := os.Stat(path)
		must(t, err)
		write(t, replacement, nodes("me", "c"))
		must(t, os.Chtimes(replacement, time.Time{}, info.ModTime()))
		must(t, os.Rename(replacement, path))
		w.silent(t, leases.Resend/2)

		// Nodes that are none of flannel's are told, but are no new generation.
		write(t, path, nodes("me", "c", "d"))
		expect(4, "c", "d")
		other := strings.Replace(nodes("me", "c", "d"), `]}`, `,{"apiVersion":"v1","kind":"Node","metadata":{"name":"other"}}]}`, 1)
		write(t, path, other)
		start := time.Now()
		if s := w.next(t); s.Generation != 4 || len(s.Skipped) != 1 || time.Since(start) > 3*defaultInterval {
			t.Errorf("after %v: generation %d, skipped %v", time.Since(start), s.Generation, s.Skipped)
		}
		if strings.Contains(w.log.String(), "WARN") || strings.Count(w.log.String(), "\n") != 1 {
			t.Errorf("log:\n%s", &w.log)
		}
	})
}

// A Node with an annotation that cannot be read affects only itself.
func TestWatch_MalformedNode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nodes.json")
	write(t, path, strings.Replace(nodes("me", "a", "b"), "192.168.1.2", "192.168.1.x", 1))
	follow(t, path, func(t *testing.T, w *watched) {
		s := w.next(t)
		if !s.Complete || s.Problem != "" || len(s.Leases) != 2 {
			t.Fatalf("set %+v", s)
		}
		want := `annotation flannel.alpha.coreos.com/public-ip is "192.168.1.x", which is no IPv4 address`
		if s.Leases[0].Malformed != want || s.Leases[1].Malformed != "" {
			t.Errorf("malformed: a %q, b %q", s.Leases[0].Malformed, s.Leases[1].Malformed)
		}
	})
}

// As the kubelet mounts a ConfigMap: nodes.json -> ..data/nodes.json, ..data -> ..1.
func TestWatch_SymlinkSwap(t *testing.T) {
	dir := t.TempDir()
	for i, content := range []string{nodes("me", "a"), nodes("me", "b")} {
		version := filepath.Join(dir, fmt.Sprintf("..%d", i))
		must(t, os.Mkdir(version, 0o700))
		write(t, filepath.Join(version, "nodes.json"), content)
	}
	data, path := filepath.Join(dir, "..data"), filepath.Join(dir, "nodes.json")
	must(t, os.Symlink("..0", data))
	must(t, os.Symlink("..data/nodes.json", path))
	follow(t, path, func(t *testing.T, w *watched) {
		if s := w.next(t); !slices.Equal(peers(s), []string{"a"}) {
			t.Fatalf("peers %v", peers(s))
		}
		must(t, os.Symlink("..1", data+"_tmp"))
		must(t, os.Rename(data+"_tmp", data))
		must(t, os.RemoveAll(filepath.Join(dir, "..0")))
		if s := w.next(t); !s.Complete || !slices.Equal(peers(s), []string{"b"}) || s.Generation != 2 {
			t.Errorf("complete %v, peers %v, generation %d", s.Complete, peers(s), s.Generation)
		}
	})
}

// The Set of an unchanged file is sent again, with the time at which it was
// last seen unchanged.
func TestWatch_Unchanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nodes.json")
	write(t, path, nodes("me", "a"))
	follow(t, path, func(t *testing.T, w *watched) {
		first := w.next(t)
		w.silent(t, leases.Resend-2*defaultInterval)
		again := w.next(t)
		if d := time.Since(again.Synced); d > defaultInterval {
			t.Errorf("last synced %v ago", d)
		}
		first.Synced = again.Synced
		if diff := cmp.Diff(fmt.Sprintf("%+v", first), fmt.Sprintf("%+v", again)); diff != "" {
			t.Errorf("set differs (-first +again):\n%s", diff)
		}
	})
}

// While somebody writes the file nothing is reported, but not forever.
func TestWatch_BeingWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nodes.json")
	write(t, path, nodes("me", "a"))
	follow(t, path, func(t *testing.T, w *watched) {
		w.next(t)
		whole := nodes("me", "a", "b", "c", "d")
		time.Sleep(defaultInterval / 2) // so that each poll is between two writes
		for i := range 8 {              // 4 s: shorter than maxUnsettled
			write(t, path, whole[:len(whole)*(i+1)/8])
			w.silent(t, defaultInterval)
		}
		if s := w.next(t); !s.Complete || len(s.Leases) != 4 {
			t.Errorf("complete %v, peers %v", s.Complete, peers(s))
		}

		time.Sleep(defaultInterval / 2)
		start := time.Now()
		for i := 1; ; i++ {
			write(t, path, whole[:i])
			select {
			case s := <-w.sets:
				if d := time.Since(start); s.Complete || len(s.Leases) != 4 || d < maxUnsettled || d > maxUnsettled+2*defaultInterval {
					t.Errorf("after %v: complete %v, peers %v", d, s.Complete, peers(s))
				}
				return
			case <-time.After(defaultInterval):
			}
			if time.Since(start) > 2*maxUnsettled {
				t.Fatal("never reported")
			}
		}
	})
}

// Nobody receives: Watch goes on, and the newest Set is the one to be received.
func TestWatch_SlowReceiver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nodes.json")
	write(t, path, nodes("me", "a"))
	follow(t, path, func(t *testing.T, w *watched) {
		time.Sleep(time.Second)
		write(t, path, nodes("me", "b"))
		time.Sleep(2 * time.Second)
		if s := w.next(t); !slices.Equal(peers(s), []string{"b"}) || s.Generation != 2 {
			t.Errorf("peers %v, generation %d", peers(s), s.Generation)
		}
	})
}
