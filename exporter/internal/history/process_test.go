//go:build linux

package history

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
	"routewatch/exporter/internal/eventlog"
	"routewatch/shared/events"
	"routewatch/shared/expect"
	"routewatch/shared/judge"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// Children of these tests are this binary once more.
const childVariable = "ROUTEWATCH_HISTORY_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childVariable) {
	case "flaps":
		child(flaps(os.Args[1], os.Args[2]))
	case "disk":
		child(fullDisk(os.Args[1]))
	}
	netns.Main(m)
}

func child(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func startChild(t *testing.T, what string, flags uintptr, args ...string) (cmd *exec.Cmd, in io.Writer, out *bufio.Scanner) {
	t.Helper()
	cmd = exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), childVariable+"="+what)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: flags}
	in, err := cmd.StdinPipe()
	netns.Must(t, err)
	stdout, err := cmd.StdoutPipe()
	netns.Must(t, err)
	netns.Must(t, cmd.Start())
	return cmd, in, bufio.NewScanner(stdout)
}

// A node with two peers, whose device flaps: the routes and neighbors are there
// or they are not.
const flannel, uplink = 3, 2

func nodeSet(now time.Time) *lease.Set {
	l := func(peer string, n byte) lease.Lease {
		return lease.Lease{
			Peer: peer, Family: netstate.IPv4, Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, n, 0}), 24),
			PublicIP: netip.AddrFrom4([4]byte{192, 168, 1, n}), BackendType: "vxlan", VNI: 1, MAC: netstate.MAC{2, 0, 0, 0, 0, n},
		}
	}
	return &lease.Set{
		Source: "file", Self: "self", Own: []lease.Lease{l("self", 1)}, Families: []netstate.Family{netstate.IPv4},
		Leases: []lease.Lease{l("two", 2), l("zwei", 3)}, Complete: true, Synced: now, Generation: 1,
	}
}

func nodeState(now time.Time, up bool, hints ...netstate.Hint) *netstate.State {
	set := nodeSet(now)
	own := set.Own[0]
	s := &netstate.State{
		At: now, Generation: 1, Complete: true, Hints: hints,
		Links: []netstate.Link{
			{Index: uplink, Name: "ens33", Up: true, LowerUp: true, MTU: 1500},
			{Index: flannel, Name: "flannel.1", Kind: "vxlan", Up: true, LowerUp: true, MTU: 1450, Lower: uplink, MAC: own.MAC,
				VXLAN: netstate.VXLAN{VNI: 1, Port: 8472, Local: own.PublicIP}},
		},
		Addrs: []netstate.Addr{{Device: uplink, Prefix: netip.PrefixFrom(own.PublicIP, 24)}, {Device: flannel, Prefix: netip.PrefixFrom(own.Subnet.Addr(), 32)}},
	}
	gateway := netstate.Route{Table: 254, Dst: netip.MustParsePrefix("0.0.0.0/0"), Type: netstate.Unicast, Device: uplink, Gateway: netip.MustParseAddr("192.168.1.254")}
	connected := netstate.Route{Table: 254, Dst: netip.MustParsePrefix("192.168.1.0/24"), Type: netstate.Unicast, Device: uplink}
	for _, l := range set.Leases {
		taken := gateway
		if up {
			taken = netstate.Route{Table: 254, Dst: l.Subnet, Type: netstate.Unicast, Device: flannel, Gateway: l.Subnet.Addr(), OnLink: true}
			s.Routes = append(s.Routes, &taken)
			s.Neighbors = append(s.Neighbors, netstate.Neighbor{Device: flannel, IP: l.Subnet.Addr(), MAC: l.MAC, State: netstate.NUDPermanent})
		}
		s.FDB = append(s.FDB, netstate.FDBEntry{Device: flannel, MAC: l.MAC, Dst: l.PublicIP, State: netstate.NUDPermanent})
		pod := expect.PodAddress(l.Subnet)
		s.Lookups = append(s.Lookups, &netstate.Lookup{Query: netstate.Query{Dst: pod}, Route: taken},
			&netstate.Lookup{Query: netstate.Query{Dst: pod, Src: own.Subnet.Addr()}, Route: taken},
			&netstate.Lookup{Query: netstate.Query{Dst: l.PublicIP}, Route: connected})
	}
	s.Sort()
	return s
}

