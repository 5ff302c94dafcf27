package file

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"routewatch/exporter/internal/leases"
)

// What `kubectl get nodes -o json > FILE` does: the shell empties the file, and
// kubectl writes when the API server has answered.
func TestWatch_Emptied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nodes.json")
	write(t, path, nodes("me", "a"))
	follow(t, path, func(t *testing.T, w *watched) {
		good := w.next(t)
		write(t, path, "")
		w.silent(t, 1500*time.Millisecond)
		write(t, path, nodes("me", "a", "b"))
		if s := w.next(t); !s.Complete || !slices.Equal(peers(s), []string{"a", "b"}) || s.Generation != good.Generation+1 {
			t.Errorf("complete %v, peers %v, generation %d", s.Complete, peers(s), s.Generation)
		}

		// The API server never answers.
		write(t, path, "")
		start := time.Now()
		s := w.next(t)
		if d := time.Since(start); d < maxUnsettled || d > maxUnsettled+2*defaultInterval {
			t.Errorf("reported after %v, want about %v", d, maxUnsettled)
		}
		if s.Complete || !strings.Contains(s.Problem, "the input is empty") || len(s.Leases) != 2 || s.Written.IsZero() {
			t.Errorf("set %+v", s)
		}
		w.silent(t, 2*leases.Resend)
		if n := strings.Count(w.log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings in the log, want 1:\n%s", n, &w.log)
		}
	})
}

// A writer that is slow, but steady, is waited for.
func TestWatch_Growing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nodes.json")
	write(t, path, nodes("me", "a"))
	follow(t, path, func(t *testing.T, w *watched) {
		w.next(t)
		whole := nodes("me", "a", "b", "c", "d")
		for i := range 11 { // from empty to whole in 3 s
			write(t, path, whole[:len(whole)*i/10])
			w.silent(t, 300*time.Millisecond)
		}
		if s := w.next(t); !s.Complete || len(s.Leases) != 4 {
			t.Errorf("complete %v, peers %v", s.Complete, peers(s))
		}
		if strings.Contains(w.log.String(), "WARN") {
			t.Errorf("log:\n%s", &w.log)
		}
	})
}

// The Set tells when the file was written, which is not when it was read.
func TestWatch_Written(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nodes.json")
	write(t, path, nodes("me", "a"))
	old := time.Date(2026, 10, 24, 12, 0, 0, 0, time.UTC)
	must(t, os.Chtimes(path, old, old))
	follow(t, path, func(t *testing.T, w *watched) {
		first := w.next(t)
		if !first.Written.Equal(old) || !first.Complete {
			t.Errorf("complete %v, written %v, want %v", first.Complete, first.Written, old)
		}
		// The same content written anew is worth telling at once, and no new generation.
		anew, start := old.Add(24*time.Hour), time.Now()
		must(t, os.Chtimes(path, anew, anew))
		s := w.next(t)
		if !s.Written.Equal(anew) || s.Generation != first.Generation || time.Since(start) > 3*defaultInterval {
			t.Errorf("after %v: written %v, generation %d", time.Since(start), s.Written, s.Generation)
		}
		// While the file cannot be read, it is that of the leases which are kept.
		must(t, os.Remove(path))
		if s := w.next(t); s.Complete || !s.Written.Equal(anew) {
			t.Errorf("complete %v, written %v, want %v", s.Complete, s.Written, anew)
		}
	})
}

// A time that JSON cannot say would make the whole status unprintable.
func TestWritten(t *testing.T) {
	for year, known := range map[int]bool{-1: false, 0: false, 1: true, 1970: true, 9999: true, 10_000: false} {
		info := modified{at: time.Date(year, 6, 1, 0, 0, 0, 0, time.FixedZone("", 3600))}
		got := written(info)
		if known != got.Equal(info.at) || known == got.IsZero() || got.Location() != time.UTC {
			t.Errorf("year %d: %v", year, got)
		}
		if _, err := json.Marshal(got); err != nil {
			t.Errorf("year %d: %v", year, err)
		}
	}
}

// modified is a file of which only the modification time is known.
type modified struct {
	fs.FileInfo
	at time.Time
}

func (m modified) ModTime() time.Time { return m.at }
