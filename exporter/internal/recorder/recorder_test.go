package recorder

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"routewatch/shared/flight"
	"routewatch/shared/judge"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func newRecorder(path string, maxSize int64) (*Recorder, *bytes.Buffer) {
	log := &bytes.Buffer{}
	return New(Config{
		Path: path, MaxSize: maxSize, Header: flight.Header{Options: judge.Options{Node: "node-1"}},
		Log: slog.New(slog.NewTextHandler(log, nil)),
	}), log
}

// stop is a context that has ended: Run writes what is queued and returns.
func stop() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// input is one that does not compress.
func input(n int) judge.Input {
	r := rand.New(rand.NewPCG(uint64(n), 0))
	set := &lease.Set{Source: "file", Generation: uint64(n), Complete: true}
	for i := range 200 {
		b := [4]byte{10, byte(r.Uint32()), byte(r.Uint32()), 0}
		set.Leases = append(set.Leases, lease.Lease{
			Peer: fmt.Sprintf("node-%04d", i), Family: netstate.IPv4, Subnet: netip.PrefixFrom(netip.AddrFrom4(b), 24),
			PublicKey: fmt.Sprintf("%x", r.Uint64()),
		})
	}
	return judge.Input{Set: set, Now: noon.Add(time.Duration(n) * time.Second)}
}

func replay(t *testing.T, path string) []flight.Moment {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := flight.All(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return all
}

func TestRecorder_RotatesAndEachFileReplays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tape")
	const maxSize = 128 << 10
	r, log := newRecorder(path, maxSize)
	for n := range 100 {
		r.take(item{in: input(n + 1)})
	}
	r.Run(stop())
	old, recent := replay(t, path+".1"), replay(t, path)
	if len(old) < 2 || len(recent) < 1 {
		t.Fatalf("%d and %d moments, want some in each", len(old), len(recent))
	}
	if last := recent[len(recent)-1]; last.Input.Set.Generation != 100 {
		t.Errorf("the last is %d, want 100", last.Input.Set.Generation)
	}
	if a, b := old[len(old)-1].Input.Set.Generation, recent[0].Input.Set.Generation; b != a+1 {
		t.Errorf("%d is followed by %d", a, b)
	}
	for _, name := range []string{path, path + ".1"} {
		info, err := os.Stat(name)
		if err != nil || info.Size() > maxSize/2 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v: want at most %d bytes, mode 0600", name, info, err, maxSize/2)
		}
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", log)
	}
}

// A restart adds to the file, also where the one before was killed while it wrote.
func TestRecorder_Restart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tape")
	for n := range 2 {
		r, _ := newRecorder(path, MinSize)
		r.Record(nil, input(n+1))
		r.Run(stop())
	}
	if all := replay(t, path); len(all) != 2 || all[1].Lost != 0 {
		t.Errorf("%d moments, want 2", len(all))
	}
}

// What does not fit into the queue is lost at once, and the recording says so.
func TestRecorder_NeverWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tape")
	r, log := newRecorder(path, MinSize)
	for n := range queued + 3 {
		r.Record(nil, input(n+1)) // nobody takes them
	}
	r.take(<-r.queue)
	r.Record(nil, input(99))
	r.Run(stop())
	all := replay(t, path)
	if last := all[len(all)-1]; last.Lost != 3 || last.Input.Set.Generation != 99 {
		t.Errorf("the last says that %d were lost, want 3", last.Lost)
	}
	if !strings.Contains(log.String(), `"the recording has a gap"`) || !strings.Contains(log.String(), "inputs=3") {
		t.Errorf("logged: %s", log)
	}
}

// A file that cannot be written is told once, and written as soon as it can be.
func TestRecorder_ComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tape")
	if err := os.WriteFile(path, []byte("a letter"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, log := newRecorder(path, MinSize)
	for n := range 3 {
		r.again = time.Time{}
		r.take(item{in: input(n + 1)})
	}
	if got := strings.Count(log.String(), "level=ERROR"); got != 1 || !strings.Contains(log.String(), "is not a recording") {
		t.Errorf("told %d times, want 1: %s", got, log)
	}
	if b, _ := os.ReadFile(path); string(b) != "a letter" {
		t.Errorf("the letter has become %q", b)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.again = time.Time{}
	r.take(item{in: input(4)})
	r.Run(stop())
	if all := replay(t, path); len(all) != 1 || all[0].Lost != 3 {
		t.Errorf("%+v: want one moment after 3 that are lost", all)
	}
	if !strings.Contains(log.String(), "is written again") {
		t.Errorf("logged: %s", log)
	}
}

func TestRecorder_TooLargeForTheBound(t *testing.T) {
	r, log := newRecorder(filepath.Join(t.TempDir(), "tape"), 1000)
	r.take(item{in: input(1)})
	r.Run(stop())
	if !strings.Contains(log.String(), "give a larger --record.max-size") {
		t.Errorf("logged: %s", log)
	}
}