// stepAt is the simulated time of a step: 200 flaps are a minute.
func stepAt(n int) time.Time { return noon.Add(time.Duration(n) * 150 * time.Millisecond) }

// flaps judges what it reads from stdin, one step a line, "NUMBER up" or
// "NUMBER down", writes the history, and prints the number when it has.
func flaps(path, size string) error {
	bound, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return err
	}
	opts := judge.Options{Node: "self", Grace: time.Minute}
	store, past := Open(path, bound, slog.New(slog.DiscardHandler), noon)
	log := eventlog.New(eventlog.Start{Events: past.Events, Base: uint64(time.Now().UnixMilli()), Whole: past.Whole})
	log.Append(past.News...)
	var cursor uint64
	var snapshot *wire.Snapshot
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var n int
		var what string
		if _, err := fmt.Sscan(in.Text(), &n, &what); err != nil {
			return err
		}
		now := stepAt(n)
		input := judge.Input{Set: nodeSet(now), State: nodeState(now, what == "up"), Now: now}
		if snapshot == nil {
			snapshot, _ = judge.Next(opts, past.Snapshot, judge.Input{Now: now})
		} else if what == "down" {
			input.State = nodeState(now, false, netstate.Hint{At: now, Kind: netstate.LinkChanged, Device: "flannel.1", Index: flannel},
				netstate.Hint{At: now, Kind: netstate.LinkChanged, Device: "flannel.1", Index: flannel, Up: true})
		}
		next, _ := judge.Next(opts, snapshot, input)
		log.Append(events.Between(snapshot, next)...)
		snapshot = next
		page := log.After(cursor, eventlog.Kept)
		if err := store.write(page.Events, snapshot); err != nil {
			return err
		}
		cursor = page.Last
		fmt.Println(n)
	}
	return nil
}

// A process that is killed at any moment reports no incident twice and loses
// none: not in 200 flaps in a minute, and not while the file is written anew.
func TestKill(t *testing.T) {
	for name, size := range map[string]int{"a large file": DefaultMaxSize, "a file that is written anew all the time": 96 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const flaps, seed = 200, 20261123
			r := rand.New(rand.NewPCG(seed, uint64(size)))
			path := filepath.Join(t.TempDir(), "history")
			seen := sightings{}
			kills := 0
			for step, done := 0, false; !done; kills++ {
				cmd, in, out := startChild(t, "flaps", 0, path, fmt.Sprint(size))
				// The kernel is as the last step left it, whether or not that was seen.
				first := max(0, step-1)
				kill := time.AfterFunc(time.Hour, func() { _ = cmd.Process.Kill() })
				for n := first; n < 2*flaps; n++ {
					if _, err := fmt.Fprintln(in, n, []string{"down", "up"}[n%2]); err != nil {
						break
					}
					step = n + 1 // it happened, whoever looks
					if !out.Scan() {
						break
					}
					if out.Text() != fmt.Sprint(n) {
						t.Fatalf("step %d: %s", n, out.Text())
					}
					if size < MinSize && n%5 == 0 { // before they have to make room
						kill.Stop()
						seen.look(t, path)
					}
					if n == first || n%5 == 0 {
						kill.Reset(time.Duration(r.IntN(15_000)) * time.Microsecond)
					}
					done = step == 2*flaps
				}
				kill.Stop()
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				seen.look(t, path)
			}
			t.Logf("killed %d times, seed %d, %d events", kills, seed, len(seen))
			verifyFlaps(t, seen, flaps)
			if kills < 3 {
				t.Errorf("killed %d times only", kills)
			}
		})
	}
}

// sightings are all events that ever were in the file.
type sightings map[uint64]wire.Event

// look reads the file beside the process that writes it.
func (seen sightings) look(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	netns.Must(t, err)
	p := parse(b)
	if len(p.damaged) > 0 {
		t.Errorf("damaged: %v", p.damaged)
	}
	for _, rec := range p.records {
		if rec.Event == nil {
			continue
		}
		if was, ok := seen[rec.Event.ID]; ok && (was.Type != rec.Event.Type || was.Message != rec.Event.Message) {
			t.Errorf("event %d was %+v and is %+v", rec.Event.ID, was, rec.Event)
		}
		seen[rec.Event.ID] = *rec.Event
	}
}

