package leases

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

var (
	noon    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	byValue = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})
	ipv4    = []netstate.Family{netstate.IPv4}
)

func of(peer string) lease.Lease { return lease.Lease{Peer: peer, Family: netstate.IPv4} }

// read is what a source reads: the own lease and those of the peers.
func read(peers ...string) lease.Set {
	s := lease.Set{Self: "me", Own: []lease.Lease{of("me")}, Families: ipv4, Complete: true}
	for _, p := range peers {
		s.Leases = append(s.Leases, of(p))
	}
	return s
}

// without is the same without the own lease.
func without(set lease.Set, skipped ...lease.Skipped) lease.Set {
	set.Own, set.Skipped = nil, skipped
	return set
}

func malformed(set lease.Set) lease.Set {
	set.Own[0].Malformed = "it is odd"
	return set
}

func TestKeeper(t *testing.T) {
	lost := errors.New("it is lost")
	skippedOwn := lease.Skipped{Node: "me", Reason: "it is new"}
	noOwn := "this node's own Node \"me\" is not among the 2 Nodes: give its name, as `kubectl get nodes` prints it, with --node-name or NODE_NAME"
	type step struct {
		do   func(k *Keeper, now time.Time) bool
		send bool
		want string // peers, generation, complete, problem
	}
	take := func(s lease.Set) func(k *Keeper, now time.Time) bool {
		return func(k *Keeper, now time.Time) bool { return k.Take(now, now, s) }
	}
	fail := func(k *Keeper, now time.Time) bool { return k.Fail(now, lost) }
	confirm := func(k *Keeper, now time.Time) bool { return k.Confirm(now, now) }
	unheard := func(k *Keeper, now time.Time) bool { return k.Confirm(now, k.Set().Synced) }
	for _, tt := range []struct {
		name  string
		steps []step // 10 s apart
	}{
		{"a change is a generation", []step{
			{take(read("a")), true, "[a] 1 complete"}, {take(read("a")), false, "[a] 1 complete"},
			{take(read("a", "b")), true, "[a b] 2 complete"}, {take(read()), true, "[] 3 complete"},
		}},
		{"the last good leases are kept", []step{
			{take(read("a")), true, "[a] 1 complete"}, {fail, true, "[a] 1 it is lost"}, {fail, false, "[a] 1 it is lost"},
			{take(read("a")), true, "[a] 1 complete"}, {fail, true, "[a] 1 it is lost"}, {take(read("b")), true, "[b] 2 complete"},
		}},
		{"never read", []step{{fail, true, "[] 0 it is lost"}, {confirm, false, "[] 0 it is lost"}}},
		{"sent again when it was heard of, and due", []step{
			{take(read("a")), true, "[a] 1 complete"}, {confirm, false, "[a] 1 complete"}, {unheard, false, "[a] 1 complete"},
			{unheard, true, "[a] 1 complete"}, {unheard, false, "[a] 1 complete"}, {unheard, false, "[a] 1 complete"},
			{unheard, false, "[a] 1 complete"}, {confirm, true, "[a] 1 complete"},
		}},
		{"other Nodes that are no leases", []step{
			{take(read("a")), true, "[a] 1 complete"},
			{take(func() lease.Set { s := read("a"); s.Skipped = []lease.Skipped{{Node: "x"}}; return s }()), true, "[a] 1 complete"},
		}},
		{"no own Node, never", []step{
			{take(without(read("a", "b"))), true, "[] 0 " + noOwn}, {take(without(read("a", "b"))), false, "[] 0 " + noOwn},
			{take(read("a", "b")), true, "[a b] 1 complete"},
		}},
		{"no own Node any more", []step{
			{take(read("a", "b")), true, "[a b] 1 complete"}, {take(without(read("a", "b"))), true, "[a b] 2 " + noOwn},
			{take(read("a", "b")), true, "[a b] 3 complete"},
		}},
		{"the own Node has no lease", []step{
			{take(without(read("a"), skippedOwn)), true, "[a] 1 complete, this node's own lease is not known: Node me: it is new; if flannel should run here, look at its pod on this node"},
			{take(read("a")), true, "[a] 2 complete"},
		}},
		{"the own lease is malformed", []step{
			{take(malformed(read("a"))), true, "[a] 1 complete, this node's own lease cannot be used: Node me: it is odd; restart flannel on this node, which writes it anew"},
			{take(read("a")), true, "[a] 2 complete"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, now := NewKeeper("test", "me", nil), noon
			for i, s := range tt.steps {
				if sent := s.do(k, now); sent != s.send || digest(k.Set()) != s.want {
					t.Errorf("step %d: to send %t, %q; want %t, %q", i+1, sent, digest(k.Set()), s.send, s.want)
				}
				now = now.Add(10 * time.Second)
			}
		})
	}
}

func digest(s lease.Set) string {
	peers := []string{}
	for _, l := range s.Leases {
		peers = append(peers, l.Peer)
	}
	words := []string{"[" + strings.Join(peers, " ") + "]", string('0' + rune(s.Generation))}
	switch {
	case s.Complete && s.Problem != "":
		words = append(words, "complete, "+s.Problem)
	case s.Complete:
		words = append(words, "complete")
	default:
		words = append(words, s.Problem)
	}
	return strings.Join(words, " ")
}

func TestKeeper_Set(t *testing.T) {
	k := NewKeeper("test", "me", nil)
	if diff := cmp.Diff(lease.Set{Source: "test", Self: "me"}, k.Set()); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	k.Take(noon.Add(time.Second), noon, read("a"))
	k.Fail(noon.Add(time.Minute), errors.New("lost"))
	want := read("a")
	want.Source, want.Synced, want.Generation, want.Complete, want.Problem = "test", noon, 1, false, "lost"
	if diff := cmp.Diff(want, k.Set(), byValue); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
}

func TestKeeper_LogsTransitions(t *testing.T) {
	var b bytes.Buffer
	k := NewKeeper("test", "me", slog.New(slog.NewTextHandler(&b, nil)))
	for range 3 {
		k.Take(noon, noon, read("a"))
	}
	for range 3 {
		k.Fail(noon, errors.New("lost"))
	}
	k.Take(noon, noon, read("a"))
	if got := strings.Count(b.String(), "\n"); got != 3 || strings.Count(b.String(), "WARN") != 1 {
		t.Errorf("%d lines:\n%s", got, &b)
	}
}