func verifyFlaps(t *testing.T, seen sightings, flaps int) {
	t.Helper()
	opened, closed := map[string]int{}, map[string]int{}
	at := map[time.Time]int{}
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		switch e := seen[id]; e.Type {
		case verdict.IncidentOpened:
			opened[e.Incident.ID]++
			at[e.Incident.Start]++
		case verdict.IncidentClosed:
			closed[e.Incident.ID]++
			if e.Incident.Leases != 2 || opened[e.Incident.ID] == 0 {
				t.Errorf("closed: %+v, opened %d times before", e.Incident, opened[e.Incident.ID])
			}
		}
	}
	for id, n := range opened {
		if n != 1 || closed[id] != 1 {
			t.Errorf("incident %s is opened %d times and closed %d times", id, n, closed[id])
		}
	}
	for n := range flaps {
		if got := at[stepAt(2*n)]; got != 1 {
			t.Errorf("flap %d has %d incidents", n, got)
		}
	}
	if len(opened) != flaps {
		t.Errorf("%d incidents, want %d", len(opened), flaps)
	}
}

// A full disk does not stop anything, is said, and nothing is lost by it.
func TestFullDisk(t *testing.T) {
	netns.Require(t) // a mount namespace needs what they need
	cmd, _, out := startChild(t, "disk", syscall.CLONE_NEWNS, t.TempDir())
	var lines []string
	for out.Scan() {
		lines = append(lines, out.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, strings.Join(lines, "\n"))
	}
}

// fullDisk runs on a disk of its own that has a megabyte.
func fullDisk(dir string) error {
	err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	if err != nil {
		return err
	}
	path, filler := filepath.Join(dir, "history"), filepath.Join(dir, "filler")
	var logged strings.Builder
	store, past := Open(path, MinSize, slog.New(slog.NewTextHandler(&logged, nil)), noon)
	log := eventlog.New(eventlog.Start{Base: 1, Whole: past.Whole})
	go store.Run(context.Background(), log, func() *wire.Snapshot { return &wire.Snapshot{} })

	until := func(what string, is func(*wire.History) bool) error {
		for deadline := time.Now().Add(20 * time.Second); !is(store.Status()); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				return fmt.Errorf("not %s: %+v", what, store.Status())
			}
		}
		return nil
	}
	log.Append(event(0, verdict.IncidentOpened, 1))
	if err := until("written", func(h *wire.History) bool { return h.Bytes > 300 }); err != nil {
		return err
	}
	f, err := os.Create(filler)
	if err != nil {
		return err
	}
	for {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	const meanwhile = 100
	for n := range meanwhile {
		log.Append(event(0, verdict.IncidentOpened, n+2))
	}
	if err := until("full", func(h *wire.History) bool {
		return h.WriteErrors > 1 && strings.Contains(h.Problem, "no space left on device; the last 1000 events are kept in memory meanwhile; make room on its disk")
	}); err != nil {
		return err
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	if err := errors.Join(f.Close(), until("well", func(h *wire.History) bool { return h.Problem == "" && h.Lost == 0 })); err != nil {
		return err
	}
	log.Append(event(0, verdict.IncidentOpened, meanwhile+2))
	last := log.After(0, eventlog.Kept).Last
	var p parsed
	err = until("complete", func(*wire.History) bool {
		b, err := os.ReadFile(path)
		p = parse(b)
		ids := idsOf(p)
		return err == nil && len(ids) > 0 && ids[len(ids)-1] == last
	})
	if err != nil {
		return err
	}
	types := map[verdict.EventType]int{}
	for _, e := range log.After(0, eventlog.Kept).Events {
		types[e.Type]++
	}
	ids := idsOf(p)
	if !slices.IsSorted(ids) || len(slices.Compact(ids)) != int(last) || p.untidy || p.torn > 0 {
		return fmt.Errorf("%d events in the file, %d in memory; untidy %t, torn %d", len(ids), last, p.untidy, p.torn)
	}
	if types[verdict.HistoryFailing] != 1 || types[verdict.HistoryBack] != 1 || strings.Count(logged.String(), "history is not written") != 1 {
		return fmt.Errorf("told %v, logged %s", types, cmp.Or(logged.String(), "nothing"))
	}
	return nil
}
